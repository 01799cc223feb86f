//! Apache Kafka as it is, from its own jars, to be measured in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ottla_it::free_ports;

use crate::process::Server;
use crate::start::single;

/// Any id will do: a cluster of one that is thrown away.
const CLUSTER_ID: &str = "b3R0bGEtYmVuY2htYXJrcw";

/// A folder of jars.
pub struct Kafka {
    jars: PathBuf,
}

impl Kafka {
    /// The jars in `folder`, or fetched by Maven into the cache.
    ///
    /// # Errors
    /// When Maven can't fetch them.
    pub fn find(folder: Option<PathBuf>) -> Result<Self> {
        if let Some(jars) = folder {
            return Ok(Self { jars });
        }
        let home = std::env::var_os("HOME").context("HOME is not set")?;
        let cache = std::env::var_os("OTTLA_CACHE")
            .map_or_else(|| Path::new(&home).join(".cache/ottla"), PathBuf::from);
        let jars = cache.join("kafka-server");
        if !jars.join("complete").exists() {
            let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/pom.xml");
            let status = Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                .arg(pom)
                .arg(format!("-DoutputDirectory={}", jars.display()))
                .status()
                .context("mvn can't be run: install Maven, or name a folder with --kafka-jars")?;
            ensure!(status.success(), "mvn ended with {status}");
            std::fs::write(jars.join("complete"), "")?;
        }
        Ok(Self { jars })
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        // As its own start script has it.
        java.args([
            "-Xmx1G",
            "-Xms1G",
            "-XX:+UseG1GC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
        ]);
        java.arg(format!("{}/*", self.jars.display()));
        java
    }

    /// Formats a folder, then starts a single broker on it.
    ///
    /// # Errors
    /// When Java fails.
    pub fn start(&self, dir: &Path, name: &str) -> Result<(Server, u16)> {
        let (port, data) = (free_ports(), dir.join(name));
        std::fs::create_dir_all(&data)?;
        let properties = data.join("server.properties");
        std::fs::write(&properties, single(port, &data.join("data"), None))?;
        let mut format = self.java();
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&properties);
        let output = format.output().context("java can't be run")?;
        ensure!(output.status.success(), "formatting: {}", String::from_utf8_lossy(&output.stderr));
        let server =
            Server::start(self.java().arg("kafka.Kafka").arg(&properties), &data.join("broker.log"))?;
        Ok((server, port))
    }
}
