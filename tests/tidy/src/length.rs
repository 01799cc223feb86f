//! Files and functions that fit in a head: at most 600 and 70 lines. What is longer is listed here with its
//! length and its reason, and the lists only shrink: an entry that is too generous fails too.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Complaints;
use crate::tree::File;

/// The most lines of a file.
pub const FILE_LINES_MAX: usize = 600;
/// The most lines of a function, from its signature to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;

/// What may be longer, and by how much.
pub struct Exception {
    /// A file's path, or `path::function`.
    pub what: &'static str,
    /// How many lines it has.
    pub lines: usize,
    /// Why it isn't split.
    pub why: &'static str,
}

/// Files over the limit.
pub const LONG_FILES: &[Exception] = &[];
/// Functions over the limit.
pub const LONG_FUNCTIONS: &[Exception] = &[];

/// Checks all Rust files.
pub fn check<'a>(
    files: impl Iterator<Item = &'a File>,
    long_files: &[Exception],
    long_functions: &[Exception],
) -> Complaints {
    let mut found_files = Vec::new();
    let mut found_functions = Vec::new();
    for file in files {
        found_files.push((file.path.clone(), file.text.lines().count()));
        found_functions
            .extend(functions(file).into_iter().map(|(name, n)| (format!("{}::{name}", file.path), n)));
    }
    let mut complaints = compare(&found_files, FILE_LINES_MAX, long_files);
    complaints.extend(compare(&found_functions, FUNCTION_LINES_MAX, long_functions));
    complaints
}

fn compare(found: &[(String, usize)], limit: usize, exceptions: &[Exception]) -> Complaints {
    let mut complaints = Complaints::new();
    for (what, lines) in found.iter().filter(|(_, lines)| *lines > limit) {
        match exceptions.iter().find(|e| e.what == what) {
            None => {
                complaints.push(format!("{what} has {lines} lines; at most {limit} are allowed: split it"))
            }
            Some(e) if e.lines < *lines => {
                complaints
                    .push(format!("{what} has grown to {lines} lines from {}; it may only shrink", e.lines));
            }
            Some(_) => {}
        }
    }
    for e in exceptions {
        let lines =
            found.iter().filter(|(what, _)| what == e.what).map(|(_, lines)| *lines).max().unwrap_or(0);
        if lines <= limit {
            complaints.push(format!("{} is no longer over the limit: remove it from the list", e.what));
        } else if lines < e.lines {
            complaints.push(format!("{} has shrunk to {lines} lines: lower its entry", e.what));
        }
    }
    complaints
}

/// Each function of a file with its length, tests included.
pub fn functions(file: &File) -> Vec<(String, usize)> {
    let Ok(parsed) = syn::parse_file(&file.text) else {
        return Vec::new(); // The compiler says it better.
    };
    let mut found = Functions(Vec::new());
    found.visit_file(&parsed);
    found.0
}

struct Functions(Vec<(String, usize)>);

impl Functions {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let last = block.span().end().line;
        self.0.push((signature.ident.to_string(), last + 1 - first));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_function(lines: usize) -> File {
        File::sample("a.rs", &format!("fn long() {{\n{}}}\n", "    f();\n".repeat(lines - 2)))
    }

    #[track_caller]
    fn complains(file: &File, long_files: &[Exception], long_functions: &[Exception], about: &str) {
        let complaints = check([file].into_iter(), long_files, long_functions);
        assert!(complaints.iter().any(|c| c.contains(about)), "{complaints:?}");
    }

    #[test]
    fn a_long_function_is_found() {
        complains(&long_function(71), &[], &[], "a.rs::long has 71 lines");
        assert!(check([&long_function(70)].into_iter(), &[], &[]).is_empty());
    }

    #[test]
    fn a_long_file_is_found() {
        complains(&File::sample("a.rs", &"//!\n".repeat(601)), &[], &[], "a.rs has 601 lines");
    }

    #[test]
    fn methods_and_defaults_of_traits_count_too() {
        let body = "f();\n".repeat(80);
        let text = format!("impl A {{ fn one(&self) {{ {body} }} }}\ntrait B {{ fn two() {{ {body} }} }}");
        complains(&File::sample("a.rs", &text), &[], &[], "a.rs::one");
        complains(&File::sample("a.rs", &text), &[], &[], "a.rs::two");
    }

    #[test]
    fn the_list_only_shrinks() {
        let entry = |lines| [Exception { what: "a.rs::long", lines, why: "a test" }];
        assert!(check([&long_function(90)].into_iter(), &[], &entry(90)).is_empty());
        complains(&long_function(91), &[], &entry(90), "has grown to 91");
        complains(&long_function(80), &[], &entry(90), "has shrunk to 80");
        complains(&long_function(60), &[], &entry(90), "no longer over the limit");
    }
}
