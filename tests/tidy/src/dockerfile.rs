//! The Dockerfile builds from what is there: a copied path that is gone, or a binary of another name, would
//! show only where there is a container engine.

use crate::Complaints;
use crate::tree::File;

/// Checks each path that the Dockerfile copies from the tree, and each package that it builds.
pub fn check(dockerfile: &File, files: &[File]) -> Complaints {
    let exists = |path: &str| files.iter().any(|f| f.path == path || f.path.starts_with(&format!("{path}/")));
    let package = |name: &str| {
        let line = format!("name = \"{name}\"");
        files.iter().any(|f| f.path.ends_with("Cargo.toml") && f.text.lines().any(|l| l == line))
    };
    let mut complaints = Complaints::new();
    for line in dockerfile.text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [first, sources @ .., _] = words.as_slice()
            && *first == "COPY"
            && !sources.iter().any(|word| word.starts_with("--from"))
        {
            let gone = sources.iter().filter(|path| !exists(path));
            complaints.extend(gone.map(|path| format!("{}: {path} isn't in the tree", dockerfile.path)));
        }
        for pair in words.windows(2).filter(|pair| pair[0] == "--package" && !package(pair[1])) {
            complaints.push(format!("{}: no package is called {}", dockerfile.path, pair[1]));
        }
    }
    complaints
}

/// What is copied must pass the filter of what is sent to the engine.
pub fn check_ignored(ignored: &File, dockerfile: &File) -> Complaints {
    let copied = dockerfile.text.lines().filter(|l| l.starts_with("COPY ") && !l.contains("--from"));
    let paths =
        copied.flat_map(|l| l.split_whitespace().skip(1).collect::<Vec<_>>().into_iter().rev().skip(1));
    let passes = |path: &str| ignored.text.lines().any(|l| l == format!("!{path}"));
    paths.filter(|path| !passes(path)).map(|path| format!("{}: {path} doesn't pass", ignored.path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Vec<File> {
        vec![
            File::sample("broker/Cargo.toml", "[package]\nname = \"ottla-broker\"\n"),
            File::sample("Cargo.lock", ""),
        ]
    }

    fn dockerfile(text: &str) -> File {
        File::sample("Dockerfile", text)
    }

    #[test]
    fn a_path_or_package_that_is_gone_is_found() {
        let fine = "COPY broker broker\nCOPY Cargo.lock ./\nRUN cargo build --package ottla-broker\n";
        assert!(check(&dockerfile(fine), &tree()).is_empty());
        assert!(check(&dockerfile("COPY --from=build /out/x /x"), &tree()).is_empty());
        assert_eq!(check(&dockerfile("COPY gone gone"), &tree()).len(), 1);
        assert_eq!(check(&dockerfile("RUN cargo build --package gone"), &tree()).len(), 1);
    }

    #[test]
    fn a_copied_path_that_is_not_sent_is_found() {
        let copies = dockerfile("COPY broker broker\nCOPY Cargo.toml Cargo.lock ./\nCOPY --from=a /b /c\n");
        let sent = |text: &str| check_ignored(&File::sample(".dockerignore", text), &copies);
        assert!(sent("*\n!broker\n!Cargo.toml\n!Cargo.lock\n").is_empty());
        assert_eq!(sent("*\n!broker\n!Cargo.toml\n").len(), 1);
    }
}
