//! What became of a record, shared by all records of a batch.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::ClientError;

/// A record that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The partition it went to.
    pub partition: i32,
    /// Its offset; -1 if nobody was asked (`acks` 0) or the broker doesn't know any more.
    pub offset: i64,
}

/// What becomes of a batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    result: OnceLock<Result<i64, ClientError>>,
    done: Notify,
}

impl Outcome {
    /// Sets the base offset or the failure, once.
    pub(super) fn set(&self, result: Result<i64, ClientError>) {
        let first = self.result.set(result).is_ok();
        assert!(first, "a batch has one outcome");
        self.done.notify_waiters();
    }

    async fn wait(&self) -> Result<i64, ClientError> {
        loop {
            // Made before the look, so that no notice is missed.
            let done = self.done.notified();
            if let Some(result) = self.result.get() {
                return result.clone();
            }
            done.await;
        }
    }
}

/// A record on its way; await it for the acknowledgment, or drop it if that doesn't matter.
#[derive(Debug)]
#[must_use = "await it to know whether the record arrived"]
pub struct Delivery {
    pub(super) outcome: Arc<Outcome>,
    pub(super) partition: i32,
    /// The record's index in its batch.
    pub(super) index: i32,
}

impl Delivery {
    /// Waits for the acknowledgment.
    ///
    /// # Errors
    /// What the broker said, or that it can't be reached; then whether the record is stored is unknown.
    pub async fn wait(self) -> Result<Delivered, ClientError> {
        let base_offset = self.outcome.wait().await?;
        let offset = if base_offset < 0 { -1 } else { base_offset + i64::from(self.index) };
        Ok(Delivered { partition: self.partition, offset })
    }

    /// Whether the batch is done, well or not.
    pub fn is_done(&self) -> bool {
        self.outcome.result.get().is_some()
    }
}

impl IntoFuture for Delivery {
    type Output = Result<Delivered, ClientError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}
