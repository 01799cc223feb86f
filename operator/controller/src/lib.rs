//! The Kubernetes controller: observe, plan, apply.
