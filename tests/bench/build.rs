//! Compiles the benchmarks' XDP programs and the command that the daemons run.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

/// A static executable at a fixed address, whose entry point is `_start`.
const OPTIONS: &[&str] = &[
    "--edition=2024",
    "-Copt-level=2",
    "-Cpanic=abort",
    "-Crelocation-model=static",
    "-Cstrip=symbols",
    "-Clink-args=-nostdlib -static -no-pie",
];

fn main() -> anyhow::Result<ExitCode> {
    let ebpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("ebpf");
    let out = knock_ebpf_build::build("knock-bench-ebpf", &ebpf)?;
    println!("cargo::rerun-if-changed=stamp.rs");
    let variable = |name| env::var_os(name).unwrap_or_default();
    let mut rustc = Command::new(variable("RUSTC"));
    if variable("TARGET") != variable("HOST") {
        // The C compiler of this machine, which is the linker otherwise, may not know the target.
        rustc.args(["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"]);
    } else {
        rustc.arg("-Clink-arg=-nostartfiles");
    }
    let status = rustc
        .args(OPTIONS)
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(out.join("stamp"))
        .arg("stamp.rs")
        .status()?;
    // The compiler has printed the reason.
    Ok(ExitCode::from(u8::from(!status.success())))
}
