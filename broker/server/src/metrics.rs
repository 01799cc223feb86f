//! What the broker counts, in Prometheus' text format.
//!
//! Counters are counted where things happen; gauges are looked up when they are asked for.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::partitions::Totals;

/// The upper bounds of the buckets of request times, in seconds.
const SECONDS: [f64; 13] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurabilityLabel {
    ack_durability: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// The metrics of requests of one API.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    requests: Counter,
    seconds: Histogram,
}

impl ApiMetrics {
    /// Counts a request that took `time` until its response was ready.
    pub fn observe(&self, time: Duration) {
        self.requests.inc();
        self.seconds.observe(time.as_secs_f64());
    }
}

/// What is looked up when metrics are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauges {
    /// Connections of clients.
    pub connections: usize,
    /// Bytes of requests in flight.
    pub request_bytes: usize,
    /// Fetch sessions.
    pub fetch_sessions: usize,
    /// Partitions that this broker leads.
    pub partitions_synced: usize,
    /// Those of them whose records count as stored once they are in the page cache.
    pub partitions_written: usize,
    /// Records that are appended and not durable, over all partitions.
    pub durable_lag_records: i64,
    /// Bytes of all logs.
    pub log_bytes: u64,
    /// How the replicas are.
    pub replicas: Totals,
    /// The metadata version.
    pub metadata_version: u64,
    /// Tasks of the runtime.
    pub tasks: usize,
    /// Whether the broker is ready.
    pub ready: bool,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    by_api: Vec<ApiMetrics>,
    received_bytes: Counter,
    sent_bytes: Counter,
    refused: Family<LimitLabel, Counter>,
    replicated_in_bytes: Counter,
    replicated_out_bytes: Counter,
    fetch_looks: Counter,
    isr_shrinks: Counter,
    isr_expands: Counter,
    by_state: Family<StateLabel, Gauge>,
    follower_lag: Gauge,
    connections: Gauge,
    request_bytes: Gauge,
    fetch_sessions: Gauge,
    partitions: Family<DurabilityLabel, Gauge>,
    durable_lag: Gauge,
    log_bytes: Gauge<u64, AtomicU64>,
    from_future: Gauge,
    metadata_version: Gauge<u64, AtomicU64>,
    tasks: Gauge,
    ready: Gauge,
    resident_bytes: Gauge<u64, AtomicU64>,
    open_files: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// Metrics for the APIs of these names, which are later spoken of by their position.
    pub fn new(apis: &[&'static str]) -> Self {
        let requests = Family::<ApiLabel, Counter>::default();
        let seconds = Family::<ApiLabel, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        let mut metrics = Self {
            by_api: apis
                .iter()
                .map(|api| {
                    let label = ApiLabel { api };
                    ApiMetrics {
                        requests: requests.get_or_create(&label).clone(),
                        seconds: seconds.get_or_create(&label).clone(),
                    }
                })
                .collect(),
            registry: Registry::with_prefix("ottla"),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            refused: Family::default(),
            replicated_in_bytes: Counter::default(),
            replicated_out_bytes: Counter::default(),
            fetch_looks: Counter::default(),
            isr_shrinks: Counter::default(),
            isr_expands: Counter::default(),
            by_state: Family::default(),
            follower_lag: Gauge::default(),
            connections: Gauge::default(),
            request_bytes: Gauge::default(),
            fetch_sessions: Gauge::default(),
            partitions: Family::default(),
            durable_lag: Gauge::default(),
            log_bytes: Gauge::default(),
            from_future: Gauge::default(),
            metadata_version: Gauge::default(),
            tasks: Gauge::default(),
            ready: Gauge::default(),
            resident_bytes: Gauge::default(),
            open_files: Gauge::default(),
        };
        metrics.registry.register("requests", "Requests, by API", requests);
        let help = "Time from a request's last byte until its response is ready";
        metrics.registry.register_with_unit("request", help, Unit::Seconds, seconds);
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("received_bytes", "Bytes of requests", self.received_bytes.clone());
        registry.register("sent_bytes", "Bytes of responses", self.sent_bytes.clone());
        registry.register("refused", "Connections closed by a limit or for bad input", self.refused.clone());
        self.register_replication();
        let registry = &mut self.registry;
        registry.register("connections", "Connections of clients", self.connections.clone());
        registry.register("request_memory_bytes", "Memory of requests in flight", self.request_bytes.clone());
        registry.register("fetch_sessions", "Incremental fetch sessions", self.fetch_sessions.clone());
        let help = "Partitions that this broker holds, by what an acks=all success means";
        registry.register("partitions", help, self.partitions.clone());
        registry.register(
            "durable_lag_records",
            "Records appended and not yet synced",
            self.durable_lag.clone(),
        );
        registry.register("log_bytes", "Bytes of all partitions' logs", self.log_bytes.clone());
        let help = "Partitions in which records that are dated more than an hour ahead keep a segment beyond retention.ms";
        registry.register("partitions_from_future", help, self.from_future.clone());
        registry.register("metadata_version", "Version of the metadata", self.metadata_version.clone());
        registry.register("tasks", "Tasks: connections, and a fixed number besides", self.tasks.clone());
        registry.register("ready", "1 if the broker serves its partitions", self.ready.clone());
        registry.register("process_resident_bytes", "Resident memory", self.resident_bytes.clone());
        registry.register("process_open_files", "Open file descriptors", self.open_files.clone());
    }

    fn register_replication(&mut self) {
        let registry = &mut self.registry;
        let help = "Bytes of records that this broker fetched as a follower";
        registry.register("replicated_in_bytes", help, self.replicated_in_bytes.clone());
        let help = "Bytes of records that followers fetched from this broker";
        registry.register("replicated_out_bytes", help, self.replicated_out_bytes.clone());
        let help = "Partitions that consumers' fetches looked at, again for each time that one was woken";
        registry.register("fetch_looks", help, self.fetch_looks.clone());
        let help = "Replicas in sync that were taken out by this broker as leader";
        registry.register("isr_shrinks", help, self.isr_shrinks.clone());
        let help = "Replicas that came to those in sync by this broker as leader";
        registry.register("isr_expands", help, self.isr_expands.clone());
        let help = "Partitions by state: led by this broker, those of them under-replicated or under min.insync.replicas, \
            and those here without a leader";
        registry.register("replicas", help, self.by_state.clone());
        let help = "Records that the follower lacks that is furthest behind this broker";
        registry.register("follower_lag_records", help, self.follower_lag.clone());
    }

    /// The metrics of the API at this position of the list that [`Self::new`] got.
    pub fn api(&self, position: usize) -> &ApiMetrics {
        &self.by_api[position]
    }

    /// Counts bytes that came and went.
    pub fn count_bytes(&self, received: usize, sent: usize) {
        self.received_bytes.inc_by(received as u64);
        self.sent_bytes.inc_by(sent as u64);
    }

    /// Counts bytes that were fetched as a follower.
    pub fn count_replicated_in(&self, bytes: usize) {
        self.replicated_in_bytes.inc_by(bytes as u64);
    }

    /// Counts bytes that followers fetched.
    pub fn count_replicated_out(&self, bytes: usize) {
        self.replicated_out_bytes.inc_by(bytes as u64);
    }

    /// Counts a look of a consumer's fetch at one partition.
    pub fn count_fetch_look(&self) {
        self.fetch_looks.inc();
    }

    /// How often that was.
    pub fn fetch_looks(&self) -> u64 {
        self.fetch_looks.get()
    }

    /// Counts a change of those in sync.
    pub fn count_isr_change(&self, is_larger: bool) {
        if is_larger { &self.isr_expands } else { &self.isr_shrinks }.inc();
    }

    /// Counts a connection that was refused or closed.
    pub fn count_refused(&self, limit: &'static str) {
        self.refused.get_or_create(&LimitLabel { limit }).inc();
    }

    /// Everything as text.
    pub fn render(&self, gauges: &Gauges) -> String {
        let set = |gauge: &Gauge, count: usize| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&self.connections, gauges.connections);
        set(&self.request_bytes, gauges.request_bytes);
        set(&self.fetch_sessions, gauges.fetch_sessions);
        set(&self.tasks, gauges.tasks);
        for (ack_durability, count) in
            [("synced", gauges.partitions_synced), ("written", gauges.partitions_written)]
        {
            set(&self.partitions.get_or_create(&DurabilityLabel { ack_durability }), count);
        }
        let replicas = &gauges.replicas;
        for (state, count) in [
            ("leader", replicas.led),
            ("under_replicated", replicas.under_replicated),
            ("under_min_isr", replicas.under_min_isr),
            ("offline", replicas.offline),
        ] {
            set(&self.by_state.get_or_create(&StateLabel { state }), count);
        }
        self.follower_lag.set(replicas.follower_lag_records);
        self.durable_lag.set(gauges.durable_lag_records);
        self.log_bytes.set(gauges.log_bytes);
        set(&self.from_future, replicas.from_future);
        self.metadata_version.set(gauges.metadata_version);
        self.ready.set(i64::from(gauges.ready));
        self.resident_bytes.set(resident_bytes());
        self.open_files.set(open_files());
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}

/// The resident memory of this process, in bytes; 0 if the system doesn't say.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = Metrics::new(&["Produce", "Fetch"]);
        metrics.api(1).observe(Duration::from_millis(3));
        metrics.count_bytes(10, 20);
        metrics.count_refused("max.connections");
        let text = metrics.render(&Gauges { connections: 3, ready: true, ..Gauges::default() });
        for line in [
            "ottla_requests_total{api=\"Fetch\"} 1",
            "ottla_requests_total{api=\"Produce\"} 0",
            "ottla_request_seconds_bucket{le=\"0.005\",api=\"Fetch\"} 1",
            "ottla_received_bytes_total 10",
            "ottla_sent_bytes_total 20",
            "ottla_refused_total{limit=\"max.connections\"} 1",
            "ottla_connections 3",
            "ottla_ready 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let resident = text.lines().find_map(|l| l.strip_prefix("ottla_process_resident_bytes ")).unwrap();
        assert!(resident.parse::<u64>().unwrap() > 0);
    }
}
