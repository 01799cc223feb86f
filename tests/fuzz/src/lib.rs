//! What the fuzz targets do with their bytes. Each feeds a decoder and checks what must hold for whatever it
//! accepts; not panicking, not hanging and not growing are checked by libFuzzer itself.

pub mod log;
pub mod wire;
