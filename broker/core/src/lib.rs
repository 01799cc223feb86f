//! The broker's state machines, pure: commands in, records and effects out.
