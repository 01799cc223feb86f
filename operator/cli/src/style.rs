//! Colours, on a terminal only, and never where NO_COLOR is set.

use std::io::IsTerminal;

/// Whether to colour what goes to one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// For the standard output.
    pub fn stdout() -> Self {
        Self { coloured: std::io::stdout().is_terminal() && allowed() }
    }

    /// For tests and files: never a colour.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { coloured: false }
    }

    /// For the standard error.
    pub fn stderr() -> Self {
        Self { coloured: std::io::stderr().is_terminal() && allowed() }
    }

    /// Bold.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Red.
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Green.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Yellow.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_plain() {
        assert_eq!(Style { coloured: false }.red("x"), "x");
        assert_eq!(Style { coloured: true }.red("x"), "\x1b[1;31mx\x1b[0m");
    }
}
