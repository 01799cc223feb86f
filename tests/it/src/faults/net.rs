//! One network namespace for each broker and one for the clients, all on a bridge, and the cuts between them.

use std::process::Command;

use anyhow::Result;

use super::shell::{feed, run};

/// The namespace of the clients.
const CLIENTS: &str = "clients";

/// The bridge and the namespaces on it. All is gone with the namespaces of the run itself.
#[derive(Debug, Clone, Copy)]
pub struct Net {
    brokers: usize,
}

impl Net {
    /// Lays the network for so many brokers.
    ///
    /// # Errors
    /// The system refuses.
    pub fn lay(brokers: usize) -> Result<Net> {
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["link", "add", "bridge", "type", "bridge"])?;
        run("ip", &["address", "add", "10.77.0.254/24", "dev", "bridge"])?;
        run("ip", &["link", "set", "bridge", "up"])?;
        let net = Net { brokers };
        for id in 1..=brokers {
            net.plug(&name(id), &address(id))?;
        }
        net.plug(CLIENTS, "10.77.0.200")?;
        Ok(net)
    }

    fn plug(&self, name: &str, address: &str) -> Result<()> {
        let wire = format!("wire-{name}");
        run("ip", &["netns", "add", name])?;
        run("ip", &["link", "add", &wire, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        run("ip", &["link", "set", &wire, "master", "bridge", "up"])?;
        run("ip", &["-n", name, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        run("ip", &["-n", name, "link", "set", "eth0", "up"])?;
        run("ip", &["-n", name, "link", "set", "lo", "up"])
    }

    /// Broker `at` no longer hears the brokers `from`; they may still hear it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn deafen(&self, at: usize, from: &[usize]) -> Result<()> {
        let addresses: Vec<String> = from.iter().map(|id| address(*id)).collect();
        rule(at, &format!("ip saddr {{ {} }} drop", addresses.join(", ")))
    }

    /// Every connection to and from a broker is reset, clients' included, and so is every new one.
    ///
    /// # Errors
    /// The system refuses.
    pub fn reset(&self, at: usize) -> Result<()> {
        rule(at, "meta l4proto tcp reject with tcp reset")
    }

    /// Neither of two sides hears the other.
    ///
    /// # Errors
    /// The system refuses.
    pub fn cut(&self, one: &[usize], other: &[usize]) -> Result<()> {
        one.iter().try_for_each(|id| self.deafen(*id, other))?;
        other.iter().try_for_each(|id| self.deafen(*id, one))
    }

    /// A broker's wire is pulled: it reaches nobody, clients included.
    ///
    /// # Errors
    /// The system refuses.
    pub fn unplug(&self, id: usize) -> Result<()> {
        run("ip", &["link", "set", &format!("wire-{}", name(id)), "down"])
    }

    /// Everybody hears everybody again.
    ///
    /// # Errors
    /// The system refuses.
    pub fn heal(&self) -> Result<()> {
        for id in 1..=self.brokers {
            run("ip", &["link", "set", &format!("wire-{}", name(id)), "up"])?;
            // Added first, as what isn't there can't be deleted.
            let none = "add table inet faults\ndelete table inet faults\n";
            feed("nsenter", &[&in_namespace(&name(id)), "nft", "-f", "-"], none)?;
        }
        Ok(())
    }
}

/// A rule for what a broker is sent.
fn rule(at: usize, rule: &str) -> Result<()> {
    let chain = "add chain inet faults in { type filter hook input priority 0; }";
    let rules = format!("add table inet faults\n{chain}\nadd rule inet faults in {rule}\n");
    feed("nsenter", &[&in_namespace(&name(at)), "nft", "-f", "-"], &rules)
}

fn name(id: usize) -> String {
    format!("broker-{id}")
}

/// A broker's address.
pub fn address(id: usize) -> String {
    format!("10.77.0.{}", 10 + id)
}

fn in_namespace(name: &str) -> String {
    format!("--net=/run/netns/{name}")
}

/// A command that runs where a broker is.
pub fn at_broker(id: usize) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(in_namespace(&name(id)));
    command
}

/// A command that runs where the clients are.
pub fn at_clients() -> Command {
    let mut command = Command::new("nsenter");
    command.arg(in_namespace(CLIENTS));
    command
}
