//! Random values of every message, for tests and as the seeds of the fuzz targets: the same seed gives the
//! same value.
//!
//! Only with the feature `generate`; the product has none of this.

use std::borrow::Cow;

use super::{Context, Records, Uuid};

/// A small deterministic source of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Generator {
    state: u64,
    depth: u32,
}

impl Generator {
    /// The source that `seed` stands for.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, depth: 0 }
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    fn text(&mut self) -> &'static str {
        const TEXTS: [&str; 8] =
            ["", "a", "orders_v1", "größe", "127.0.0.1", "\u{0}", "a longer text, with blanks in it", "鍵"];
        TEXTS[self.below(8) as usize]
    }

    fn bytes(&mut self) -> &'static [u8] {
        const BYTES: &[u8; 300] = &[0xa5; 300];
        let length = if self.below(4) == 0 { 300 } else { self.below(20) };
        &BYTES[..length as usize]
    }
}

/// A type that has random values.
pub trait Generate<'a>: Sized {
    /// A value that `context` allows.
    fn generate(generator: &mut Generator, context: Context) -> Self;
}

macro_rules! number {
    ($($number:ty),*) => {$(
        impl<'a> Generate<'a> for $number {
            fn generate(generator: &mut Generator, _: Context) -> Self {
                // Small, extreme and arbitrary ones.
                match generator.below(4) {
                    0 => generator.below(3) as $number,
                    1 => <$number>::MAX,
                    2 => <$number>::MIN,
                    _ => generator.number() as $number,
                }
            }
        }
    )*};
}

number!(i8, i16, i32, i64, u16);

impl<'a> Generate<'a> for bool {
    fn generate(generator: &mut Generator, _: Context) -> Self {
        generator.below(2) == 0
    }
}

impl<'a> Generate<'a> for Uuid {
    fn generate(generator: &mut Generator, _: Context) -> Self {
        (u128::from(generator.number()) << 64 | u128::from(generator.number())).to_be_bytes()
    }
}

impl<'a> Generate<'a> for &'a str {
    fn generate(generator: &mut Generator, _: Context) -> Self {
        generator.text()
    }
}

impl<'a> Generate<'a> for Cow<'a, str> {
    fn generate(generator: &mut Generator, _: Context) -> Self {
        Cow::Borrowed(generator.text())
    }
}

impl<'a> Generate<'a> for &'a [u8] {
    fn generate(generator: &mut Generator, _: Context) -> Self {
        generator.bytes()
    }
}

impl<'a> Generate<'a> for Cow<'a, [u8]> {
    fn generate(generator: &mut Generator, _: Context) -> Self {
        Cow::Borrowed(generator.bytes())
    }
}

impl<'a> Generate<'a> for Records<'a> {
    fn generate(generator: &mut Generator, _: Context) -> Self {
        match generator.below(4) {
            0 => Self::Null,
            _ => Self::from(generator.bytes()),
        }
    }
}

impl<'a, T: Generate<'a>> Generate<'a> for Option<T> {
    fn generate(generator: &mut Generator, context: Context) -> Self {
        match generator.below(3) {
            0 if context.nullable => None,
            _ => Some(T::generate(generator, context.not_null())),
        }
    }
}

impl<'a, T: Generate<'a>> Generate<'a> for Vec<T> {
    fn generate(generator: &mut Generator, context: Context) -> Self {
        // Wider at the top than below, so that a message stays small.
        let count = generator.below(4u64.saturating_sub(u64::from(generator.depth)).max(2));
        generator.depth += 1;
        let elements = (0..count).map(|_| T::generate(generator, context)).collect();
        generator.depth -= 1;
        elements
    }
}
