//! The same plans on this machine without Kubernetes: brokers as processes.
