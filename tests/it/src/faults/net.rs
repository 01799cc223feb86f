//! One network namespace for each broker and one for the clients, all on a bridge, and the cuts between them.

use std::process::Command;

use anyhow::Result;

use super::shell::{feed, read, run};

/// The bridge and the namespaces on it, one of several side by side. All is gone with the namespaces of the
/// run itself.
#[derive(Debug, Clone, Copy)]
pub struct Net {
    lane: usize,
    brokers: usize,
}

impl Net {
    /// Lays the network of a lane for so many brokers.
    ///
    /// # Errors
    /// The system refuses.
    pub fn lay(lane: usize, brokers: usize) -> Result<Net> {
        let net = Net { lane, brokers };
        let bridge = net.bridge();
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["link", "add", &bridge, "type", "bridge"])?;
        run("ip", &["address", "add", &format!("10.77.{lane}.254/24"), "dev", &bridge])?;
        run("ip", &["link", "set", &bridge, "up"])?;
        for id in 1..=brokers {
            net.plug(&net.name(id), &net.address(id))?;
        }
        net.plug(&net.clients(), &format!("10.77.{lane}.200"))?;
        Ok(net)
    }

    fn plug(&self, name: &str, address: &str) -> Result<()> {
        let wire = format!("wire-{name}");
        run("ip", &["netns", "add", name])?;
        run("ip", &["link", "add", &wire, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        run("ip", &["link", "set", &wire, "master", &self.bridge(), "up"])?;
        run("ip", &["-n", name, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        run("ip", &["-n", name, "link", "set", "eth0", "up"])?;
        run("ip", &["-n", name, "link", "set", "lo", "up"])
    }

    /// Broker `at` no longer hears the brokers `from`; they may still hear it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn deafen(&self, at: usize, from: &[usize]) -> Result<()> {
        let addresses: Vec<String> = from.iter().map(|id| self.address(*id)).collect();
        self.rule(at, &format!("ip saddr {{ {} }} counter drop", addresses.join(", ")))
    }

    /// Every connection to and from a broker is reset, clients' included, and so is every new one.
    ///
    /// # Errors
    /// The system refuses.
    pub fn reset(&self, at: usize) -> Result<()> {
        self.rule(at, "meta l4proto tcp counter reject with tcp reset")
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
        run("ip", &["link", "set", &format!("wire-{}", self.name(id)), "down"])
    }

    /// Everybody hears everybody again. Returns how many packets were kept away.
    ///
    /// # Errors
    /// The system refuses.
    pub fn heal(&self) -> Result<u64> {
        let mut kept_away = 0;
        for id in 1..=self.brokers {
            let rules = read("nsenter", &[&self.in_namespace(&self.name(id)), "nft", "list", "ruleset"])?;
            kept_away += counted(&rules);
            run("ip", &["link", "set", &format!("wire-{}", self.name(id)), "up"])?;
            // Added first, as what isn't there can't be deleted.
            let none = "add table inet faults\ndelete table inet faults\n";
            feed("nsenter", &[&self.in_namespace(&self.name(id)), "nft", "-f", "-"], none)?;
        }
        Ok(kept_away)
    }

    /// A rule for what a broker is sent.
    fn rule(&self, at: usize, rule: &str) -> Result<()> {
        let chain = "add chain inet faults in { type filter hook input priority 0; }";
        let rules = format!("add table inet faults\n{chain}\nadd rule inet faults in {rule}\n");
        feed("nsenter", &[&self.in_namespace(&self.name(at)), "nft", "-f", "-"], &rules)
    }

    fn bridge(&self) -> String {
        format!("bridge-{}", self.lane)
    }

    // Names of interfaces are made of these, and have 15 characters at most.
    fn name(&self, id: usize) -> String {
        format!("{}-{id}", self.lane)
    }

    fn clients(&self) -> String {
        format!("{}-all", self.lane)
    }

    /// A broker's address.
    pub fn address(&self, id: usize) -> String {
        format!("10.77.{}.{}", self.lane, 10 + id)
    }

    fn in_namespace(&self, name: &str) -> String {
        format!("--net=/run/netns/{name}")
    }

    /// A command that runs where a broker is.
    pub fn at_broker(&self, id: usize) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.in_namespace(&self.name(id)));
        command
    }

    /// A command that runs where the clients are.
    pub fn at_clients(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.in_namespace(&self.clients()));
        command
    }
}

/// The packets that the rules of a listing have matched.
fn counted(rules: &str) -> u64 {
    let words: Vec<&str> = rules.split_whitespace().collect();
    let counters = words.windows(3).filter(|three| three[..2] == ["counter", "packets"]);
    counters.filter_map(|three| three[2].parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_over_all_rules() {
        let rules = "chain in {\n ip saddr 10.77.0.11 counter packets 12 bytes 720 drop\n counter packets 3 bytes 1 drop\n}";
        assert_eq!(counted(rules), 15);
        assert_eq!(counted(""), 0);
    }
}
