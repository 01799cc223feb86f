//! The rules of the house as tests: those of STYLE.md that can be counted. Each rule is a function from
//! text to complaints, with a test on sample text that shows that it bites; `tests/tidy.rs` applies them
//! to the tree.

pub mod direction;
pub mod dockerfile;
pub mod features;
pub mod house;
pub mod length;
pub mod modules;
pub mod orders;
pub mod purity;
pub mod reach;
pub mod registry;
pub mod source;
pub mod spawns;
pub mod text;
pub mod tree;

/// What is wrong, each with where and what to do.
pub type Complaints = Vec<String>;
