//! The operator and the chart on a real Kubernetes.
