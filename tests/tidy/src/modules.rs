//! The modules of a crate use each other in one direction.
//!
//! In no folder do modules use each other in a circle. In those of [`crate::orders::ORDERS`] each uses only
//! those before it, as ARCHITECTURE.md lists them. Paths are followed by their text: `crate::…`, `super::…`,
//! and by way of what a parent re-exports. As between crates, what only tests use may point anywhere. Not
//! here: the crates themselves; that is [`crate::direction`].

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Complaints;
use crate::orders::Order;
use crate::tree::File;

/// Reads all crates among `files`.
pub fn packages(files: &[File]) -> Vec<Package<'_>> {
    let sources = files.iter().filter_map(|file| file.path.strip_suffix("/lib.rs"));
    sources.map(|source| Package::read(files, source)).collect()
}

/// Checks what the modules of each folder in `orders` use.
pub fn check(packages: &[Package<'_>], orders: &[Order]) -> Complaints {
    orders.iter().flat_map(|order| check_one(packages, order)).collect()
}

/// Checks that modules use each other in a circle in no folder but those of `exceptions`, and that they still
/// do there.
pub fn circles(packages: &[Package<'_>], exceptions: &[&str]) -> Complaints {
    let mut complaints = Complaints::new();
    for package in packages {
        for (at, module) in &package.modules {
            let folder = package.path_of(at);
            let circle = in_circles(package, at, module);
            match exceptions.contains(&folder.as_str()) {
                true if circle.is_empty() => {
                    complaints.push(format!("{folder}: no circle is left, take it off the list"));
                }
                true => {}
                false => complaints.extend(circle),
            }
        }
    }
    complaints
}

/// Checks that `architecture` lists each of `orders` as it is here.
pub fn drawn(architecture: &File, orders: &[Order]) -> Complaints {
    let mut complaints = Complaints::new();
    for row in orders.iter().map(row) {
        if !architecture.text.lines().any(|line| line == row) {
            complaints.push(format!("{}: this row is missing, or another: {row}", architecture.path));
        }
    }
    complaints
}

/// The row of a table in ARCHITECTURE.md.
fn row(order: &Order) -> String {
    let names: Vec<String> = order.modules.iter().map(|name| format!("`{name}`")).collect();
    format!("| `{}` | {} |", order.folder, names.join(", "))
}

fn check_one(packages: &[Package<'_>], order: &Order) -> Complaints {
    let folder = order.folder;
    let (source, at) = crate_and_module(folder);
    let package = packages.iter().find(|package| package.source == source);
    let found = package.and_then(|package| Some((package, package.modules.get(&at)?)));
    let Some((package, parent)) = found else {
        return vec![format!("{folder}: there is no such module")];
    };
    let mut complaints = compare(parent, order);
    for (position, module) in order.modules.iter().enumerate() {
        for (used, place) in package.used_by(&at, parent, module) {
            if used == "*" {
                complaints.push(format!("{place}: use names, not all that there are"));
            } else if order.modules.iter().position(|other| *other == used).is_some_and(|to| to > position) {
                complaints.push(format!("{place}: {module} must not use {used}, which stands after it"));
            }
        }
    }
    // One for several names of one import.
    complaints.dedup();
    complaints
}

/// Checks that just the modules which `parent` declares have a place.
fn compare(parent: &Module, order: &Order) -> Complaints {
    let (folder, there) = (order.folder, parent.child_names());
    let mut complaints = Complaints::new();
    for name in there.iter().filter(|name| !order.modules.contains(name)) {
        complaints.push(format!("{folder}: {name} isn't in the table of tests/tidy/src/modules.rs"));
    }
    for name in order.modules.iter().filter(|name| !there.contains(**name)) {
        complaints.push(format!("{folder}: there is no module {name}"));
    }
    if parent.names.contains_key("*") {
        complaints.push(format!("{folder}: re-export names, not all that a module has"));
    }
    complaints
}

/// How the modules in `parent`, which is at `at`, use each other in circles: one use for each pair.
fn in_circles(package: &Package<'_>, at: &[String], parent: &Module) -> Complaints {
    let mut uses: BTreeMap<(String, String), String> = BTreeMap::new();
    for module in parent.child_names() {
        for (used, place) in package.used_by(at, parent, module) {
            uses.entry((module.to_owned(), used)).or_insert(place);
        }
    }
    // Whoever uses none of the others is in no circle, nor is whom none of them uses; then the same among
    // those left.
    loop {
        let users: BTreeSet<String> = uses.keys().map(|(user, _)| user.clone()).collect();
        let used: BTreeSet<String> = uses.keys().map(|(_, used)| used.clone()).collect();
        let before = uses.len();
        uses.retain(|(from, to), _| used.contains(from) && users.contains(to));
        if uses.len() == before {
            break;
        }
    }
    uses.iter().map(|((from, to), place)| format!("{place}: {from} uses {to}, within a circle")).collect()
}

/// A folder's crate, by its folder `src`, and the module that the folder is of.
fn crate_and_module(folder: &str) -> (&str, Vec<String>) {
    let end = folder.find("/src").map_or(folder.len(), |start| start + "/src".len());
    let (source, module) = folder.split_at(end);
    (source, module.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// A crate.
pub struct Package<'a> {
    /// Its folder `src`.
    source: &'a str,
    /// Its modules that are files of their own, by their paths from its root, but for those of tests.
    modules: BTreeMap<Vec<String>, Module<'a>>,
}

impl<'a> Package<'a> {
    fn read(files: &'a [File], source: &'a str) -> Self {
        let (mut modules, mut unread) = (BTreeMap::new(), vec![Vec::new()]);
        while let Some(at) = unread.pop() {
            if let Some(module) = Module::read(files, source, &at) {
                unread.extend(module.children.iter().cloned());
                modules.insert(at, module);
            }
        }
        Self { source, modules }
    }

    /// The folder of a module, or its file without its ending.
    fn path_of(&self, at: &[String]) -> String {
        [self.source].into_iter().chain(at.iter().map(String::as_str)).collect::<Vec<_>>().join("/")
    }

    /// Which others in `parent`, which is at `at`, one of its modules uses with all that is in it, and where;
    /// `*` for all of their names.
    fn used_by(&self, at: &[String], parent: &Module<'_>, name: &str) -> Vec<(String, String)> {
        let is_within = |path: &[String]| {
            path.strip_prefix(at).is_some_and(|rest| rest.first().is_some_and(|n| n == name))
        };
        let (mut used, there) = (Vec::new(), parent.child_names());
        for (_, module) in self.modules.iter().filter(|(path, _)| is_within(path)) {
            for (line, path) in &module.uses {
                let Some(first) = path.strip_prefix(at).and_then(|rest| rest.first()) else { continue };
                let other = parent.module_of(at, first, &there);
                if let Some(other) = other.filter(|other| *other != name) {
                    used.push((other.to_owned(), format!("{}:{line}", module.file)));
                }
            }
        }
        used
    }
}

/// What stands in one file. All paths are from the crate's root.
#[derive(Default)]
struct Module<'a> {
    file: &'a str,
    /// The module's own path; while one within it is read, that one's.
    at: Vec<String>,
    /// The modules that it declares and that are files of their own, but for those of tests.
    children: Vec<Vec<String>>,
    /// What it uses, and in which line.
    uses: Vec<(usize, Vec<String>)>,
    /// What the names mean that it imports or re-exports.
    names: BTreeMap<String, Vec<String>>,
}

impl<'a> Module<'a> {
    fn read(files: &'a [File], source: &str, at: &[String]) -> Option<Self> {
        let path = [source].into_iter().chain(at.iter().map(String::as_str)).collect::<Vec<_>>().join("/");
        let paths = match at {
            [] => vec![format!("{path}/lib.rs")],
            _ => vec![format!("{path}.rs"), format!("{path}/mod.rs")],
        };
        let file = files.iter().find(|file| paths.contains(&file.path))?;
        let mut module = Self { file: &file.path, at: at.to_vec(), ..Self::default() };
        module.visit_file(&syn::parse_file(&file.text).ok()?);
        Some(module)
    }

    /// The names of the modules that are in it.
    fn child_names(&self) -> BTreeSet<&str> {
        self.children.iter().filter_map(|child| child.last()).map(String::as_str).collect()
    }

    /// The one of the modules `there` in this one, which is at `at`, that a name here leads to; none for what
    /// is its own, or a test's.
    fn module_of<'n>(&self, at: &[String], name: &'n str, there: &BTreeSet<&'n str>) -> Option<&'n str> {
        if name == "*" || there.contains(name) {
            return Some(name);
        }
        let first = self.names.get(name)?.strip_prefix(at)?.first()?;
        there.get(first.as_str()).copied()
    }

    /// What a path means that begins with `crate`, `self` or `super`; any other begins here, or in another
    /// crate.
    fn absolute(&self, path: &[String]) -> Vec<String> {
        let (mut base, mut rest) = (self.at.clone(), path);
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                _ => break,
            }
            rest = after;
        }
        base.extend_from_slice(rest);
        base
    }

    fn note(&mut self, line: usize, path: &[String]) {
        if let [first, _, ..] = path
            && is_local(first)
        {
            self.uses.push((line, self.absolute(path)));
        }
    }

    /// Notes the paths in a macro's arguments.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let mut path = vec![first.to_string()];
                    while let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(next), ..] =
                        &tokens[at + 1..]
                        && one.as_char() == ':'
                        && two.as_char() == ':'
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.note(line, &path);
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Module<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.attrs.iter().any(is_for_tests) {
            return;
        }
        self.at.push(item.ident.to_string());
        match item.content {
            Some(_) => visit::visit_item_mod(self, item),
            None => self.children.push(self.at.clone()),
        }
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut imports = Vec::new();
        flatten(&item.tree, &[], &mut imports);
        for (path, name) in imports {
            self.note(item.span().start().line, &path);
            self.names.insert(name, self.absolute(&path));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(path.span().start().line, &names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}

fn is_local(first: &str) -> bool {
    matches!(first, "crate" | "self" | "super")
}

fn is_for_tests(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|what| what == "test")
}

/// The paths of an import, each with the name that it gets here; `*` for all names.
fn flatten(tree: &syn::UseTree, before: &[String], imports: &mut Vec<(Vec<String>, String)>) {
    let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
    match tree {
        syn::UseTree::Path(path) => flatten(&path.tree, &with(path.ident.to_string()), imports),
        syn::UseTree::Name(name) if name.ident == "self" => {
            imports.push((before.to_vec(), before.last().cloned().unwrap_or_default()));
        }
        syn::UseTree::Name(name) => {
            imports.push((with(name.ident.to_string()), name.ident.to_string()));
        }
        syn::UseTree::Rename(renamed) if renamed.ident == "self" => {
            imports.push((before.to_vec(), renamed.rename.to_string()));
        }
        syn::UseTree::Rename(renamed) => {
            imports.push((with(renamed.ident.to_string()), renamed.rename.to_string()));
        }
        syn::UseTree::Glob(_) => imports.push((with("*".to_owned()), "*".to_owned())),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, before, imports)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::order;

    const THREE: Order = order("x/src", &["low", "middle", "high"]);
    const ROOT: &str = "mod high; mod low; mod middle;\n#[cfg(test)] mod more_tests;\npub use high::Top;\n";

    fn package(files: &[(&str, &str)]) -> Vec<File> {
        let all = [("lib.rs", ROOT), ("low.rs", ""), ("middle/mod.rs", "mod inner;"), ("high.rs", "")];
        let other = |(name, _): &&(&str, &str)| files.iter().all(|(given, _)| given != name);
        let all = all.iter().filter(other).chain(files);
        all.map(|(name, text)| File::sample(&format!("x/src/{name}"), text)).collect()
    }

    #[track_caller]
    fn fine(name: &str, text: &str) {
        assert_eq!(check(&packages(&package(&[(name, text)])), &[THREE]), Complaints::new(), "{text}");
    }

    #[track_caller]
    fn complains(name: &str, text: &str, about: &str) {
        let complaints = check(&packages(&package(&[(name, text)])), &[THREE]);
        assert!(matches!(&complaints[..], [one] if one.contains(about)), "{text}: {complaints:?}");
    }

    #[test]
    fn what_stands_before_may_be_used() {
        fine("high.rs", "use crate::{low::A, middle};\nfn f() -> super::low::B { middle::g(self::h()) }");
        fine("middle/inner.rs", "use super::super::low::A;\nuse super::C;\npub(in crate::middle) fn f() {}");
        fine("low.rs", "use other::high::A;\nuse std::{fmt, io::{self, Read}};\nfn f() { high::g() }");
    }

    #[test]
    fn what_stands_after_may_not() {
        complains("low.rs", "\nuse crate::high::A;", "low.rs:2: low must not use high");
        complains("low.rs", "use crate::{Own, middle::{A, B as C}};", "low.rs:1: low must not use middle");
        complains("middle/inner.rs", "use super::super::high as h;", "inner.rs:1: middle must not use high");
        complains("low.rs", "fn f() {\n crate::high::g() }", "low.rs:2: low must not use high");
        complains("low.rs", "struct A(Vec<super::high::B>);", "low must not use high");
        complains("low.rs", "impl A for B where C: crate::high::D {}", "low must not use high");
        complains("low.rs", "fn f() { debug!(a = %b, \"{}\", g(\n&crate::high::C)) }", "low.rs:2: low must");
        complains("low.rs", "mod inside { use super::super::high::A; }", "low must not use high");
    }

    #[test]
    fn what_a_parent_re_exports_is_where_it_comes_from() {
        complains("middle/mod.rs", "use crate::Top;", "middle must not use high");
        complains("low.rs", "use super::Top as A;", "low must not use high");
        complains("low.rs", "use crate::*;", "low.rs:1: use names");
        let all = format!("{ROOT}pub use low::*;");
        complains("lib.rs", &all, "re-export names");
    }

    #[test]
    fn tests_may_use_everything() {
        fine("low.rs", "#[cfg(test)]\nmod tests {\n use crate::high::A; }");
        fine("low.rs", "#[cfg(test)]\nmod more;");
        let mut files = package(&[("low.rs", "#[cfg(test)]\nmod more;\nfn f() { super::more_tests::g() }")]);
        files.push(File::sample("x/src/low/more.rs", "use crate::high::A;"));
        files.push(File::sample("x/src/more_tests.rs", "use crate::high::A;"));
        assert_eq!(check(&packages(&files), &[THREE]), Complaints::new());
    }

    #[test]
    fn the_table_has_just_the_modules_that_there_are() {
        let more = format!("{ROOT}mod other;");
        complains("lib.rs", &more, "other isn't in the table");
        complains("lib.rs", "mod high;\nmod middle;", "there is no module low");
        assert_eq!(check(&packages(&[]), &[THREE]).len(), 1, "there is no such crate");
    }

    #[test]
    fn modules_within_a_module_have_an_order_too() {
        const TWO: Order = order("x/src/middle", &["first", "second"]);
        let parent = "mod first;\nmod second;\npub use second::S;\nstruct Own;";
        let complaints = |first: &str| {
            let files = [
                ("middle/mod.rs", parent),
                ("middle/first.rs", first),
                ("middle/second.rs", "use super::first;"),
            ];
            check(&packages(&package(&files)), &[TWO])
        };
        assert_eq!(complaints("use super::Own;\nuse crate::high::second::A;"), Complaints::new());
        for up in ["use super::second::A;", "use crate::middle::second;", "use crate::middle::S;"] {
            assert_eq!(complaints(up).len(), 1, "{up}");
        }
    }

    #[test]
    fn a_circle_is_found_in_any_folder() {
        let files = [("low.rs", "use crate::high::A;"), ("middle/mod.rs", "use crate::high::B;")];
        let one_way = package(&files);
        assert_eq!(circles(&packages(&one_way), &[]), Complaints::new());
        assert_eq!(circles(&packages(&one_way), &["x/src"]).len(), 1, "it is still on the list");
        let circle = package(&[files[0], files[1], ("high.rs", "fn f() {\n super::low::g() }")]);
        let told = [
            "x/src/high.rs:2: high uses low, within a circle".to_owned(),
            "x/src/low.rs:1: low uses high, within a circle".to_owned(),
        ];
        assert_eq!(circles(&packages(&circle), &[]), told);
        assert_eq!(circles(&packages(&circle), &["x/src"]), Complaints::new());
    }

    #[test]
    fn the_picture_has_the_same_order() {
        let text = "| where | order |\n| `x/src` | `low`, `middle`, `high` |\n";
        assert_eq!(drawn(&File::sample("A.md", text), &[THREE]), Complaints::new());
        let other = text.replace("`low`, `middle`", "`middle`, `low`");
        assert_eq!(drawn(&File::sample("A.md", &other), &[THREE]).len(), 1);
    }
}
