//! `ottla up`: runs a cluster on this machine, shows how it does, stops it on Ctrl-C.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::task::Waker;
use std::time::Duration;

use ottla_local::{BUILT_IN, DataFolder, LocalCluster, LocalEvent, UpOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::UpArgs;
use crate::failure::{Code, Context, Failure};
use crate::manifests;
use crate::style::Style;

/// A signal that comes so soon after the first is the same one.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Runs the cluster until it is told to stop.
///
/// # Errors
/// When the manifests are refused, a port or the folder is taken, or the system refuses.
pub async fn run(args: &UpArgs) -> Result<(), Failure> {
    if args.print {
        std::io::stdout().lock().write_all(BUILT_IN.as_bytes())?;
        return Ok(());
    }
    let manifests = args.file.as_deref().map(manifests::read).transpose()?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let options = UpOptions {
        folder: DataFolder::new(&args.data.data),
        port: args.port,
        manifests,
        program: program.clone(),
        arguments: vec!["broker".into(), "--until-stdin-closes".into()],
    };
    // Before anything is started: a signal must never find brokers without one who stops them.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let (cluster, mut events) = LocalCluster::start(options).await.map_err(|error| {
        let code = if error.is_invalid_manifest() { Code::Refused } else { Code::Failed };
        Failure::new(&error).remedy(error.remedy()).code(code)
    })?;
    let mut screen = Screen { style: Style::stdout(), greeted: false };
    screen.say(&screen.heading(&cluster, &args.data.data))?;
    let outcome = loop {
        tokio::select! {
            () = signals.next() => break Ok(()),
            event = events.recv() => {
                let Some(event) = event else { break Ok(()) };
                if let Err(error) = screen.show(&event, &cluster, &program, &args.data.data) {
                    break Err(error);
                }
            }
        }
    };
    // A terminal that is gone must not keep the brokers from being stopped.
    let _ = screen.say("\nStopping the brokers (again Ctrl-C: at once)");
    // One press of Ctrl-C may arrive twice, from the terminal and from whoever started us.
    let again = async {
        tokio::time::sleep(AGAIN_AFTER).await;
        signals.drain();
        signals.next().await;
    };
    tokio::select! {
        () = cluster.stop() => {}
        () = again => return Err(Failure::new("stopped at once; the brokers end by themselves")),
    }
    outcome?;
    screen.say(&format!("Stopped. The records stay in {}.", args.data.data.display()))
}

/// What stops a cluster. A terminal that closes ends this process at once; then the brokers end by
/// themselves.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Forgets the signals that came so far.
    fn drain(&mut self) {
        let mut context = std::task::Context::from_waker(Waker::noop());
        for signal in [&mut self.interrupt, &mut self.terminate] {
            while signal.poll_recv(&mut context).is_ready() {}
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

struct Screen {
    style: Style,
    greeted: bool,
}

impl Screen {
    fn say(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()?;
        Ok(())
    }

    fn heading(&self, cluster: &LocalCluster, data: &Path) -> String {
        let brokers = match cluster.brokers() {
            1 => "one broker".to_owned(),
            n => format!("{n} brokers"),
        };
        format!(
            "Cluster {}: {brokers} on this machine, data in {}",
            self.style.bold(&cluster.name()),
            data.display()
        )
    }

    fn show(
        &mut self,
        event: &LocalEvent,
        cluster: &LocalCluster,
        program: &Path,
        data: &Path,
    ) -> Result<(), Failure> {
        if let LocalEvent::UpToDate { after } = event {
            let first = !std::mem::replace(&mut self.greeted, true);
            return match first {
                true => self.say(&self.greeting(*after, cluster, program, data)),
                false => self.say(&format!("  {} after {}", self.style.green("up to date"), seconds(*after))),
            };
        }
        match line(event, self.style) {
            Some(line) => self.say(&format!("  {line}")),
            None => Ok(()),
        }
    }

    fn greeting(&self, after: Duration, cluster: &LocalCluster, program: &Path, data: &Path) -> String {
        let bootstrap = cluster.bootstrap_servers();
        let first = bootstrap.split(',').next().unwrap_or_default();
        let mut text = format!(
            "{} after {}\n\nBootstrap servers: {}\n",
            self.style.green("Ready"),
            seconds(after),
            self.style.bold(&bootstrap)
        );
        if let Some(topic) = cluster.first_topic() {
            let ottla = shown(program);
            text += &format!(
                "\nSend and read a record, from another terminal:\n\n  \
                 echo 'Hello, Ottla' | {ottla} produce {topic} -b {first} && {ottla} consume {topic} -b {first} --from-beginning -n 1\n\n\
                 or with kcat:\n\n  \
                 echo 'Hello, Ottla' | kcat -b {first} -t {topic} -P && kcat -b {first} -t {topic} -C -q -o beginning -c 1\n"
            );
        }
        text + &format!("\nCtrl-C stops it; the records stay in {}.", data.display())
    }
}

/// One line for an event; none for what needs no words.
fn line(event: &LocalEvent, style: Style) -> Option<String> {
    Some(match event {
        LocalEvent::Ready { broker, address, after } => {
            let after = after.map_or("again".to_owned(), |after| format!("after {}", seconds(after)));
            format!("broker {broker}  {address}  {} {after}", style.green("ready"))
        }
        LocalEvent::Died { broker, how, last_words, again_in } => {
            let words =
                last_words.as_ref().map(|words| format!("\n    its last words: {words}")).unwrap_or_default();
            let died = style.yellow(&format!("died ({how})"));
            format!("broker {broker}  {died}, starting it again in {}{words}", seconds(*again_in))
        }
        LocalEvent::NotStarted { broker, why, again_in } => {
            let failed = style.red("could not be started");
            format!("broker {broker}  {failed} ({why}), trying again in {}", seconds(*again_in))
        }
        LocalEvent::RestartWaits { broker, why } => {
            let waits = style.yellow("waits");
            format!("broker {broker}  its restart with new settings {waits}: {why}")
        }
        LocalEvent::Restarting { broker } => format!("broker {broker}  restarting with new settings"),
        LocalEvent::Killed { broker, after } => {
            format!("broker {broker}  {} as it did not end in {}", style.yellow("killed"), seconds(*after))
        }
        LocalEvent::TopicApplied { topic, partitions } => {
            let partitions = match partitions {
                1 => "one partition".to_owned(),
                n => format!("{n} partitions"),
            };
            format!("topic {topic}  {partitions}")
        }
        LocalEvent::TopicFailed { topic, why } => format!("topic {topic}  {}: {why}", style.red("failed")),
        LocalEvent::TopicAdopted { topic, warning: true, message } => {
            format!("topic {topic}  {}: {message}", style.yellow("waits"))
        }
        LocalEvent::TopicAdopted { topic, message, .. } => format!("topic {topic}  {message}"),
        LocalEvent::Started { .. }
        | LocalEvent::Stopped { .. }
        | LocalEvent::UpToDate { .. }
        | LocalEvent::Stopping => {
            return None;
        }
    })
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// How a person would type the program's path from here.
fn shown(program: &Path) -> String {
    let here = std::env::current_dir().ok();
    let near =
        here.and_then(|here| program.strip_prefix(here).ok().map(|path| PathBuf::from(".").join(path)));
    let path = near.unwrap_or_else(|| program.to_owned()).display().to_string();
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b));
    if plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_told_with_its_last_words() {
        let event = LocalEvent::Died {
            broker: 1,
            how: "signal 9".into(),
            last_words: Some("the disk is full".into()),
            again_in: Duration::from_millis(200),
        };
        assert_eq!(
            line(&event, Style::plain()).unwrap(),
            "broker 1  died (signal 9), starting it again in 0.2 s\n    its last words: the disk is full"
        );
    }

    #[test]
    fn paths_can_be_pasted() {
        assert_eq!(shown(Path::new("/usr/bin/ottla")), "/usr/bin/ottla");
        assert_eq!(shown(Path::new("/a b/ottla")), "'/a b/ottla'");
        let here = std::env::current_dir().unwrap().join("target/ottla");
        assert_eq!(shown(&here), "./target/ottla");
    }
}
