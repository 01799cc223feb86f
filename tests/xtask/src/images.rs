//! `cargo xtask images`: one image for each of the two servers, a static binary on nothing else.
//! The Dockerfile at the root makes the same by docker or buildah.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::image::{self, Entry, Image};
use crate::paths;

/// The two servers.
pub const SERVERS: [&str; 2] = ["ottla-broker", "ottla-operator"];

/// More than this, and something has crept in.
const SIZE_MAX: u64 = 25_000_000;

/// Nobody in particular, as in the images that others call nonroot.
const UID: u32 = 65532;

/// What to write where.
#[derive(Args)]
pub struct Options {
    /// The tag
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
    /// The name's first part
    #[arg(long, default_value = "ottla.dev")]
    registry: String,
    /// Also an image with kcat, for the Kubernetes tests
    #[arg(long)]
    pub clients: bool,
    /// The folder for the archives [default: images/ in cargo's output folder]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Writes the archives; the binaries must have been built with `cargo build --release`.
///
/// # Errors
/// A binary is missing or isn't static, an archive can't be written, or one is too large.
pub fn run(options: &Options) -> Result<bool> {
    let out = options.out.clone().unwrap_or_else(|| paths::target().join("images"));
    fs::create_dir_all(&out).with_context(|| format!("can't make {}", out.display()))?;
    for server in SERVERS {
        let binary = paths::release_folder()?.join(server);
        check_static(&binary)?;
        let archive = out.join(format!("{server}.tar"));
        let name = format!("{}/{server}:{}", options.registry, options.tag);
        let size = image::write(&server_image(&name, server, &binary), &archive)?;
        println!("{name}  {:.1} MB  {}", size as f64 / 1e6, archive.display());
        if size > SIZE_MAX {
            bail!("{} has {size} bytes; at most {SIZE_MAX} are allowed", archive.display());
        }
    }
    if options.clients {
        let archive = out.join("kcat.tar");
        image::write(&kcat_image()?, &archive)?;
        println!("{KCAT_IMAGE}  {}", archive.display());
    }
    Ok(true)
}

/// What the Kubernetes tests call the image of their client.
const KCAT_IMAGE: &str = "ottla.test/kcat:1";

/// Debian's kcat with the libraries that it loads, and Debian's busybox as the shell that feeds it.
fn kcat_image() -> Result<Image> {
    let mut files = vec![Entry::folder("tmp", 0o1777), Entry::program("bin/sh", Path::new("/bin/busybox"))];
    let kcat = Path::new("/usr/bin/kcat");
    files.push(Entry::program("bin/kcat", kcat));
    let listed = Command::new("ldd").arg(kcat).output().context("can't run ldd")?;
    for library in loaded_from(&String::from_utf8_lossy(&listed.stdout)) {
        files.push(Entry::program(library.trim_start_matches('/'), Path::new(library)));
    }
    Ok(Image {
        name: KCAT_IMAGE.to_owned(),
        entrypoint: vec!["/bin/sh".to_owned()],
        user: "65532:65532".to_owned(),
        files,
    })
}

/// The files that `ldd` names, as in `libz.so.1 => /lib/x/libz.so.1 (0x0)` and `/lib64/ld.so (0x0)`.
fn loaded_from(ldd: &str) -> Vec<&str> {
    ldd.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).collect()
}

fn server_image(name: &str, server: &str, binary: &Path) -> Image {
    Image {
        name: name.to_owned(),
        entrypoint: vec![format!("/{server}")],
        user: format!("{UID}:{UID}"),
        files: vec![
            Entry::text("etc/passwd", &format!("ottla:x:{UID}:{UID}:ottla:/:/nologin\n")),
            Entry::text("etc/group", &format!("ottla:x:{UID}:\n")),
            Entry::program(server, binary),
        ],
    }
}

/// A binary that asks for a loader wouldn't start in an empty image.
fn check_static(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| {
        let build = "cargo build --release -p ottla-broker -p ottla-operator";
        format!("can't read {}: run `{build}` first", binary.display())
    })?;
    if needs_loader(&bytes) {
        bail!("{} isn't static: is .cargo/config.toml overridden, by RUSTFLAGS perhaps?", binary.display());
    }
    Ok(())
}

/// Whether an ELF file of 64 bits names an interpreter (a program header of type 3).
fn needs_loader(elf: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        let bytes = elf.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let (Some(start), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return true;
    };
    (0..count).any(|n| number(start + n * size, 4) == Some(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_binary_is_told_from_a_static_one() {
        let shell = fs::read(fs::canonicalize("/bin/sh").unwrap()).unwrap();
        assert!(needs_loader(&shell));
        let this = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(!needs_loader(&this), "tests are built static, as all is");
        assert!(needs_loader(b"no ELF file"));
    }

    #[test]
    fn ldd_names_the_libraries() {
        let ldd =
            "\tlinux-vdso.so.1 (0x7ff)\n\tlibz.so.1 => /lib/x/libz.so.1 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(loaded_from(ldd), ["/lib/x/libz.so.1", "/lib64/ld.so.2"]);
    }

    #[test]
    fn the_servers_do_not_run_as_root() {
        let image = server_image("n:1", "ottla-broker", Path::new("/b"));
        assert_eq!(image.user, "65532:65532");
        assert_eq!(image.entrypoint, ["/ottla-broker"]);
    }
}
