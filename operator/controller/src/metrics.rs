//! What the operator counts, for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A call of the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Call {
    /// The verb, as RBAC has it.
    pub verb: String,
    /// The API group; empty: the core group.
    pub group: String,
    /// The resource, a subresource as `topics/status`.
    pub resource: String,
}

/// A reconciliation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reconciled {
    /// The kind.
    pub kind: &'static str,
    /// "ok" or "error".
    pub outcome: &'static str,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Calls of the API server.
    pub calls: Family<Call, Counter>,
    /// Reconciliations.
    pub reconciliations: Family<Reconciled, Counter>,
    /// How long they took.
    pub seconds: Histogram,
    /// Steps of plans that were tried and refused.
    pub steps_failed: Counter,
    /// 1 while this operator works, 0 while it stands by.
    pub leading: Gauge,
    /// Clusters whose control API answers.
    pub clusters_connected: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ottla_operator");
        let calls = Family::default();
        registry.register("api_calls", "Calls of the Kubernetes API", calls.clone());
        let reconciliations = Family::default();
        registry.register("reconciliations", "Looks at a resource and its plan", reconciliations.clone());
        let seconds = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        registry.register("reconciliation_seconds", "How long reconciliations took", seconds.clone());
        let steps_failed = Counter::default();
        registry.register("steps_failed", "Steps of plans that were tried and refused", steps_failed.clone());
        let leading = Gauge::default();
        registry.register("leading", "1 while this operator works, 0 while it stands by", leading.clone());
        let clusters_connected = Gauge::default();
        let help = "Clusters whose control API answers";
        registry.register("clusters_connected", help, clusters_connected.clone());
        Self { registry, calls, reconciliations, seconds, steps_failed, leading, clusters_connected }
    }
}

impl Metrics {
    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("writing to a String cannot fail");
        text
    }
}
