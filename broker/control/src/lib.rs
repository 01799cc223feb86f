//! control.proto and its tonic code: operator to broker, broker to broker.
