//! Spec and observed state to a plan, pure: objects, ordered steps, status.
