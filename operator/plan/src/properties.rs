//! Each broker's `server.properties`: the same for Kubernetes and for processes on this machine.
//!
//! Not here: which addresses a broker has; a [`BrokerPlace`] says.

use ottla_api::{KafkaClusterSpec, ListenerType};
use ottla_types::{BrokerId, ClusterId};

/// Where a listener listens, and what others are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host to bind; empty: all interfaces.
    pub bind_host: String,
    /// The port to bind.
    pub bind_port: u16,
    /// The host that others are told.
    pub advertised_host: String,
    /// The port that others are told.
    pub advertised_port: u16,
}

/// One broker's place: everything about it that is not in the cluster's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerPlace {
    /// Its `node.id`.
    pub id: BrokerId,
    /// Its listeners for clients, by their names in the spec. One of them is the spec's internal listener.
    pub listeners: Vec<(String, Endpoint)>,
    /// Its control listener.
    pub control: Endpoint,
    /// host:port of /livez, /readyz and /metrics.
    pub http: String,
    /// Its data folder.
    pub data_dir: String,
    /// Its rack, if known.
    pub rack: Option<String>,
}

/// A broker as a member of the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its `node.id`.
    pub id: BrokerId,
    /// It is one of those who form the quorum.
    pub forms: bool,
    /// The host of its control listener.
    pub host: String,
    /// The port of its control listener.
    pub port: u16,
}

/// How many brokers have the role controller: as many as vote in a quorum that has grown.
const CONTROLLERS: usize = 5;

/// How many brokers are asked whether there is a quorum already.
const ASKED: usize = 7;

/// The one setting that a running broker needs no restart for.
const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers";

/// The name of the control listener in `listeners`.
const CONTROL: &str = "CONTROLLER";

/// The text of one broker's `server.properties`. `members` are all brokers, by ordinal.
///
/// Those who form the quorum are listed as its voters. They also know of the other brokers, so that none of
/// them forms another quorum after it lost its disk. The first five brokers have the role controller:
/// whichever of them come later get the vote by the active controller.
///
/// # Panics
/// When a listener of `place` is not in the spec, or the spec has no internal listener: specs are validated
/// before.
pub fn server_properties(
    spec: &KafkaClusterSpec,
    cluster_id: ClusterId,
    members: &[Member],
    place: &BrokerPlace,
) -> String {
    let internal = spec.internal_listener().expect("admission asks for one internal listener");
    for (name, _) in &place.listeners {
        assert!(spec.listeners.iter().any(|l| l.name == *name), "a place has the listeners of its spec");
    }
    let voters: Vec<&Member> = members.iter().filter(|member| member.forms).collect();
    let forms = voters.iter().any(|voter| voter.id == place.id);
    let is_controller = forms || members.iter().take(CONTROLLERS).any(|member| member.id == place.id);
    let all = || {
        place
            .listeners
            .iter()
            .map(|(n, e)| (n.to_uppercase(), e))
            .chain([(CONTROL.to_owned(), &place.control)])
    };
    let bound = join(all().map(|(name, e)| format!("{name}://{}:{}", e.bind_host, e.bind_port)));
    let told = join(all().map(|(name, e)| format!("{name}://{}:{}", e.advertised_host, e.advertised_port)));
    let protocols = join(all().map(|(name, _)| format!("{name}:PLAINTEXT")));
    let mut text = String::from("# Written by Ottla from the KafkaCluster; changes here are lost.\n");
    let mut set = |key: &str, value: &str| {
        text += &format!("{key}={}\n", escaped(value));
    };
    set("node.id", &place.id.to_string());
    set("process.roles", if is_controller { "broker,controller" } else { "broker" });
    set("cluster.id", &cluster_id.to_string());
    if let Some(rack) = &place.rack {
        set("broker.rack", rack);
    }
    set("listeners", &bound);
    set("advertised.listeners", &told);
    set("listener.security.protocol.map", &protocols);
    set("inter.broker.listener.name", &internal.name.to_uppercase());
    set("controller.listener.names", CONTROL);
    if forms {
        set(
            "controller.quorum.voters",
            &join(voters.iter().map(|v| format!("{}@{}:{}", v.id, v.host, v.port))),
        );
    }
    set(BOOTSTRAP, &join(members.iter().take(ASKED).map(|m| format!("{}:{}", m.host, m.port))));
    set("log.dirs", &place.data_dir);
    set("ottla.http.listener", &place.http);
    set("ottla.log.filter", &spec.log_level);
    for (key, value) in &spec.config {
        set(key, &value.to_string());
    }
    text
}

/// What of a `server.properties` a running broker has to be restarted for.
pub fn restart_text(properties: &str) -> String {
    properties.lines().filter(|line| !line.starts_with(BOOTSTRAP)).map(|line| format!("{line}\n")).collect()
}

/// The place of broker number `ordinal` on this machine: its internal listener on `base_port + ordinal`, the
/// control listener 10,000 above it, health and metrics 20,000 above it. Other listeners are left out: one
/// address is enough on loopback.
///
/// None if a port would be past 65535, or the spec has no internal listener.
pub fn loopback_place(
    spec: &KafkaClusterSpec,
    id: BrokerId,
    ordinal: u16,
    base_port: u16,
    data_dir: &str,
) -> Option<BrokerPlace> {
    let internal = spec.listeners.iter().find(|l| l.type_ == ListenerType::Internal)?;
    let at = |above: u16| {
        let port = base_port.checked_add(ordinal)?.checked_add(above)?;
        let host = "127.0.0.1".to_owned();
        Some(Endpoint {
            bind_host: host.clone(),
            bind_port: port,
            advertised_host: host,
            advertised_port: port,
        })
    };
    let http = at(20_000)?;
    Some(BrokerPlace {
        id,
        listeners: vec![(internal.name.clone(), at(0)?)],
        control: at(10_000)?,
        http: format!("{}:{}", http.bind_host, http.bind_port),
        data_dir: data_dir.to_owned(),
        rack: None,
    })
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

// The escapes of Java's properties files.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            ' ' if at == 0 => text.push_str("\\ "),
            c if !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    text += &format!("\\u{unit:04x}");
                }
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_broker_has_its_own_ports() {
        let mut spec = KafkaClusterSpec { log_level: "debug".into(), ..Default::default() };
        spec.config.insert("num.partitions".into(), 4.into());
        spec.config.insert("odd".into(), " a\\b\nc\u{e9}\u{1f600}".into());
        let member = |id| Member {
            id: BrokerId(id),
            forms: id == 0,
            host: "127.0.0.1".into(),
            port: u16::try_from(19_092 + id).unwrap(),
        };
        let members: Vec<Member> = (0..3).map(member).collect();
        let place = loopback_place(&spec, BrokerId(2), 2, 9092, "/data/2").unwrap();
        assert_eq!(
            server_properties(&spec, ClusterId([7; 16]), &members, &place),
            "# Written by Ottla from the KafkaCluster; changes here are lost.\n\
             node.id=2\nprocess.roles=broker,controller\ncluster.id=BwcHBwcHBwcHBwcHBwcHBw\n\
             listeners=INTERNAL://127.0.0.1:9094,CONTROLLER://127.0.0.1:19094\n\
             advertised.listeners=INTERNAL://127.0.0.1:9094,CONTROLLER://127.0.0.1:19094\n\
             listener.security.protocol.map=INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=INTERNAL\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094\nlog.dirs=/data/2\n\
             ottla.http.listener=127.0.0.1:29094\nottla.log.filter=debug\nnum.partitions=4\nodd=\\ a\\\\b\\nc\\u00e9\\ud83d\\ude00\n"
        );
    }

    #[test]
    fn brokers_that_come_later_change_nothing_that_needs_a_restart() {
        let spec = KafkaClusterSpec::default();
        let of = |id: i32, brokers: i32| {
            let member =
                |id| Member { id: BrokerId(id), forms: id == 0, host: format!("b{id}"), port: 9_095 };
            let members: Vec<Member> = (0..brokers).map(member).collect();
            let place = loopback_place(&spec, BrokerId(id), 0, 9092, "/d").unwrap();
            server_properties(&spec, ClusterId([7; 16]), &members, &place)
        };
        let has = |text: &str, line: &str| text.lines().any(|one| one == line);
        assert!(has(&of(0, 1), "controller.quorum.voters=0@b0:9095"));
        assert!(has(&of(0, 3), "controller.quorum.bootstrap.servers=b0:9095,b1:9095,b2:9095"));
        assert_eq!(restart_text(&of(0, 1)), restart_text(&of(0, 9)));
        assert_eq!(of(1, 7), of(1, 9), "a few are enough to ask");
        assert!(has(&of(4, 6), "process.roles=broker,controller") && has(&of(5, 6), "process.roles=broker"));
        assert!(!of(1, 3).contains("controller.quorum.voters"), "it forms no quorum");
    }

    #[test]
    fn ports_past_the_last_are_refused() {
        let spec = KafkaClusterSpec::default();
        assert!(loopback_place(&spec, BrokerId(0), 0, 45_535, "/d").is_some());
        assert_eq!(loopback_place(&spec, BrokerId(1), 1, 45_535, "/d"), None);
    }
}
