//! Container images without a container engine: an OCI archive of one layer, the same bytes for the same
//! files. `cargo xtask images` makes ours with it, and the Kubernetes test those of its clients.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// An image's content and how it starts.
pub struct Image {
    /// Its full name with a tag, as a manifest has it.
    pub name: String,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// `uid:gid`.
    pub user: String,
    /// What lies where.
    pub files: Vec<Entry>,
}

/// A file or folder of an image.
pub struct Entry {
    /// Where it lies, without a leading slash.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What an entry holds.
pub enum Content {
    /// An empty folder.
    Folder,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The bytes of a file on this machine.
    CopyOf(PathBuf),
}

impl Entry {
    /// A file with these bytes.
    pub fn text(path: &str, text: &str) -> Entry {
        Entry { path: path.to_owned(), mode: 0o644, content: Content::Bytes(text.as_bytes().to_vec()) }
    }

    /// A program, copied from this machine.
    pub fn program(path: &str, from: &Path) -> Entry {
        Entry { path: path.to_owned(), mode: 0o755, content: Content::CopyOf(from.to_owned()) }
    }

    /// An empty folder.
    pub fn folder(path: &str, mode: u32) -> Entry {
        Entry { path: path.to_owned(), mode, content: Content::Folder }
    }
}

/// Writes `image` as an OCI archive, and gives its size in bytes.
///
/// # Errors
/// A file to copy can't be read, or the archive can't be written.
pub fn write(image: &Image, archive: &Path) -> Result<u64> {
    let layer = layer(&image.files)?;
    let packed = gzip(&layer)?;
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = config(image, arch, &layer).to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["platform"] = json!({"architecture": arch, "os": "linux"});
    entry["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name.rsplit(':').next(),
    });
    let media = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media, "manifests": [entry]}).to_string();

    let file = File::create(archive).with_context(|| format!("can't write {}", archive.display()))?;
    let mut tar = Builder::new(file);
    let mut put = |path: &str, bytes: &[u8]| append(&mut tar, EntryType::Regular, path, 0o644, bytes);
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put("index.json", index.as_bytes())?;
    for blob in [&config, &manifest, &packed] {
        put(&format!("blobs/sha256/{}", sha256(blob)), blob)?;
    }
    tar.into_inner()?.sync_all()?;
    Ok(fs::metadata(archive)?.len())
}

fn config(image: &Image, arch: &str, layer: &[u8]) -> Value {
    json!({
        "architecture": arch,
        "os": "linux",
        "config": {
            "User": image.user,
            "WorkingDir": "/",
            "Entrypoint": image.entrypoint,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer))]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask images"}],
    })
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(blob)), "size": blob.len()})
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The layer's tar: in the order given, each folder before what lies in it, no times, no owners but root.
fn layer(files: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut made: BTreeSet<String> = BTreeSet::new();
    for file in files {
        let mut above: Vec<&str> = file.path.match_indices('/').map(|(at, _)| &file.path[..at]).collect();
        above.retain(|folder| made.insert((*folder).to_owned()));
        for folder in above {
            append(&mut tar, EntryType::Directory, &format!("{folder}/"), 0o755, &[])?;
        }
        match &file.content {
            Content::Folder => {
                made.insert(file.path.clone());
                append(&mut tar, EntryType::Directory, &format!("{}/", file.path), file.mode, &[])?;
            }
            Content::Bytes(bytes) => append(&mut tar, EntryType::Regular, &file.path, file.mode, bytes)?,
            Content::CopyOf(from) => {
                let bytes = fs::read(from).with_context(|| format!("can't read {}", from.display()))?;
                append(&mut tar, EntryType::Regular, &file.path, file.mode, &bytes)?;
            }
        }
    }
    Ok(tar.into_inner()?)
}

fn append<W: Write>(
    tar: &mut Builder<W>,
    kind: EntryType,
    path: &str,
    mode: u32,
    bytes: &[u8],
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, bytes).with_context(|| format!("can't pack {path}"))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn sample() -> Image {
        Image {
            name: "ottla-sample:1".to_owned(),
            entrypoint: vec!["/bin/sample".to_owned()],
            user: "65532:65532".to_owned(),
            files: vec![
                Entry::text("etc/passwd", "sample:x:65532:65532::/:\n"),
                Entry::text("etc/group", "sample:x:65532:\n"),
                Entry::folder("tmp", 0o1777),
            ],
        }
    }

    fn members(archive: &Path) -> Vec<(String, Vec<u8>)> {
        let mut tar = tar::Archive::new(File::open(archive).unwrap());
        let member = |entry: std::io::Result<tar::Entry<'_, File>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        };
        tar.entries().unwrap().map(member).collect()
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        assert_eq!(write(&sample(), &one).unwrap(), write(&sample(), &two).unwrap());
        assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
    }

    #[test]
    fn every_blob_is_named_by_its_digest_and_the_index_leads_to_all() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a");
        write(&sample(), &archive).unwrap();
        let members = members(&archive);
        let blob = |digest: &Value| {
            let path = format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
            let (_, bytes) = members.iter().find(|(name, _)| *name == path).unwrap();
            assert!(path.ends_with(&sha256(bytes)));
            bytes.clone()
        };
        let (_, index) = members.iter().find(|(name, _)| name == "index.json").unwrap();
        let index: Value = serde_json::from_slice(index).unwrap();
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0]["digest"])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"]["digest"])).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        let mut layer = Vec::new();
        let packed = blob(&manifest["layers"][0]["digest"]);
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
    }

    #[test]
    fn folders_come_before_what_lies_in_them_and_once() {
        let bytes = layer(&sample().files).unwrap();
        let mut tar = tar::Archive::new(&bytes[..]);
        let paths: Vec<String> =
            tar.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(paths, ["etc/", "etc/passwd", "etc/group", "tmp/"]);
    }
}
