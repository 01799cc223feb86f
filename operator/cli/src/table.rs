//! Tables as kubectl prints them: capital headings, columns three spaces apart, no lines.

use std::io::{self, Write};

/// Rows under headings.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

/// What stands where there is nothing to say.
pub const NONE: &str = "<none>";

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.rows[0].len(), "a cell for each heading");
        self.rows.push(cells);
    }

    /// Writes the table.
    ///
    /// # Errors
    /// When `out` refuses.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for row in &self.rows {
            let line: String =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   ")).collect();
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "READY"]);
        table.row(["orders".into(), "True".into()]);
        table.row(["é".into(), NONE.into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME     READY\norders   True\né        <none>\n");
    }
}
