use std::path::PathBuf;

use serde_json::Value;

use super::*;

/// The files of all package managers, in a temporary folder.
fn samples() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_samples(&Workspace::find().unwrap(), folder.path()).unwrap();
    folder
}

fn read(folder: &tempfile::TempDir, path: &str) -> String {
    fs::read_to_string(folder.path().join(path)).unwrap()
}

/// All files in `folder`, relative to `root`.
fn files(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in entries {
        match path.is_dir() {
            true => found.extend(files(root, &path)),
            false => found.push(path.strip_prefix(root).unwrap().to_owned()),
        }
    }
    found.sort();
    found
}

#[test]
fn every_template_is_rendered_without_a_rest() {
    let folder = samples();
    let workspace = Workspace::find().unwrap();
    for (manager, _) in MANAGERS {
        let rendered = files(folder.path(), &folder.path().join(manager));
        let templates = workspace.packaging(manager);
        assert_eq!(rendered, files(templates.parent().unwrap(), &templates));
        for path in rendered {
            let text = fs::read_to_string(folder.path().join(&path)).unwrap();
            assert!(!text.contains("{{"), "{}: {text}", path.display());
        }
    }
}

#[test]
fn a_file_that_was_not_built_is_named() {
    let workspace = Workspace::find().unwrap();
    let edition = Edition {
        version: "1.2.3".to_owned(),
        epoch: "0".to_owned(),
    };
    let error = Assets::default().render(&workspace, &edition, "scoop/knock.json");
    let error = format!("{:#}", error.unwrap_err());
    assert_eq!(
        error,
        "scoop/knock.json: this release has no file for windows"
    );
    let folder = tempfile::tempdir().unwrap();
    Assets::default()
        .write_all(&workspace, &edition, folder.path())
        .unwrap();
    assert!(!folder.path().join("scoop").exists());
}

#[test]
fn scoop_gets_the_url_and_the_checksum() {
    let manifest: Value = serde_json::from_str(&read(&samples(), "scoop/knock.json")).unwrap();
    let program = &manifest["architecture"]["64bit"];
    let url = program["url"].as_str().unwrap();
    assert!(
        url.starts_with("https://") && url.ends_with("/v1.2.3/knock-1.2.3-windows.tar.gz"),
        "{url}"
    );
    assert_eq!(program["hash"].as_str().unwrap(), "5a".repeat(32));
}

#[test]
fn winget_gets_the_same_version_in_each_file() {
    let folder = samples();
    for name in MANAGERS
        .iter()
        .find(|(name, _)| *name == "winget")
        .unwrap()
        .1
    {
        let text = read(&folder, &format!("winget/{name}"));
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let is_item = line.trim_start().starts_with("- ");
            let line = line.trim_start().trim_start_matches("- ");
            let (key, value) = line.split_once(':').unwrap();
            assert!(key.chars().all(char::is_alphanumeric), "{name}: {line}");
            // A value with `: ` would be another mapping.
            assert!(
                is_item || !value.trim().contains(": ") || value.contains('"'),
                "{name}: {line}"
            );
        }
        assert!(text.contains("\nPackageVersion: 1.2.3\n"), "{name}");
    }
}

#[test]
fn the_makefile_of_openwrt_indents_its_commands_with_tabs() {
    let text = read(&samples(), "openwrt/Makefile");
    let defines = ["Build/Prepare", "Package/knockd-xdp/install"];
    for name in defines {
        let start = format!("define {name}\n");
        let body = text
            .split_once(&start)
            .unwrap()
            .1
            .split_once("endef")
            .unwrap()
            .0;
        assert!(
            !body.is_empty() && body.lines().all(|line| line.starts_with('\t')),
            "{name}"
        );
    }
    assert_eq!(
        text.matches("define ").count(),
        text.matches("endef").count()
    );
    assert_eq!(text.matches(&"5a".repeat(32)).count(), 3);
}
