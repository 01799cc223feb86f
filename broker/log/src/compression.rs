//! The four compressions of record batches: whole batches, and the records of one as a stream in bounded
//! memory.
//!
//! Snappy is written in the frames that Kafka's Java client uses; read are those and the raw form, which
//! librdkafka and Go clients send.

use std::io::{Read, Write};

use crate::blocks::{BLOCK_BYTES_MAX, BlockReader, Lz4Blocks, SNAPPY_MAGIC, SNAPPY_VERSIONS, SnappyBlocks};
use crate::header::Codec;

/// Uncompressed bytes in each frame of Snappy.
const SNAPPY_FRAME_BYTES: usize = 32 << 10;
/// What a frame of Zstandard starts with, little-endian.
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Windows of 8 MiB are what every reader of Zstandard has to bear, and 128 MiB are what Kafka's Java client
/// bears.
const ZSTD_WINDOW_LOG_FREE: u32 = 23;
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What reading a compressed batch takes in memory beside windows and blocks, at least about so much.
const DECODER_BYTES_MIN: usize = 256 << 10;

/// The most that reading a compressed batch may take in memory, in bytes.
pub const DECODER_BYTES_MAX: usize = BLOCK_BYTES_MAX + DECODER_BYTES_MIN;

/// A batch may always grow to so many bytes when it is decompressed.
const INFLATED_BYTES_FREE: usize = 32 << 20;
/// Beyond those, to so many times its compressed size: what LZ4 can reach. More of it is an attack, or one
/// value repeated for ever, which a client sends again in smaller batches.
const INFLATED_RATIO_MAX: usize = 256;
/// And never to more than this.
const INFLATED_BYTES_MAX: usize = 1 << 30;

const _: () = assert!(INFLATED_BYTES_FREE <= INFLATED_BYTES_MAX, "what is free is within the limit");
const _: () = assert!(1 << ZSTD_WINDOW_LOG_MAX <= BLOCK_BYTES_MAX, "a window takes no more than a block may");

/// The bytes that so many compressed ones may become.
pub fn inflated_bytes_max(compressed_bytes: usize) -> usize {
    compressed_bytes.saturating_mul(INFLATED_RATIO_MAX).clamp(INFLATED_BYTES_FREE, INFLATED_BYTES_MAX)
}

/// A batch that can't be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressionError {
    /// The compression.
    pub codec: Codec,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for CompressionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.codec, self.reason)
    }
}

impl std::error::Error for CompressionError {}

fn failed(codec: Codec, reason: impl ToString) -> CompressionError {
    CompressionError { codec, reason: reason.to_string() }
}

/// Compresses a batch's records.
///
/// # Errors
/// When the library refuses; it has no reason to.
pub fn compress(codec: Codec, records: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let wrong = |error: std::io::Error| failed(codec, error);
    match codec {
        Codec::None => Ok(records.to_vec()),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(records).map_err(wrong)?;
            encoder.finish().map_err(wrong)
        }
        Codec::Snappy => compress_snappy(records),
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).map_err(wrong)?;
            encoder.finish().map_err(|error| failed(codec, error))
        }
        Codec::Zstd => zstd::bulk::compress(records, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(wrong),
    }
}

/// Decompresses a batch's records, of at most `bytes_max` bytes.
///
/// # Errors
/// When the bytes aren't compressed so, or become too many.
pub fn decompress(codec: Codec, records: &[u8], bytes_max: usize) -> Result<Vec<u8>, CompressionError> {
    let too_long =
        || failed(codec, format!("a batch has more than {bytes_max} bytes once it is decompressed"));
    if codec == Codec::Snappy && snappy_block_bytes(records) > bytes_max {
        return Err(too_long());
    }
    let mut inflated = Vec::new();
    let mut limited = decoder(codec, records)?.take(bytes_max as u64 + 1);
    limited.read_to_end(&mut inflated).map_err(|error| failed(codec, error))?;
    if inflated.len() > bytes_max { Err(too_long()) } else { Ok(inflated) }
}

/// Reads a batch's records as they are decompressed. It takes about [`decoder_bytes`] of memory, however many
/// there are.
///
/// # Errors
/// When the bytes don't even begin as they should; the rest is found by reading.
pub(crate) fn decoder<'a>(codec: Codec, records: &'a [u8]) -> Result<Box<dyn Read + 'a>, CompressionError> {
    let wrong = |what: &str| failed(codec, what);
    Ok(match codec {
        Codec::None => Box::new(records),
        Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(records)),
        Codec::Snappy => Box::new(BlockReader::new(SnappyBlocks::new(records).map_err(wrong)?)),
        Codec::Lz4 => Box::new(BlockReader::new(Lz4Blocks::new(records).map_err(wrong)?)),
        Codec::Zstd => {
            let wrong = |error: std::io::Error| failed(codec, error);
            let mut decoder = zstd::stream::read::Decoder::with_buffer(records).map_err(wrong)?;
            // A later frame may not ask for more memory than the first said, beyond what is little anyway.
            let window_log = zstd_window_bytes(records).min(BLOCK_BYTES_MAX).next_power_of_two().ilog2();
            decoder
                .window_log_max(window_log.clamp(ZSTD_WINDOW_LOG_FREE, ZSTD_WINDOW_LOG_MAX))
                .map_err(wrong)?;
            Box::new(decoder)
        }
    })
}

/// What it takes in memory to read compressed records, in bytes: the greatest block or window that they speak
/// of. What isn't compressed takes nothing.
pub fn decoder_bytes(codec: Codec, records: &[u8]) -> usize {
    let bytes = match codec {
        Codec::None => return 0,
        Codec::Gzip => 0,
        Codec::Snappy => snappy_block_bytes(records),
        Codec::Lz4 => Lz4Blocks::new(records).map_or(0, |blocks| blocks.block_bytes()),
        Codec::Zstd => zstd_window_bytes(records),
    };
    bytes.saturating_add(DECODER_BYTES_MIN)
}

fn snappy_block_bytes(records: &[u8]) -> usize {
    SnappyBlocks::new(records).map_or(0, SnappyBlocks::block_bytes)
}

/// The window that a frame's header asks for; see RFC 8878, 3.1.1.1.
fn zstd_window_bytes(records: &[u8]) -> usize {
    let Some([descriptor, rest @ ..]) = records.strip_prefix(&ZSTD_MAGIC) else { return 0 };
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let Some(&window) = rest.first() else { return 0 };
        let base = 1_usize << (10 + (window >> 3));
        return base + base / 8 * usize::from(window & 7);
    }
    // The window is all of the content, whose size stands behind the dictionary's id.
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (size_bytes, least) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
    let Some(size) = rest.get(dictionary_bytes..dictionary_bytes + size_bytes) else { return 0 };
    let size = size.iter().rev().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    usize::try_from(size).unwrap_or(usize::MAX).saturating_add(least)
}

fn compress_snappy(records: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut encoder = snap::raw::Encoder::new();
    let mut out = [SNAPPY_MAGIC, SNAPPY_VERSIONS].concat();
    for chunk in records.chunks(SNAPPY_FRAME_BYTES) {
        let compressed = encoder.compress_vec(chunk).map_err(|error| failed(Codec::Snappy, error))?;
        out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    #[test]
    fn what_is_compressed_is_decompressed() {
        let texts = [Vec::new(), b"a".to_vec(), b"ottla ".repeat(20_000)];
        for codec in ALL {
            for text in &texts {
                let compressed = compress(codec, text).unwrap();
                assert_eq!(&decompress(codec, &compressed, text.len()).unwrap(), text, "{codec:?}");
            }
        }
    }

    #[test]
    fn more_bytes_than_allowed_are_an_error() {
        for codec in ALL {
            let compressed = compress(codec, &[7; 100_000]).unwrap();
            let error = decompress(codec, &compressed, 99_999).unwrap_err();
            assert!(error.reason.contains("more than 99999"), "{error}");
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let raw = snap::raw::Encoder::new().compress_vec(b"from Go").unwrap();
        assert_eq!(decompress(Codec::Snappy, &raw, 100).unwrap(), b"from Go");
    }

    #[test]
    fn cut_and_foreign_bytes_are_errors() {
        for codec in &ALL[1..] {
            let compressed = compress(*codec, &b"some text, some text".repeat(50)).unwrap();
            assert!(decompress(*codec, &compressed[..compressed.len() - 5], 10_000).is_err(), "{codec:?}");
            assert!(decompress(*codec, &[0xff; 40], 10_000).is_err(), "{codec:?}");
        }
    }

    /// A frame of LZ4 as a client may make it, from these flags.
    fn lz4(text: &[u8], info: lz4_flex::frame::FrameInfo) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn frames_of_lz4_are_read_as_the_java_client_reads_them() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameInfo};
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            let info = FrameInfo::new().block_size(size).block_checksums(true).content_checksum(true);
            let frame = lz4(&text, info.clone().content_size(Some(text.len() as u64)));
            assert_eq!(decompress(Codec::Lz4, &frame, text.len()).unwrap(), text);
            let after = [&frame[..], b"what follows is passed over"].concat();
            assert_eq!(decompress(Codec::Lz4, &after, text.len()).unwrap(), text);
            for at in [4, 5, 6, 10, 15, 20, 1_000] {
                let mut damaged = frame.clone();
                damaged[at] ^= 0x10;
                assert!(decompress(Codec::Lz4, &damaged, text.len()).is_err(), "byte {at}");
            }
        }
        // A frame's header without a size is 7 bytes long. Any empty block ends the frame there, for Java.
        let plain = lz4(&text, FrameInfo::new());
        for empty in [0_u32, 1 << 31] {
            let ended = [&plain[..7], &empty.to_le_bytes(), &plain[7..]].concat();
            assert_eq!(decompress(Codec::Lz4, &ended, text.len()).unwrap(), b"", "{empty:#x}");
        }
        let linked = |size| lz4(&text, FrameInfo::new().block_size(size).block_mode(BlockMode::Linked));
        assert_eq!(decompress(Codec::Lz4, &linked(BlockSize::Max1MB), text.len()).unwrap(), text);
        let error = decompress(Codec::Lz4, &linked(BlockSize::Max64KB), text.len());
        assert!(error.is_err(), "a block that needs another one can't be read by the Java client");
    }

    #[test]
    fn the_memory_that_decompressing_takes_is_known_before() {
        let text = b"ottla ".repeat(1 << 20);
        let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
        let bytes = |codec, records: &[u8]| decoder_bytes(codec, records) - DECODER_BYTES_MIN;
        assert_eq!(decoder_bytes(Codec::None, &text), 0);
        assert_eq!(bytes(Codec::Snappy, &raw), text.len());
        assert_eq!(bytes(Codec::Snappy, &compress(Codec::Snappy, &text).unwrap()), SNAPPY_FRAME_BYTES);
        // All in one frame whose size is known, and then streams of which it isn't.
        assert_eq!(bytes(Codec::Zstd, &compress(Codec::Zstd, &text).unwrap()), 2 << 20);
        assert_eq!(bytes(Codec::Zstd, &zstd::bulk::compress(b"short", 3).unwrap()), 5);
        assert_eq!(bytes(Codec::Zstd, &zstd::bulk::compress(&[7; 300], 3).unwrap()), 300);
        let stream = |level| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).unwrap();
            encoder.write_all(b"text").unwrap();
            encoder.flush().unwrap();
            encoder.finish().unwrap()
        };
        for (level, window) in [(3, 2 << 20), (19, 8 << 20), (22, 128 << 20)] {
            assert_eq!(bytes(Codec::Zstd, &stream(level)), window, "level {level}");
        }
        let after = |first| decompress(Codec::Zstd, &[stream(first), stream(22)].concat(), 100);
        assert_eq!(after(22).unwrap(), b"texttext");
        assert!(after(3).is_err(), "the second frame needs more memory than was known");
        let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max256KB);
        assert_eq!(bytes(Codec::Lz4, &lz4(&text, info)), 256 << 10);
        for codec in ALL {
            for cut in 0..8 {
                let _ = decoder_bytes(codec, &compress(codec, b"text").unwrap()[..cut.min(4)]);
            }
        }
    }

    #[test]
    fn what_a_batch_may_become_has_a_limit() {
        assert_eq!(inflated_bytes_max(0), INFLATED_BYTES_FREE);
        assert_eq!(inflated_bytes_max(1 << 20), INFLATED_RATIO_MAX << 20);
        assert_eq!(inflated_bytes_max(usize::MAX), INFLATED_BYTES_MAX);
    }
}
