//! `ottla check`: judges histories that clients wrote.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write, stdin};
use std::path::Path;
use std::time::Duration;

use ottla_history::{History, Operation, Report};

use crate::args::CheckArgs;
use crate::failure::{Context, Failure};
use crate::style::Style;
use crate::table::Table;

/// Reads the files and prints what they show.
///
/// # Errors
/// A file can't be read, or a rule is violated.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let mut history = History::new();
    for path in &args.files {
        if path == Path::new("-") {
            read(stdin().lock(), path, &mut history)?;
        } else {
            read(File::open(path).context(path.display())?, path, &mut history)?;
        }
    }
    let report = history.check();
    print(&report, Style::stdout(), &mut std::io::stdout().lock())?;
    judge(&report, args.lag_max_ms)
}

fn read(from: impl Read, path: &Path, history: &mut History) -> Result<(), Failure> {
    let mut reader = BufReader::with_capacity(1 << 20, from);
    let (mut line, mut number) = (String::new(), 0);
    while reader.read_line(&mut line).context(path.display())? > 0 {
        number += 1;
        let operation = Operation::from_line(&line).context(format!("{} line {number}", path.display()));
        history.push(&operation.map_err(|failure| {
            failure.remedy(
                "write one operation a line, as `ottla check --help` shows; one cut short may be taken out",
            )
        })?);
        line.clear();
    }
    Ok(())
}

fn print(report: &Report, style: Style, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{} operations of {} processes on {} keys: {} sends acknowledged, {} failed, {} unknown; {} records read\n",
        report.operations,
        report.processes,
        report.keys,
        report.sends_ok,
        report.sends_failed,
        report.sends_unknown,
        report.records_read,
    )?;
    let mut table = Table::new(&["CHECK", "FOUND", "RULE"]);
    for checked in &report.checks {
        let found = if checked.applies { checked.findings.count.to_string() } else { "-".to_owned() };
        table.row([checked.check.name().to_owned(), found, checked.check.rule().to_owned()]);
    }
    table.write(out)?;
    if report.checks.iter().any(|c| !c.applies) {
        writeln!(out, "-: there was no reading at the end")?;
    }
    let lag = report.lag;
    let ms = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1000.0;
    writeln!(
        out,
        "\nfrom acknowledgement to first read: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms over {} records",
        ms(lag.p50_ns),
        ms(lag.p99_ns),
        ms(lag.max_ns),
        lag.records
    )?;
    if report.violations() > 0 {
        writeln!(out)?;
    }
    for checked in report.checks.iter().filter(|c| c.findings.count > 0) {
        for finding in &checked.findings.examples {
            writeln!(out, "{} {finding}", style.red(&format!("{}:", checked.check.name())))?;
        }
        let more = checked.findings.count - checked.findings.examples.len() as u64;
        if more > 0 {
            writeln!(out, "{}: {more} more", checked.check.name())?;
        }
    }
    Ok(())
}

fn judge(report: &Report, lag_max_ms: Option<u64>) -> Result<(), Failure> {
    if report.operations == 0 {
        return Err(Failure::new("the history is empty, which proves nothing"));
    }
    if report.violations() > 0 {
        return Err(Failure::new(format!("the history has {} violations", report.violations())));
    }
    match lag_max_ms.filter(|max| Duration::from_nanos(report.lag.max_ns) > Duration::from_millis(*max)) {
        Some(max) => {
            Err(Failure::new(format!("a record was first read more than {max} ms after its acknowledgement")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"process":"w","start":1,"end":2000000,"outcome":"ok","steps":[{"send":["a-0",5,0]}]}
{"process":"r","start":3,"end":7000000,"outcome":"ok","steps":[{"poll":{"a-0":[[0,5]]}}]}
"#;

    /// What is printed, and how it ends.
    fn check(text: &str, lag_max_ms: Option<u64>) -> (String, Result<(), String>) {
        let mut history = History::new();
        if let Err(failure) = read(text.as_bytes(), Path::new("h.jsonl"), &mut history) {
            return (String::new(), Err(format!("{failure:?}")));
        }
        let report = history.check();
        let mut out = Vec::new();
        print(&report, Style::plain(), &mut out).unwrap();
        let ended = judge(&report, lag_max_ms).map_err(|failure| format!("{failure:?}"));
        (String::from_utf8(out).unwrap(), ended)
    }

    #[test]
    fn a_good_history_passes_and_its_figures_are_printed() {
        let (out, ended) = check(GOOD, Some(5));
        assert_eq!(ended, Ok(()));
        assert!(out.contains("2 operations of 2 processes on 1 keys: 1 sends acknowledged"), "{out}");
        let row =
            |name: &str| out.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert!(row("lost write").starts_with("0 ") && row("unseen").starts_with("- "), "{out}");
        assert!(out.contains("max 5 ms over 1 records"), "{out}");
    }

    #[test]
    fn a_violation_is_named_and_fails() {
        let twice = r#"{"process":"s","start":3,"end":4,"outcome":"ok","steps":[{"poll":{"a-0":[[1,5]]}}]}"#;
        let (out, ended) = check(&format!("{GOOD}{twice}\n"), None);
        assert!(out.contains("duplicate: a-0: value 5 is at offset 0 and at 1"), "{out}");
        assert!(ended.unwrap_err().contains("1 violations"));
    }

    #[test]
    fn a_line_that_is_cut_short_is_named() {
        let (_, ended) = check(&GOOD[..GOOD.len() - 9], None);
        assert!(ended.unwrap_err().contains("h.jsonl line 2"));
    }

    #[test]
    fn a_reader_too_far_behind_and_an_empty_history_fail() {
        assert!(check(GOOD, Some(4)).1.unwrap_err().contains("more than 4 ms"));
        assert!(check("", None).1.unwrap_err().contains("empty"));
    }
}
