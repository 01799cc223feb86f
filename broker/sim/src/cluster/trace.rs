//! What happened, as a digest over everything and as the last lines in words.

use std::collections::VecDeque;
use std::fmt;

/// How many lines of a trace are kept.
pub const TRACE_LINES_MAX: usize = 400;

pub(super) struct Trace {
    is_on: bool,
    lines: VecDeque<String>,
    digest: u32,
    pub(super) events: u64,
}

impl Trace {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, lines: VecDeque::new(), digest: 0, events: 0 }
    }

    /// Counts an event. The numbers stand for what it is.
    pub(super) fn event(&mut self, now: u64, kind: u64, who: u64) {
        self.events += 1;
        for number in [now, kind, who] {
            self.digest = crc32c::crc32c_append(self.digest, &number.to_be_bytes());
        }
    }

    /// Takes a number into the digest.
    pub(super) fn number(&mut self, number: u64) {
        self.digest = crc32c::crc32c_append(self.digest, &number.to_be_bytes());
    }

    /// Says something, if anybody listens.
    pub(super) fn say(&mut self, now: u64, text: fmt::Arguments<'_>) {
        if !self.is_on {
            return;
        }
        if self.lines.len() == TRACE_LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{now:>6} {text}"));
    }

    pub(super) fn digest(&self) -> u32 {
        self.digest
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

/// Says what happens in the trace of a cluster.
macro_rules! say {
    ($cluster:expr, $($text:tt)+) => {
        $cluster.trace.say($cluster.now, format_args!($($text)+))
    };
}
pub(super) use say;
