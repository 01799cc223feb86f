//! KafkaCluster and Topic: types, validation rules, conditions.
