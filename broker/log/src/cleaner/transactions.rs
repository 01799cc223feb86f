//! What a cleaning knows of transactions while it goes through a log: which batches are of aborted ones, and
//! which markers may go.
//!
//! Which transactions were aborted is not in the batches: it is said by the log's index of aborted
//! transactions (`.txnindex`), whose entries are added as the log is read. Nothing past the last stable
//! offset is cleaned, so each transaction that is met is decided.

use std::collections::{BTreeMap, HashMap, HashSet};

use ottla_types::{Offset, ProducerId};

use crate::header::BatchHeader;
use crate::records::Record;

/// An aborted transaction, as the index of them has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it is.
    pub producer_id: ProducerId,
    /// The offset of its first record.
    pub first_offset: Offset,
    /// The offset of its marker.
    pub last_offset: Offset,
    /// The last stable offset when it was aborted.
    pub last_stable_offset: Offset,
}

/// The transactions that a cleaning is within, from one segment to the next. One for each pass over a log.
#[derive(Clone, Debug, Default)]
pub struct CleanedTransactions {
    /// Aborted ones that begin further on, by where they begin.
    to_come: BTreeMap<(Offset, ProducerId), AbortedTransaction>,
    /// Aborted ones that have begun, and whether a batch of them was met.
    aborted: HashMap<ProducerId, (AbortedTransaction, bool)>,
    /// Producers with batches of a transaction that isn't aborted and whose marker wasn't met yet.
    committed: HashSet<ProducerId>,
    retained: Vec<AbortedTransaction>,
}

/// What a control batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Abort,
    Commit,
    /// Something else than the end of a transaction, or nothing any more.
    Other,
}

impl Marker {
    /// Reads the key of a control record: its version, of which none is negative, and its type.
    pub(super) fn read(record: &Record<'_>) -> Result<Self, &'static str> {
        let Some(&[version, _, high, low]) = record.key.and_then(|key| key.first_chunk()) else {
            return Err("the key of a control record is too short");
        };
        match (version.cast_signed(), i16::from_be_bytes([high, low])) {
            (..0, _) => Err("the version of a control record is negative"),
            (_, 0) => Ok(Self::Abort),
            (_, 1) => Ok(Self::Commit),
            _ => Ok(Self::Other),
        }
    }
}

impl CleanedTransactions {
    /// Adds what the index of aborted transactions has of a part of the log that is read next. One that
    /// reaches into several parts may be added several times.
    pub fn add_aborted(&mut self, transactions: impl IntoIterator<Item = AbortedTransaction>) {
        for transaction in transactions {
            self.to_come.insert((transaction.first_offset, transaction.producer_id), transaction);
        }
    }

    /// The aborted transactions of which something was left since this was last asked: the entries of the new
    /// segment's index.
    pub fn take_retained(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.retained)
    }

    /// Takes note of a batch of data; returns whether it is of an aborted transaction.
    pub(super) fn on_batch(&mut self, header: BatchHeader<'_>) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id()) {
            Some((_, was_met)) => *was_met = true,
            None => drop(self.committed.insert(header.producer_id())),
        }
        self.aborted.contains_key(&header.producer_id())
    }

    /// Takes note of a control batch; returns whether nothing of its transaction is left before it.
    pub(super) fn on_marker(&mut self, header: BatchHeader<'_>, marker: Marker) -> bool {
        self.begin_up_to(header.last_offset());
        match marker {
            Marker::Other => false,
            Marker::Commit => !self.committed.remove(&header.producer_id()),
            Marker::Abort => match self.aborted.remove(&header.producer_id()) {
                Some((transaction, true)) => {
                    self.retained.push(transaction);
                    false
                }
                _ => true,
            },
        }
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(first) = self.to_come.first_entry()
            && first.key().0 <= offset
        {
            let transaction = first.remove();
            self.aborted.entry(transaction.producer_id).or_insert((transaction, false));
        }
    }
}
