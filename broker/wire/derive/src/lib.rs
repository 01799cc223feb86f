//! The derive macro of the wire codec.
