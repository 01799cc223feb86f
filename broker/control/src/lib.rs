//! control.proto and its tonic code: operator to broker, broker to broker.
//!
//! `proto` is what the two services look like to Rust; `view` shows a metadata image as a `ClusterView`. Not
//! here: who answers (the quorum crate) and who asks.

#[allow(missing_docs, clippy::all)]
pub mod proto {
    //! Generated from proto/control.proto, where everything is described.
    tonic::include_proto!("ottla.control.v1");
}
mod view;

pub use view::cluster_view;
