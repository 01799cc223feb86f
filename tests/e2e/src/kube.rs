//! `kubectl` and `helm` as a person types them, each with a deadline.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::bed::Bed;
use crate::shell::{self, Output};

/// How long a call may take that waits for nothing.
const CALL: Duration = Duration::from_secs(30);

/// The bed's cluster, by its tools.
pub struct Kube<'a> {
    /// The bed.
    pub bed: &'a Bed,
}

impl Kube<'_> {
    /// A `kubectl` command in a namespace.
    pub fn command(&self, namespace: &str, words: &[&str]) -> Command {
        let mut command = self.bed.command("kubectl");
        command.args(["-n", namespace]).args(words);
        command
    }

    /// Runs `kubectl` whatever comes of it.
    ///
    /// # Errors
    /// It doesn't end in time.
    pub fn try_kubectl(&self, namespace: &str, words: &[&str]) -> Result<Output> {
        shell::run(&mut self.command(namespace, words), CALL)
    }

    /// Runs `kubectl` and gives what it printed.
    ///
    /// # Errors
    /// It fails or doesn't end in time.
    pub fn kubectl(&self, namespace: &str, words: &[&str]) -> Result<String> {
        self.try_kubectl(namespace, words)?.ok()
    }

    /// `kubectl apply` of manifests given as text; gives whatever comes of it.
    ///
    /// # Errors
    /// It doesn't end in time.
    pub fn try_apply(&self, namespace: &str, manifests: &str) -> Result<Output> {
        shell::run_with(&mut self.command(namespace, &["apply", "-f", "-"]), manifests.to_owned(), CALL)
    }

    /// `kubectl apply` of manifests given as text.
    ///
    /// # Errors
    /// It is refused, or doesn't end in time.
    pub fn apply(&self, namespace: &str, manifests: &str) -> Result<String> {
        self.try_apply(namespace, manifests)?.ok()
    }

    /// Posts a body to a path of the API; gives whatever comes of it.
    ///
    /// # Errors
    /// It doesn't end in time.
    pub fn try_post(&self, path: &str, body: String) -> Result<Output> {
        shell::run_with(&mut self.command("default", &["create", "--raw", path, "-f", "-"]), body, CALL)
    }

    /// Objects as JSON: one, or a list.
    ///
    /// # Errors
    /// There is no such object.
    pub fn get(&self, namespace: &str, words: &[&str]) -> Result<Value> {
        let words: Vec<&str> = ["get", "-o", "json"].iter().chain(words).copied().collect();
        serde_json::from_str(&self.kubectl(namespace, &words)?).context("kubectl prints JSON")
    }

    /// The items of a list.
    ///
    /// # Errors
    /// As [`Kube::get`].
    pub fn list(&self, namespace: &str, words: &[&str]) -> Result<Vec<Value>> {
        match self.get(namespace, words)?["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("`kubectl get {}` gives no list", words.join(" ")),
        }
    }

    /// Waits for a condition (`condition=Ready`, `delete`, `jsonpath={.status.x}=1`) of some objects.
    ///
    /// # Errors
    /// It isn't so after `limit`; the error has what the objects say of themselves.
    pub fn wait(&self, namespace: &str, objects: &[&str], condition: &str, limit: Duration) -> Result<()> {
        let (until, timeout) = (format!("--for={condition}"), format!("--timeout={}s", limit.as_secs()));
        let words: Vec<&str> = ["wait", &until, &timeout].iter().chain(objects).copied().collect();
        let waited = shell::run(&mut self.command(namespace, &words), limit + CALL)?;
        if waited.status.success() {
            return Ok(());
        }
        let words: Vec<&str> = ["get", "-o", "yaml"].iter().chain(objects).copied().collect();
        let now = self.try_kubectl(namespace, &words)?;
        bail!("{waited}\nas it is now:\n{}{}", now.stdout, now.stderr)
    }

    /// Waits until the condition Ready of an object gives this reason; gives its message.
    ///
    /// # Errors
    /// It gives another one after `limit`.
    pub fn wait_for_reason(
        &self,
        namespace: &str,
        object: &str,
        reason: &str,
        limit: Duration,
    ) -> Result<String> {
        shell::poll(&format!("{object} to be {reason}"), limit, || {
            let found = self.get(namespace, &[object])?;
            let conditions = array(&found, "/status/conditions");
            let ready =
                conditions.iter().find(|c| c["type"] == "Ready").context("there is no condition Ready")?;
            same("its reason", text(ready, "/reason")?, reason)?;
            Ok(text(ready, "/message")?.to_owned())
        })
    }

    /// Runs `helm` whatever comes of it.
    ///
    /// # Errors
    /// It takes longer than `limit`.
    pub fn try_helm(&self, words: &[&str], limit: Duration) -> Result<Output> {
        let helm = std::env::var("OTTLA_HELM").unwrap_or_else(|_| "helm".to_owned());
        shell::run(self.bed.command(&helm).args(words), limit)
    }

    /// Runs `helm`.
    ///
    /// # Errors
    /// It fails or takes longer than `limit`.
    pub fn helm(&self, words: &[&str], limit: Duration) -> Result<String> {
        self.try_helm(words, limit)?.ok()
    }
}

/// The text at a JSON pointer.
///
/// # Errors
/// There is none.
pub fn text<'v>(value: &'v Value, pointer: &str) -> Result<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no text at {pointer} of {value}"))
}

/// The elements of an array at a JSON pointer; none if there is no array.
pub fn array<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Says that two things are the same, and how they differ if not.
///
/// # Errors
/// They differ.
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should_be: T) -> Result<()> {
    ensure!(is == should_be, "{what} is {is:?}, but should be {should_be:?}");
    Ok(())
}
