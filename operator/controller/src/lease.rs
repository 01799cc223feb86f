//! Leader election: one operator holds a Lease and works, the others stand by.
//!
//! Clocks of machines are not compared: a holder counts as gone once its record has not changed for as long
//! as the Lease lasts, by the watcher's own clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::time::{sleep, timeout};

use crate::settings::LeaseSettings;

/// Holds a Lease, or tries to.
pub struct Election {
    api: Api<Lease>,
    settings: LeaseSettings,
    /// The record as last seen, and when it last changed.
    seen: Option<(LeaseSpec, Instant)>,
}

/// What one try came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAttempt {
    /// This operator holds the Lease.
    Holding,
    /// Another does.
    Other,
}

impl Election {
    /// An election that has not begun.
    pub fn new(client: Client, settings: LeaseSettings) -> Self {
        Self { api: Api::namespaced(client, &settings.namespace), settings, seen: None }
    }

    /// Waits until this operator holds the Lease; says by `answered` that the API server has answered at all.
    pub async fn acquire(&mut self, answered: &AtomicBool) {
        loop {
            let outcome = self.attempt().await;
            answered.fetch_or(outcome.is_ok(), Ordering::Relaxed);
            match outcome {
                Ok(LeaseAttempt::Holding) => return,
                Ok(LeaseAttempt::Other) => {}
                Err(error) => tracing::warn!(%error, "cannot read or write the lease"),
            }
            sleep(self.settings.renew / 2).await;
        }
    }

    /// Renews until that has not worked for as long as others wait; then someone else may hold the Lease.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        // Less than what others wait, so that there are never two.
        let limit = self.settings.duration.saturating_sub(self.settings.renew);
        while renewed.elapsed() < limit {
            sleep(self.settings.renew).await;
            match timeout(self.settings.renew, self.attempt()).await {
                Ok(Ok(LeaseAttempt::Holding)) => renewed = Instant::now(),
                Ok(Ok(LeaseAttempt::Other)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "cannot renew the lease"),
                Err(_) => tracing::warn!("renewing the lease took too long"),
            }
        }
    }

    /// Gives the Lease up, so that the next operator need not wait.
    pub async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.settings.name).await else { return };
        let Some(spec) = lease.spec.as_mut().filter(|s| self.is_ours(s)) else { return };
        spec.holder_identity = None;
        if let Err(error) = self.api.replace(&self.settings.name, &PostParams::default(), &lease).await {
            tracing::warn!(%error, "cannot give the lease up");
        }
    }

    /// Takes the Lease or renews it, if nobody else holds it.
    ///
    /// # Errors
    /// When the API server doesn't answer, or refuses.
    pub async fn attempt(&mut self) -> Result<LeaseAttempt, Error> {
        let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(self.settings.name.clone());
            lease.spec = Some(self.record(None));
            return conflict_is_other(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if !self.is_ours(&spec) && self.is_held(&spec) {
            return Ok(LeaseAttempt::Other);
        }
        lease.spec = Some(self.record(Some(&spec)));
        // The resourceVersion that came with it lets just one of several through.
        conflict_is_other(self.api.replace(&self.settings.name, &PostParams::default(), &lease).await)
    }

    fn is_ours(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity.as_ref() == Some(&self.settings.identity)
    }

    fn is_held(&mut self, spec: &LeaseSpec) -> bool {
        if spec.holder_identity.as_deref().is_none_or(str::is_empty) {
            return false;
        }
        match &self.seen {
            Some((last, since)) if last == spec => {
                let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
                since.elapsed() < seconds.map_or(self.settings.duration, Duration::from_secs)
            }
            _ => {
                self.seen = Some((spec.clone(), Instant::now()));
                true
            }
        }
    }

    fn record(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let kept = old.filter(|old| self.is_ours(old));
        let transitions =
            old.and_then(|o| o.lease_transitions).unwrap_or(0) + i32::from(old.is_some() && kept.is_none());
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(self.settings.duration.as_secs()).ok(),
            acquire_time: kept.and_then(|old| old.acquire_time.clone()).or_else(|| now.clone()),
            renew_time: now,
            lease_transitions: Some(transitions),
            ..Default::default()
        }
    }
}

fn conflict_is_other(result: Result<Lease, Error>) -> Result<LeaseAttempt, Error> {
    match result {
        Ok(_) => Ok(LeaseAttempt::Holding),
        Err(Error::Api(status)) if status.code == 409 => Ok(LeaseAttempt::Other),
        Err(error) => Err(error),
    }
}
