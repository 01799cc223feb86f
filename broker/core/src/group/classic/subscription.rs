//! The topics in a consumer's subscription.
//!
//! Source: Kafka's `ConsumerProtocolSubscription`: a version (int16), then the topics, an array (int32) of
//! strings (int16), then bytes (int32) for the assignor. All versions begin like this, and Kafka reads so
//! much of each, whatever the version says.

use std::collections::BTreeSet;

/// So many topics of a group are remembered. Of a group that names more, it isn't known what it reads, so
/// that none of its offsets expires or is deleted while it has members. Kafka has no limit.
const TOPICS_MAX: usize = 100_000;

/// The topics that a subscription names, added to `topics`; none if it isn't one, or if they become too many.
pub fn read_topics(subscription: &[u8], topics: &mut BTreeSet<String>) -> Option<()> {
    let (_version, mut rest) = subscription.split_first_chunk::<2>()?;
    let count = i32::from_be_bytes(take(&mut rest)?);
    for _ in 0..usize::try_from(count).ok()? {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (name, after) = rest.split_at_checked(length)?;
        topics.insert(std::str::from_utf8(name).ok()?.to_owned());
        rest = after;
        if topics.len() > TOPICS_MAX {
            return None;
        }
    }
    // Less than none is null.
    let of_assignor = usize::try_from(i32::from_be_bytes(take(&mut rest)?)).unwrap_or(0);
    rest.split_at_checked(of_assignor).map(|_| ())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(subscription: &[u8], expected: Option<&[&str]>) {
        let mut topics = BTreeSet::new();
        let read = read_topics(subscription, &mut topics).map(|()| topics);
        assert_eq!(read, expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect()));
    }

    #[test]
    fn topics_are_read_of_any_version() {
        check(&[0, 0, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 0], Some(&["a"]));
        check(&[0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 0, 0, 0, 1, 9, 9], Some(&["a", "bc"]));
        check(&[0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], Some(&[]));
        check(&[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], Some(&[]));
    }

    #[test]
    fn what_is_no_subscription_is_none() {
        check(&[], None);
        check(&[0, 0, 0, 0, 0, 0], None);
        check(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 9], None);
        check(&[0, 0, 0, 0, 0, 1, 0, 5, b'a'], None);
        check(&[0, 0, 0xff, 0xff, 0xff, 0xff], None);
        check(&[0, 0, 0x7f, 0xff, 0xff, 0xff], None);
        check(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff], None);
    }

    #[test]
    fn so_many_topics_that_they_are_not_remembered_are_none() {
        let mut topics: BTreeSet<String> = (0..TOPICS_MAX).map(|index| index.to_string()).collect();
        assert_eq!(read_topics(&[0, 0, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 0], &mut topics), None);
    }
}
