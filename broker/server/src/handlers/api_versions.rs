//! ApiVersions: what this broker can do, and by which level of its features the cluster goes.

use std::borrow::Cow;

use ottla_wire::ErrorCode;
use ottla_wire::apis::ApiVersions;
use ottla_wire::messages::{ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};

use crate::request::{Begun, Call};

/// Answers with the registry, as the broker was given it.
pub fn begin(call: Call) -> Begun {
    Box::pin(async move {
        let request = call.decode::<ApiVersions>()?;
        let is_named = call.replier.version < 3
            || (is_name(request.client_software_name) && is_name(request.client_software_version));
        if !is_named {
            let error_code = ErrorCode::InvalidRequest.code();
            return call.respond::<ApiVersions>(&ApiVersionsResponse { error_code, ..Default::default() });
        }
        call.respond::<ApiVersions>(&ApiVersionsResponse {
            api_keys: call.broker.api_keys.clone(),
            supported_features: FEATURES.iter().map(supported).collect(),
            finalized_features_epoch: i64::try_from(call.broker.image().version.0).unwrap_or(i64::MAX),
            finalized_features: FEATURES.iter().map(finalized).collect(),
            ..Default::default()
        })
    })
}

/// The features of Apache Kafka 4.3 whose conduct this is, and their level. There is one level of each, so
/// that the cluster goes by it from its first moment. Those of groups, transactions and streams are left out
/// until there are such.
const FEATURES: [(&str, i16); 3] = [
    // Leaders are elected from the ELR, and DescribeTopicPartitions tells who is in it.
    ("eligible.leader.replicas.version", 1),
    // Voters have the ids of their disks, and change while they run.
    ("kraft.version", 1),
    // 4.3-IV0: by this name tools tell the version of Apache Kafka.
    ("metadata.version", 30),
];

fn supported(&(name, level): &(&'static str, i16)) -> SupportedFeatureKey<'static> {
    SupportedFeatureKey { name: Cow::Borrowed(name), min_version: level, max_version: level }
}

fn finalized(&(name, level): &(&'static str, i16)) -> FinalizedFeatureKey<'static> {
    FinalizedFeatureKey { name: Cow::Borrowed(name), max_version_level: level, min_version_level: level }
}

/// Kafka's rule for the names of client libraries and their versions.
fn is_name(text: &str) -> bool {
    let at_the_ends = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    bytes.iter().all(|byte| at_the_ends(byte) || matches!(byte, b'-' | b'.'))
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
