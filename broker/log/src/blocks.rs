//! Snappy and LZ4 block by block, as Kafka's Java client reads them: what it can't read isn't taken either.

use std::io::Read;

/// What the frames of Snappy start with.
pub(crate) const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Their version, and the oldest version that can read them.
pub(crate) const SNAPPY_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Snappy makes at most about 21 times as many bytes; more is a lie that isn't worth the memory.
const SNAPPY_RATIO_MAX: usize = 64;

/// What a frame of LZ4 starts with, little-endian.
const LZ4_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
/// Set in a block's length when it isn't compressed.
const LZ4_PLAIN: u32 = 1 << 31;

/// The greatest block, decompressed: as much as the window of Zstandard's greatest level.
pub(crate) const BLOCK_BYTES_MAX: usize = 128 << 20;

type Wrong = &'static str;

/// Blocks that are decompressed one after the other.
pub(crate) trait Blocks {
    /// Decompresses the next block in place of `block`'s content. Returns whether there was one.
    fn next(&mut self, block: &mut Vec<u8>) -> Result<bool, Wrong>;
}

/// Reads one block after the other.
pub(crate) struct BlockReader<B> {
    blocks: B,
    block: Vec<u8>,
    at: usize,
}

impl<B: Blocks> BlockReader<B> {
    pub(crate) fn new(blocks: B) -> Self {
        Self { blocks, block: Vec::new(), at: 0 }
    }
}

impl<B: Blocks> Read for BlockReader<B> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.block.len() {
            self.at = 0;
            if !self.blocks.next(&mut self.block).map_err(std::io::Error::other)? {
                self.block.clear();
                return Ok(0);
            }
        }
        assert!(self.at < self.block.len(), "bytes of the block are left");
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Wrong> {
    let (taken, after) = rest.split_at_checked(count).ok_or("cut off")?;
    *rest = after;
    Ok(taken)
}

fn take_number<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Wrong> {
    let (taken, after) = rest.split_first_chunk().ok_or("cut off")?;
    *rest = after;
    Ok(*taken)
}

/// The blocks of Snappy: those of the Java client's frames, or the one that there is without.
#[derive(Clone)]
pub(crate) struct SnappyBlocks<'a> {
    rest: &'a [u8],
    is_framed: bool,
}

impl<'a> SnappyBlocks<'a> {
    pub(crate) fn new(records: &'a [u8]) -> Result<Self, Wrong> {
        let Some(mut framed) = records.strip_prefix(&SNAPPY_MAGIC) else {
            return Ok(Self { rest: records, is_framed: false });
        };
        take(&mut framed, SNAPPY_VERSIONS.len())?;
        Ok(Self { rest: framed, is_framed: true })
    }

    fn next_compressed(&mut self) -> Result<Option<&'a [u8]>, Wrong> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if !self.is_framed {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let length = u32::from_be_bytes(take_number(&mut self.rest)?);
        take(&mut self.rest, length as usize).map(Some)
    }

    /// The greatest block, decompressed, as the blocks say themselves.
    pub(crate) fn block_bytes(mut self) -> usize {
        let mut greatest = 0;
        while let Ok(Some(compressed)) = self.next_compressed() {
            greatest = greatest.max(snap::raw::decompress_len(compressed).unwrap_or(0));
        }
        greatest
    }
}

impl Blocks for SnappyBlocks<'_> {
    fn next(&mut self, block: &mut Vec<u8>) -> Result<bool, Wrong> {
        let Some(compressed) = self.next_compressed()? else { return Ok(false) };
        let length = snap::raw::decompress_len(compressed).map_err(|_| "no length")?;
        if length / SNAPPY_RATIO_MAX > compressed.len() || length > BLOCK_BYTES_MAX {
            return Err("a length is too great for its bytes");
        }
        block.resize(length, 0);
        let written = snap::raw::Decoder::new().decompress(compressed, block);
        written.map(|_| true).map_err(|_| "not Snappy")
    }
}

/// The blocks of an LZ4 frame. Like Kafka's Java client it reads the first frame only, and each block for
/// itself, whatever the frame says of its blocks being linked.
pub(crate) struct Lz4Blocks<'a> {
    rest: &'a [u8],
    block_bytes_max: usize,
    has_checksums: bool,
    has_ended: bool,
}

impl<'a> Lz4Blocks<'a> {
    pub(crate) fn new(records: &'a [u8]) -> Result<Self, Wrong> {
        let described = records.strip_prefix(&LZ4_MAGIC).ok_or("no frame of LZ4")?;
        let mut rest = described;
        let [flags, block_size] = take_number(&mut rest)?;
        let has_reserved_bits = flags & 0b11 != 0 || block_size & 0b1000_1111 != 0;
        if flags >> 6 != 1 || has_reserved_bits || block_size >> 4 < 4 {
            return Err("a frame of an unknown kind");
        }
        if flags & 0b1000 != 0 {
            let [_content_bytes] = [take_number::<8>(&mut rest)?];
        }
        let descriptor = &described[..described.len() - rest.len()];
        let [checksum] = take_number(&mut rest)?;
        if checksum != (twox_hash::XxHash32::oneshot(0, descriptor) >> 8) as u8 {
            return Err("a frame's header is damaged");
        }
        let block_bytes_max = 1 << (8 + 2 * (block_size >> 4));
        Ok(Self { rest, block_bytes_max, has_checksums: flags & 0b1_0000 != 0, has_ended: false })
    }

    /// The greatest block that the frame allows: 64 KiB, 256 KiB, 1 MiB or 4 MiB.
    pub(crate) fn block_bytes(&self) -> usize {
        self.block_bytes_max
    }
}

impl Blocks for Lz4Blocks<'_> {
    fn next(&mut self, block: &mut Vec<u8>) -> Result<bool, Wrong> {
        if self.has_ended {
            return Ok(false);
        }
        let length = u32::from_le_bytes(take_number(&mut self.rest)?);
        // Java's reader takes an empty block for the end, whether it is marked as plain or not.
        if length & !LZ4_PLAIN == 0 {
            self.has_ended = true;
            return Ok(false);
        }
        let bytes = take(&mut self.rest, (length & !LZ4_PLAIN) as usize)?;
        if bytes.len() > self.block_bytes_max {
            return Err("a block is too large");
        }
        if self.has_checksums {
            let checksum = u32::from_le_bytes(take_number(&mut self.rest)?);
            if checksum != twox_hash::XxHash32::oneshot(0, bytes) {
                return Err("a block is damaged");
            }
        }
        if length & LZ4_PLAIN != 0 {
            block.clear();
            block.extend_from_slice(bytes);
            return Ok(true);
        }
        // LZ4 makes at most 255 bytes of one.
        block.resize(self.block_bytes_max.min(bytes.len().saturating_mul(255)), 0);
        let written = lz4_flex::block::decompress_into(bytes, block).map_err(|_| "not LZ4")?;
        block.truncate(written);
        Ok(true)
    }
}
