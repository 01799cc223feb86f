//! The StatefulSet: one pod a broker, under the restricted Pod Security Standard.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, SeccompProfile, SecurityContext, TopologySpreadConstraint, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use ottla_api::{CONTROL_PORT, HTTP_PORT, StorageRetention};

use super::config::{DATA_MOUNT, HOST_IP};
use super::{
    BuildInput, CLUSTER_ID_ANNOTATION, CONFIG_HASH_ANNOTATION, TEMPLATE_HASH_ANNOTATION, VOTERS_ANNOTATION,
};
use crate::object::fingerprint;

const CONFIG_MOUNT: &str = "/etc/ottla";
const USER: i64 = 65_532;
const GRACE_SECONDS_DEFAULT: i64 = 60;

/// The brokers. Updates wait for a pod to be deleted: the plan says which and when, not Kubernetes.
pub(crate) fn stateful_set(context: &BuildInput<'_>, config_hash: &str) -> StatefulSet {
    let names = context.names;
    let when_deleted = match context.spec.storage.retention {
        StorageRetention::Retain => "Retain",
        StorageRetention::Delete => "Delete",
    };
    StatefulSet {
        metadata: context.metadata(names.brokers()),
        spec: Some(StatefulSetSpec {
            replicas: i32::try_from(context.brokers.len()).ok(),
            service_name: Some(names.headless()),
            selector: names.selector(),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..Default::default()
            }),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(when_deleted.to_owned()),
                when_scaled: Some("Retain".to_owned()),
            }),
            revision_history_limit: Some(3),
            template: template(context, config_hash),
            volume_claim_templates: Some(vec![claim(context)]),
            ..Default::default()
        }),
        ..Default::default()
    }
}

// One template serves all pods, so a change for one of them makes a new revision for all: by the fingerprints
// it can be told whom it concerns.
fn template(context: &BuildInput<'_>, config_hash: &str) -> PodTemplateSpec {
    let mut labels = context.spec.pod.labels.clone();
    labels.extend(context.names.labels());
    let mut annotations = context.spec.pod.annotations.clone();
    let mut metadata =
        ObjectMeta { labels: Some(labels), annotations: Some(annotations.clone()), ..Default::default() };
    let mut template = PodTemplateSpec { metadata: Some(metadata.clone()), spec: Some(pod_spec(context)) };
    let text = serde_json::to_string(&template).expect("a template is JSON");
    annotations.insert(TEMPLATE_HASH_ANNOTATION.to_owned(), fingerprint(&text));
    annotations.insert(CONFIG_HASH_ANNOTATION.to_owned(), config_hash.to_owned());
    metadata.annotations = Some(annotations);
    template.metadata = Some(metadata);
    template
}

fn pod_spec(context: &BuildInput<'_>) -> PodSpec {
    let pod = &context.spec.pod;
    let some = |map: &BTreeMap<String, String>| Some(map.clone()).filter(|m| !m.is_empty());
    PodSpec {
        service_account_name: Some(context.names.brokers()),
        automount_service_account_token: Some(false),
        // Their variables would look like settings: a Service named ottla makes OTTLA_PORT.
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        termination_grace_period_seconds: pod
            .termination_grace_period_seconds
            .or(Some(GRACE_SECONDS_DEFAULT)),
        node_selector: some(&pod.node_selector),
        tolerations: Some(pod.tolerations.clone()).filter(|t| !t.is_empty()),
        affinity: pod.affinity.clone(),
        priority_class_name: pod.priority_class_name.clone(),
        image_pull_secrets: Some(pod.image_pull_secrets.clone()).filter(|s| !s.is_empty()),
        topology_spread_constraints: Some(spread(context)),
        containers: vec![container(context)],
        volumes: Some(vec![Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource { name: context.names.config(), ..Default::default() }),
            ..Default::default()
        }]),
        ..Default::default()
    }
}

// Soft: brokers that cannot be spread still run.
fn spread(context: &BuildInput<'_>) -> Vec<TopologySpreadConstraint> {
    const NODE: &str = "kubernetes.io/hostname";
    // Kubernetes refuses the same key twice.
    let rack = context.spec.rack.iter().map(|rack| rack.topology_key.as_str()).filter(|key| *key != NODE);
    let keys = rack.chain([NODE]);
    keys.map(|key| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(context.names.selector()),
        ..Default::default()
    })
    .collect()
}

fn container(context: &BuildInput<'_>) -> Container {
    let mut ports: Vec<ContainerPort> =
        context.spec.listeners.iter().map(|l| container_port(&l.name, l.port)).collect();
    ports.push(container_port("control", CONTROL_PORT.into()));
    ports.push(container_port("http", HTTP_PORT.into()));
    Container {
        name: "broker".to_owned(),
        image: Some(context.image.to_owned()),
        // The image holds no shell: Kubernetes puts the pod's name in.
        args: Some(vec![format!("{CONFIG_MOUNT}/$(POD_NAME).properties")]),
        env: Some(vec![variable("POD_NAME", "metadata.name"), variable(HOST_IP, "status.hostIP")]),
        ports: Some(ports),
        resources: context.spec.resources.clone(),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        // Recovery of a large disk takes its time; a broker that is alive is let be.
        startup_probe: Some(probe("/livez", 1, 600)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 1, 3)),
        volume_mounts: Some(vec![
            VolumeMount { name: "data".to_owned(), mount_path: DATA_MOUNT.to_owned(), ..Default::default() },
            VolumeMount {
                name: "config".to_owned(),
                mount_path: CONFIG_MOUNT.to_owned(),
                read_only: Some(true),
                ..Default::default()
            },
        ]),
        ..Default::default()
    }
}

fn container_port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    }
}

fn variable(name: &str, field: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector { field_path: field.to_owned(), ..Default::default() };
    let value_from = EnvVarSource { field_ref: Some(field_ref), ..Default::default() };
    EnvVar { name: name.to_owned(), value_from: Some(value_from), ..Default::default() }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..Default::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(5),
        ..Default::default()
    }
}

// A claim outlives its StatefulSet where it is retained: what it says lets a new cluster of the name take it
// up.
fn claim(context: &BuildInput<'_>) -> PersistentVolumeClaim {
    let storage = &context.spec.storage;
    let voters: Vec<String> = context.voters.iter().map(ToString::to_string).collect();
    let annotations = [
        (CLUSTER_ID_ANNOTATION.to_owned(), context.cluster_id.to_string()),
        (VOTERS_ANNOTATION.to_owned(), voters.join(",")),
    ];
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            labels: Some(context.names.labels()),
            annotations: Some(annotations.into()),
            ..Default::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(storage.size.clone()))].into()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
