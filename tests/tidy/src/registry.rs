//! One API key, one file, one line: every handler stands in the registry exactly once, on a line of its own
//! that says its versions, the right that it needs, and what serving it costs.

use std::collections::BTreeMap;

use crate::Complaints;
use crate::tree::File;

const FOLDER: &str = "broker/server/src/handlers/";

/// Checks the registry against the handlers' files.
pub fn check(files: &[File]) -> Complaints {
    let Some(registry) = files.iter().find(|f| f.path == format!("{FOLDER}mod.rs")) else {
        return vec![format!("{FOLDER}mod.rs is missing")];
    };
    let lines: Vec<&str> =
        registry.product().lines().map(str::trim).filter(|l| l.starts_with("serve::<")).collect();
    let mut complaints = Complaints::new();
    let (mut keys, mut modules) = (BTreeMap::new(), BTreeMap::new());
    for line in &lines {
        match parse(line) {
            Some((key, module)) => {
                *keys.entry(key).or_insert(0) += 1;
                *modules.entry(module).or_insert(0) += 1;
            }
            None => complaints.push(format!("{}: one whole line for an API: {line}", registry.path)),
        }
    }
    let twice = keys.iter().chain(&modules).filter(|(_, count)| **count > 1);
    complaints
        .extend(twice.map(|(name, _)| format!("{}: {name} stands on more than one line", registry.path)));
    for file in files.iter().filter(|f| f.product().contains("pub fn begin(")) {
        let Some(name) = file.path.strip_prefix(FOLDER).filter(|name| *name != "mod.rs") else { continue };
        let module = name.trim_end_matches(".rs").trim_end_matches("/mod");
        if modules.remove(module).is_none() {
            complaints.push(format!("{}: no line of the registry begins it", file.path));
        }
    }
    complaints
        .extend(modules.keys().map(|m| format!("{}: {m} has no file with a `fn begin`", registry.path)));
    complaints
}

/// The key and the handler's module of a line such as
/// `serve::<apis::Fetch>(4, 18, Operation::ReadTopic, 14, fetch::begin),`, which may say what its answer
/// costs: `.telling_of(…)` so many topics and partitions, or `.answered_with(…)` so many bytes.
fn parse(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.strip_prefix("serve::<apis::")?.split_once(">(")?;
    let arguments = rest.strip_suffix("),")?;
    let answer =
        [").telling_of(", ").answered_with("].into_iter().find_map(|answer| arguments.split_once(answer));
    let arguments = answer.map_or(arguments, |(before, _)| before);
    let arguments: Vec<&str> = arguments.split(", ").collect();
    let [first, last, right, cost, begin] = arguments.as_slice() else { return None };
    let versions = first.parse::<i16>().ok().zip(last.parse::<i16>().ok());
    versions.filter(|(first, last)| first <= last)?;
    right.strip_prefix("Operation::")?;
    cost.parse::<usize>().ok()?;
    Some((key, begin.strip_suffix("::begin")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FETCH: &str = "    serve::<apis::Fetch>(4, 18, Operation::ReadTopic, 14, fetch::begin),\n";

    fn handlers(registry: &str, names: &[&str]) -> Vec<File> {
        let handler =
            |name: &&str| File::sample(&format!("{FOLDER}{name}.rs"), "pub fn begin(call: Call) {}");
        let mut files: Vec<File> = names.iter().map(handler).collect();
        files.push(File::sample(&format!("{FOLDER}mod.rs"), registry));
        files.push(File::sample(&format!("{FOLDER}helper.rs"), "fn help() {}"));
        files.push(File::sample(
            &format!("{FOLDER}service.rs"),
            "impl Service for A { async fn begin(&self) {} }",
        ));
        files
    }

    #[track_caller]
    fn complains(registry: &str, names: &[&str], about: &str) {
        let complaints = check(&handlers(registry, names));
        assert!(complaints.iter().any(|c| c.contains(about)), "{complaints:?}");
    }

    #[test]
    fn one_line_for_each_is_fine() {
        assert!(check(&handlers(FETCH, &["fetch"])).is_empty());
        let answered = FETCH.replace("begin),", "begin).telling_of(fetch::count, 256, 320),");
        assert!(check(&handlers(&answered, &["fetch"])).is_empty());
    }

    #[test]
    fn a_handler_without_a_line_or_a_line_without_a_handler_is_found() {
        complains(FETCH, &["fetch", "produce"], "produce.rs: no line");
        complains(FETCH, &[], "fetch has no file");
    }

    #[test]
    fn a_key_on_two_lines_is_found() {
        complains(&FETCH.repeat(2), &["fetch"], "Fetch stands on more than one line");
    }

    #[test]
    fn a_line_without_versions_or_right_is_found() {
        complains(
            "serve::<apis::Fetch>(18, 4, Operation::ReadTopic, 14, fetch::begin),",
            &["fetch"],
            "one whole line",
        );
        complains("serve::<apis::Fetch>(4, 18, 14, fetch::begin),", &["fetch"], "one whole line");
        complains(
            "serve::<apis::Fetch>(4, 18, Operation::ReadTopic, fetch::begin),",
            &["fetch"],
            "one whole line",
        );
        complains("serve::<apis::Fetch>(", &["fetch"], "one whole line");
    }
}
