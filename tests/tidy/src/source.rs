//! What a Rust file must have, and what it mustn't.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::Complaints;
use crate::tree::File;

/// The most variants of an enum of errors: more, and it is no longer one operation's.
const ERROR_VARIANTS_MAX: usize = 12;

/// `unwrap` and `expect` together, outside tests, for each thousand lines. An `expect` says why it can't
/// fail, so a few are better than none; an `unwrap` says nothing.
pub const UNWRAPS_PER_1000_LINES_MAX: f64 = 5.0;

/// Every file opens by saying what it is.
pub fn opens_with_its_purpose(file: &File) -> Complaints {
    match file.text.starts_with("//! ") {
        true => Complaints::new(),
        false => vec![format!("{}: open with `//! ` and say what the file is", file.path)],
    }
}

/// Nothing is put off: no `todo!`, no `unimplemented!`, no ignored test.
pub fn puts_nothing_off(file: &File) -> Complaints {
    let Ok(tokens) = file.text.parse::<TokenStream>() else {
        return Complaints::new(); // The compiler says it better.
    };
    let mut found = Vec::new();
    put_off(tokens, &mut found);
    found.into_iter().map(|(line, what)| format!("{}:{line}: {what} puts work off", file.path)).collect()
}

fn put_off(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for pair in tokens.windows(2) {
        let line = pair[0].span().start().line;
        match pair {
            [TokenTree::Ident(name), TokenTree::Punct(mark)]
                if mark.as_char() == '!' && (name == "todo" || name == "unimplemented") =>
            {
                found.push((line, format!("{name}!")));
            }
            [TokenTree::Punct(mark), TokenTree::Group(attribute)]
                if mark.as_char() == '#' && attribute.delimiter() == Delimiter::Bracket =>
            {
                let first = attribute.stream().into_iter().next();
                if matches!(first, Some(TokenTree::Ident(name)) if name == "ignore") {
                    found.push((line, "#[ignore]".to_owned()));
                }
            }
            _ => {}
        }
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            put_off(group.stream(), found);
        }
    }
}

/// Enums of errors stay one operation's.
pub fn error_enums_are_small(file: &File) -> Complaints {
    let Ok(parsed) = syn::parse_file(&file.text) else {
        return Complaints::new();
    };
    let mut complaints = Complaints::new();
    for (variants, name) in error_enums(&parsed) {
        if variants > ERROR_VARIANTS_MAX {
            complaints.push(format!(
                "{}: {name} has {variants} variants; at most {ERROR_VARIANTS_MAX} are one operation's",
                file.path
            ));
        }
    }
    complaints
}

/// The largest enum of errors of a file: its number of variants and its name.
pub fn largest_error_enum(file: &File) -> Option<(usize, String)> {
    error_enums(&syn::parse_file(&file.text).ok()?).into_iter().max()
}

fn error_enums(parsed: &syn::File) -> Vec<(usize, String)> {
    let mut found = Enums(Vec::new());
    found.visit_file(parsed);
    found.0
}

/// The number of variants and the name of each enum of errors.
struct Enums(Vec<(usize, String)>);

impl<'ast> Visit<'ast> for Enums {
    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        let name = item.ident.to_string();
        if name.ends_with("Error") {
            self.0.push((item.variants.len(), name));
        }
        visit::visit_item_enum(self, item);
    }
}

/// The product's lines and its calls of `unwrap` and `expect`: what stands before a file's unit tests.
pub fn unwraps(file: &File) -> (usize, usize) {
    let product = file.product();
    let code = product.lines().map(|line| line.split("//").next().unwrap_or_default());
    let calls = code.map(|line| line.matches(".unwrap()").count() + line.matches(".expect(\"").count()).sum();
    (product.lines().count(), calls)
}

/// Over all files that aren't tests.
pub fn unwraps_are_rare<'a>(files: impl Iterator<Item = &'a File>) -> Complaints {
    let mut worst: Vec<(usize, &str)> = Vec::new();
    let (mut lines, mut calls) = (0, 0);
    for file in files.filter(|f| !f.is_test()) {
        let (of_file, called) = unwraps(file);
        lines += of_file;
        calls += called;
        worst.push((called, &file.path));
    }
    worst.sort_unstable();
    let density = calls as f64 * 1000.0 / lines.max(1) as f64;
    if density <= UNWRAPS_PER_1000_LINES_MAX {
        return Complaints::new();
    }
    let most: Vec<String> = worst.iter().rev().take(5).map(|(n, path)| format!("{path} ({n})")).collect();
    vec![format!("{density:.1} calls of unwrap or expect in 1,000 lines; most in {}", most.join(", "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File::sample("a.rs", text)
    }

    #[test]
    fn a_file_that_does_not_say_what_it_is_is_found() {
        assert_eq!(opens_with_its_purpose(&file("use a;\n//! late\n")).len(), 1);
        assert_eq!(opens_with_its_purpose(&file("//!\n")).len(), 1);
        assert!(opens_with_its_purpose(&file("//! What it is.\n")).is_empty());
    }

    #[test]
    fn work_that_is_put_off_is_found_in_macros_too() {
        let text = "fn a() { todo!() }\nfn b() { v![x, unimplemented!(\"y\")] }\n#[test]\n#[ignore = \"slow\"]\nfn c() {}";
        let complaints = puts_nothing_off(&file(text));
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(
            puts_nothing_off(&file("// todo!()\nfn a() { \"todo!() #[ignore]\"; ignore(); }")).is_empty()
        );
    }

    #[test]
    fn a_bag_of_errors_is_found() {
        let variants: String = (0..13).map(|n| format!("V{n},")).collect();
        assert_eq!(error_enums_are_small(&file(&format!("enum AppendError {{ {variants} }}"))).len(), 1);
        assert!(error_enums_are_small(&file(&format!("enum Codes {{ {variants} }}"))).is_empty());
    }

    #[test]
    fn unwraps_are_counted_outside_tests_and_comments() {
        let text = "a.unwrap();\n// b.unwrap()\nc.expect(\"why\");\nd.unwrap_or(1);\n#[cfg(test)]\nmod tests {\ne.unwrap();\n";
        assert_eq!(unwraps(&file(text)), (4, 2));
        assert_eq!(unwraps_are_rare([&file(text)].into_iter()).len(), 1);
        assert!(unwraps_are_rare([&File::sample("tests/a.rs", text)].into_iter()).is_empty());
    }
}
