//! What belongs to an API key: the request and response types, their versions, and their headers' versions.

use std::ops::RangeInclusive;

use crate::ApiKey;
use crate::codec::{DecodeError, Decoder, Message};

/// An API: one key with its request and response.
///
/// The implementations are the empty types of [`crate::apis`], so that a handler or a client call can be
/// generic over them: `A::Request<'a>`, `A::Response<'a>`.
pub trait Api: 'static {
    /// The key.
    const KEY: ApiKey;
    /// The versions that we can read and write; a server may offer fewer.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version.
    const FLEXIBLE_FROM: i16;
    /// The request's body.
    type Request<'a>: Message<'a>;
    /// The response's body.
    type Response<'a>: Message<'a>;

    /// The version of the request's header.
    fn request_header_version(version: i16) -> i16 {
        if version >= Self::FLEXIBLE_FROM { 2 } else { 1 }
    }

    /// The version of the response's header. For ApiVersions it is always 0, as its client can't know more
    /// yet.
    fn response_header_version(version: i16) -> i16 {
        i16::from(version >= Self::FLEXIBLE_FROM && Self::KEY != ApiKey::ApiVersions)
    }

    /// Reads a request body from `decoder`. Bytes that follow it are passed over, as Kafka does: librdkafka
    /// 2.16 ends its request for the metadata of all topics with three of them.
    ///
    /// # Errors
    /// When the version isn't ours, or the bytes don't begin with such a request.
    fn decode_request(mut decoder: Decoder<'_>, version: i16) -> Result<Self::Request<'_>, DecodeError> {
        Self::Request::decode_body(&mut decoder, version)
    }

    /// Reads a whole response body from `decoder`, to its end.
    ///
    /// # Errors
    /// When the version isn't ours, the bytes aren't such a response, or more follow.
    fn decode_response(mut decoder: Decoder<'_>, version: i16) -> Result<Self::Response<'_>, DecodeError> {
        let response = Self::Response::decode_body(&mut decoder, version)?;
        decoder.finish()?;
        Ok(response)
    }
}

macro_rules! define_apis {
    ($($module:ident: $name:ident($request:ident $(<$of_request:lifetime>)?, $response:ident $(<$of_response:lifetime>)?);)*) => {
        /// One empty type for each API that we can speak, named as its key is.
        pub mod apis {
            use super::Api;
            use crate::ApiKey;
            use crate::codec::Message;
            use crate::messages::*;

            $(
                #[doc = concat!("The API [`ApiKey::", stringify!($name), "`].")]
                #[derive(Debug, Clone, Copy)]
                pub struct $name;

                impl Api for $name {
                    const KEY: ApiKey = ApiKey::$name;
                    const VERSIONS: std::ops::RangeInclusive<i16> =
                        Self::Request::VERSION_FIRST..=Self::Request::VERSION_LAST;
                    const FLEXIBLE_FROM: i16 = Self::Request::FLEXIBLE_FROM;
                    type Request<'a> = $request $(<$of_request>)?;
                    type Response<'a> = $response $(<$of_response>)?;
                }
            )*
        }

        /// The first flexible version of `key`; none if it isn't an API that we can speak.
        pub(crate) fn flexible_from(key: ApiKey) -> Option<i16> {
            match key {
                $(ApiKey::$name => Some(apis::$name::FLEXIBLE_FROM),)*
                _ => None,
            }
        }
    };
}

crate::with_apis! { define_apis }

/// Runs `$body` for every API that we can speak, with `$api` as its type.
#[macro_export]
macro_rules! for_each_api {
    ($api:ident => $body:expr) => {
        $crate::with_apis! { $crate::for_each_api, in $api => $body, }
    };
    (in $api:ident => $body:expr, $($module:ident: $name:ident $messages:tt;)*) => {
        $({ type $api = $crate::apis::$name; $body })*
    };
}
