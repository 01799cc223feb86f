//! Apache Kafka's own command line tools, fetched by Maven.

use std::path::PathBuf;

use anyhow::Result;

use super::{Stamp, read};
use crate::paths;
use crate::verify::Env;

const POM: &str = "tests/it/clients/kafka-tools/pom.xml";

/// The folder of their jars.
pub fn jars() -> PathBuf {
    paths::cache().join("kafka-tools")
}

/// Fetches the jars that the pom names, unless that has been done.
///
/// # Errors
/// Maven fails; its output is in the log.
pub fn kafka_tools(env: &Env) -> Result<()> {
    let stamp = Stamp::new(&jars(), &read(&paths::root().join(POM))?);
    if stamp.holds() {
        return Ok(());
    }
    let mut fetch = env.command("mvn");
    fetch.args(["-q", "-B", "-f", POM, "dependency:copy-dependencies"]);
    env.run(fetch.arg(format!("-DoutputDirectory={}", jars().display())))?;
    stamp.write()
}
