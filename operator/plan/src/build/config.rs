//! The ConfigMap: one properties file a broker.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use ottla_api::{CONTROL_PORT, HTTP_PORT, ListenerSpec, ListenerType};

use super::{Broker, BuildInput, node_port_of};
use crate::object::fingerprint;
use crate::properties::{BrokerPlace, Endpoint, Member, restart_text, server_properties};

/// Where a broker's volume is, and the folder in it: a file system's own `lost+found` is none of the store's
/// business.
pub(crate) const DATA_MOUNT: &str = "/var/lib/ottla";
const DATA_DIR: &str = "/var/lib/ottla/data";

/// The environment variable with the address of the node where a pod runs.
pub(crate) const HOST_IP: &str = "HOST_IP";

/// Every broker's file, by the file's name.
#[derive(Debug)]
pub(crate) struct ConfigFiles {
    /// Name and text.
    pub files: BTreeMap<String, String>,
    /// The fingerprint of each, but for what brokers need no restart to learn: "0=…,1=…", by their pods'
    /// ordinals.
    pub hash: String,
}

/// A broker's own fingerprint out of those of all.
pub(crate) fn own_hash(all: &str, ordinal: usize) -> Option<&str> {
    let own = format!("{ordinal}=");
    all.split(',').find_map(|one| one.strip_prefix(&own))
}

/// The files, once every nodeport Service has its port.
///
/// # Errors
/// The name of a Service that has none yet.
pub(crate) fn config_files(context: &BuildInput<'_>, live: &[Service]) -> Result<ConfigFiles, String> {
    let mut files = BTreeMap::new();
    let mut hashes = Vec::new();
    let members = members(context);
    for broker in context.brokers {
        let mut place = place(context, broker, live)?;
        let name = format!("{}.properties", context.names.pod(broker.ordinal));
        files.insert(name, server_properties(context.spec, context.cluster_id, &members, &place));
        // Where a pod is shows only once it is there: no reason to replace it.
        place.rack = None;
        let hashed = server_properties(context.spec, context.cluster_id, &members, &place);
        hashes.push(format!("{}={}", broker.ordinal, fingerprint(&restart_text(&hashed))));
    }
    Ok(ConfigFiles { files, hash: hashes.join(",") })
}

/// The ConfigMap that holds the files.
pub(crate) fn config_map(context: &BuildInput<'_>, files: &ConfigFiles) -> ConfigMap {
    ConfigMap {
        metadata: context.metadata(context.names.config()),
        data: Some(files.files.clone()),
        ..Default::default()
    }
}

fn members(context: &BuildInput<'_>) -> Vec<Member> {
    context
        .brokers
        .iter()
        .map(|broker| Member {
            id: broker.id,
            forms: context.voters.contains(&broker.id),
            host: context.names.pod_host(broker.ordinal),
            port: CONTROL_PORT,
        })
        .collect()
}

fn place(context: &BuildInput<'_>, broker: &Broker, live: &[Service]) -> Result<BrokerPlace, String> {
    let listeners = context
        .spec
        .listeners
        .iter()
        .map(|listener| Ok((listener.name.clone(), endpoint(context, broker, listener, live)?)));
    Ok(BrokerPlace {
        id: broker.id,
        listeners: listeners.collect::<Result<_, String>>()?,
        control: inside(context, broker, CONTROL_PORT),
        http: format!("0.0.0.0:{HTTP_PORT}"),
        data_dir: DATA_DIR.to_owned(),
        rack: broker.rack.clone(),
    })
}

fn endpoint(
    context: &BuildInput<'_>,
    broker: &Broker,
    listener: &ListenerSpec,
    live: &[Service],
) -> Result<Endpoint, String> {
    let port = u16::try_from(listener.port).expect("admission keeps ports within 16 bits");
    let mut endpoint = inside(context, broker, port);
    if listener.type_ == ListenerType::Nodeport {
        let name = context.names.listener_broker(&listener.name, broker.ordinal);
        let service = live.iter().find(|s| s.metadata.name.as_deref() == Some(name.as_str()));
        endpoint.advertised_port = service.and_then(node_port_of).ok_or(name)?;
        // The broker puts in the address of the node where it finds itself.
        endpoint.advertised_host =
            listener.advertised_host.clone().unwrap_or_else(|| format!("${{env:{HOST_IP}}}"));
    }
    Ok(endpoint)
}

// By the pod's own name, on all of its interfaces.
fn inside(context: &BuildInput<'_>, broker: &Broker, port: u16) -> Endpoint {
    Endpoint {
        bind_host: String::new(),
        bind_port: port,
        advertised_host: context.names.pod_host(broker.ordinal),
        advertised_port: port,
    }
}
