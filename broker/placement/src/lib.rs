//! Replica assignment: racks, balance, least movement; pure.
