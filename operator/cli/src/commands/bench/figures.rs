//! The figures of a measurement, for a person or as JSON.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::args::{FiguresFormat, TargetArgs};
use crate::failure::Failure;
use crate::local;

/// A measurement that is going on.
pub struct Measurement {
    began: Instant,
    client: Option<f64>,
    brokers: Vec<(u32, f64)>,
}

/// What came of it.
pub struct Figures {
    /// How many records.
    pub records: u64,
    /// Their keys and values together, in bytes.
    pub bytes: u64,
    /// Latencies in microseconds, where they were measured.
    pub latency: Option<Histogram<u64>>,
}

impl Measurement {
    /// Begins now. The brokers' time on the CPU is known where they run on this machine under `up`.
    pub async fn begin(target: &TargetArgs) -> Self {
        let brokers = match target.bootstrap {
            Some(_) => Vec::new(),
            None => {
                local::cluster(&target.data.data).await.map(|cluster| cluster.brokers).unwrap_or_default()
            }
        };
        let pid =
            |broker: ottla_local::BrokerSnapshot| Some((broker.pid?, cpu_seconds(&broker.pid?.to_string())?));
        let brokers = brokers.into_iter().filter_map(pid).collect();
        Self { began: Instant::now(), client: cpu_seconds("self"), brokers }
    }

    /// Ends now and prints the figures.
    ///
    /// # Errors
    /// When the standard output can't be written.
    pub fn end(self, figures: &Figures, format: FiguresFormat) -> Result<(), Failure> {
        let elapsed = self.began.elapsed();
        let since = |pid: &str, before: f64| Some(cpu_seconds(pid)? - before);
        let client = self.client.and_then(|before| since("self", before));
        let brokers: Option<f64> =
            self.brokers.iter().map(|(pid, before)| since(&pid.to_string(), *before)).sum::<Option<f64>>();
        let brokers = brokers.filter(|_| !self.brokers.is_empty());
        let text = match format {
            FiguresFormat::Text => figures.text(elapsed, client, brokers),
            FiguresFormat::Json => figures.json(elapsed, client, brokers),
        };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }
}

impl Figures {
    fn megabytes_per_second(&self, elapsed: Duration) -> f64 {
        self.bytes as f64 / 1e6 / elapsed.as_secs_f64()
    }

    fn per_gigabyte(&self, seconds: f64) -> f64 {
        seconds / (self.bytes as f64 / 1e9).max(f64::MIN_POSITIVE)
    }

    fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        self.latency.as_ref().map(|latency| latency.value_at_quantile(quantile) as f64 / 1000.0)
    }

    fn text(&self, elapsed: Duration, client: Option<f64>, brokers: Option<f64>) -> String {
        let mut text = format!(
            "records     {}, {:.0} MB, in {:.2} s\nthroughput  {:.1} MB/s, {:.0} records/s\n",
            self.records,
            self.bytes as f64 / 1e6,
            elapsed.as_secs_f64(),
            self.megabytes_per_second(elapsed),
            self.records as f64 / elapsed.as_secs_f64(),
        );
        if let [Some(p50), Some(p95), Some(p99), Some(p999), Some(max)] =
            [0.5, 0.95, 0.99, 0.999, 1.0].map(|quantile| self.quantile_ms(quantile))
        {
            text += &format!(
                "latency     p50 {p50:.1}, p95 {p95:.1}, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1} ms\n"
            );
        }
        for (who, seconds) in [("client", client), ("brokers", brokers)] {
            if let Some(seconds) = seconds {
                text += &format!("CPU         {who} {:.2} s/GB\n", self.per_gigabyte(seconds));
            }
        }
        text
    }

    fn json(&self, elapsed: Duration, client: Option<f64>, brokers: Option<f64>) -> String {
        let figures = json!({
            "records": self.records,
            "bytes": self.bytes,
            "seconds": elapsed.as_secs_f64(),
            "megabytesPerSecond": self.megabytes_per_second(elapsed),
            "p50Ms": self.quantile_ms(0.5),
            "p95Ms": self.quantile_ms(0.95),
            "p99Ms": self.quantile_ms(0.99),
            "p999Ms": self.quantile_ms(0.999),
            "maxMs": self.quantile_ms(1.0),
            "clientCpuSecondsPerGigabyte": client.map(|seconds| self.per_gigabyte(seconds)),
            "brokersCpuSecondsPerGigabyte": brokers.map(|seconds| self.per_gigabyte(seconds)),
        });
        format!("{figures}\n")
    }
}

/// The time that a process has spent on the CPU, where the system tells it (Linux does).
fn cpu_seconds(pid: &str) -> Option<f64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_what_was_measured() {
        let mut latency = Histogram::new(3).unwrap();
        (1..=1000).for_each(|ms| latency.record(ms * 1000).unwrap());
        let figures = Figures { records: 1000, bytes: 2_000_000_000, latency: Some(latency) };
        let text = figures.text(Duration::from_secs(4), Some(1.0), Some(3.0));
        assert!(text.contains("500.0 MB/s, 250 records/s"), "{text}");
        assert!(text.contains("p50 500."), "{text}");
        assert!(text.contains("client 0.50 s/GB") && text.contains("brokers 1.50 s/GB"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&figures.json(Duration::from_secs(4), None, None)).unwrap();
        assert_eq!(json["megabytesPerSecond"], 500.0);
        assert!(json["clientCpuSecondsPerGigabyte"].is_null());
    }

    #[test]
    fn the_time_of_this_process_is_known() {
        assert!(cpu_seconds("self").is_some_and(|seconds| seconds >= 0.0));
        assert_eq!(cpu_seconds("0"), None);
    }
}
