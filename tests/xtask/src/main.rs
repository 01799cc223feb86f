//! The project's chores: verify, images, crds, fuzz.
fn main() {}
