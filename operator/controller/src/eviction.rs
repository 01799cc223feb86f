//! Evictions: a pod is asked to go, and what the API server says to it is told at once.
//!
//! A refusal is an answer, to be shown: the brokers' leave for this restart is old by the time that a refusal
//! has been waited out, so the next try begins with them again.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client, Error};
use ottla_plan::eviction;
use tokio::time::timeout;

/// How long the API server may take; what it does later than that is done by leave that is too old.
const PATIENCE: Duration = Duration::from_secs(10);

/// The cause that the API server gives where a PodDisruptionBudget is in the way.
const BUDGET: &str = "DisruptionBudget";

/// What came of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Evicted {
    /// The pod goes.
    Goes,
    /// It stays for now, and why, in the API server's words.
    Stays(String),
}

/// Evicts a pod, if it is the one with this uid and its PodDisruptionBudget allows it.
///
/// # Errors
/// When the API server refuses for another reason, or doesn't answer in time.
pub(crate) async fn evict(client: &Client, namespace: &str, pod: &str, uid: &str) -> Result<Evicted, Error> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let (parameters, body) = (PostParams::default(), eviction(namespace, pod, uid));
    let call = api.create_subresource::<_, Status>("eviction", pod, &parameters, &body);
    let Ok(answer) = timeout(PATIENCE, call).await else {
        return Err(Error::Service("the API server did not answer the eviction in time".into()));
    };
    match answer {
        Ok(_) => {
            tracing::info!(namespace, pod, "evicted");
            Ok(Evicted::Goes)
        }
        // The pod is gone or another one, or too many brokers are away: what is to be done shows later.
        Err(Error::Api(status)) if [404, 409, 429].contains(&status.code) => {
            let why = words(&status);
            tracing::info!(namespace, pod, why, "an eviction waits");
            Ok(Evicted::Stays(why))
        }
        Err(error) => Err(error),
    }
}

// The budget's own cause names it and counts pods; the message only says that there is one.
fn words(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let of_budget = causes.filter(|cause| cause.reason == BUDGET).map(|cause| cause.message.as_str()).next();
    of_budget.filter(|message| !message.is_empty()).unwrap_or(&status.message).to_owned()
}
