//! A seeded world for the store and the state machines: simulated disk and time.
