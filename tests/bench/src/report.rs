//! The table of figures.

/// Figures in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<[String; 4]>,
}

impl Report {
    /// Adds a figure and says it at once, as the whole may take a while.
    pub fn add(&mut self, what: &str, who: &str, figure: String, goal: &str) {
        eprintln!("{what}, {who}: {figure}");
        self.rows.push([what.to_owned(), who.to_owned(), figure, goal.to_owned()]);
    }

    /// Prints the table.
    pub fn print(&self) {
        let headings = ["measured", "of", "figure", "goal"].map(str::to_owned);
        let all: Vec<&[String; 4]> = std::iter::once(&headings).chain(&self.rows).collect();
        let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        println!();
        for row in all {
            let line: String =
                row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}   ")).collect();
            println!("{}", line.trim_end());
        }
    }
}

/// The value in the middle.
///
/// # Panics
/// When there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 100.0, 1.0]), 3.0);
    }
}
