//! What runs beside its caller in a broker is begun through `Tasks`, so that no panic is swallowed.

use crate::Complaints;
use crate::tree::File;

/// The crates that it holds for.
const CRATES: [&str; 3] = ["broker/quorum/src/", "broker/server/src/", "broker/store/src/"];

/// Files that begin threads or tasks by themselves, and why no panic is lost there.
const EXCEPTIONS: [(&str, &str); 4] = [
    ("broker/quorum/src/tasks.rs", "it is what begins them"),
    ("broker/quorum/src/state_machine.rs", "its panics are openraft's storage errors, which end the broker"),
    ("broker/store/src/store.rs", "its threads fail the store when they panic"),
    ("broker/store/src/parallel.rs", "its threads are joined, and their panics go on in the caller"),
];

/// Checks the part of a file that isn't tests.
pub fn check(file: &File) -> Complaints {
    let is_ours = CRATES.iter().any(|of| file.path.starts_with(of)) && !file.path.ends_with("tests.rs");
    if !is_ours || EXCEPTIONS.iter().any(|(path, _)| file.path == *path) {
        return Complaints::new();
    }
    let product = file.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code = product.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    let code: String = code.collect();
    let begins = ["spawn(", "spawn_blocking(", "spawn_local(", "thread::Builder"];
    let found = begins.iter().flat_map(|begin| code.match_indices(begin));
    let bare = found.filter(|(at, _)| {
        let before = &code[..*at];
        !["tasks.", "tasks()."].iter().any(|tasks| before.ends_with(tasks))
    });
    bare.map(|(_, begin)| format!("{}: `{begin}` swallows panics: use Tasks", file.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> usize {
        check(&File::sample("broker/server/src/x.rs", text)).len()
    }

    #[test]
    fn bare_tasks_and_threads_are_found() {
        assert_eq!(complaints("fn a() { tokio::spawn(async {}); }\n"), 1);
        assert_eq!(complaints("fn a() { set.spawn(work()); std::thread::spawn(|| ()); }\n"), 2);
        assert_eq!(complaints("fn a() {\n    tokio::task::spawn_blocking(|| ())\n}\n"), 1);
        assert_eq!(complaints("fn a() { std::thread::Builder::new(); }\n"), 1);
    }

    #[test]
    fn what_is_begun_through_tasks_and_in_tests_is_fine() {
        assert_eq!(complaints("fn a() { self.tasks.spawn(\"a\", work()); }\n"), 0);
        assert_eq!(
            complaints("fn a() {\n    quorum\n        .tasks()\n        .spawn_blocking(\"a\", work)\n}\n"),
            0
        );
        assert_eq!(
            complaints(
                "// Not tokio::spawn(…).\n#[cfg(test)]\nmod tests { fn a() { tokio::spawn(b()); } }\n"
            ),
            0
        );
    }
}
