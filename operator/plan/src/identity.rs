//! Who is who: the cluster's id, the brokers' ids, the voters. Given once, then by record.

use ottla_types::{BrokerId, ClusterId};

/// The most brokers that vote on metadata.
pub const VOTERS_MAX: usize = 3;

/// The cluster's id, from the uid of its resource (a UUID in hexadecimal, with or without dashes).
///
/// None if `uid` is no UUID.
pub fn cluster_id_from_uid(uid: &str) -> Option<ClusterId> {
    let digits: Vec<u8> = uid
        .chars()
        .filter(|c| *c != '-')
        .map(|c| c.to_digit(16))
        .map(|d| d.map(|d| d as u8))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != 16 || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = high << 4 | low;
    }
    // Kafka's tools read a leading '-' as a flag: its own ids never begin with one.
    if bytes[0] >> 2 == 62 {
        bytes[0] ^= 0x80;
    }
    Some(ClusterId(bytes))
}

/// The voters of a cluster that begins with these brokers: the first three, or the first alone where there
/// are fewer, as two are no safer than one.
pub fn voters_of(brokers: &[BrokerId]) -> &[BrokerId] {
    if brokers.len() < VOTERS_MAX { &brokers[..brokers.len().min(1)] } else { &brokers[..VOTERS_MAX] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_id_is_the_uid_in_kafkas_form() {
        let id = cluster_id_from_uid("00000000-0000-0000-0000-0000000000ff").map(|id| id.to_string());
        assert_eq!(id.as_deref(), Some("AAAAAAAAAAAAAAAAAAAA_w"));
        let id = cluster_id_from_uid("f8000000-0000-4000-8000-000000000000").map(|id| id.to_string());
        assert!(!id.unwrap().starts_with('-'));
        for wrong in
            ["", "xyz", "00000000-0000-0000-0000-0000000000f", "00000000-0000-0000-0000-0000000000ff00"]
        {
            assert_eq!(cluster_id_from_uid(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn three_vote_or_one() {
        let brokers: Vec<BrokerId> = (0..5).map(BrokerId).collect();
        for (count, voters) in [(0, 0), (1, 1), (2, 1), (3, 3), (5, 3)] {
            assert_eq!(voters_of(&brokers[..count]), &brokers[..voters], "of {count}");
        }
    }
}
