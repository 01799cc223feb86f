//! A file's bytes, in pages, and what of them a power loss would take back.

use std::collections::BTreeMap;

use super::super::random::Random;

/// Bytes in a page.
pub const PAGE: u64 = 4096;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

type Page = Box<[u8; PAGE as usize]>;

/// What becomes of the writes that weren't synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All are gone.
    All,
    /// Each sector has its old or its new bytes, whatever the order of the writes was.
    Some,
}

/// A file's bytes.
#[derive(Debug, Clone, Default)]
pub struct Content {
    size: u64,
    /// Pages that aren't there are zeros.
    pages: BTreeMap<u64, Page>,
    /// The size at the last sync.
    synced_size: u64,
    /// For each page that was written since, what it was at the last sync.
    unsynced: BTreeMap<u64, Option<Page>>,
}

impl Content {
    /// How long the file is.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The memory that it takes on the disk, in bytes.
    pub fn used(&self) -> u64 {
        self.pages.len() as u64 * PAGE
    }

    /// What writing `bytes` at `offset` would add to [`Content::used`].
    pub fn grows_by(&self, offset: u64, bytes: usize) -> u64 {
        let pages = offset / PAGE..(offset + bytes as u64).div_ceil(PAGE);
        pages.filter(|page| !self.pages.contains_key(page)).count() as u64 * PAGE
    }

    /// Reads.
    pub fn read(&self, offset: u64, bytes: usize) -> Vec<u8> {
        let end = self.size.min(offset.saturating_add(bytes as u64));
        let mut out = vec![0; end.saturating_sub(offset) as usize];
        for_pages(offset, out.len(), |page, within, range| {
            if let Some(from) = self.pages.get(&page) {
                out[range.clone()].copy_from_slice(&from[within..within + range.len()]);
            }
        });
        out
    }

    /// Writes.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        for_pages(offset, data.len(), |page, within, range| {
            self.remember(page);
            let into = self.pages.entry(page).or_insert_with(zeros);
            into[within..within + range.len()].copy_from_slice(&data[range]);
        });
        self.size = self.size.max(offset + data.len() as u64);
    }

    /// Sets the length; what is added is zeros.
    pub fn resize(&mut self, size: u64) {
        let cut: Vec<u64> = self.pages.range(size.div_ceil(PAGE)..).map(|(page, _)| *page).collect();
        for page in cut {
            self.remember(page);
            self.pages.remove(&page);
        }
        if size < self.size && !size.is_multiple_of(PAGE) && self.pages.contains_key(&(size / PAGE)) {
            self.remember(size / PAGE);
            if let Some(page) = self.pages.get_mut(&(size / PAGE)) {
                page[(size % PAGE) as usize..].fill(0);
            }
        }
        self.size = size;
    }

    fn remember(&mut self, page: u64) {
        if !self.unsynced.contains_key(&page) {
            self.unsynced.insert(page, self.pages.get(&page).cloned());
        }
    }

    /// How many pages were written since the last sync.
    pub fn unsynced(&self) -> u64 {
        self.unsynced.len() as u64
    }

    /// Makes everything durable.
    pub fn sync(&mut self) {
        self.unsynced.clear();
        self.synced_size = self.size;
    }

    /// A sync that failed: the pages count as clean, and the disk has the old ones. Who still has them cached
    /// sees no difference until they are read again.
    pub fn fail_to_sync(&mut self) {
        for (page, old) in std::mem::take(&mut self.unsynced) {
            self.put(page, old);
        }
    }

    fn put(&mut self, page: u64, content: Option<Page>) {
        match content {
            Some(content) => self.pages.insert(page, content),
            None => self.pages.remove(&page),
        };
    }

    /// What a power loss leaves.
    pub fn lose_power(&mut self, loss: Loss, random: &mut Random) {
        let keep_size = loss == Loss::Some && random.chance(1, 2);
        let size = if keep_size { self.size } else { self.synced_size };
        for (page, old) in std::mem::take(&mut self.unsynced) {
            if loss == Loss::All {
                self.put(page, old);
                continue;
            }
            let old = old.unwrap_or_else(zeros);
            let new = self.pages.entry(page).or_insert_with(zeros);
            for sector in (0..PAGE as usize).step_by(SECTOR) {
                if random.chance(1, 2) {
                    new[sector..sector + SECTOR].copy_from_slice(&old[sector..sector + SECTOR]);
                }
            }
        }
        // What lies beyond the end is never seen again.
        self.resize(size);
        self.sync();
    }

    /// Flips one bit, as a disk that rots.
    pub fn flip(&mut self, bit: u64) {
        if let Some(page) = self.pages.get_mut(&(bit / 8 / PAGE)) {
            page[(bit / 8 % PAGE) as usize] ^= 1 << (bit % 8);
        }
    }
}

fn zeros() -> Page {
    Box::new([0; PAGE as usize])
}

/// Calls `with` for each page that a range of the file touches: its number, where in it the range begins, and
/// which part of the range that is.
fn for_pages(offset: u64, bytes: usize, mut with: impl FnMut(u64, usize, std::ops::Range<usize>)) {
    let mut done = 0;
    while done < bytes {
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let part = (bytes - done).min(PAGE as usize - within);
        with(at / PAGE, within, done..done + part);
        done += part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> Random {
        Random::new(7)
    }

    #[test]
    fn what_is_written_is_read_across_pages() {
        let mut content = Content::default();
        content.write(4090, b"0123456789");
        assert_eq!(content.size(), 4100);
        assert_eq!(content.read(4088, 100), b"\0\x000123456789");
        assert_eq!(content.read(5000, 10), b"");
        content.resize(4093);
        content.resize(4100);
        assert_eq!(content.read(4090, 100), b"012\0\0\0\0\0\0\0");
        assert_eq!((content.used(), content.grows_by(0, 4096), content.grows_by(0, 4097)), (4096, 0, 4096));
    }

    #[test]
    fn a_power_loss_takes_what_was_not_synced() {
        let mut content = Content::default();
        content.write(0, b"synced");
        content.sync();
        content.write(0, b"lost!!");
        content.write(9000, b"lost");
        content.lose_power(Loss::All, &mut random());
        assert_eq!(content.read(0, 100), b"synced");
    }

    #[test]
    fn a_truncation_that_was_not_synced_is_undone() {
        let mut content = Content::default();
        content.write(0, &[1; 10_000]);
        content.sync();
        content.resize(10);
        content.lose_power(Loss::All, &mut random());
        assert_eq!(content.read(0, 20_000), [1; 10_000]);
    }

    #[test]
    fn some_sectors_may_survive_each_by_itself() {
        let mut content = Content::default();
        content.write(0, &[1; 8192]);
        content.sync();
        content.write(0, &[2; 8192]);
        content.lose_power(Loss::Some, &mut random());
        let left = content.read(0, 8192);
        let sectors: Vec<u8> = left.chunks(512).map(|sector| sector[0]).collect();
        assert!(sectors.contains(&1) && sectors.contains(&2), "{sectors:?}");
        assert!(left.chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])));
    }

    #[test]
    fn after_a_sync_that_failed_the_disk_has_the_old_bytes_and_a_retry_succeeds_in_vain() {
        let mut content = Content::default();
        content.write(0, b"old");
        content.sync();
        content.write(0, b"new");
        content.fail_to_sync();
        content.sync();
        assert_eq!(content.read(0, 3), b"old");
    }
}
