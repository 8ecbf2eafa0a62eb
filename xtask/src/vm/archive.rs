//! Packages of other releases and architectures of Debian. apt fetches them with a configuration
//! of its own: neither this machine's sources nor its lists of packages change.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow};

use super::kernel::Arch;
use crate::{
    apt, interrupt,
    workspace::{Workspace, output, run},
};

/// A file in a folder of packages that are unpacked completely.
const MARK: &str = "unpacked";

/// The keys of Debian's archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How the names of the packages begin that a metapackage chooses from.
const IMAGE: &str = "linux-image-";

/// The addresses of the two halves of Debian's archive, as far as this machine's apt has them.
#[derive(Debug)]
struct Mirror<'a> {
    main: Option<&'a str>,
    security: Option<&'a str>,
}

impl<'a> Mirror<'a> {
    /// Reads lines `LABEL ADDRESS`, one for each source of this machine.
    fn read(sources: &'a str) -> Self {
        let of = |wanted: &str| {
            let mut fields = sources.lines().filter_map(|line| line.split_once(' '));
            let address = fields.find(|(label, _)| *label == wanted)?.1;
            Some(address.trim().trim_end_matches('/'))
        };
        Self {
            main: of("Debian"),
            security: of("Debian-Security"),
        }
    }

    fn source(&self, suite: &str) -> Result<String> {
        let address = match suite.ends_with("-security") {
            true => self.security,
            false => self.main,
        };
        let address = address.with_context(|| {
            format!("this machine's apt has no source of Debian that could have {suite}")
        })?;
        Ok(format!(
            "deb [target=Packages signed-by={KEYRING}] {address} {suite} main\n"
        ))
    }
}

/// The address of Debian's archive that this machine's apt uses.
pub(crate) fn mirror() -> Option<String> {
    let sources = sources_of_this_machine();
    Mirror::read(&sources).main.map(str::to_owned)
}

/// Unpacks the packages that `choose` returns into `folder`, from the first of `sets` of suites that
/// has them. Where none can be had, what an earlier call left in `folder` is taken.
///
/// # Errors
///
/// Returns an error if there is nothing, or a signal was received.
pub(super) fn provide(
    workspace: &Workspace,
    sets: &[&[&str]],
    arch: Arch,
    folder: &Path,
    choose: impl Fn(&Archive) -> Result<Vec<String>>,
) -> Result<()> {
    let mut outcome = Err(anyhow!("no suites"));
    for suites in sets {
        outcome = Archive::open(workspace, suites, arch).and_then(|archive| {
            let packages = choose(&archive)?;
            println!("{}", packages.join(", "));
            archive.unpack(&packages, folder)
        });
        match &outcome {
            Ok(()) => return Ok(()),
            Err(_) if interrupt::status().is_some() => return outcome,
            Err(error) => println!("not from {}: {error:#}", suites.join(", ")),
        }
    }
    if folder.join(MARK).is_file() {
        println!("taking those of an earlier run: {}", folder.display());
        return Ok(());
    }
    outcome
}

/// The packages of some suites for one architecture.
#[derive(Debug)]
pub(super) struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Fetches the lists of packages of `suites`.
    ///
    /// # Errors
    ///
    /// Returns an error if one of them cannot be had.
    fn open(workspace: &Workspace, suites: &[&str], arch: Arch) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            apt::install(&["debian-archive-keyring"])?;
        }
        let name = format!("{}-{}", suites.join("+"), arch.debian());
        let folder = workspace.target.join("vm/apt").join(name);
        for needed in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(folder.join(needed))?;
        }
        // Nothing is installed there.
        fs::write(folder.join("status"), "")?;
        let sources = sources_of_this_machine();
        let mirror = Mirror::read(&sources);
        let lines: Result<String> = suites.iter().map(|suite| mirror.source(suite)).collect();
        fs::write(folder.join("sources.list"), lines?)?;
        fs::write(folder.join("apt.conf"), configuration(&folder, arch))?;
        let archive = Self { folder };
        let mut update = archive.apt("apt-get");
        // Without this option apt takes an old list where there is no new one, with a warning.
        update.args(["-qq", "-o", "APT::Update::Error-Mode=any", "update"]);
        output(&mut update).with_context(|| format!("cannot fetch {}", suites.join(", ")))?;
        Ok(archive)
    }

    /// The packages that make up the kernel which `metapackage` depends on.
    pub(super) fn kernel(&self, metapackage: &str) -> Result<Vec<String>> {
        let image = self.depends(metapackage)?;
        let image = parts_of_a_kernel(&image);
        let image = image
            .iter()
            .find(|package| package.starts_with(IMAGE))
            .with_context(|| format!("{metapackage} depends on no kernel"))?;
        let mut packages = vec![image.clone()];
        packages.extend(parts_of_a_kernel(&self.depends(image)?));
        Ok(packages)
    }

    fn depends(&self, package: &str) -> Result<String> {
        let mut depends = self.apt("apt-cache");
        output(depends.args(["depends", "--important", package]))
    }

    /// Unpacks `packages` over each other into a folder. Packages that are there already in the same
    /// versions stay.
    fn unpack(&self, packages: &[String], folder: &Path) -> Result<()> {
        let wanted = self.versions(packages)?;
        let mark = folder.join(MARK);
        if fs::read_to_string(&mark).is_ok_and(|text| text == wanted) {
            return Ok(());
        }
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        let downloads = folder.join("downloads");
        fs::create_dir_all(&downloads)?;
        let mut download = self.apt("apt-get");
        download.args(["-qq", "download"]).args(packages);
        run(download.current_dir(&downloads))?;
        for file in fs::read_dir(&downloads)? {
            let mut extract = Command::new("dpkg-deb");
            run(extract.arg("--extract").arg(file?.path()).arg(folder))?;
        }
        fs::remove_dir_all(&downloads)?;
        // Written last: a folder without it is not complete.
        fs::write(mark, wanted)?;
        Ok(())
    }

    /// The versions that apt would fetch, one a line.
    fn versions(&self, packages: &[String]) -> Result<String> {
        let mut show = self.apt("apt-cache");
        let text = output(show.args(["show", "--no-all-versions"]).args(packages))?;
        let lines = text.lines().filter(|line| {
            ["Package:", "Version:"]
                .iter()
                .any(|field| line.starts_with(field))
        });
        Ok(lines.map(|line| format!("{line}\n")).collect())
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        apt.arg("-c").arg(self.folder.join("apt.conf"));
        // Names of fields are compared.
        apt.env("LC_ALL", "C");
        apt
    }
}

/// Lines `LABEL ADDRESS`. Empty where apt is not set up.
fn sources_of_this_machine() -> String {
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(LABEL) $(REPO_URI)"]);
    targets.args(["Created-By: Packages", "Origin: Debian"]);
    output(&mut targets).unwrap_or_default()
}

/// apt reads this after the configuration of this machine, of which a proxy stays in force.
fn configuration(folder: &Path, arch: Arch) -> String {
    let folder = folder.display();
    let arch = arch.debian();
    format!(
        r#"Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{folder}";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::Archives "{folder}/archives";
APT::Architecture "{arch}";
#clear APT::Architectures;
APT::Architectures {{ "{arch}"; }};
APT::Sandbox::User "root";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    )
}

/// What a kernel's package depends on that is a part of the kernel. Since Linux 6.16, the image and
/// the modules are in packages of their own.
fn parts_of_a_kernel(depends: &str) -> Vec<String> {
    let packages = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    packages
        .filter(|package| {
            [IMAGE, "linux-base-", "linux-binary-", "linux-modules-"]
                .iter()
                .any(|part| package.starts_with(part))
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_that_of_this_machine() {
        let mirror =
            Mirror::read("Debian http://a.example/debian/\nDebian-Security http://b.example/s/\n");
        let source = |suite| mirror.source(suite).unwrap();
        assert!(source("sid").ends_with(" http://a.example/debian sid main\n"));
        let security = source("bullseye-security");
        assert!(security.ends_with(" http://b.example/s bullseye-security main\n"));
    }

    #[test]
    fn without_a_source_of_debian_there_is_an_error() {
        let mirror = Mirror::read("Ubuntu http://c.example/\n");
        let error = mirror.source("sid").unwrap_err().to_string();
        assert!(error.contains("sid"), "{error}");
    }

    #[test]
    fn only_the_parts_of_a_kernel_are_fetched() {
        let depends = "linux-image-7.2-amd64\n  PreDepends: linux-base\n |Depends: dracut\n  \
                       Depends: linux-base-7.2-amd64\n  Depends: linux-binary-7.2-amd64\n  \
                       Depends: linux-modules-7.2-amd64\n";
        assert_eq!(
            parts_of_a_kernel(depends),
            [
                "linux-base-7.2-amd64",
                "linux-binary-7.2-amd64",
                "linux-modules-7.2-amd64"
            ]
        );
    }
}
