//! The topics in a consumer's subscription.
//!
//! Source: Kafka's `ConsumerProtocolSubscription`: a version (int16), then the topics, an array (int32) of
//! strings (int16). All versions begin like this.

use std::collections::BTreeSet;

/// The topics that a subscription names, added to `topics`; none if it isn't one.
pub fn read_topics(subscription: &[u8], topics: &mut BTreeSet<String>) -> Option<()> {
    let (version, mut rest) = subscription.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let count = i32::from_be_bytes(take(&mut rest)?);
    for _ in 0..usize::try_from(count).ok()? {
        let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
        let (name, after) = rest.split_at_checked(length)?;
        topics.insert(std::str::from_utf8(name).ok()?.to_owned());
        rest = after;
    }
    Some(())
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
        check(&[0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 9, 9], Some(&["a", "bc"]));
        check(&[0, 1, 0, 0, 0, 0], Some(&[]));
    }

    #[test]
    fn what_is_no_subscription_is_none() {
        check(&[], None);
        check(&[0xff, 0xff, 0, 0, 0, 0], None);
        check(&[0, 0, 0, 0, 0, 1, 0, 5, b'a'], None);
        check(&[0, 0, 0xff, 0xff, 0xff, 0xff], None);
        check(&[0, 0, 0x7f, 0xff, 0xff, 0xff], None);
        check(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff], None);
    }
}
