//! What no tracked file may name: the registries' hosts, which are a machine's setting, and the paths of a
//! machine.

use crate::Complaints;
use crate::tree::File;

/// In halves, so that this file doesn't name them either.
const BANNED: &[[&str; 2]] = &[
    ["index.crates", ".io"],
    ["static.crates", ".io"],
    ["pypi", ".org"],
    ["files.pythonhosted", ".org"],
    ["proxy.golang", ".org"],
    ["sum.golang", ".org"],
    ["registry.npmjs", ".org"],
    ["repo.maven.apache", ".org"],
    ["repo1.maven", ".org"],
    ["deb.debian", ".org"],
    ["/wo", "rk/"],
    ["/ro", "ot/"],
    ["/ho", "me/"],
];

/// Complains of each line that names one.
pub fn check(file: &File) -> Complaints {
    if file.path.ends_with("Cargo.lock") {
        return Complaints::new(); // Cargo writes it.
    }
    let mut complaints = Complaints::new();
    for (at, line) in file.text.lines().enumerate() {
        for banned in BANNED.iter().map(|halves| halves.concat()).filter(|b| line.contains(b.as_str())) {
            complaints.push(format!("{}:{}: names {banned}", file.path, at + 1));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_machines_path_are_found() {
        for banned in BANNED {
            let text = format!("fine\nsee {} there\n", banned.concat());
            assert_eq!(check(&File::sample("README.md", &text)).len(), 1, "{text}");
        }
        assert!(check(&File::sample("README.md", "from crates.io, in ./work")).is_empty());
    }
}
