//! What happens to a local cluster, for whoever shows it.

use std::time::Duration;

/// Something that a person who watches a local cluster wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalEvent {
    /// A broker's process was started.
    Started {
        /// The broker's `node.id`.
        broker: i32,
        /// The process id.
        pid: u32,
    },
    /// A broker registered, caught up, and takes requests.
    Ready {
        /// The broker's `node.id`.
        broker: i32,
        /// Where clients reach it, as `host:port`.
        address: String,
        /// Since its process was started; none if it was ready before and, for a while, not.
        after: Option<Duration>,
    },
    /// A broker's process ended though nobody asked for it; it will be started again.
    Died {
        /// The broker's `node.id`.
        broker: i32,
        /// How it ended, as in "signal 9".
        how: String,
        /// The last line that it wrote, if any.
        last_words: Option<String>,
        /// How long until it is started again.
        again_in: Duration,
    },
    /// A broker's process could not be started at all; it will be tried again.
    NotStarted {
        /// The broker's `node.id`.
        broker: i32,
        /// What the system said.
        why: String,
        /// How long until the next try.
        again_in: Duration,
    },
    /// A broker is stopped because its settings changed.
    Restarting {
        /// The broker's `node.id`.
        broker: i32,
    },
    /// A broker runs with old settings, as it must not be stopped yet.
    RestartWaits {
        /// The broker's `node.id`.
        broker: i32,
        /// What for.
        why: String,
    },
    /// A broker ended after it was asked to.
    Stopped {
        /// The broker's `node.id`.
        broker: i32,
    },
    /// A broker did not end in time and was killed.
    Killed {
        /// The broker's `node.id`.
        broker: i32,
        /// How long it was waited for.
        after: Duration,
    },
    /// A topic was brought to what its manifest asks for.
    TopicApplied {
        /// The topic's name in Kafka.
        topic: String,
        /// Its partitions in all.
        partitions: usize,
    },
    /// A topic could not be brought to what its manifest asks for; it will be tried again.
    TopicFailed {
        /// The topic's name in Kafka.
        topic: String,
        /// Why.
        why: String,
    },
    /// A topic was there before its Topic: what becomes of it, or what a person has to say first.
    TopicAdopted {
        /// The topic's name in Kafka.
        topic: String,
        /// Whether a person should do something.
        warning: bool,
        /// What happens, or what to do.
        message: String,
    },
    /// All brokers are ready and all topics are as asked.
    UpToDate {
        /// Since `up` began, or since the last change of the manifests.
        after: Duration,
    },
    /// The cluster is being stopped.
    Stopping,
}

/// Where events go. Bounded by what a person can see: a full queue drops nothing, it waits.
pub(crate) type Events = tokio::sync::mpsc::UnboundedSender<LocalEvent>;
