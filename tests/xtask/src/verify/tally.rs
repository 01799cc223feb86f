//! Reads from a runner's output how many tests ran. A suite that ran none has failed: silence proves
//! nothing.

/// What a step counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
}

impl Tally {
    /// A plain check, which counts as one.
    pub const ONE: Tally = Tally { passed: 1, failed: 0 };
}

/// Whose closing lines a step's output has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "the client suites and the bed use the rest")]
pub enum Runner {
    /// No test runner: its exit status is all.
    Check,
    /// `cargo test`: one `test result:` line for each binary.
    Cargo,
    /// `pytest`: one `== N passed in S ==` line.
    Pytest,
    /// Our own: one `N passed, M failed` line.
    Plain,
}

impl Runner {
    /// The runner's own closing lines in `output`.
    pub fn closing_lines(self, output: &str) -> Vec<&str> {
        output.lines().filter(|line| self.parse(line).is_some()).collect()
    }

    /// Adds up the closing lines in `output`.
    pub fn count(self, output: &str) -> Tally {
        let mut sum = Tally::default();
        for tally in output.lines().filter_map(|line| self.parse(line)) {
            sum.passed += tally.passed;
            sum.failed += tally.failed;
        }
        sum
    }

    /// What failed, by the runner's own lines in `output`: names of tests and why, or the compiler's errors.
    pub fn failures(self, output: &str) -> Vec<String> {
        let mut failures = Vec::new();
        let mut lines = output.lines().peekable();
        while let Some(line) = lines.next() {
            let is_panic = line.starts_with("thread '") && line.contains(" panicked at ");
            if is_panic {
                // What it says stands in the next line.
                failures.push(format!("{line} {}", lines.peek().unwrap_or(&"")));
            } else if self.names_failure(line) {
                failures.push(line.to_owned());
            }
        }
        failures
    }

    fn names_failure(self, line: &str) -> bool {
        let is_compilers = line.starts_with("error: ") || line.starts_with("error[");
        is_compilers
            || match self {
                Runner::Check => line.starts_with("Diff in "),
                Runner::Cargo => line.starts_with("test ") && line.ends_with(" ... FAILED"),
                Runner::Pytest => line.starts_with("FAILED ") || line.starts_with("ERROR "),
                Runner::Plain => line.trim_start().starts_with("FAIL"),
            }
    }

    fn parse(self, line: &str) -> Option<Tally> {
        match self {
            Runner::Check => None,
            Runner::Cargo => {
                let rest = line.strip_prefix("test result: ")?;
                Some(Tally { passed: before(rest, "passed")?, failed: before(rest, "failed")? })
            }
            Runner::Pytest => {
                let body = line.trim_matches('=').trim();
                if !line.starts_with('=') || !body.contains(" in ") {
                    return None;
                }
                let errors = before(body, "error").or_else(|| before(body, "errors")).unwrap_or(0);
                let failed = before(body, "failed").unwrap_or(0) + errors;
                let passed = before(body, "passed").unwrap_or(0);
                (passed + failed > 0).then_some(Tally { passed, failed })
            }
            Runner::Plain => {
                let (passed, failed) = line.split_once(" passed, ")?;
                let failed = failed.strip_suffix(" failed")?;
                Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
            }
        }
    }
}

/// The number before `word` in text such as `12 passed; 0 failed`.
fn before(text: &str, word: &str) -> Option<u64> {
    let words: Vec<&str> = text.split([' ', ';', ',', '.']).filter(|w| !w.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(runner: Runner, output: &str, passed: u64, failed: u64) {
        assert_eq!(runner.count(output), Tally { passed, failed }, "{output}");
    }

    #[test]
    fn cargo_lines_are_added_up() {
        let ok =
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        check(Runner::Cargo, &format!("running 3 tests\n{ok}\nnoise\n{bad}\n"), 4, 2);
        check(Runner::Cargo, "error: could not compile", 0, 0);
    }

    #[test]
    fn pytest_counts_errors_as_failures() {
        check(Runner::Pytest, "=== 2 failed, 11 passed, 1 error in 12.30s ===", 11, 3);
        check(Runner::Pytest, "===== 12 passed in 0.10s =====", 12, 0);
        check(Runner::Pytest, "===== no tests ran in 0.01s =====", 0, 0);
        check(Runner::Pytest, "12 passed in the text of a test", 0, 0);
    }

    #[test]
    fn failures_are_named_with_what_they_say() {
        let output =
            "test a::b ... ok\ntest a::c ... FAILED\n\nthread 'a::c' (7) panicked at src/a.rs:1:2:\nno\nmore";
        let expected = ["test a::c ... FAILED", "thread 'a::c' (7) panicked at src/a.rs:1:2: no"];
        assert_eq!(Runner::Cargo.failures(output), expected);
        let output = "FAILED clients/test_x.py::test_y - E\nFAIL no";
        assert_eq!(Runner::Pytest.failures(output), ["FAILED clients/test_x.py::test_y - E"]);
        assert_eq!(Runner::Plain.failures("ok a\n  FAILED: b"), ["  FAILED: b"]);
        assert_eq!(Runner::Check.failures("warning: w\nerror: e"), ["error: e"]);
    }

    #[test]
    fn the_plain_line_stands_alone() {
        check(Runner::Plain, "7 passed, 1 failed", 7, 1);
        check(Runner::Plain, "so far 7 passed, 1 failed", 0, 0);
        assert_eq!(Runner::Plain.closing_lines("a\n7 passed, 1 failed\nb"), ["7 passed, 1 failed"]);
    }
}
