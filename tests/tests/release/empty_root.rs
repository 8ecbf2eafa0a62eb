//! The static programs need nothing but a kernel: the daemon and the client run in root directories
//! without any other program or library.

use std::{env::consts::ARCH, path::Path, process::Command};

use knock_tests::{link::Pair, needs_bpf, privilege::granted, root::Root};

use super::{
    file, stdout, target,
    visit::{CAPABILITIES, configure, equip, visit},
};

const PASSWD: &str = "root:x:0:0:root:/:/bin/false\nknockd:x:100:100::/:/bin/false\n";
const GROUP: &str = "root:x:0:\nknockd:x:100:\n";

/// Uses the static programs in `folder`.
fn try_programs(folder: &Path) {
    let pair = Pair::new().unwrap();
    let server = Root::empty(&pair.server).unwrap();
    server
        .add_program(&folder.join("knockd"), "usr/sbin/knockd")
        .unwrap();
    server.write("etc/passwd", PASSWD, 0o644).unwrap();
    server.write("etc/group", GROUP, 0o644).unwrap();
    configure(&server);
    let client = Root::empty(&pair.client).unwrap();
    client
        .add_program(&folder.join("knock"), "usr/bin/knock")
        .unwrap();
    equip(&client);
    visit(
        &pair,
        || server.command(CAPABILITIES, "/usr/sbin/knockd"),
        || client.command("+sys_chroot", "/usr/bin/knock"),
    );
}

#[test]
fn static_programs_run_in_an_empty_root_directory() {
    needs_bpf!();
    let folder = target().join(format!("{ARCH}-unknown-linux-musl/debug"));
    let is_built = folder.join("knockd").is_file() && folder.join("knock").is_file();
    if granted(is_built, "static programs: run `cargo xtask test --kernel`") {
        try_programs(&folder);
    }
}

#[test]
#[ignore = "cargo xtask release --try"]
fn the_static_programs_of_the_release_run_in_an_empty_root_directory() {
    needs_bpf!();
    let unpacked = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--transform", "s,.*/,,", "--directory"]);
    tar.arg(unpacked.path()).arg("--file");
    tar.arg(file("knockd-", &format!("-{ARCH}-linux.tar.gz")));
    tar.args(["./usr/sbin/knockd", "./usr/bin/knock"]);
    stdout(tar);
    try_programs(unpacked.path());
}
