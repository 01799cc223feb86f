//! Modules inside a crate use each other in one direction: each those before it, as ARCHITECTURE.md lists them.
//!
//! Paths are followed by their text: `crate::…`, `super::…`, and by way of what a parent re-exports. As between crates,
//! what only tests use may point anywhere. Not here: the crates themselves; that is [`crate::direction`].

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Complaints;
use crate::tree::File;

/// The modules in one folder, each of which may use those before it.
pub struct Rooms {
    /// The folder of a crate's root, or of a module.
    pub folder: &'static str,
    /// The modules there, but for those of tests.
    pub order: &'static [&'static str],
}

const fn rooms(folder: &'static str, order: &'static [&'static str]) -> Rooms {
    Rooms { folder, order }
}

/// The whole picture.
pub const ROOMS: &[Rooms] = &[
    rooms("broker/core/src", &["config", "metadata", "partition"]),
    rooms("broker/core/src/config", &["table", "validate", "throttle", "resolve"]),
    rooms(
        "broker/core/src/metadata",
        &[
            "index",
            "image",
            "check",
            "replica_command",
            "command",
            "record",
            "reply",
            "replay",
            "snapshot",
            "succession",
            "decide",
        ],
    ),
    rooms(
        "broker/core/src/metadata/decide",
        &["refusals", "configs", "partitions", "topics", "settle", "reassign", "brokers", "isr", "chores"],
    ),
    rooms(
        "broker/core/src/partition",
        &["assignment", "lag", "log_facts", "leader", "follower", "replica", "following", "leading"],
    ),
    rooms(
        "broker/server/src",
        &[
            "clock",
            "contained",
            "config",
            "logging",
            "net",
            "http",
            "producer_ids",
            "partitions",
            "throttle",
            "metrics",
            "fetch",
            "broker",
            "request",
            "replication",
            "handlers",
            "start",
        ],
    ),
    rooms(
        "broker/server/src/config",
        &["kind", "ignored", "properties", "table", "source", "listeners", "typed"],
    ),
    rooms(
        "broker/server/src/net",
        &[
            "rate",
            "budget",
            "connections",
            "kept",
            "turns",
            "limits",
            "progress",
            "frame",
            "output",
            "connection",
            "listener",
            "side",
        ],
    ),
    rooms(
        "broker/server/src/partitions",
        &["ready", "high_watermarks", "waiters", "partition", "streams", "manager", "openings"],
    ),
    rooms(
        "broker/store/src",
        &[
            "disk",
            "error",
            "real",
            "parallel",
            "config",
            "changes",
            "meta",
            "journal",
            "offsets",
            "held",
            "shared",
            "segment",
            "damage",
            "partition",
            "patient",
            "append",
            "commit",
            "read",
            "known_damage",
            "side",
            "repair",
            "retain",
            "time",
            "load",
            "recover",
            "cut",
            "scrub",
            "store",
            "upkeep",
        ],
    ),
];

/// Checks what the modules of each of `rooms` use.
pub fn check(files: &[File], rooms: &[Rooms]) -> Complaints {
    rooms.iter().flat_map(|rooms| check_one(files, rooms)).collect()
}

/// Checks that `architecture` lists each of `rooms` as it is here.
pub fn drawn(architecture: &File, rooms: &[Rooms]) -> Complaints {
    let mut complaints = Complaints::new();
    for row in rooms.iter().map(row) {
        if !architecture.text.lines().any(|line| line == row) {
            complaints.push(format!("{}: this row is missing, or another: {row}", architecture.path));
        }
    }
    complaints
}

/// The row of a table in ARCHITECTURE.md.
fn row(rooms: &Rooms) -> String {
    let names: Vec<String> = rooms.order.iter().map(|room| format!("`{room}`")).collect();
    format!("| `{}` | {} |", rooms.folder, names.join(", "))
}

fn check_one(files: &[File], rooms: &Rooms) -> Complaints {
    let (source, at) = crate_and_module(rooms.folder);
    let Some((_, parent)) = read(files, source, &at) else {
        return vec![format!("{}: there is no such module", rooms.folder)];
    };
    let mut complaints = compare(&parent, rooms);
    for (position, room) in rooms.order.iter().enumerate() {
        let mut uses = Vec::new();
        let child: Vec<String> = at.iter().cloned().chain([(*room).to_owned()]).collect();
        uses_of(files, source, &child, &mut uses);
        for Use { file, line, path } in uses {
            let Some(name) = path.strip_prefix(at.as_slice()).and_then(|rest| rest.first()) else { continue };
            if name == "*" {
                complaints.push(format!("{file}:{line}: use names, not all that there are"));
            }
            let Some(to) = room_of(name, &at, &parent, rooms).filter(|to| *to > position) else { continue };
            let to = rooms.order[to];
            complaints.push(format!("{file}:{line}: {room} must not use {to}, which stands after it"));
        }
    }
    // One for several names of one import.
    complaints.dedup();
    complaints
}

/// Checks that just the modules which `parent` declares have a place.
fn compare(parent: &Module, rooms: &Rooms) -> Complaints {
    let folder = rooms.folder;
    let there: Vec<&String> = parent.children.iter().filter_map(|child| child.last()).collect();
    let mut complaints = Complaints::new();
    for name in &there {
        if !rooms.order.contains(&name.as_str()) {
            complaints.push(format!("{folder}: {name} isn't in the table of tests/tidy/src/rooms.rs"));
        }
    }
    for room in rooms.order {
        if !there.iter().any(|name| *name == room) {
            complaints.push(format!("{folder}: there is no module {room}"));
        }
    }
    if parent.names.contains_key("*") {
        complaints.push(format!("{folder}: re-export names, not all that a module has"));
    }
    complaints
}

/// The position of the room that a name in the parent leads to; none for what is the parent's own, or a test's.
fn room_of(name: &str, at: &[String], parent: &Module, rooms: &Rooms) -> Option<usize> {
    let position = |name: &str| rooms.order.iter().position(|room| *room == name);
    position(name).or_else(|| {
        let path = parent.names.get(name)?;
        position(path.strip_prefix(at)?.first()?)
    })
}

/// A folder's crate, by its folder `src`, and the module that the folder is of.
fn crate_and_module(folder: &str) -> (&str, Vec<String>) {
    let end = folder.find("/src").map_or(folder.len(), |start| start + "/src".len());
    let (source, module) = folder.split_at(end);
    (source, module.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// The use of a path.
struct Use {
    file: String,
    line: usize,
    /// From the crate's root.
    path: Vec<String>,
}

/// All that a module uses, and those in it.
fn uses_of(files: &[File], source: &str, at: &[String], uses: &mut Vec<Use>) {
    let Some((file, module)) = read(files, source, at) else { return };
    let found = module.uses.into_iter();
    uses.extend(found.map(|(line, path)| Use { file: file.path.clone(), line, path }));
    for child in module.children {
        uses_of(files, source, &child, uses);
    }
}

/// Reads a module's file.
fn read<'a>(files: &'a [File], source: &str, at: &[String]) -> Option<(&'a File, Module)> {
    let path = [source].into_iter().chain(at.iter().map(String::as_str)).collect::<Vec<_>>().join("/");
    let paths = match at {
        [] => vec![format!("{path}/lib.rs")],
        _ => vec![format!("{path}.rs"), format!("{path}/mod.rs")],
    };
    let file = files.iter().find(|file| paths.contains(&file.path))?;
    let mut module = Module { at: at.to_vec(), ..Module::default() };
    module.visit_file(&syn::parse_file(&file.text).ok()?);
    Some((file, module))
}

/// What stands in one file. All paths are from the crate's root.
#[derive(Default)]
struct Module {
    /// The module's own path; while one within it is read, that one's.
    at: Vec<String>,
    /// The modules that it declares and that are files of their own, but for those of tests.
    children: Vec<Vec<String>>,
    /// What it uses, and in which line.
    uses: Vec<(usize, Vec<String>)>,
    /// What the names mean that it imports or re-exports.
    names: BTreeMap<String, Vec<String>>,
}

impl Module {
    /// What a path means that begins with `crate`, `self` or `super`; any other begins here, or in another crate.
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

impl<'ast> Visit<'ast> for Module {
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

    const THREE: Rooms = rooms("x/src", &["low", "middle", "high"]);
    const ROOT: &str = "mod high; mod low; mod middle;\n#[cfg(test)] mod more_tests;\npub use high::Top;\n";

    fn package(files: &[(&str, &str)]) -> Vec<File> {
        let all = [("lib.rs", ROOT), ("low.rs", ""), ("middle/mod.rs", "mod inner;"), ("high.rs", "")];
        let other = |(name, _): &&(&str, &str)| files.iter().all(|(given, _)| given != name);
        let all = all.iter().filter(other).chain(files);
        all.map(|(name, text)| File::sample(&format!("x/src/{name}"), text)).collect()
    }

    #[track_caller]
    fn fine(name: &str, text: &str) {
        assert_eq!(check(&package(&[(name, text)]), &[THREE]), Complaints::new(), "{text}");
    }

    #[track_caller]
    fn complains(name: &str, text: &str, about: &str) {
        let complaints = check(&package(&[(name, text)]), &[THREE]);
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
        assert_eq!(check(&files, &[THREE]), Complaints::new());
    }

    #[test]
    fn the_table_has_just_the_modules_that_there_are() {
        let more = format!("{ROOT}mod other;");
        complains("lib.rs", &more, "other isn't in the table");
        complains("lib.rs", "mod high;\nmod middle;", "there is no module low");
        assert_eq!(check(&[], &[THREE]).len(), 1, "there is no such crate");
    }

    #[test]
    fn modules_within_a_module_have_an_order_too() {
        const TWO: Rooms = rooms("x/src/middle", &["first", "second"]);
        let parent = "mod first;\nmod second;\npub use second::S;\nstruct Own;";
        let complaints = |first: &str| {
            let files = [
                ("middle/mod.rs", parent),
                ("middle/first.rs", first),
                ("middle/second.rs", "use super::first;"),
            ];
            check(&package(&files), &[TWO])
        };
        assert_eq!(complaints("use super::Own;\nuse crate::high::second::A;"), Complaints::new());
        for up in ["use super::second::A;", "use crate::middle::second;", "use crate::middle::S;"] {
            assert_eq!(complaints(up).len(), 1, "{up}");
        }
    }

    #[test]
    fn the_picture_has_the_same_order() {
        let text = "| where | order |\n| `x/src` | `low`, `middle`, `high` |\n";
        assert_eq!(drawn(&File::sample("A.md", text), &[THREE]), Complaints::new());
        let other = text.replace("`low`, `middle`", "`middle`, `low`");
        assert_eq!(drawn(&File::sample("A.md", &other), &[THREE]).len(), 1);
    }
}
