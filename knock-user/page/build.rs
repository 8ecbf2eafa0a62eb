//! Compiles the module of `knock-page-wasm` into `OUT_DIR`. The page contains it in base64.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use base64ct::{Base64, Encoding as _};
use knock_page_wasm::FOLDER;

const TARGET: &str = "wasm32-unknown-unknown";

/// The file of `cargo xtask setup` in cargo's target directory that names another compiler, one that has
/// the sources of `core` instead of the target.
const TOOLCHAIN: &str = "tools/wasm-toolchain";

/// Makes the module as small as it can be.
const PROFILE: [(&str, &str); 6] = [
    ("CODEGEN_UNITS", "1"),
    ("DEBUG", "false"),
    ("LTO", "fat"),
    ("OPT_LEVEL", "z"),
    ("PANIC", "abort"),
    ("STRIP", "symbols"),
];

/// So do loops where `aes` and `sha2` otherwise repeat code.
const COMPACT: [&str; 2] = ["aes_backend_soft", "sha2_backend_soft"];

fn main() -> Result<()> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let module = compile(&out)?;
    fs::write(out.join("module.base64"), Base64::encode_string(&module))?;
    // A package from a registry has only the first.
    for source in [".", "../../../knock-common/src", "../../../Cargo.lock"] {
        let source = Path::new(FOLDER).join(source);
        if source.exists() {
            println!("cargo:rerun-if-changed={}", source.display());
        }
    }
    Ok(())
}

fn compile(out: &Path) -> Result<Vec<u8>> {
    let mut cargo = cargo(out)?;
    cargo.args(["rustc", "--quiet", "--release", "--lib"]);
    cargo.args(["--crate-type", "cdylib", "--target", TARGET]);
    cargo.arg("--target-dir").arg(out);
    cargo.arg("--manifest-path");
    cargo.arg(Path::new(FOLDER).join("Cargo.toml"));
    for (setting, value) in PROFILE {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    // Also instead of the flags for the page's own target.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags()?.join("\x1f"));
    // clippy would lint instead of compiling.
    cargo.env_remove("RUSTC_WORKSPACE_WRAPPER");
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "the module for the page does not compile");
    let module = out.join(TARGET).join("release/knock_page_wasm.wasm");
    Ok(fs::read(module)?)
}

/// cargo with a compiler for the module.
fn cargo(out: &Path) -> Result<Command> {
    let files = out.ancestors().map(|folder| folder.join(TOOLCHAIN));
    let Some(file) = files.into_iter().find(|file| file.is_file()) else {
        check_target()?;
        return Ok(Command::new(variable("CARGO")?));
    };
    println!("cargo:rerun-if-changed={}", file.display());
    let mut cargo = Command::new("rustup");
    cargo.args(["run", fs::read_to_string(file)?.trim(), "cargo"]);
    cargo.arg("-Zbuild-std=core").env("RUSTC_BOOTSTRAP", "1");
    for own in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(own);
    }
    Ok(cargo)
}

/// Says what to do if the compiler lacks the target.
fn check_target() -> Result<()> {
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output().context("cannot run rustc")?;
    let folder = String::from_utf8(output.stdout)?;
    ensure!(
        Path::new(folder.trim()).is_dir(),
        "the compiler lacks the target {TARGET}: run `cargo xtask setup`, or `rustup target add {TARGET}`"
    );
    Ok(())
}

fn flags() -> Result<Vec<String>> {
    let mut flags: Vec<_> = COMPACT
        .map(|backend| format!("--cfg={backend}=\"compact\""))
        .into();
    // Without paths of this machine, the module is the same everywhere.
    let root = fs::canonicalize(Path::new(FOLDER).join("../../.."))?;
    for (folder, name) in [(root, "/knockd"), (cargo_home()?, "/cargo")] {
        flags.push(format!("--remap-path-prefix={}={name}", folder.display()));
    }
    Ok(flags)
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    let home = env::home_dir().context("the user has no home directory")?;
    Ok(home.join(".cargo"))
}

fn variable(name: &str) -> Result<OsString> {
    env::var_os(name).with_context(|| format!("cargo does not set {name}"))
}
