//! No shipped binary has the planted bugs. Cargo joins the features of all packages that are built together,
//! so it takes two things: only the simulator asks for them, on which nothing that is shipped may depend
//! ([`crate::direction`]); and what is shipped is never built together with it.

use crate::Complaints;
use crate::tree::File;

/// The feature with which bugs can be switched on.
const FEATURE: &str = "planted-bugs";

/// Who has it, and who asks for it.
const MAY_NAME: [&str; 2] = ["broker/types/Cargo.toml", "broker/sim/Cargo.toml"];

/// Checks all manifests, and the places that build what is shipped or say how.
pub fn check(files: &[File]) -> Complaints {
    files.iter().flat_map(check_one).collect()
}

fn check_one(file: &File) -> Complaints {
    let mut complaints = Complaints::new();
    let is_manifest = file.path.ends_with("Cargo.toml");
    if is_manifest && !MAY_NAME.contains(&file.path.as_str()) && file.text.contains(FEATURE) {
        complaints.push(format!("{}: {FEATURE} is the simulator's alone", file.path));
    }
    let builds = |line: &&str| {
        let is_release = line.contains("--release") || line.contains("\"release\"");
        line.contains("build") && is_release && (line.contains("--workspace") || line.contains("--all "))
    };
    let may_build = !file.path.starts_with("tests/tidy/");
    complaints.extend(file.text.lines().filter(builds).filter(|_| may_build).map(|line| {
        format!(
            "{}: `{}` builds the simulator too, and {FEATURE} into all: name packages",
            file.path,
            line.trim()
        )
    }));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> usize {
        check(&[File::sample(path, text)]).len()
    }

    #[test]
    fn whoever_else_asks_for_the_bugs_is_found() {
        let asks = "[dependencies]\nottla-types = { workspace = true, features = [\"planted-bugs\"] }\n";
        assert_eq!(complaints("broker/server/Cargo.toml", asks), 1);
        assert_eq!(complaints("Cargo.toml", asks), 1);
        assert_eq!(complaints("broker/sim/Cargo.toml", asks), 0);
    }

    #[test]
    fn a_release_build_of_everything_is_found() {
        assert_eq!(complaints("Dockerfile", "RUN cargo build --release --workspace\n"), 1);
        assert_eq!(complaints("README.md", "cargo build --release -p ottla -p ottla-broker\n"), 0);
    }
}
