//! Record batches, segment and index formats, recovery and retention plans, without I/O.
