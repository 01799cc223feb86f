//! Listeners: the ports of a broker, and how clients reach them.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The port of the control API in a pod; no listener may have it.
pub const CONTROL_PORT: u16 = 9095;
/// The port of /livez, /readyz and /metrics in a pod; no listener may have it.
pub const HTTP_PORT: u16 = 9096;

/// A port where clients connect.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("self.type == 'nodeport' || (!has(self.nodePort) && !has(self.advertisedHost))").message("spec.listeners[].nodePort and advertisedHost are only allowed where type is nodeport"),
)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSpec {
    /// The listener's name.
    #[schemars(length(max = 15))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("spec.listeners[].name must be 1 to 15 of a-z, 0-9 and '-', starting with a letter and ending with a letter or digit"),
        validation = Rule::new("!(self in ['control', 'controller', 'http'])").message("spec.listeners[].name may be any but control, controller and http, which are the operator's"),
    )]
    pub name: String,

    /// The port in the broker's pod.
    #[x_kube(
        validation = Rule::new("self >= 1024 && self <= 65535 && !(self in [9095, 9096])").message("spec.listeners[].port must be from 1024 to 65535, but for 9095 (control API) and 9096 (health and metrics)"),
    )]
    pub port: i32,

    /// How it is reached: from inside of Kubernetes only, or through a port of every node.
    #[serde(rename = "type")]
    pub type_: ListenerType,

    /// Only nodeport: the host that brokers tell clients; the address of the node where the broker runs if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub advertised_host: Option<String>,

    /// Only nodeport: a fixed port of the nodes for bootstrapping; broker number n gets the n + 1st after it.
    /// Kubernetes chooses if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= 1024 && self <= 65000").message("spec.listeners[].nodePort must be from 1024 to 65000 and within the node port range of your Kubernetes (30000 to 32767 unless changed)"))]
    pub node_port: Option<i32>,
}

/// How a listener is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListenerType {
    /// From inside of Kubernetes, by the pods' own names.
    Internal,
    /// From outside too, through a port of every node.
    Nodeport,
}

pub(crate) fn default_listeners() -> Vec<ListenerSpec> {
    vec![ListenerSpec {
        name: "internal".to_owned(),
        port: 9092,
        type_: ListenerType::Internal,
        advertised_host: None,
        node_port: None,
    }]
}
