//! The image for containers, with the capabilities that the examples grant.

use std::{
    collections::BTreeSet,
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use knock_tests::{link::Pair, needs_bpf, root::Root};
use serde_json::Value;

use super::{
    file, stdout,
    visit::{CAPABILITIES, configure, equip, visit},
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");

/// The items of the list `key` in an example, by lines: nothing else is needed of YAML.
fn items(example: &str, key: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(EXAMPLES).join(example)).unwrap();
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| *line == format!("{key}:")).unwrap();
    lines
        .map_while(|line| line.strip_prefix("- "))
        .map(str::to_lowercase)
        .collect()
}

#[test]
fn the_examples_for_containers_grant_what_the_unit_grants() {
    let expected: BTreeSet<_> = CAPABILITIES
        .split(',')
        .map(|name| name.trim_start_matches('+').to_owned())
        .collect();
    assert_eq!(items("compose.yaml", "cap_add"), expected);
    assert_eq!(items("daemonset.yaml", "add"), expected);
    assert_eq!(items("compose.yaml", "cap_drop"), ["all".to_owned()].into());
    assert_eq!(items("daemonset.yaml", "drop"), ["all".to_owned()].into());
}

/// An unpacked layout.
struct Layout(PathBuf);

impl Layout {
    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap();
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    fn read(&self, descriptor: &Value) -> Value {
        json(&self.blob(descriptor))
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
#[ignore = "cargo xtask release --try"]
fn the_image_runs_with_the_documented_capabilities() {
    needs_bpf!();
    let folder = tempfile::tempdir().unwrap();
    let unpack = |archive: &Path, to: &Path| {
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(archive);
        fs::create_dir_all(to).unwrap();
        stdout({
            tar.arg("--directory").arg(to);
            tar
        });
    };
    unpack(&file("knockd-", "-oci.tar"), folder.path());
    let layout = Layout(folder.path().to_owned());
    let index = json(&folder.path().join("index.json"));
    let platforms = layout.read(&index["manifests"][0]);
    let platforms = platforms["manifests"].as_array().unwrap();
    let arch = ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64");
    let of_host = |manifest: &&Value| manifest["platform"]["architecture"] == *arch;
    let manifest = layout.read(platforms.iter().find(of_host).unwrap());
    let config = layout.read(&manifest["config"]);

    let root = folder.path().join("root");
    unpack(&layout.blob(&manifest["layers"][0]), &root);
    let pair = Pair::new().unwrap();
    let server = Root::over(&pair.server, &root).unwrap();
    let client = Root::over(&pair.client, &root).unwrap();
    configure(&server);
    equip(&client);
    let entry = config["config"]["Entrypoint"][0].as_str().unwrap();
    let added = items("compose.yaml", "cap_add");
    let added: Vec<_> = added.iter().map(|name| format!("+{name}")).collect();
    visit(
        &pair,
        || server.command(&added.join(","), entry),
        || client.command("+sys_chroot", "/usr/bin/knock"),
    );
}
