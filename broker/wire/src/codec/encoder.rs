//! Writes Kafka's types into a growing buffer, and notes where bytes from elsewhere are to be spliced in.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// Bytes that aren't in the buffer: the connection sends them itself, from a file or from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splice {
    /// Where they belong: so many bytes of the buffer come before them.
    pub position: usize,
    /// How many they are.
    pub length: usize,
    /// What they are; only who encoded the message knows (an index in a list, as a rule).
    pub token: usize,
}

/// A value that Kafka's types can't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// A string is longer than the 32,767 bytes that versions before the flexible ones allow.
    StringTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Bytes, an array or the whole frame have more than 2,147,483,647 bytes or elements.
    TooLong {
        /// Their length.
        length: usize,
    },
    /// The message has no such version.
    Version(i16),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StringTooLong { length } => write!(f, "a string of {length} bytes doesn't fit; 32767 do"),
            Self::TooLong { length } => write!(f, "a length of {length} doesn't fit; 2147483647 does"),
            Self::Version(version) => write!(f, "there is no version {version} of this message"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// A growing buffer and its splices.
///
/// Writing never fails by itself: the first value that doesn't fit is remembered and [`Encoder::finish`] or
/// [`Encoder::finish_frame`] return it.
#[derive(Debug, Default)]
pub struct Encoder {
    buffer: BytesMut,
    splices: Vec<Splice>,
    spliced_bytes: usize,
    error: Option<EncodeError>,
}

impl Encoder {
    /// Bytes of the length that a frame starts with.
    const FRAME_LENGTH_BYTES: usize = 4;

    /// An empty encoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// An encoder that writes to the end of `buffer`, whose memory it uses again.
    pub fn with_buffer(buffer: BytesMut) -> Self {
        Self { buffer, ..Self::default() }
    }

    /// An encoder that starts with room for a frame's length, for [`Encoder::finish_frame`].
    pub fn for_frame(buffer: BytesMut) -> Self {
        let mut encoder = Self::with_buffer(buffer);
        assert!(encoder.buffer.is_empty(), "a frame starts at the start of its buffer");
        encoder.put(&[0; Self::FRAME_LENGTH_BYTES]);
        encoder
    }

    /// Bytes written so far, the spliced ones too.
    pub fn length(&self) -> usize {
        self.buffer.len() + self.spliced_bytes
    }

    /// Ends a message that has no length before it.
    ///
    /// # Errors
    /// The first value that didn't fit.
    pub fn finish(self) -> Result<EncodedFrame, EncodeError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(EncodedFrame { bytes: self.buffer.freeze(), splices: self.splices }),
        }
    }

    /// Ends a frame: writes its length, spliced bytes included, at its start.
    ///
    /// # Errors
    /// The first value that didn't fit, or the frame itself.
    pub fn finish_frame(mut self) -> Result<EncodedFrame, EncodeError> {
        let length = self.length() - Self::FRAME_LENGTH_BYTES;
        let prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong { length })?;
        self.buffer[..Self::FRAME_LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
        self.finish()
    }

    /// Appends `bytes` as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// A signed byte.
    pub fn i8(&mut self, value: i8) {
        self.put(&value.to_be_bytes());
    }

    /// A variable-length number.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value > 0x7f {
            self.put(&[value as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }

    /// What stands before a struct that may be null, for [`super::Decoder::is_null_struct`].
    pub fn null_struct(&mut self, is_null: bool, tagged: bool) {
        self.i8(match (is_null, tagged) {
            (false, _) => 1,
            (true, false) => -1,
            (true, true) => 0,
        });
    }

    /// The length of a string in bytes, or null.
    pub fn string_length(&mut self, length: Option<usize>, flexible: bool) {
        match length {
            _ if flexible => self.compact_length(length),
            None => self.put(&(-1i16).to_be_bytes()),
            Some(length) => match i16::try_from(length) {
                Ok(length) => self.put(&length.to_be_bytes()),
                Err(_) => self.fail(EncodeError::StringTooLong { length }),
            },
        }
    }

    /// The length of bytes or the count of an array, or null.
    pub fn long_length(&mut self, length: Option<usize>, flexible: bool) {
        match length {
            _ if flexible => self.compact_length(length),
            None => self.put(&(-1i32).to_be_bytes()),
            Some(length) => match i32::try_from(length) {
                Ok(length) => self.put(&length.to_be_bytes()),
                Err(_) => self.fail(EncodeError::TooLong { length }),
            },
        }
    }

    fn compact_length(&mut self, length: Option<usize>) {
        let Some(length) = length else { return self.unsigned_varint(0) };
        match i32::try_from(length) {
            Ok(_) => self.unsigned_varint(length as u32 + 1),
            Err(_) => self.fail(EncodeError::TooLong { length }),
        }
    }

    /// A tagged field: its tag, the size of what `write` writes, and that.
    pub fn tagged_field(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        self.unsigned_varint(tag);
        let start = self.buffer.len();
        let spliced_before = self.spliced_bytes;
        write(self);
        assert_eq!(self.spliced_bytes, spliced_before, "records are never in a tagged field");
        // The size is known only now, and is of variable length: write it behind and turn both around.
        let size = self.buffer.len() - start;
        self.compact_size(size);
        self.buffer[start..].rotate_left(size);
    }

    fn compact_size(&mut self, size: usize) {
        match u32::try_from(size) {
            Ok(size) => self.unsigned_varint(size),
            Err(_) => self.fail(EncodeError::TooLong { length: size }),
        }
    }

    /// Notes that `length` bytes from elsewhere belong here.
    pub fn splice(&mut self, length: usize, token: usize) {
        self.splices.push(Splice { position: self.buffer.len(), length, token });
        self.spliced_bytes += length;
    }

    fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }
}

/// What is to be sent: a buffer, and the bytes that belong between its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The bytes that were encoded.
    pub bytes: Bytes,
    /// What belongs between them, by ascending position.
    pub splices: Vec<Splice>,
}

/// A part of an [`EncodedFrame`], in the order of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Encoded bytes, never none.
    Bytes(Bytes),
    /// Bytes that the sender has by this splice's token.
    Splice(Splice),
}

impl EncodedFrame {
    /// Bytes to be sent in all.
    pub fn length(&self) -> usize {
        self.bytes.len() + self.splices.iter().map(|splice| splice.length).sum::<usize>()
    }

    /// The parts in the order of sending.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let mut position = 0;
        let inner = self.splices.iter().flat_map(move |splice| {
            assert!(splice.position >= position, "splices are in ascending order");
            let before = self.bytes.slice(position..splice.position);
            position = splice.position;
            [Part::Bytes(before), Part::Splice(*splice)]
        });
        let last = self.splices.last().map_or(0, |splice| splice.position);
        let rest = Part::Bytes(self.bytes.slice(last..));
        inner.chain([rest]).filter(|part| !matches!(part, Part::Bytes(bytes) if bytes.is_empty()))
    }
}
