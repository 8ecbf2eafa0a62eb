//! The files that other package managers build from, rendered from the templates in
//! `knock-user/packaging`: they cannot name another version or another checksum than that of this
//! release.
//!
//! A template contains `{{version}}`, `{{repository}}`, `{{downloads}}`, `{{summary}}` and
//! `{{client_summary}}`, and for a file of the release `{{file:KEY}}`, `{{url:KEY}}`, `{{sha256:KEY}}`
//! and `{{sha512:KEY}}`. The key of a file beside the templates is its path.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{digest, edition::Edition};
use crate::workspace::Workspace;

/// Where releases are.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");
const SUMMARY: &str = "Port-knock daemon with an XDP gate, and its client";
const CLIENT_SUMMARY: &str = "Client of knockd: opens ports for those who hold a key";

/// The files of each package manager, in a folder of its name.
const MANAGERS: &[(&str, &[&str])] = &[
    (
        "alpine",
        &[
            "APKBUILD",
            "knockd-xdp.initd",
            "knockd-xdp.pre-deinstall",
            "knockd-xdp.pre-install",
        ],
    ),
    ("arch", &["PKGBUILD", "knockd-xdp.install"]),
    ("homebrew", &["knock.rb"]),
    (
        "openwrt",
        &["Makefile", "files/knockd.config", "files/knockd.init"],
    ),
    ("scoop", &["knock.json"]),
    (
        "winget",
        &[
            "knockd.knock.installer.yaml",
            "knockd.knock.locale.en-US.yaml",
            "knockd.knock.yaml",
        ],
    ),
];

/// A file of the release.
#[derive(Debug)]
struct Asset {
    name: String,
    sha256: String,
    sha512: String,
}

/// The files of the release that templates name, by their keys.
#[derive(Debug, Default)]
pub(super) struct Assets(BTreeMap<String, Asset>);

impl Assets {
    pub(super) fn add(&mut self, key: &str, path: &Path) -> Result<()> {
        let name = path.file_name().and_then(|name| name.to_str());
        let asset = Asset {
            name: name.context("a file has no name")?.to_owned(),
            sha256: digest::sha256(path)?,
            sha512: digest::sha512(path)?,
        };
        self.0.insert(key.to_owned(), asset);
        Ok(())
    }

    /// Writes the files of every package manager to a folder in `to`. Those that need a file that was
    /// not built are left out.
    pub(super) fn write_all(
        &self,
        workspace: &Workspace,
        edition: &Edition,
        to: &Path,
    ) -> Result<()> {
        fs::create_dir_all(to)?;
        for (manager, files) in MANAGERS {
            let render = |file: &&str| {
                let text = self.render(workspace, edition, &format!("{manager}/{file}"))?;
                Ok((to.join(manager).join(file), text))
            };
            let rendered: Result<Vec<_>> = files.iter().map(render).collect();
            match rendered {
                Ok(rendered) => write(rendered)?,
                Err(error) => println!("skipped: the files for {manager}: {error:#}"),
            }
        }
        Ok(())
    }

    /// The text of `template`, a path in the folder of templates.
    ///
    /// # Errors
    ///
    /// Returns an error if it names a file that this release does not have.
    pub(super) fn render(
        &self,
        workspace: &Workspace,
        edition: &Edition,
        template: &str,
    ) -> Result<String> {
        let path = workspace.packaging(template);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut rendered = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after
                .split_once("}}")
                .with_context(|| format!("{template}: `{{{{` without `}}}}`"))?;
            rendered += before;
            rendered += &self
                .value(workspace, edition, name)
                .with_context(|| template.to_owned())?;
            rest = after;
        }
        Ok(rendered + rest)
    }

    fn value(&self, workspace: &Workspace, edition: &Edition, name: &str) -> Result<String> {
        let Edition { version, .. } = edition;
        let downloads = format!("{REPOSITORY}/releases/download/v{version}");
        let Some((property, key)) = name.split_once(':') else {
            return Ok(match name {
                "version" => version.clone(),
                "repository" => REPOSITORY.to_owned(),
                "downloads" => downloads,
                "summary" => SUMMARY.to_owned(),
                "client_summary" => CLIENT_SUMMARY.to_owned(),
                _ => bail!("there is no value `{name}`"),
            });
        };
        if key.contains('/') {
            return match property {
                "sha512" => digest::sha512(&workspace.packaging(key)),
                _ => bail!("there is no value `{name}`"),
            };
        }
        let asset = self.0.get(key);
        let asset = asset.with_context(|| format!("this release has no file for {key}"))?;
        Ok(match property {
            "file" => asset.name.clone(),
            "url" => format!("{downloads}/{}", asset.name),
            "sha256" => asset.sha256.clone(),
            "sha512" => asset.sha512.clone(),
            _ => bail!("there is no value `{name}`"),
        })
    }
}

fn write(files: Vec<(std::path::PathBuf, String)>) -> Result<()> {
    for (path, text) in files {
        fs::create_dir_all(path.with_file_name(""))?;
        let is_script = text.starts_with("#!");
        fs::write(&path, text)?;
        if is_script {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// Writes the files of all package managers as they would be in a release, to check them.
pub(crate) fn write_samples(workspace: &Workspace, to: &Path) -> Result<()> {
    let edition = Edition {
        version: "1.2.3".to_owned(),
        epoch: "1700000000".to_owned(),
    };
    let mut assets = Assets::default();
    for key in ["source", "windows", "x86_64", "aarch64", "armv7"] {
        let asset = Asset {
            name: format!("knock-1.2.3-{key}.tar.gz"),
            sha256: "5a".repeat(32),
            sha512: "a5".repeat(64),
        };
        assets.0.insert(key.to_owned(), asset);
    }
    assets.write_all(workspace, &edition, to)
}

#[cfg(test)]
mod tests;
