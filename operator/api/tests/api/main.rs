//! The one test binary of ottla-api: generated files, and what admission refuses.

mod crds;
mod rules;
