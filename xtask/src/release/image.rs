//! The image of the daemon for containers, without a container engine: a layout of the Open Container
//! Initiative (<https://github.com/opencontainers/image-spec>) with one layer of static programs for each
//! architecture.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{archive, digest, edition::Edition};
use crate::workspace::{Workspace, output};

/// Who is in the image: root, and the user of the processes without privileges.
const PASSWD: &str =
    "root:x:0:0:root:/:/sbin/nologin\nknockd:x:100:100:knockd:/var/lib/knockd:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nknockd:x:100:\n";

/// What the daemon needs beside its programs.
const FOLDERS: &[&str] = &[
    "etc/knockd",
    "proc",
    "run/knockd",
    "sys/fs/bpf",
    "tmp",
    "usr/bin",
    "usr/sbin",
    "var/lib/knockd/knocks",
];

const LICENCES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-GPL-2.0", "LICENSE-MIT"];

/// Writes the layout to the folder `layout`. `programs` are the architectures as in a target's name,
/// each with the folder of its programs.
pub(super) fn build(
    workspace: &Workspace,
    programs: &[(&str, PathBuf)],
    edition: &Edition,
    layout: &Path,
) -> Result<()> {
    let layout = Layout::create(layout)?;
    let created = rfc3339(&edition.epoch)?;
    let mut manifests = Vec::new();
    for (arch, folder) in programs {
        let root = layout.0.with_extension("root");
        fill(workspace, folder, &root)?;
        let tar = layout.0.with_extension("layer");
        archive::tar(&root, &tar, &edition.epoch)?;
        fs::remove_dir_all(&root)?;
        let uncompressed = digest::sha256(&tar)?;
        let layer = layout.add_file(
            &archive::gzip(&tar)?,
            "application/vnd.oci.image.layer.v1.tar+gzip",
        )?;
        let platform = platform(arch);
        let config = layout.add(
            &config(&platform, &uncompressed, &created, edition),
            "application/vnd.oci.image.config.v1+json",
        )?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer],
        });
        let mut manifest = layout.add(&manifest, "application/vnd.oci.image.manifest.v1+json")?;
        manifest["platform"] = platform;
        manifests.push(manifest);
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = |manifests: Value| json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": manifests });
    let mut image = layout.add(&index(manifests.into()), media_type)?;
    image["annotations"] = json!({ "org.opencontainers.image.ref.name": edition.version });
    layout.write("index.json", &index(json!([image])))?;
    layout.write("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))
}

/// Makes the root directory of a container.
fn fill(workspace: &Workspace, programs: &Path, root: &Path) -> Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/group"), GROUP)?;
    for (program, place) in [("knockd", "usr/sbin/knockd"), ("knock", "usr/bin/knock")] {
        let path = programs.join(program);
        fs::copy(&path, root.join(place)).with_context(|| path.display().to_string())?;
    }
    let documents = root.join("usr/share/doc/knockd-xdp");
    fs::create_dir_all(&documents)?;
    for licence in LICENCES {
        fs::copy(workspace.root.join(licence), documents.join(licence))?;
    }
    Ok(())
}

/// The platform of an image, whose architectures have the names of Go.
fn platform(arch: &str) -> Value {
    match arch {
        "x86_64" => json!({ "os": "linux", "architecture": "amd64" }),
        "aarch64" => json!({ "os": "linux", "architecture": "arm64" }),
        _ => json!({ "os": "linux", "architecture": "arm", "variant": "v7" }),
    }
}

fn config(platform: &Value, layer: &str, created: &str, edition: &Edition) -> Value {
    let mut config = platform.clone();
    config["created"] = created.into();
    config["config"] = json!({
        "Entrypoint": ["/usr/sbin/knockd"],
        "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "WorkingDir": "/",
        "StopSignal": "SIGTERM",
        "Labels": {
            "org.opencontainers.image.title": "knockd",
            "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
            "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
            "org.opencontainers.image.version": edition.version,
        },
    });
    config["rootfs"] = json!({ "type": "layers", "diff_ids": [format!("sha256:{layer}")] });
    config["history"] = json!([{ "created": created, "created_by": "cargo xtask release" }]);
    config
}

/// A time in Unix seconds as in RFC 3339.
fn rfc3339(epoch: &str) -> Result<String> {
    let mut date = std::process::Command::new("date");
    date.args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", "--date"]);
    let text = output(date.arg(format!("@{epoch}")))?;
    Ok(text.trim_end().to_owned())
}

/// The folder of a layout, with its blobs by their checksums.
struct Layout(PathBuf);

impl Layout {
    fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        Ok(Self(folder.to_owned()))
    }

    fn write(&self, name: &str, content: &Value) -> Result<()> {
        Ok(fs::write(self.0.join(name), serde_json::to_vec(content)?)?)
    }

    /// Adds a blob, and returns its descriptor.
    fn add(&self, content: &Value, media_type: &str) -> Result<Value> {
        let path = self.0.with_extension("blob");
        fs::write(&path, serde_json::to_vec(content)?)?;
        self.add_file(&path, media_type)
    }

    /// Moves a file into the layout, and returns its descriptor.
    fn add_file(&self, path: &Path, media_type: &str) -> Result<Value> {
        let sum = digest::sha256(path)?;
        let size = fs::metadata(path)?.len();
        fs::rename(path, self.0.join("blobs/sha256").join(&sum))?;
        Ok(json!({ "mediaType": media_type, "digest": format!("sha256:{sum}"), "size": size }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the blob that `descriptor` names.
    fn blob(layout: &Path, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        let content = fs::read(layout.join("blobs").join(digest)).unwrap();
        assert_eq!(descriptor["size"], content.len());
        content
    }

    fn read(layout: &Path, descriptor: &Value) -> Value {
        serde_json::from_slice(&blob(layout, descriptor)).unwrap()
    }

    #[test]
    fn a_layout_leads_from_the_index_to_the_layer_of_each_platform() {
        let workspace = Workspace::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for program in ["knock", "knockd"] {
            fs::write(folder.path().join(program), program).unwrap();
        }
        let edition = Edition {
            version: "1.2.3".to_owned(),
            epoch: "1700000000".to_owned(),
        };
        let layout = folder.path().join("layout");
        let programs = ["x86_64", "armv7"].map(|arch| (arch, folder.path().to_owned()));
        build(&workspace, &programs, &edition, &layout).unwrap();

        let index = fs::read(layout.join("index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        let platforms = read(&layout, &index["manifests"][0]);
        assert_eq!(platforms["manifests"][1]["platform"]["variant"], "v7");
        let manifest = read(&layout, &platforms["manifests"][0]);
        let config = read(&layout, &manifest["config"]);
        assert_eq!(config["architecture"], "amd64");
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        let layer = folder.path().join("layer.tar.gz");
        fs::write(&layer, blob(&layout, &manifest["layers"][0])).unwrap();
        let mut tar = std::process::Command::new("tar");
        let list = output(tar.arg("--list").arg("--file").arg(&layer)).unwrap();
        assert!(list.lines().any(|line| line == "usr/sbin/knockd"), "{list}");
    }
}
