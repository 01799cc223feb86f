//! The Rust types that a message's fields can have, and how each is read and written.

use std::borrow::Cow;

use super::{DecodeError, DecodeErrorKind, Decoder, Encoder};

/// A topic's id, a directory's id: 16 bytes, all zeroes for none.
pub type Uuid = [u8; 16];

/// What decides how a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The message's version.
    pub version: i16,
    /// Whether the version is flexible: compact lengths and tagged sections.
    pub flexible: bool,
    /// Whether the field at hand may be null in this version.
    pub nullable: bool,
    /// Whether the field at hand stands in the tagged section, where the null of a struct is another.
    pub tagged: bool,
}

impl Context {
    /// The same for a field that may be null if `nullable`, and doesn't stand in the tagged section.
    pub fn nullable(self, nullable: bool) -> Self {
        Self { nullable, tagged: false, ..self }
    }

    /// The same for a field that is never null, and doesn't stand in the tagged section.
    pub fn not_null(self) -> Self {
        self.nullable(false)
    }

    /// The same for a field that stands in the tagged section.
    pub fn tagged(self) -> Self {
        Self { tagged: true, ..self }
    }

    /// The same for a value that is told from null already, or is about to be.
    fn of_value(self) -> Self {
        Self { nullable: false, ..self }
    }
}

/// A type that a field can have.
pub trait Field<'a>: Sized {
    /// The fewest bytes that a value takes.
    fn size_min(context: Context) -> usize;

    /// Reads a value.
    ///
    /// # Errors
    /// When the bytes at hand aren't one.
    fn decode(decoder: &mut Decoder<'a>, context: Context) -> Result<Self, DecodeError>;

    /// Passes over a value without keeping it, and has the decoder count what its arrays would take and how
    /// long its texts and bytes are.
    ///
    /// # Errors
    /// The same as those of [`Self::decode`].
    fn skip(decoder: &mut Decoder<'a>, context: Context) -> Result<(), DecodeError> {
        Self::decode(decoder, context).map(drop)
    }

    /// Writes the value. A null where the version allows none is written as the empty value.
    fn encode(&self, encoder: &mut Encoder, context: Context);
}

/// A type whose field may be null; it is an `Option` in the message.
pub trait NullableField<'a>: Field<'a> {
    /// The fewest bytes that a value or null takes.
    fn size_min_nullable(context: Context) -> usize {
        Self::size_min(context)
    }

    /// Reads a value or null.
    ///
    /// # Errors
    /// When the bytes at hand are neither.
    fn decode_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<Option<Self>, DecodeError>;

    /// Passes over a value or null, as [`Field::skip`]. False if it is null.
    ///
    /// # Errors
    /// The same as those of [`Self::decode_nullable`].
    fn skip_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<bool, DecodeError> {
        Ok(Self::decode_nullable(decoder, context)?.is_some())
    }

    /// Writes the value or null.
    fn encode_nullable(value: Option<&Self>, encoder: &mut Encoder, context: Context);
}

impl<'a, T: NullableField<'a> + Default> Field<'a> for Option<T> {
    fn size_min(context: Context) -> usize {
        if context.nullable { T::size_min_nullable(context) } else { T::size_min(context) }
    }

    fn decode(decoder: &mut Decoder<'a>, context: Context) -> Result<Self, DecodeError> {
        if context.nullable {
            T::decode_nullable(decoder, context.of_value())
        } else {
            T::decode(decoder, context).map(Some)
        }
    }

    fn skip(decoder: &mut Decoder<'a>, context: Context) -> Result<(), DecodeError> {
        if context.nullable {
            T::skip_nullable(decoder, context.of_value()).map(drop)
        } else {
            T::skip(decoder, context)
        }
    }

    fn encode(&self, encoder: &mut Encoder, context: Context) {
        match self {
            value if context.nullable => T::encode_nullable(value.as_ref(), encoder, context.of_value()),
            Some(value) => value.encode(encoder, context),
            None => T::default().encode(encoder, context),
        }
    }
}

macro_rules! number {
    ($($number:ty),*) => {$(
        impl<'a> Field<'a> for $number {
            fn size_min(_: Context) -> usize {
                size_of::<Self>()
            }

            fn decode(decoder: &mut Decoder<'a>, _: Context) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(decoder.array()?))
            }

            fn encode(&self, encoder: &mut Encoder, _: Context) {
                encoder.put(&self.to_be_bytes());
            }
        }
    )*};
}

number!(i8, i16, i32, i64, u16);

impl<'a> Field<'a> for bool {
    fn size_min(_: Context) -> usize {
        1
    }

    fn decode(decoder: &mut Decoder<'a>, _: Context) -> Result<Self, DecodeError> {
        Ok(decoder.i8()? != 0)
    }

    fn encode(&self, encoder: &mut Encoder, _: Context) {
        encoder.i8(i8::from(*self));
    }
}

impl<'a> Field<'a> for Uuid {
    fn size_min(_: Context) -> usize {
        16
    }

    fn decode(decoder: &mut Decoder<'a>, _: Context) -> Result<Self, DecodeError> {
        decoder.array()
    }

    fn encode(&self, encoder: &mut Encoder, _: Context) {
        encoder.put(self);
    }
}

/// Implements [`Field`] by [`NullableField`] for a type of which null is a length of -1.
macro_rules! not_null {
    ($size_plain:literal) => {
        fn size_min(context: Context) -> usize {
            if context.flexible { 1 } else { $size_plain }
        }

        fn decode(decoder: &mut Decoder<'a>, context: Context) -> Result<Self, DecodeError> {
            Self::decode_nullable(decoder, context)?.ok_or_else(|| decoder.error(DecodeErrorKind::Null))
        }

        fn skip(decoder: &mut Decoder<'a>, context: Context) -> Result<(), DecodeError> {
            match Self::skip_nullable(decoder, context)? {
                true => Ok(()),
                false => Err(decoder.error(DecodeErrorKind::Null)),
            }
        }

        fn encode(&self, encoder: &mut Encoder, context: Context) {
            Self::encode_nullable(Some(self), encoder, context);
        }
    };
}

impl<'a> Field<'a> for &'a str {
    not_null!(2);
}

impl<'a> NullableField<'a> for &'a str {
    fn decode_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<Option<Self>, DecodeError> {
        let Some(length) = decoder.string_length(context.flexible)? else { return Ok(None) };
        let bytes = decoder.take(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| decoder.error(DecodeErrorKind::NotUtf8))
    }

    fn skip_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<bool, DecodeError> {
        let text = Self::decode_nullable(decoder, context)?;
        decoder.count_text(text.map_or(0, str::len));
        Ok(text.is_some())
    }

    fn encode_nullable(value: Option<&Self>, encoder: &mut Encoder, context: Context) {
        encoder.string_length(value.map(|text| text.len()), context.flexible);
        encoder.put(value.copied().unwrap_or_default().as_bytes());
    }
}

impl<'a> Field<'a> for Cow<'a, str> {
    not_null!(2);
}

impl<'a> NullableField<'a> for Cow<'a, str> {
    fn decode_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<Option<Self>, DecodeError> {
        Ok(<&str>::decode_nullable(decoder, context)?.map(Cow::Borrowed))
    }

    fn skip_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<bool, DecodeError> {
        <&str>::skip_nullable(decoder, context)
    }

    fn encode_nullable(value: Option<&Self>, encoder: &mut Encoder, context: Context) {
        <&str>::encode_nullable(value.map(|text| &**text).as_ref(), encoder, context);
    }
}

impl<'a> Field<'a> for &'a [u8] {
    not_null!(4);
}

impl<'a> NullableField<'a> for &'a [u8] {
    fn decode_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<Option<Self>, DecodeError> {
        let Some(length) = decoder.long_length(context.flexible)? else { return Ok(None) };
        decoder.take(length).map(Some)
    }

    fn skip_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<bool, DecodeError> {
        let bytes = Self::decode_nullable(decoder, context)?;
        decoder.count_text(bytes.map_or(0, <[u8]>::len));
        Ok(bytes.is_some())
    }

    fn encode_nullable(value: Option<&Self>, encoder: &mut Encoder, context: Context) {
        encoder.long_length(value.map(|bytes| bytes.len()), context.flexible);
        encoder.put(value.copied().unwrap_or_default());
    }
}

impl<'a> Field<'a> for Cow<'a, [u8]> {
    not_null!(4);
}

impl<'a> NullableField<'a> for Cow<'a, [u8]> {
    fn decode_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<Option<Self>, DecodeError> {
        Ok(<&[u8]>::decode_nullable(decoder, context)?.map(Cow::Borrowed))
    }

    fn skip_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<bool, DecodeError> {
        <&[u8]>::skip_nullable(decoder, context)
    }

    fn encode_nullable(value: Option<&Self>, encoder: &mut Encoder, context: Context) {
        <&[u8]>::encode_nullable(value.map(|bytes| &**bytes).as_ref(), encoder, context);
    }
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    not_null!(4);
}

impl<'a, T: Field<'a>> NullableField<'a> for Vec<T> {
    fn decode_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<Option<Self>, DecodeError> {
        let Some(count) = decoder.long_length(context.flexible)? else { return Ok(None) };
        let mut elements = decoder.vec(count, T::size_min(context))?;
        for _ in 0..count {
            elements.push(T::decode(decoder, context)?);
        }
        Ok(Some(elements))
    }

    fn skip_nullable(decoder: &mut Decoder<'a>, context: Context) -> Result<bool, DecodeError> {
        let Some(count) = decoder.long_length(context.flexible)? else { return Ok(false) };
        decoder.count_elements::<T>(count, T::size_min(context))?;
        for _ in 0..count {
            T::skip(decoder, context)?;
        }
        Ok(true)
    }

    fn encode_nullable(value: Option<&Self>, encoder: &mut Encoder, context: Context) {
        encoder.long_length(value.map(Vec::len), context.flexible);
        for element in value.into_iter().flatten() {
            element.encode(encoder, context);
        }
    }
}
