//! Segments on disk over a small Disk trait.
