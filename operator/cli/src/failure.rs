//! How a command fails: one line that names the thing, one that names the remedy, and an exit code.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The exit codes, as the help lists them. Clap itself ends with 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It failed.
    Failed = 1,
    /// No cluster could be reached.
    Unreachable = 3,
    /// A manifest was refused.
    Refused = 4,
}

/// What went wrong, for a person.
#[derive(Debug)]
pub struct Failure {
    what: String,
    remedy: Option<String>,
    code: Code,
    quiet: bool,
}

impl Failure {
    /// A failure without a remedy that would help.
    pub fn new(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), remedy: None, code: Code::Failed, quiet: false }
    }

    /// Adds what to do about it.
    pub fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// Adds another way out, where no cluster could be reached.
    pub fn or(mut self, other: &str) -> Self {
        if self.code == Code::Unreachable {
            self.remedy =
                Some(self.remedy.map_or_else(|| other.to_owned(), |remedy| format!("{remedy}, or {other}")));
        }
        self
    }

    /// Says what it is about.
    pub fn about(mut self, what: impl fmt::Display) -> Self {
        self.what = format!("{what}: {}", self.what);
        self
    }

    /// Sets the exit code.
    pub fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Prints it, and tells how the process should end.
    pub fn report(&self) -> ExitCode {
        if self.quiet {
            return ExitCode::SUCCESS;
        }
        let style = crate::style::Style::stderr();
        eprintln!("{} {}", style.red("error:"), self.what);
        if let Some(remedy) = &self.remedy {
            eprintln!("{} {remedy}", style.bold("  fix:"));
        }
        ExitCode::from(self.code as u8)
    }
}

/// A reader that went away, as in `ottla get topics | head -1`, is no failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self { quiet, ..Self::new(error) }
    }
}

/// Names the thing that an error is about.
pub trait Context<T> {
    /// Turns the error into a failure that begins with `what`.
    fn context(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{what}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pipe_is_quiet_and_the_rest_is_not() {
        let broken = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(broken.report(), ExitCode::SUCCESS);
        let other = Failure::from(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(other.report(), ExitCode::from(1));
    }
}
