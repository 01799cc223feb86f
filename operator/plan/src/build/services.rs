//! Services: one headless, one for bootstrapping, and those of nodeport listeners.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ottla_api::{CONTROL_PORT, HTTP_PORT, ListenerSpec, ListenerType};

use super::BuildInput;

/// Gives each broker pod its own name, before it is ready too: brokers find each other by it.
pub(crate) fn headless_service(context: &BuildInput<'_>) -> Service {
    let mut ports: Vec<ServicePort> =
        context.spec.listeners.iter().map(|l| port(&l.name, l.port, None)).collect();
    ports.push(port("control", CONTROL_PORT.into(), None));
    ports.push(port("http", HTTP_PORT.into(), None));
    Service {
        metadata: context.metadata(context.names.headless()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(context.names.selector_labels()),
            ports: Some(ports),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Where clients inside of Kubernetes begin: any broker that is ready.
pub(crate) fn bootstrap_service(context: &BuildInput<'_>) -> Option<Service> {
    let internal = context.spec.internal_listener()?;
    Some(Service {
        metadata: context.metadata(context.names.bootstrap()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(context.names.selector_labels()),
            ports: Some(vec![port(&internal.name, internal.port, None)]),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// For each nodeport listener: a Service for bootstrapping, and one a broker.
pub(crate) fn nodeport_services(context: &BuildInput<'_>) -> Vec<Service> {
    let listeners = context.spec.listeners.iter().filter(|l| l.type_ == ListenerType::Nodeport);
    listeners.flat_map(|listener| listener_services(context, listener)).collect()
}

fn listener_services(context: &BuildInput<'_>, listener: &ListenerSpec) -> Vec<Service> {
    let names = context.names;
    let mut services = vec![nodeport_service(
        context,
        names.listener_bootstrap(&listener.name),
        listener,
        names.selector_labels(),
        listener.node_port,
    )];
    for broker in context.brokers {
        let ordinal = broker.ordinal;
        let mut selector = names.selector_labels();
        selector.insert("statefulset.kubernetes.io/pod-name".to_owned(), names.pod(ordinal));
        let fixed = listener.node_port.and_then(|first| first.checked_add(1 + i32::try_from(ordinal).ok()?));
        let name = names.listener_broker(&listener.name, ordinal);
        services.push(nodeport_service(context, name, listener, selector, fixed));
    }
    services
}

fn nodeport_service(
    context: &BuildInput<'_>,
    name: String,
    listener: &ListenerSpec,
    selector: BTreeMap<String, String>,
    fixed: Option<i32>,
) -> Service {
    Service {
        metadata: context.metadata(name),
        spec: Some(ServiceSpec {
            type_: Some("NodePort".to_owned()),
            // Every node answers, so that an address stays good while its pod is on another node.
            external_traffic_policy: Some("Cluster".to_owned()),
            selector: Some(selector),
            ports: Some(vec![port(&listener.name, listener.port, fixed)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn port(name: &str, port: i32, node_port: Option<i32>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".to_owned()),
        node_port,
        ..Default::default()
    }
}

/// The node port that Kubernetes gave a Service, if it has one yet.
pub(crate) fn node_port_of(service: &Service) -> Option<u16> {
    let port = service.spec.as_ref()?.ports.as_ref()?.first()?.node_port?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}
