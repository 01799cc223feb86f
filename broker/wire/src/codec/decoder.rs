//! Reads Kafka's types from a borrowed frame, checking every length before anything is allocated.

use std::fmt;

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The value needs more bytes than the frame has left.
    Truncated {
        /// Bytes that the value needs.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// An array says that it has more elements than the bytes left could hold.
    CountTooLarge {
        /// Elements that it says it has.
        count: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// The decoded arrays would need more memory than the decoder may use.
    MemoryLimit {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// A string, array or struct is null in a version that doesn't allow it.
    Null,
    /// A length is less than -1.
    NegativeLength(i32),
    /// A string isn't UTF-8.
    NotUtf8,
    /// A variable-length number doesn't fit in 32 bits.
    VarintTooLong,
    /// The tags of a struct aren't in ascending order, or one occurs twice.
    TagOrder {
        /// The tag that is out of order.
        tag: u32,
    },
    /// A tagged field's value isn't as long as its size says.
    TagSize {
        /// The field's tag.
        tag: u32,
    },
    /// Bytes are left after the message.
    TrailingBytes(usize),
    /// The message has no such version.
    Version(i16),
}

/// A frame that can't be decoded: what is wrong, in which field, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// The field that was being read, as `MetadataRequest.topics`.
    pub field: &'static str,
    /// Bytes from the start of the frame (after its length).
    pub position: usize,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: ", self.field, self.position)?;
        match self.kind {
            DecodeErrorKind::Truncated { needed, remaining } => {
                write!(f, "{needed} bytes are needed, {remaining} are left")
            }
            DecodeErrorKind::CountTooLarge { count, remaining } => {
                write!(f, "{count} elements can't be in the {remaining} bytes that are left")
            }
            DecodeErrorKind::MemoryLimit { limit_bytes } => {
                write!(f, "its arrays need more than the {limit_bytes} bytes of memory allowed for one frame")
            }
            DecodeErrorKind::Null => f.write_str("null isn't allowed in this version"),
            DecodeErrorKind::NegativeLength(length) => write!(f, "{length} is not a length"),
            DecodeErrorKind::NotUtf8 => f.write_str("the string isn't UTF-8"),
            DecodeErrorKind::VarintTooLong => f.write_str("a variable-length number doesn't fit in 32 bits"),
            DecodeErrorKind::TagOrder { tag } => write!(f, "tag {tag} isn't greater than the tag before it"),
            DecodeErrorKind::TagSize { tag } => write!(f, "tag {tag} isn't as long as its size says"),
            DecodeErrorKind::TrailingBytes(count) => write!(f, "{count} bytes are left after the message"),
            DecodeErrorKind::Version(version) => write!(f, "there is no version {version}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A position in a frame, from which values are read.
///
/// Strings, bytes and records are borrowed from the frame. An array is allocated only once its count is known
/// to fit in the bytes that are left, and while all arrays together stay below the memory limit.
#[derive(Debug)]
pub struct Decoder<'a> {
    frame: &'a [u8],
    position: usize,
    /// Where reading must stop: the frame's end, or that of the tagged field at hand.
    end: usize,
    field: &'static str,
    memory_left_bytes: usize,
    memory_limit_bytes: usize,
    text_bytes: usize,
}

impl<'a> Decoder<'a> {
    /// How much memory the arrays of one frame may use, unless told otherwise.
    pub const MEMORY_LIMIT_BYTES: usize = 64 << 20;

    /// A decoder at the start of `frame` (without its length).
    pub fn new(frame: &'a [u8]) -> Self {
        Self::with_memory_limit(frame, Self::MEMORY_LIMIT_BYTES)
    }

    /// As [`Decoder::new`], with another limit for the memory of all arrays.
    pub fn with_memory_limit(frame: &'a [u8], memory_limit_bytes: usize) -> Self {
        let (end, field) = (frame.len(), "frame");
        Self {
            frame,
            position: 0,
            end,
            field,
            memory_left_bytes: memory_limit_bytes,
            memory_limit_bytes,
            text_bytes: 0,
        }
    }

    /// Names the field that is read next, for errors.
    pub fn at(&mut self, field: &'static str) {
        self.field = field;
    }

    /// Bytes from the start of the frame.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// An error at this position.
    pub fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { kind, field: self.field, position: self.position }
    }

    /// Fails if bytes are left.
    ///
    /// # Errors
    /// [`DecodeErrorKind::TrailingBytes`].
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(self.error(DecodeErrorKind::TrailingBytes(count))),
        }
    }

    /// The next `length` bytes, borrowed.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let remaining = self.remaining();
        if length > remaining {
            return Err(self.error(DecodeErrorKind::Truncated { needed: length, remaining }));
        }
        let bytes = &self.frame[self.position..self.position + length];
        self.position += length;
        Ok(bytes)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A signed byte.
    ///
    /// # Errors
    /// When no byte is left.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// A variable-length number of at most 32 bits.
    ///
    /// # Errors
    /// When it is cut off or longer than that.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error(DecodeErrorKind::VarintTooLong))
    }

    /// The length of a string, in bytes; none when it is null.
    ///
    /// # Errors
    /// When it is cut off or below -1.
    pub fn string_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length();
        }
        let length = i16::from_be_bytes(self.array()?);
        self.plain_length(i32::from(length))
    }

    /// The length of bytes or the count of an array; none when it is null.
    ///
    /// # Errors
    /// When it is cut off or below -1.
    pub fn long_length(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length();
        }
        let length = i32::from_be_bytes(self.array()?);
        self.plain_length(length)
    }

    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok((self.unsigned_varint()? as usize).checked_sub(1))
    }

    fn plain_length(&self, length: i32) -> Result<Option<usize>, DecodeError> {
        match length {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(self.error(DecodeErrorKind::NegativeLength(length))),
            },
        }
    }

    /// Whether a struct that may be null is: what stands before it is a byte below 0, and in the tagged
    /// section a variable-length number that is 0.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn is_null_struct(&mut self, tagged: bool) -> Result<bool, DecodeError> {
        if tagged { Ok(self.unsigned_varint()? == 0) } else { Ok(self.i8()? < 0) }
    }

    /// Room for `count` elements that take at least `size_min` bytes each in the frame.
    ///
    /// # Errors
    /// When so many can't be in the bytes that are left, or would need too much memory.
    pub fn vec<T>(&mut self, count: usize, size_min: usize) -> Result<Vec<T>, DecodeError> {
        self.count_elements::<T>(count, size_min)?;
        Ok(Vec::with_capacity(count))
    }

    /// Counts the memory of `count` elements that take at least `size_min` bytes each in the frame.
    ///
    /// # Errors
    /// When so many can't be in the bytes that are left, or would need too much memory.
    pub fn count_elements<T>(&mut self, count: usize, size_min: usize) -> Result<(), DecodeError> {
        let remaining = self.remaining();
        if count > remaining / size_min.max(1) {
            return Err(self.error(DecodeErrorKind::CountTooLarge { count, remaining }));
        }
        match count.checked_mul(size_of::<T>()).and_then(|bytes| self.memory_left_bytes.checked_sub(bytes)) {
            Some(left) => self.memory_left_bytes = left,
            None => {
                return Err(self.error(DecodeErrorKind::MemoryLimit { limit_bytes: self.memory_limit_bytes }));
            }
        }
        Ok(())
    }

    /// Counts the length of a text, or of bytes, that were passed over.
    pub fn count_text(&mut self, bytes: usize) {
        self.text_bytes += bytes;
    }

    /// The length of all texts and bytes that were passed over so far: what copies of them would take, in
    /// bytes. Record batches don't count, which are never copied.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// What the arrays that were read or passed over so far take in memory, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.memory_limit_bytes - self.memory_left_bytes
    }

    /// Reads the tagged section of a struct: `read` gets each tag, reads its value and says true, or leaves
    /// it to be skipped and says false.
    ///
    /// # Errors
    /// When a tag is out of order, a size is wrong, or `read` fails.
    pub fn tagged_fields(
        &mut self,
        mut read: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        let mut next_tag = 0;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            if u64::from(tag) < next_tag {
                return Err(self.error(DecodeErrorKind::TagOrder { tag }));
            }
            next_tag = u64::from(tag) + 1;
            let size = self.unsigned_varint()? as usize;
            let remaining = self.remaining();
            if size > remaining {
                return Err(self.error(DecodeErrorKind::Truncated { needed: size, remaining }));
            }
            let outer_end = std::mem::replace(&mut self.end, self.position + size);
            let is_known = read(self, tag)?;
            if !is_known {
                self.position = self.end;
            } else if self.position != self.end {
                return Err(self.error(DecodeErrorKind::TagSize { tag }));
            }
            self.end = outer_end;
        }
        Ok(())
    }
}
