//! Python's tools and clients, in a virtual environment of their own.

use std::path::PathBuf;

use anyhow::Result;

use super::{Stamp, java, read};
use crate::paths;
use crate::verify::Env;

/// The lists of what the environment holds. The first pins a binary by its hash, which pip wants for all
/// of a call or none.
const LISTS: [&str; 2] = ["tests/xtask/requirements.txt", "tests/it/clients/requirements.txt"];

fn folder() -> PathBuf {
    paths::cache().join("venv")
}

/// A tool of the virtual environment.
pub fn tool(name: &str) -> String {
    folder().join("bin").join(name).display().to_string()
}

/// Makes the virtual environment, again when a list of what it holds has changed.
///
/// # Errors
/// Python or pip fails.
pub fn venv(env: &Env) -> Result<()> {
    let texts: Result<Vec<String>> = LISTS.iter().map(|list| read(&paths::root().join(list))).collect();
    let stamp = Stamp::new(&folder(), &texts?.concat());
    if stamp.holds() {
        return Ok(());
    }
    env.run(env.command("python3").args(["-m", "venv", "--clear"]).arg(folder()))?;
    for list in LISTS {
        let mut install = env.command(&tool("pip"));
        env.run(install.args(["install", "-q", "--disable-pip-version-check", "-r", list]))?;
    }
    stamp.write()
}

/// Runs the client suites against a cluster of the release build.
///
/// # Errors
/// A test fails; the output is in the log.
pub fn clients(env: &Env) -> Result<()> {
    let mut pytest = env.command(&tool("pytest"));
    pytest.args(["-p", "no:cacheprovider", "--color=no", "-ra", "tests/it/clients"]);
    pytest.env("OTTLA_BIN", paths::release_folder()?).env("KAFKA_TOOLS", java::jars());
    env.run(pytest.env("PYTHONDONTWRITEBYTECODE", "1"))
}
