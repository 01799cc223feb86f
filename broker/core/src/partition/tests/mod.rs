//! Replicas against logs that are lists of epochs: each rule of [`super`] has a test that fails without it.

mod following;
mod lagging;
mod leading;
mod world;
