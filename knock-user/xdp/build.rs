//! Compiles the XDP program for the kernel and leaves it in `OUT_DIR`, where the daemon
//! embeds it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// The folder in cargo's target directory where `cargo xtask setup` puts its tools, and
/// the file in it that names the toolchain for the kernel's side.
const TOOLS: &str = "tools";
const TOOLCHAIN: &str = "ebpf-toolchain";

fn main() -> Result<()> {
    let tools = tools()
        .context("the tools for the eBPF half are not set up: run `cargo xtask setup` first")?;
    println!("cargo:rerun-if-changed={}", tools.join(TOOLCHAIN).display());
    let toolchain = fs::read_to_string(tools.join(TOOLCHAIN))?;
    let toolchain = toolchain.trim();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        [tools.join("bin")]
            .into_iter()
            .chain(env::split_paths(&path)),
    )?;

    // SAFETY: the build script has one thread.
    unsafe {
        // bpf-linker is found by its name.
        env::set_var("PATH", path);
        // aya-build turns each line of the inner cargo's progress into a warning.
        env::set_var("CARGO_TERM_QUIET", "true");
        if !toolchain.starts_with("nightly") {
            // A stable compiler that brings its own `core` for BPF only has to let these
            // crates use unstable features; `1` would make aya-build ask for build-std.
            env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf,knock_ebpf,knock_xdp");
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    println!("cargo::metadata=objects={}", out.display());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("this crate is two folders below the workspace")?;
    let root = workspace.join("knock-ebpf");
    println!(
        "cargo:rerun-if-changed={}",
        root.with_file_name("knock-common").join("src").display()
    );
    aya_build::build_ebpf(
        [Package {
            name: "knock-ebpf",
            root_dir: root
                .to_str()
                .context("the path to the sources is not UTF-8")?,
            ..Package::default()
        }],
        Toolchain::Custom(toolchain),
    )
    .with_context(|| {
        format!("the eBPF half cannot be built with toolchain {toolchain}: if it is gone, run `cargo xtask setup`")
    })?;
    strip(&out.join("knock-xdp"))
}

/// Takes the debugging information out of the object, nine tenths of it. The compiler has made
/// the types out of it that the kernel wants (BTF), and nobody else reads it.
fn strip(object: &Path) -> Result<()> {
    const DEBUG: [&[u8]; 2] = [b".debug_", b".rel.debug_"];

    let whole = fs::read(object)?;
    let mut elf = Builder::read(&*whole)?;
    for section in &mut elf.sections {
        section.delete = DEBUG.iter().any(|name| section.name.starts_with(name));
    }
    // Names of sections and of symbols share a table in what the linker writes.
    let names = elf.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    elf.delete_orphans();
    let mut stripped = Vec::new();
    elf.write(&mut stripped)?;
    fs::write(object, stripped)?;
    Ok(())
}

/// The tools' folder: cargo tells a build script only its own corner of the target directory.
fn tools() -> Option<PathBuf> {
    let out = PathBuf::from(env::var_os("OUT_DIR")?);
    out.ancestors()
        .map(|folder| folder.join(TOOLS))
        .find(|tools| tools.join(TOOLCHAIN).is_file())
}
