//! The four compressions of record batches.
//!
//! Snappy is written in the frames that Kafka's Java client uses; read are those and the raw form, which Go
//! clients send.

use std::io::{Read, Write};

use ottla_log::Codec;

/// What the frames of Snappy start with.
const SNAPPY_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Their version, and the oldest version that can read them.
const SNAPPY_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Uncompressed bytes in each frame.
const SNAPPY_FRAME_BYTES: usize = 32 << 10;

/// A batch that can't be compressed or decompressed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{codec:?}: {reason}")]
pub struct CompressionError {
    /// The compression.
    pub codec: Codec,
    /// What is wrong.
    pub reason: String,
}

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
    match codec {
        Codec::None if records.len() <= bytes_max => Ok(records.to_vec()),
        Codec::None => Err(too_long(codec, bytes_max)),
        Codec::Gzip => read_all(codec, flate2::read::MultiGzDecoder::new(records), bytes_max),
        Codec::Snappy => decompress_snappy(records, bytes_max),
        Codec::Lz4 => read_all(codec, lz4_flex::frame::FrameDecoder::new(records), bytes_max),
        Codec::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(records).map_err(|error| failed(codec, error))?;
            read_all(codec, decoder, bytes_max)
        }
    }
}

fn too_long(codec: Codec, bytes_max: usize) -> CompressionError {
    failed(codec, format!("a batch has more than {bytes_max} bytes once it is decompressed"))
}

fn read_all(codec: Codec, reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, CompressionError> {
    let mut records = Vec::new();
    let mut limited = reader.take(bytes_max as u64 + 1);
    limited.read_to_end(&mut records).map_err(|error| failed(codec, error))?;
    if records.len() > bytes_max { Err(too_long(codec, bytes_max)) } else { Ok(records) }
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

fn decompress_snappy(records: &[u8], bytes_max: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    let Some(framed) = records.strip_prefix(&SNAPPY_MAGIC) else {
        append_snappy(&mut out, records, bytes_max)?;
        return Ok(out);
    };
    let mut rest = framed.get(SNAPPY_VERSIONS.len()..).ok_or_else(|| failed(Codec::Snappy, "no versions"))?;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (chunk, after) =
            after.split_at_checked(length).ok_or_else(|| failed(Codec::Snappy, "a frame is cut off"))?;
        append_snappy(&mut out, chunk, bytes_max)?;
        rest = after;
    }
    if rest.is_empty() { Ok(out) } else { Err(failed(Codec::Snappy, "a frame's length is cut off")) }
}

fn append_snappy(out: &mut Vec<u8>, chunk: &[u8], bytes_max: usize) -> Result<(), CompressionError> {
    let length = snap::raw::decompress_len(chunk).map_err(|error| failed(Codec::Snappy, error))?;
    let start = out.len();
    if length > bytes_max - start {
        return Err(too_long(Codec::Snappy, bytes_max));
    }
    // Snappy makes at most about 21 times as many bytes; more is a lie that isn't worth the memory.
    if length / 64 > chunk.len() {
        return Err(failed(Codec::Snappy, "a length is too great for its bytes"));
    }
    out.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(chunk, &mut out[start..]);
    written.map(drop).map_err(|error| failed(Codec::Snappy, error))
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
}
