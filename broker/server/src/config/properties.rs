//! The syntax of Java's `.properties` files: bytes of ISO-8859-1, comments, continued lines, escapes.
//!
//! Not here: what the keys mean.

use std::iter::Peekable;
use std::str::Chars;

/// One `key=value` of a file, with the line on which it begins (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, its escapes resolved.
    pub key: String,
    /// The value, its escapes resolved; trailing blanks belong to it, as in Java.
    pub value: String,
    /// The number of the line on which the entry begins.
    pub line: usize,
}

/// A `\u` that isn't followed by four hexadecimal digits: the only thing that isn't a properties file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadEscape {
    /// The number of the line on which the entry with the escape begins.
    pub line: usize,
}

/// The text of a properties file: each byte is the character with its number, as in Java, so any file is a
/// text. What isn't in ISO-8859-1 is written as `\uXXXX`.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Parses the text of a properties file into its entries, in their order.
///
/// # Errors
/// When a `\u` escape is malformed.
pub fn parse(text: &str) -> Result<Vec<Entry>, BadEscape> {
    let mut entries = Vec::new();
    // A line ends with either of the two, or both.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.split('\n').enumerate();
    while let Some((index, first)) = lines.next() {
        let mut logical = first.trim_start_matches(is_blank).to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while is_continued(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let line = index + 1;
        let (key, value) = split(&logical, line)?;
        entries.push(Entry { key, value, line });
    }
    Ok(entries)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// A line goes on if it ends in an odd number of backslashes.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

fn split(line: &str, number: usize) -> Result<(String, String), BadEscape> {
    let mut chars = line.chars().peekable();
    let mut key = String::new();
    while let Some(c) = chars.next_if(|c| !is_blank(*c) && !matches!(c, '=' | ':')) {
        push(&mut key, c, &mut chars, number)?;
    }
    while chars.next_if(|c| is_blank(*c)).is_some() {}
    if chars.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while chars.next_if(|c| is_blank(*c)).is_some() {}
    }
    let mut value = String::new();
    while let Some(c) = chars.next() {
        push(&mut value, c, &mut chars, number)?;
    }
    Ok((key, value))
}

/// Adds `c` to `text`, or what its escape stands for.
fn push(text: &mut String, c: char, rest: &mut Peekable<Chars<'_>>, line: usize) -> Result<(), BadEscape> {
    if c != '\\' {
        text.push(c);
        return Ok(());
    }
    match rest.next() {
        None => {}
        Some('t') => text.push('\t'),
        Some('n') => text.push('\n'),
        Some('r') => text.push('\r'),
        Some('f') => text.push('\u{c}'),
        Some('u') => {
            let mut units = vec![unit(rest).ok_or(BadEscape { line })?];
            // A character beyond the first plane is two escapes.
            let mut ahead = rest.clone();
            if matches!(units[0], 0xd800..=0xdbff)
                && (ahead.next(), ahead.next()) == (Some('\\'), Some('u'))
                && let Some(low @ 0xdc00..=0xdfff) = unit(&mut ahead)
            {
                units.push(low);
                *rest = ahead;
            }
            text.push_str(&String::from_utf16_lossy(&units));
        }
        Some(other) => text.push(other),
    }
    Ok(())
}

/// The number that the next four hexadecimal digits are.
fn unit(rest: &mut Peekable<Chars<'_>>) -> Option<u16> {
    let digits: String = rest.take(4).collect();
    let is_whole = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(&digits, 16).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, usize)]) {
        let entries = parse(text).unwrap();
        let got: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn keys_end_at_equals_colon_or_blank() {
        check(
            "a=1\nb:2\nc 3\nd = 4\n e\t:\t5\nf\ng=\nh==x",
            &[
                ("a", "1", 1),
                ("b", "2", 2),
                ("c", "3", 3),
                ("d", "4", 4),
                ("e", "5", 5),
                ("f", "", 6),
                ("g", "", 7),
                ("h", "=x", 8),
            ],
        );
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        check("# a=1\r\n! b=2\r\n\r\n  #c=3\r\nd=#4\r\n", &[("d", "#4", 5)]);
    }

    #[test]
    fn lines_continue_after_an_odd_number_of_backslashes() {
        check("a=1,\\\n   2,\\\n\t3\nb=x\\\\\nc=y\\", &[("a", "1,2,3", 1), ("b", "x\\", 4), ("c", "y", 5)]);
    }

    #[test]
    fn escapes_are_resolved_in_keys_and_values() {
        check(r"a\=b\ c=\t\u0041\:\q", &[("a=b c", "\tA:q", 1)]);
    }

    #[test]
    fn a_malformed_unicode_escape_names_its_line() {
        assert_eq!(parse("a=1\nb=\\u00"), Err(BadEscape { line: 2 }));
        assert_eq!(parse("a=\\u+041"), Err(BadEscape { line: 1 }));
    }

    #[test]
    fn any_bytes_are_a_text() {
        let file = text(b"# caf\xe9\na=caf\xe9\xff");
        check(&file, &[("a", "caf\u{e9}\u{ff}", 2)]);
        check(r"a=\ud83d\ude00 \ud800 \ude00\ud83dx", &[("a", "\u{1f600} \u{fffd} \u{fffd}\u{fffd}x", 1)]);
    }

    #[test]
    fn a_line_ends_as_on_any_system() {
        check(
            "a=1\rb=2\r\nc=3\\\r\n  4\\\r5\n\n\nd=6",
            &[("a", "1", 1), ("b", "2", 2), ("c", "345", 3), ("d", "6", 8)],
        );
    }

    #[test]
    fn blanks_of_all_kinds_separate_and_a_comment_is_none_in_a_continued_line() {
        check("\t a\u{c}1 \\\n# 2\n\\ b=\n:c\n", &[("a", "1 # 2", 1), (" b", "", 3), ("", "c", 4)]);
    }
}
