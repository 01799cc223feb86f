//! ApiVersions: what this broker can do.

use ottla_wire::ErrorCode;
use ottla_wire::apis::ApiVersions;
use ottla_wire::messages::ApiVersionsResponse;

use super::call::{Begun, Call};
use super::registry::versions;

/// Answers with the registry.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<ApiVersions>()?;
        let is_named = call.replier.version < 3
            || (is_name(request.client_software_name) && is_name(request.client_software_version));
        if !is_named {
            let error_code = ErrorCode::InvalidRequest.code();
            return call.respond::<ApiVersions>(&ApiVersionsResponse { error_code, ..Default::default() });
        }
        call.respond::<ApiVersions>(&ApiVersionsResponse { api_keys: versions(), ..Default::default() })
    })
}

/// Kafka's rule for the names of client libraries and their versions.
fn is_name(text: &str) -> bool {
    let at_the_ends = |byte: &u8| byte.is_ascii_alphanumeric();
    let inside = |byte: &u8| at_the_ends(byte) || matches!(byte, b'-' | b'.');
    let bytes = text.as_bytes();
    bytes.iter().all(inside)
        && bytes.first().is_some_and(at_the_ends)
        && bytes.last().is_some_and(at_the_ends)
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_of_libraries_follow_kafkas_rule() {
        assert!(is_name("apache-kafka-java") && is_name("2.0.2") && is_name("x"));
        assert!(!is_name("") && !is_name("-x") && !is_name("x.") && !is_name("a b"));
    }
}
