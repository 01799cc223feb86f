//! Listeners: the addresses to bind, the addresses that are told, and which of them speaks what.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::source::{ConfigError, Values};

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, without brackets; empty: all interfaces (only in an address to bind).
    pub host: String,
    /// The port; 0: a free one (only in an address to bind).
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port` or `[address]:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        if !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'%')) {
            return None;
        }
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in upper case.
    pub name: String,
    /// Where it listens.
    pub bind: HostPort,
    /// What clients are told; port 0: the port that was bound.
    pub advertised: HostPort,
}

/// All listeners of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// Those that speak Kafka's protocol; at least one for a broker.
    pub clients: Vec<Listener>,
    /// The one that carries the control API and the metadata quorum.
    pub control: Listener,
    /// The name of the one that brokers use among themselves.
    pub inter_broker: String,
}

/// A voter of the metadata quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// Its `node.id`.
    pub id: i32,
    /// Its control listener.
    pub address: HostPort,
}

impl Listeners {
    /// Reads the settings about listeners.
    pub(super) fn from_values(values: &Values, host_name: &str) -> Result<Self, ConfigError> {
        refuse_other_protocols(values)?;
        refuse_authorizers(values)?;
        let bound = endpoints(values, "listeners")?;
        let advertised: BTreeMap<_, _> = endpoints(values, "advertised.listeners")?.into_iter().collect();
        if let Some((name, told)) = advertised.iter().find(|(_, told)| is_any(&told.host)) {
            let allowed =
                format!("a list of addresses that clients can connect to, which {name}://{told} isn't");
            return Err(values.wrong("advertised.listeners", allowed));
        }
        let mut listeners = Vec::new();
        for (name, bind) in bound {
            if listeners.iter().any(|other: &Listener| other.name == name) {
                return Err(values.wrong("listeners", "a list in which each name stands once"));
            }
            let told = advertised.get(&name).cloned().map(|told| match told.host.is_empty() {
                true => HostPort { host: host_name.to_owned(), ..told },
                false => told,
            });
            let advertised = told.unwrap_or_else(|| advertised_by_default(&bind, host_name));
            listeners.push(Listener { name, bind, advertised });
        }
        if let Some(unknown) = advertised.keys().find(|name| listeners.iter().all(|l| l.name != **name)) {
            let allowed = format!("a list of names that stand in listeners too, which {unknown} doesn't");
            return Err(values.wrong("advertised.listeners", allowed));
        }
        let controllers = values.list("controller.listener.names");
        let (control, clients): (Vec<_>, Vec<_>) = listeners
            .into_iter()
            .partition(|one| controllers.iter().any(|name| name.eq_ignore_ascii_case(&one.name)));
        let Some(first) = clients.first() else {
            return Err(
                values.wrong("listeners", "a list with a listener that isn't in controller.listener.names")
            );
        };
        let control = control.into_iter().next().unwrap_or_else(|| control_by_default(first));
        let inter_broker = inter_broker_name(values, &clients)?;
        Ok(Self { clients, control, inter_broker })
    }
}

/// The `NAME://host:port` items of a list.
fn endpoints(values: &Values, key: &str) -> Result<Vec<(String, HostPort)>, ConfigError> {
    values
        .list(key)
        .iter()
        .map(|item| {
            endpoint(item).ok_or_else(|| {
                values.wrong(key, "a list of NAME://host:port, as in PLAINTEXT://localhost:9092")
            })
        })
        .collect()
}

fn endpoint(item: &str) -> Option<(String, HostPort)> {
    let (name, address) = item.split_once("://")?;
    (!name.is_empty()).then_some((name.to_uppercase(), HostPort::parse(address)?))
}

/// Only names that map to PLAINTEXT are served; a listener that asks for more mustn't be open instead.
fn refuse_other_protocols(values: &Values) -> Result<(), ConfigError> {
    const MAP: &str = "listener.security.protocol.map";
    let mut protocols = BTreeMap::new();
    for item in values.list(MAP) {
        let pair = item.split_once(':').filter(|(name, protocol)| !name.is_empty() && !protocol.is_empty());
        let (name, protocol) = pair.ok_or_else(|| values.wrong(MAP, "a list of NAME:PROTOCOL"))?;
        protocols.insert(name.to_uppercase(), protocol.to_uppercase());
    }
    for (name, _) in endpoints(values, "listeners")? {
        let built_in = ["SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&name.as_str()).then(|| name.clone());
        let protocol = protocols.get(&name).cloned().or(built_in).unwrap_or_else(|| "PLAINTEXT".to_owned());
        if protocol != "PLAINTEXT" {
            let allowed = format!(
                "a list of listeners with the security protocol PLAINTEXT: {name} maps to {protocol}, and TLS \
                 and SASL are not supported yet"
            );
            return Err(values.wrong("listeners", allowed));
        }
    }
    Ok(())
}

/// Who asks for access control mustn't get a broker that serves everyone instead.
fn refuse_authorizers(values: &Values) -> Result<(), ConfigError> {
    const KEY: &str = "authorizer.class.name";
    if values.text(KEY).is_empty() {
        return Ok(());
    }
    Err(values.wrong(KEY, "nothing, as access control is not supported yet: everyone is served"))
}

fn advertised_by_default(bind: &HostPort, host_name: &str) -> HostPort {
    let any = bind.host.is_empty() || is_any(&bind.host);
    HostPort { host: if any { host_name.to_owned() } else { bind.host.clone() }, port: bind.port }
}

/// Whether an address stands for all interfaces, so that nobody elsewhere can connect to it.
fn is_any(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
}

/// A broker whose file names no control listener (as Kafka's broker.properties) still needs one, for the
/// metadata comes to it that way: a free port beside its first listener.
fn control_by_default(first: &Listener) -> Listener {
    Listener {
        name: "CONTROLLER".to_owned(),
        bind: HostPort { host: first.bind.host.clone(), port: 0 },
        advertised: HostPort { host: first.advertised.host.clone(), port: 0 },
    }
}

fn inter_broker_name(values: &Values, clients: &[Listener]) -> Result<String, ConfigError> {
    const KEY: &str = "inter.broker.listener.name";
    let name = values.text(KEY).to_uppercase();
    if name.is_empty() {
        return Ok(clients[0].name.clone());
    }
    if clients.iter().any(|listener| listener.name == name) {
        return Ok(name);
    }
    let names: Vec<_> = clients.iter().map(|listener| listener.name.as_str()).collect();
    Err(values.wrong(KEY, format!("one of the listeners {}", names.join(", "))))
}

/// The items of `controller.quorum.voters`.
pub(super) fn voters(values: &Values) -> Result<Vec<Voter>, ConfigError> {
    const KEY: &str = "controller.quorum.voters";
    let voter = |item: &String| {
        let (id, address) = item.split_once('@')?;
        let id = id.parse().ok().filter(|id| *id >= 0)?;
        Some(Voter { id, address: HostPort::parse(address).filter(|address| !address.host.is_empty())? })
    };
    let voters = values.list(KEY).iter().map(|item| {
        voter(item).ok_or_else(|| values.wrong(KEY, "a list of id@host:port, as in 1@localhost:9093"))
    });
    let voters: Vec<Voter> = voters.collect::<Result<_, _>>()?;
    let mut ids = BTreeSet::new();
    match voters.iter().find(|voter| !ids.insert(voter.id)) {
        Some(twice) => {
            Err(values.wrong(KEY, format!("a list that names each voter once: {} is there twice", twice.id)))
        }
        None => Ok(voters),
    }
}

/// The items of `controller.quorum.bootstrap.servers`.
pub(super) fn bootstrap_servers(values: &Values) -> Result<Vec<HostPort>, ConfigError> {
    const KEY: &str = "controller.quorum.bootstrap.servers";
    values
        .list(KEY)
        .iter()
        .map(|item| {
            let server = HostPort::parse(item).filter(|address| !address.host.is_empty());
            server.ok_or_else(|| values.wrong(KEY, "a list of host:port, as in localhost:9093"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::Sources;
    use super::*;

    fn listeners(file: &str) -> Result<Listeners, ConfigError> {
        let file = Some(("s.properties".into(), file.to_owned()));
        Listeners::from_values(&Values::collect(&Sources { file, ..Sources::default() })?, "thishost")
    }

    #[track_caller]
    fn check_refused(file: &str, part: &str) {
        let message = listeners(file).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }

    #[test]
    fn hosts_and_ports_are_read() {
        let parse = |text: &str| HostPort::parse(text).map(|a| a.to_string());
        assert_eq!(parse("a-b.c:90").as_deref(), Some("a-b.c:90"));
        assert_eq!(parse("[::1]:90").as_deref(), Some("[::1]:90"));
        assert_eq!(parse(":90").as_deref(), Some(":90"));
        for bad in ["a", "a:b", "a:70000", "::1:90", "[::1:90", "a/b:90"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn kafkas_own_file_gives_two_listeners() {
        let file = "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
                    advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093";
        let all = listeners(file).unwrap();
        assert_eq!(all.clients.len(), 1);
        assert_eq!(all.clients[0].advertised.to_string(), "localhost:9092");
        assert_eq!((all.control.bind.port, all.control.advertised.host.as_str()), (9093, "localhost"));
        assert_eq!(all.inter_broker, "PLAINTEXT");
    }

    #[test]
    fn what_is_not_advertised_is_told_as_it_is_bound() {
        let all = listeners("listeners=a://:1\nadvertised.listeners=a://:7").unwrap();
        assert_eq!(all.clients[0].advertised.to_string(), "thishost:7", "no host is this one");
        let all = listeners("listeners=a://:1,b://10.0.0.1:2").unwrap();
        assert_eq!(all.clients[0].advertised.to_string(), "thishost:1");
        assert_eq!(all.clients[1].advertised.to_string(), "10.0.0.1:2");
        assert_eq!((all.control.bind.port, all.control.bind.host.as_str()), (0, ""));
    }

    #[test]
    fn secured_listeners_are_refused_instead_of_opened() {
        check_refused("listeners=SSL://:9092", "SSL maps to SSL, and TLS and SASL are not supported yet");
        let mapped = "listeners=IN://:1\nlistener.security.protocol.map=IN:SASL_SSL";
        check_refused(mapped, "IN maps to SASL_SSL");
    }

    #[test]
    fn wrong_listeners_are_refused() {
        check_refused("listeners=9092", "a list of NAME://host:port");
        check_refused("listeners=A://:1,a://:2", "each name stands once");
        check_refused("listeners=CONTROLLER://:1", "isn't in controller.listener.names");
        check_refused("listeners=A://:1\nadvertised.listeners=B://x:1", "which B doesn't");
        for any in ["0.0.0.0", "[::]", "[0:0::0]"] {
            let file = format!("listeners=A://0.0.0.0:1\nadvertised.listeners=A://{any}:1");
            check_refused(&file, "addresses that clients can connect to, which A://");
        }
        check_refused("listeners=A://:1\ninter.broker.listener.name=B", "one of the listeners A");
    }
}
