//! Tells where knock-user's build script has left the programs for the kernel, and compiles the
//! command that the daemons run.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
};

/// An executable without a dynamic linker, at a fixed address, that begins where it says.
const OPTIONS: &[&str] = &[
    "--edition=2024",
    "-Copt-level=2",
    "-Cpanic=abort",
    "-Crelocation-model=static",
    "-Cstrip=symbols",
    "-Clink-args=-nostartfiles -nostdlib -static -no-pie",
];

fn main() -> ExitCode {
    if let Ok(objects) = env::var("DEP_KNOCK_XDP_OBJECTS") {
        println!("cargo::rustc-env=XDP_OBJECTS={objects}");
    }
    println!("cargo::rerun-if-changed=stamp.rs");
    let variable = |name| env::var_os(name).unwrap_or_default();
    let status = Command::new(variable("RUSTC"))
        .args(OPTIONS)
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(Path::new(&variable("OUT_DIR")).join("stamp"))
        .arg("stamp.rs")
        .status();
    // The compiler has said what is wrong.
    ExitCode::from(u8::from(!status.is_ok_and(|status| status.success())))
}
