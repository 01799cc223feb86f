//! ServiceAccount and PodDisruptionBudget of the brokers.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::BuildInput;

/// The brokers' account, without rights and without a token in the pods.
pub(crate) fn service_account(context: &BuildInput<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: context.metadata(context.names.brokers()),
        automount_service_account_token: Some(false),
        ..Default::default()
    }
}

/// Drains may take one broker at a time, and any that isn't ready: nothing is lost by that, and a budget that
/// is used up by such brokers would never let them be corrected.
pub(crate) fn pod_disruption_budget(context: &BuildInput<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: context.metadata(context.names.brokers()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(context.names.selector()),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}
