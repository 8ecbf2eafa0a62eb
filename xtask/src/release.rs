//! What a release consists of, in `target/release-files`: packages, static programs, an image for
//! containers, the sources, bills of materials, the files that other package managers build from, and
//! checksums of all.

mod archive;
mod digest;
mod edition;
mod image;
mod manifests;
mod rpm;
mod trial;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use clap::Args;
use tempfile::TempDir;

use crate::{
    apt::{self, Provided},
    interrupt,
    package::{self, Profile},
    reproducible, setup,
    targets::{Kind, Target},
    workspace::{MANPAGES, PROGRAMS, Workspace, output, run},
};
use edition::Edition;
use manifests::Assets;
pub(crate) use manifests::write_samples as write_sample_manifests;

/// What a release is built for.
const TARGETS: [Target; 6] = [
    Target::Amd64,
    Target::Arm64,
    Target::StaticX86,
    Target::StaticArm64,
    Target::StaticArmv7,
    Target::Windows,
];

const TOOLS: &[Provided] = &[
    Provided {
        program: "rpmbuild",
        package: "rpm",
    },
    Provided {
        program: "zip",
        package: "zip",
    },
];

/// What a release is built for.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Make only the files for these platforms, and for what is built from them
    #[arg(value_enum, value_name = "TARGET")]
    targets: Vec<Target>,
    /// Build nothing: try the files of the last call, on Debian 12 and 13, in empty root directories
    /// and in an emulator
    #[arg(long = "try", conflicts_with = "targets")]
    is_trial: bool,
}

struct Release<'a> {
    workspace: &'a Workspace,
    edition: Edition,
    /// Where the files go.
    folder: PathBuf,
    /// Files that are not part of the release.
    scratch: TempDir,
    assets: Assets,
    /// The targets with static programs that have been built.
    images: Vec<Target>,
}

/// Builds everything for the chosen targets, or for all.
pub(crate) fn release(workspace: &Workspace, choice: &Choice) -> Result<()> {
    setup::setup(workspace, None)?;
    if choice.is_trial {
        return trial::run_all(workspace);
    }
    install_tools(workspace)?;
    let mut release = Release::begin(workspace)?;
    release.sources()?;
    run(&mut workspace.cargo(&format!("build --quiet --package {MANPAGES}")))?;
    let targets = match &choice.targets[..] {
        [] => &TARGETS[..],
        chosen => chosen,
    };
    let mut missing = 0;
    for target in targets {
        println!("\n=== {}", target.triple());
        // Without a choice, what this machine cannot build is left out; not in CI.
        let can_be_left_out = choice.targets.is_empty() && env::var_os("CI").is_none();
        match target.provide() {
            Err(error) if can_be_left_out && interrupt::status().is_none() => {
                println!("skipped: {error:#}");
                missing += 1;
            }
            provided => provided.and_then(|()| release.add(*target))?,
        }
    }
    release.finish()?;
    ensure!(
        missing < targets.len(),
        "nothing could be built on this machine"
    );
    Ok(())
}

/// Installs the tools for packages and archives.
pub(crate) fn install_tools(workspace: &Workspace) -> Result<()> {
    package::install_tools(workspace)?;
    apt::provide(TOOLS)
}

impl<'a> Release<'a> {
    fn begin(workspace: &'a Workspace) -> Result<Self> {
        let folder = workspace.target.join("release-files");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Self {
            workspace,
            edition: Edition::of(workspace)?,
            folder,
            scratch: tempfile::tempdir_in(&workspace.target)?,
            assets: Assets::default(),
            images: Vec::new(),
        })
    }

    /// The sources of the commit.
    fn sources(&mut self) -> Result<()> {
        let mut status = self.workspace.command("git");
        if !output(status.args(["status", "--porcelain"]))?.is_empty() {
            println!("warning: the programs are built with changes that no commit has");
        }
        let name = format!("knockd-{}", self.edition.version);
        let tar = self.folder.join(format!("{name}.tar"));
        let mut git = self.workspace.command("git");
        git.args(["archive", "--format=tar", "HEAD"]);
        git.arg(format!("--prefix={name}/"))
            .arg("--output")
            .arg(&tar);
        run(&mut git)?;
        self.assets.add("source", &archive::gzip(&tar)?)
    }

    /// Builds the programs for `target`, and adds the files with them.
    fn add(&mut self, target: Target) -> Result<()> {
        match target.kind() {
            Kind::Debian => self.add_debian(target),
            Kind::Static => self.add_static(target),
            Kind::Windows => self.add_windows(target),
        }
    }

    fn add_debian(&self, target: Target) -> Result<()> {
        package::build(self.workspace, Some(target))?;
        let profile = Profile::Release;
        package::build_deb(self.workspace, &self.folder, Some(target), profile)?;
        package::copy_bills(self.workspace, &self.folder, Some(target), profile)?;
        Ok(())
    }

    fn add_static(&mut self, target: Target) -> Result<()> {
        package::build(self.workspace, Some(target))?;
        let scratch = self.scratch.path().join(target.triple());
        fs::create_dir(&scratch)?;
        let deb = package::build_deb(self.workspace, &scratch, Some(target), Profile::Release)?;
        let Edition { version, .. } = &self.edition;
        let tar = format!("knockd-{version}-{}-linux.tar", target.arch());
        let tarball = package::build_tarball(&deb, &self.folder.join(tar))?;
        self.assets.add(target.arch(), &tarball)?;
        if rpm::ARCHITECTURES.contains(&target.arch()) {
            let spec = self
                .assets
                .render(self.workspace, &self.edition, rpm::SPEC)?;
            rpm::build(
                &tarball,
                &spec,
                target.arch(),
                &self.edition,
                &scratch,
                &self.folder,
            )?;
        }
        self.images.push(target);
        Ok(())
    }

    fn add_windows(&mut self, target: Target) -> Result<()> {
        let mut cargo = self
            .workspace
            .cargo("build --quiet --release --no-default-features");
        cargo.args(["--package", PROGRAMS, "--bin", "knock"]);
        target.build(&mut cargo);
        reproducible::without_paths(self.workspace, target, &mut cargo)?;
        run(&mut cargo)?;
        let files = self.scratch.path().join("windows");
        fs::create_dir(&files)?;
        let program = self.programs(target).join("knock.exe");
        fs::copy(program, files.join("knock.exe"))?;
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            fs::copy(self.workspace.root.join(licence), files.join(licence))?;
        }
        let name = format!("knock-{}-windows-x86_64.zip", self.edition.version);
        let zip = self.folder.join(name);
        archive::zip(&files, &zip, &self.edition.epoch)?;
        self.assets.add("windows", &zip)
    }

    /// Where cargo puts the programs for `target`.
    fn programs(&self, target: Target) -> PathBuf {
        self.workspace.target.join(target.triple()).join("release")
    }

    /// Adds what is made of the other files.
    fn finish(&self) -> Result<()> {
        if !self.images.is_empty() {
            let programs = self
                .images
                .iter()
                .map(|target| (target.arch(), self.programs(*target)));
            let programs: Vec<_> = programs.collect();
            let name = format!("knockd-{}-oci.tar", self.edition.version);
            let layout = self.scratch.path().join("image");
            image::build(self.workspace, &programs, &self.edition, &layout)?;
            archive::tar(&layout, &self.folder.join(name), &self.edition.epoch)?;
        }
        let manifests = self.scratch.path().join("manifests");
        self.assets
            .write_all(self.workspace, &self.edition, &manifests)?;
        let name = format!("knockd-{}-manifests.tar", self.edition.version);
        let tar = self.folder.join(name);
        archive::tar(&manifests, &tar, &self.edition.epoch)?;
        archive::gzip(&tar)?;
        self.sum()
    }

    /// Writes the checksums, and prints the files.
    fn sum(&self) -> Result<()> {
        let mut files = archive::names(&self.folder)?;
        files.sort();
        let mut sums = String::new();
        for name in files {
            let sum = digest::sha256(&self.folder.join(&name))?;
            sums += &format!("{sum}  {name}\n");
        }
        fs::write(self.folder.join("SHA256SUMS"), &sums)?;
        print!("\n{sums}");
        println!("in {}", self.relative(&self.folder).display());
        Ok(())
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        self.workspace.relative(path)
    }
}
