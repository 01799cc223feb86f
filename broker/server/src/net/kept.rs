//! Memory that is kept for clients between their requests: bounded in all, and by address.
//!
//! A request that waits, a fetch session, an answer that isn't taken yet: whoever wants to keep one asks
//! first, and does without it if there is no room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// A bounded number of bytes, of which one address has half at most. Where it isn't used up, each address may
/// keep one thing of any size, so that nothing is too large for ever.
#[derive(Debug)]
pub struct KeptBytes {
    bytes_max: usize,
    kept: Mutex<KeptTotals>,
}

#[derive(Debug, Default)]
struct KeptTotals {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A part of it; dropping it gives it back.
#[derive(Debug)]
pub struct KeptPart {
    of: Arc<KeptBytes>,
    address: IpAddr,
    bytes: usize,
}

impl KeptBytes {
    /// Nothing kept, `bytes_max` at most.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, kept: Mutex::default() })
    }

    /// Bytes that are kept now.
    pub fn total(&self) -> usize {
        self.kept.lock().total
    }

    /// A part of `bytes` for a client at `address`; none if there is no room.
    pub fn keep(self: &Arc<Self>, address: IpAddr, bytes: usize) -> Option<KeptPart> {
        let address = address.to_canonical();
        let mut kept = self.kept.lock();
        let of_address = kept.by_address.get(&address).copied().unwrap_or(0);
        let fits = kept.total + bytes <= self.bytes_max && of_address + bytes <= self.bytes_max / 2;
        let is_first = of_address == 0 && kept.total <= self.bytes_max;
        if !fits && !is_first {
            return None;
        }
        kept.total += bytes;
        kept.by_address.insert(address, of_address + bytes);
        Some(KeptPart { of: Arc::clone(self), address, bytes })
    }
}

impl Drop for KeptPart {
    fn drop(&mut self) {
        let mut kept = self.of.kept.lock();
        kept.total -= self.bytes;
        let of_address = kept.by_address.get_mut(&self.address).expect("counted when it was given");
        *of_address -= self.bytes;
        if *of_address == 0 {
            kept.by_address.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_half_at_most_and_all_have_no_more_than_there_is() {
        let kept = KeptBytes::new(100);
        let [a, b, c, d] = [1, 2, 3, 4].map(|last| IpAddr::from([10, 0, 0, last]));
        let first = kept.keep(a, 50).unwrap();
        assert!(kept.keep(a, 1).is_none());
        assert!(kept.keep("::ffff:10.0.0.1".parse().unwrap(), 1).is_none(), "it is the same address");
        let second = kept.keep(b, 40).unwrap();
        assert!(kept.keep(b, 11).is_none());
        let third = kept.keep(c, 11).expect("the first of an address is kept while not all is used");
        assert_eq!(kept.total(), 101);
        assert!(kept.keep(d, 1).is_none() && kept.keep(b, 1).is_none());
        drop(first);
        assert!(kept.keep(d, 1).is_some());
        drop((second, third));
        assert_eq!((kept.total(), kept.kept.lock().by_address.len()), (0, 0));
    }
}
