//! Prints the figures of the house, each with its target.

use std::process::ExitCode;

use ottla_tidy::{house, tree};

fn main() -> ExitCode {
    let rows = house::rows(&tree::files());
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    for row in &rows {
        let mark = if row.is_met { "ok  " } else { "miss" };
        println!("{mark} {:width$}  {}  (target: {})", row.what, row.here, row.target);
    }
    let missed = rows.iter().filter(|row| !row.is_met).count();
    println!("{} of {} targets met", rows.len() - missed, rows.len());
    ExitCode::SUCCESS
}
