//! The derive macro of the wire codec: `#[derive(Message)]` over a plain struct writes its decoder, its
//! encoder, its `Default` and, with the feature `generate`, its generator of random values.
//!
//! Not here: how a string or an array is written; that is `codec` in `ottla-wire`. The macro is meant for
//! that crate alone and names its paths from `crate::`.
//!
//! Attributes, all inside `#[kafka(…)]`:
//!
//! - on a request or response: `versions = "0-13"` and `flexible = "9+"` (`"none"` where no version is);
//!   nested structs have neither and take both from the message around them;
//! - on a field: `versions = "3+"` (left out: all), `nullable` or `nullable = "10+"` (only on an `Option`),
//!   `tag = 0` (the field stands in the tagged section), `default = -1` (left out: `Default::default()`).

mod attributes;
mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `codec::Field` (and `codec::NullableField`, `Default`), and `codec::Message` where the struct says
/// its `versions`.
#[proc_macro_derive(Message, attributes(kafka))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::message(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
