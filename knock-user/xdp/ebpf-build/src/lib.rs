//! Compiles eBPF packages, for the build scripts of the crates that load them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

/// The directory in cargo's target directory into which `cargo xtask setup` installs its tools,
/// and the file in it that names the eBPF toolchain.
const TOOLS: &str = "tools";
const TOOLCHAIN: &str = "ebpf-toolchain";

/// Runs rustc without the paths of this machine in its output.
const RUSTC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rustc.sh");

/// The workspace, whose sources the object names.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");

/// Compiles every binary of `package`, whose manifest is in the directory `root`. Returns the
/// directory with the objects, which is `OUT_DIR`.
///
/// Changes environment variables: call it before the build script starts a thread.
///
/// # Errors
///
/// Returns an error if the tools are not set up or the package does not compile.
pub fn build(package: &str, root: &Path) -> Result<PathBuf> {
    let tools = tools().context("the eBPF tools are not set up: run `cargo xtask setup` first")?;
    println!("cargo:rerun-if-changed={}", tools.join(TOOLCHAIN).display());
    let toolchain = fs::read_to_string(tools.join(TOOLCHAIN))?;
    let toolchain = toolchain.trim();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        [tools.join("bin")]
            .into_iter()
            .chain(env::split_paths(&path)),
    )?;

    let workspace = fs::canonicalize(ROOT)?;
    let [cargo, rustup] = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")].map(folder);

    // SAFETY: a build script calls this while it has one thread.
    unsafe {
        env::set_var("RUSTC_WRAPPER", RUSTC);
        env::set_var("KNOCK_ROOT", workspace);
        env::set_var("KNOCK_CARGO", cargo);
        env::set_var("KNOCK_RUSTUP", rustup);
        // rustc finds bpf-linker by its name.
        env::set_var("PATH", path);
        // aya-build turns each line of the inner cargo's progress into a warning.
        env::set_var("CARGO_TERM_QUIET", "true");
        if !toolchain.starts_with("nightly") {
            // A stable compiler that ships `core` for BPF only has to accept the unstable features
            // of these crates; `1` would make aya-build ask for build-std.
            env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf,knock_ebpf,knock_xdp");
        }
    }
    println!("cargo:rerun-if-changed={RUSTC}");
    let common = Path::new(ROOT).join("knock-common/src");
    println!("cargo:rerun-if-changed={}", common.display());
    aya_build::build_ebpf(
        [Package {
            name: package,
            root_dir: root
                .to_str()
                .context("the path to the sources is not UTF-8")?,
            ..Package::default()
        }],
        Toolchain::Custom(toolchain),
    )
    .with_context(|| {
        format!("{package} does not compile with toolchain {toolchain}: if the toolchain is missing, run `cargo xtask setup`")
    })?;
    let out = env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?;
    Ok(out.into())
}

/// The folder that `variable` names; by default `name` in the user's home.
fn folder((variable, name): (&str, &str)) -> PathBuf {
    match env::var_os(variable) {
        Some(folder) => folder.into(),
        None => Path::new(&env::var_os("HOME").unwrap_or_default()).join(name),
    }
}

/// The tools' directory. A build script learns only its own part of the target directory from
/// cargo.
fn tools() -> Option<PathBuf> {
    let out = PathBuf::from(env::var_os("OUT_DIR")?);
    out.ancestors()
        .map(|folder| folder.join(TOOLS))
        .find(|tools| tools.join(TOOLCHAIN).is_file())
}
