//! Compiles the XDP program for the kernel and leaves it in `OUT_DIR`, where the daemon
//! embeds it.

fn main() -> anyhow::Result<()> {
    #[cfg(feature = "daemon")]
    ebpf::build()?;
    Ok(())
}

#[cfg(feature = "daemon")]
mod ebpf {
    use std::{
        env, fs,
        path::{Path, PathBuf},
        process::Command,
    };

    use anyhow::{Context as _, Result, ensure};
    use aya_build::{Package, Toolchain};

    /// The folder in cargo's target directory where `cargo xtask setup` puts its tools, and
    /// the file in it that names the toolchain for the kernel's side.
    const TOOLS: &str = "tools";
    const TOOLCHAIN: &str = "ebpf-toolchain";

    /// What the daemon embeds.
    const PROGRAM: &str = "knock-xdp";

    pub(super) fn build() -> Result<()> {
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
        println!(
            "cargo::metadata=objects={}",
            PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?).display()
        );
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("knock-ebpf");
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
        strip()
    }

    /// Takes the debug information off the program, of which it is nine tenths and which the
    /// daemon would only have to carry. What the kernel and its log need of it is in BTF already.
    fn strip() -> Result<()> {
        let program =
            Path::new(&env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?).join(PROGRAM);
        let compiler = env::var_os("RUSTC").context("cargo sets RUSTC")?;
        let host = env::var("HOST").context("cargo sets HOST")?;
        let sysroot = Command::new(compiler)
            .args(["--print", "sysroot"])
            .output()?;
        let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim());
        let objcopy = sysroot
            .join("lib/rustlib")
            .join(host)
            .join("bin/rust-objcopy");
        if !objcopy.is_file() {
            println!(
                "cargo::warning={PROGRAM} keeps its debug information: rustup's toolchains have rust-objcopy, this one has not"
            );
            return Ok(());
        }
        let stripped = Command::new(objcopy)
            .env("LD_LIBRARY_PATH", sysroot.join("lib"))
            .arg("--strip-debug")
            .arg(&program)
            .status()?;
        ensure!(
            stripped.success(),
            "{PROGRAM} cannot be stripped: {stripped}"
        );
        Ok(())
    }

    /// The tools' folder: cargo tells a build script only its own corner of the target directory.
    fn tools() -> Option<PathBuf> {
        let out = PathBuf::from(env::var_os("OUT_DIR")?);
        out.ancestors()
            .map(|folder| folder.join(TOOLS))
            .find(|tools| tools.join(TOOLCHAIN).is_file())
    }
}
