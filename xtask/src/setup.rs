//! What the build needs beyond stable Rust: a compiler that has `core` for eBPF, a linker for it, and
//! `core` for WebAssembly.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use crate::{
    apt::{self, Provided},
    targets::provide_library,
    tools::install_crate,
    workspace::{Workspace, is_installed, output, run},
};

/// A nightly whose LLVM bpf-linker can load. It is pinned to keep builds reproducible.
const NIGHTLY: &str = "nightly-2026-05-01";

/// The name of Debian's compiler in rustup.
const DEBIAN: &str = "knock-bpf";

/// Debian's compiler, its `core` for eBPF, and its linter.
const DEBIAN_PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "rust-web-clippy",
];

/// The target of the module in the page that lets a browser knock.
const WASM: &str = "wasm32-unknown-unknown";

/// The sources of `core` for Debian's compiler, from which the build makes it for WebAssembly, and the
/// linker that this compiler calls.
const DEBIAN_WASM_PACKAGES: &[&str] = &["rust-web-src", "rust-web-llvm", "lld-22"];

/// The last version that needs no LLVM of its own: it loads that of the compiler.
const BPF_LINKER: &str = "0.10.3";

/// What the demo and the tests run.
const PROGRAMS: &[Provided] = &[
    Provided {
        program: "ip",
        package: "iproute2",
    },
    Provided {
        program: "nft",
        package: "nftables",
    },
    Provided {
        program: "iptables",
        package: "iptables",
    },
    Provided {
        program: "nsenter",
        package: "util-linux",
    },
    Provided {
        program: "ethtool",
        package: "ethtool",
    },
    Provided {
        program: "strace",
        package: "strace",
    },
    Provided {
        program: "ssh",
        package: "openssh-client",
    },
];

/// Checks the metrics page. It is extracted from its package because the package starts a server.
const PROMTOOL: Provided = Provided {
    program: "promtool",
    package: "prometheus",
};

/// Where the compiler for the eBPF programs comes from, and `core` for WebAssembly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Route {
    /// A pinned nightly with the sources of `core`
    Rustup,
    /// Debian's stable compiler with a compiled `core` for eBPF
    Debian,
}

/// What `setup` installed.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The compiler for the eBPF programs, as an argument of `rustup run`.
    pub(crate) toolchain: String,
    /// The folder of bpf-linker.
    pub(crate) bin: PathBuf,
    /// The compiler for WebAssembly, if it is not the one in use.
    wasm: Option<String>,
}

/// Installs what is missing. `route` chooses where the compiler comes from; without it the choice
/// of an earlier call is kept, or the first route that works is taken.
pub(crate) fn setup(workspace: &Workspace, route: Option<Route>) -> Result<Tools> {
    apt::provide(PROGRAMS)?;
    let tools = workspace.tools();
    let bin = tools.join("bin");
    apt::extract(PROMTOOL, &bin)?;
    install_crate(workspace, "bpf-linker", BPF_LINKER, &[])?;
    // The build script reads this file.
    let chosen = tools.join("ebpf-toolchain");
    let toolchain = match (route, fs::read_to_string(&chosen)) {
        (None, Ok(toolchain)) if works(toolchain.trim()) => toolchain.trim().to_owned(),
        _ => install_toolchain(route)?,
    };
    // A write without a change would make cargo run the build script again.
    if fs::read_to_string(&chosen).ok().as_deref() != Some(&toolchain) {
        fs::write(&chosen, &toolchain)?;
    }
    println!("eBPF toolchain: {toolchain}, bpf-linker {BPF_LINKER}");
    let wasm = provide_wasm(&tools, route)?;
    Ok(Tools {
        toolchain,
        bin,
        wasm,
    })
}

/// Installs `core` for WebAssembly. Returns the compiler that has it, if it is not the one in use.
pub(crate) fn provide_wasm(tools: &Path, route: Option<Route>) -> Result<Option<String>> {
    // The build script of the page reads this file.
    let chosen = tools.join("wasm-toolchain");
    let fetched = (route != Some(Route::Debian)).then(|| provide_library(WASM));
    match fetched {
        Some(Ok(())) => {
            if chosen.exists() {
                fs::remove_file(chosen)?;
            }
            return Ok(None);
        }
        Some(Err(error)) if route.is_some() => return Err(error),
        Some(Err(error)) => println!("taking Debian's compiler for WebAssembly ({error:#})"),
        None => {}
    }
    let toolchain = from_debian()?;
    if !Path::new("/usr/lib/rustlib/src").exists() || !is_installed("lld-22") {
        apt::install(DEBIAN_WASM_PACKAGES)?;
    }
    fs::write(chosen, &toolchain)?;
    Ok(Some(toolchain))
}

fn install_toolchain(route: Option<Route>) -> Result<String> {
    match route {
        Some(Route::Rustup) => from_rustup(),
        Some(Route::Debian) => from_debian(),
        None => from_rustup().or_else(|error| {
            println!(
                "rustup has no nightly for this machine ({error:#}): taking Debian's compiler"
            );
            from_debian()
        }),
    }
}

fn from_rustup() -> Result<String> {
    println!("installing {NIGHTLY} with rustup");
    output(Command::new("rustup").args([
        "toolchain",
        "install",
        NIGHTLY,
        "--profile=minimal",
        "--component=rust-src,clippy",
        "--no-self-update",
    ]))?;
    ensure!(works(NIGHTLY), "{NIGHTLY} was installed but does not run");
    Ok(NIGHTLY.to_owned())
}

fn from_debian() -> Result<String> {
    let core = PathBuf::from("/usr/lib/rustlib/bpfel-unknown-none");
    if !core.exists() || !PathBuf::from("/usr/bin/clippy-driver").exists() {
        apt::install(DEBIAN_PACKAGES)?;
    }
    run(Command::new("rustup").args(["toolchain", "link", DEBIAN, "/usr"]))
        .context("cannot add Debian's compiler to rustup")?;
    ensure!(
        works(DEBIAN),
        "Debian's compiler was installed but does not run"
    );
    Ok(DEBIAN.to_owned())
}

fn works(toolchain: &str) -> bool {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", toolchain, "rustc", "--version"]);
    output(&mut rustc).is_ok()
}

/// cargo of the toolchain for the eBPF programs, in the environment that the build script uses.
pub(crate) fn ebpf_cargo(workspace: &Workspace, tools: &Tools) -> Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(
        [tools.bin.clone()]
            .into_iter()
            .chain(env::split_paths(&path)),
    )?;
    let mut cargo = workspace.command("rustup");
    cargo
        .args(["run", &tools.toolchain, "cargo"])
        .env("PATH", path)
        // Set by the cargo that runs this, for its own toolchain.
        .env_remove("RUSTC")
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN");
    if tools.toolchain == DEBIAN {
        cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf,knock_ebpf,knock_xdp");
    }
    Ok(cargo)
}

/// clippy for WebAssembly.
pub(crate) fn wasm_clippy(workspace: &Workspace, tools: &Tools) -> Command {
    let mut clippy = match &tools.wasm {
        None => workspace.cargo("clippy"),
        Some(toolchain) => {
            let mut rustup = workspace.command("rustup");
            rustup.args(["run", toolchain, "cargo", "clippy", "-Zbuild-std=core"]);
            rustup
                .env("RUSTC_BOOTSTRAP", "1")
                .env_remove("RUSTC")
                .env_remove("CARGO")
                .env_remove("RUSTUP_TOOLCHAIN");
            rustup
        }
    };
    clippy.args(["--quiet", "--target", WASM]);
    clippy
}

impl Tools {
    /// Whether `core` has to be compiled for eBPF first.
    pub(crate) fn builds_core(&self) -> bool {
        self.toolchain == NIGHTLY
    }
}
