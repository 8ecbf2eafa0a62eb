//! Every check and every test, in the order in which they are cheap.

use std::{path::PathBuf, process::Stdio, time::Instant};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::Message;

use crate::{
    apt::{self, Provided},
    fail2ban, interrupt, package,
    privilege::as_root,
    setup::{self, Tools, ebpf_cargo, install_tool},
    workspace::{Workspace, run},
};

const CARGO_DENY: &str = "0.20.2";

const SHELLCHECK: Provided = Provided {
    program: "shellcheck",
    package: "shellcheck",
};

/// What the package's test looks at it with, and what the machines within namespaces start with:
/// this host starts with another package.
const READERS: &[Provided] = &[
    Provided {
        program: "man",
        package: "man-db",
    },
    Provided {
        program: "zsh",
        package: "zsh",
    },
    Provided {
        program: "fish",
        package: "fish",
    },
    Provided {
        program: "systemd-analyze",
        package: "systemd",
    },
];

type Check = fn(&Workspace, &Tools) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("format", |workspace, _| {
        run(&mut workspace.cargo("fmt --all --check"))
    }),
    ("scripts (shellcheck)", shellcheck),
    ("licences and advisories (cargo deny)", deny),
    ("lints", |workspace, _| {
        run(&mut workspace.cargo("clippy --quiet --workspace --all-targets -- -D warnings"))
    }),
    ("lints of the client without the daemon", |workspace, _| {
        run(&mut workspace.cargo(
            "clippy --quiet --package knock-user --no-default-features --all-targets -- -D warnings",
        ))
    }),
    ("lints of the kernel's half, for the kernel", ebpf_lints),
    ("documentation", |workspace, _| {
        let mut doc = workspace.cargo("doc --quiet --workspace --no-deps --document-private-items");
        run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    }),
    ("build", |workspace, _| {
        run(&mut workspace.cargo("build --quiet"))
    }),
    ("unit tests", |workspace, _| {
        run(&mut workspace.cargo(
            "test --quiet --workspace --exclude knock-tests --exclude knock-bench --all-features",
        ))
    }),
    (
        "10^8 random blocks against the sealed checks",
        |workspace, _| {
            run(&mut workspace.cargo(
            "test --quiet --release --package knock-common --features protocol --test random_blocks -- --ignored --nocapture",
        ))
        },
    ),
    ("package", |workspace, _| {
        package::make(workspace).map(|_| ())
    }),
    ("tests with a kernel, in namespaces", kernel_tests),
];

/// Sets up, then runs every check until one fails.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    let begun = Instant::now();
    let tools = setup::setup(workspace, None)?;
    for (name, check) in CHECKS {
        println!("\n=== {name}");
        let begun = Instant::now();
        check(workspace, &tools).with_context(|| format!("{name}: failed"))?;
        println!("=== {name}: good, {:.1} s", begun.elapsed().as_secs_f32());
    }
    println!(
        "\nevery check is good, {} of them in {:.0} s",
        CHECKS.len(),
        begun.elapsed().as_secs_f32()
    );
    Ok(())
}

fn shellcheck(workspace: &Workspace, _: &Tools) -> Result<()> {
    apt::provide(&[SHELLCHECK])?;
    let firewall = ["portknock-nftables", "portknock-iptables"];
    let package = ["postinst", "prerm", "postrm"];
    let machine = ["boot.sh", "keep.sh"];
    run(workspace
        .command("shellcheck")
        .args(firewall.map(|script| workspace.firewall(script)))
        .args(package.map(|script| workspace.root.join("knock-user/debian").join(script)))
        .args(machine.map(|script| workspace.root.join("tests/src/machine").join(script))))
}

fn deny(workspace: &Workspace, _: &Tools) -> Result<()> {
    install_tool(workspace, "cargo-deny", CARGO_DENY)?;
    let deny = || {
        let mut deny = workspace.command(workspace.tools().join("bin").join("cargo-deny"));
        deny.args([
            "--log-level",
            "error",
            "--workspace",
            "--all-features",
            "check",
        ]);
        deny
    };
    run(deny().args(["bans", "licenses", "sources"]))?;
    // The database of advisories comes over the network, which not every machine has.
    let mut advisories = deny();
    advisories.arg("advisories").stderr(Stdio::piped());
    let advisories = interrupt::wait(&mut advisories)?;
    let said = String::from_utf8_lossy(&advisories.stderr);
    if said.contains("failed to fetch advisory database") {
        println!("skipped: advisories, whose database cannot be fetched here");
        return Ok(());
    }
    ensure!(advisories.status.success(), "advisories:\n{said}");
    Ok(())
}

fn ebpf_lints(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let mut clippy = ebpf_cargo(workspace, tools)?;
    clippy.args(["clippy", "--quiet", "--release", "--package", "knock-ebpf"]);
    clippy.args(["--package", "knock-bench-ebpf"]);
    clippy.args(["--target", "bpfel-unknown-none", "--target-dir"]);
    clippy.arg(workspace.tools().join("ebpf-lints"));
    if tools.builds_core() {
        clippy.args(["-Z", "build-std=core"]);
    }
    clippy.args(["--", "-D", "warnings"]);
    run(&mut clippy)
}

/// The tests of `knock-tests`, and of the benchmarks, whose flood the kernel makes: built as
/// whoever calls, run as root.
fn kernel_tests(workspace: &Workspace, _: &Tools) -> Result<()> {
    fail2ban::provide(workspace)?;
    apt::provide(READERS)?;
    for executable in test_executables(workspace)? {
        let mut test = as_root("env")?;
        // With `CI`, what this machine cannot test is a failure. What is left out for a lesser
        // reason is told, which the harness would keep to itself.
        test.arg("CI=1").arg(&executable);
        test.args(["--quiet", "--nocapture"])
            .current_dir(workspace.root.join("tests"));
        run(&mut test)?;
    }
    Ok(())
}

fn test_executables(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut build = workspace.cargo(
        "test --quiet --package knock-tests --package knock-bench --no-run --message-format=json-render-diagnostics",
    );
    let output = interrupt::wait(build.stdout(Stdio::piped()))?;
    ensure!(output.status.success(), "the tests cannot be built");
    let mut executables = Vec::new();
    for message in Message::parse_stream(&output.stdout[..]) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.profile.test
        {
            executables.extend(artifact.executable.map(PathBuf::from));
        }
    }
    ensure!(!executables.is_empty(), "cargo built no tests");
    Ok(executables)
}
