//! The packages on systems that `cargo xtask release --try` has made with debootstrap, and the client
//! for another architecture in an emulator.

use std::{env::consts::ARCH, fs, process::Command};

use knock_tests::{link::Pair, needs_bpf, root::Root};

use super::{
    file, stdout, target,
    visit::{CAPABILITIES, configure, equip, visit},
};

const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// Calls `install` on each system, uses what it has installed, and calls `remove`.
fn on_each(install: impl Fn(&Root<'_>), remove: impl Fn(&Root<'_>)) {
    for suite in SUITES {
        let below = target().join("release-roots").join(suite);
        let pair = Pair::new().unwrap();
        let server = Root::over(&pair.server, &below).unwrap();
        let client = Root::over(&pair.client, &below).unwrap();
        for root in [&server, &client] {
            install(root);
        }
        let unit = stdout(sh(
            &server,
            "cat /usr/lib/systemd/system/knockd-xdp.service",
        ));
        assert!(unit.contains("ExecStart=/usr/sbin/knockd"), "{suite}");
        stdout(sh(&server, "test -x /usr/sbin/portknock"));
        configure(&server);
        equip(&client);
        visit(
            &pair,
            || server.command(CAPABILITIES, "/usr/sbin/knockd"),
            || client.command("+sys_chroot", "/usr/bin/knock"),
        );
        remove(&server);
        let left = stdout(sh(&server, "ls /usr/sbin/ /usr/bin/"));
        assert!(!left.contains("knock"), "{suite}: {left}");
    }
}

fn sh(root: &Root<'_>, script: &str) -> Command {
    let mut sh = root.as_root("sh");
    sh.args(["-ec", script]);
    sh
}

#[test]
#[ignore = "cargo xtask release --try"]
fn the_debian_package_is_installed_used_and_purged() {
    needs_bpf!();
    let arch = ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64");
    let package = fs::read(file("knockd-xdp_", &format!("_{arch}.deb"))).unwrap();
    on_each(
        |root| {
            root.write("knockd-xdp.deb", &package, 0o644).unwrap();
            stdout(sh(root, "dpkg --install /knockd-xdp.deb"));
        },
        |root| {
            stdout(sh(root, "dpkg --purge knockd-xdp; [ ! -e /etc/knockd ]"));
        },
    );
}

#[test]
#[ignore = "cargo xtask release --try"]
fn the_rpm_package_is_installed_used_and_erased() {
    needs_bpf!();
    let package = file("knockd-xdp-", &format!(".{ARCH}.rpm"));
    // The systems are Debian's: its database of packages knows no dependency.
    let rpm = |root: &Root<'_>, arguments: &[&str]| {
        let mut rpm = root.rpm();
        rpm.args(arguments);
        rpm
    };
    on_each(
        |root| {
            let mut install = rpm(root, &["--nodeps", "--install"]);
            install.arg(&package);
            stdout(install);
        },
        |root| {
            stdout(rpm(root, &["--erase", "knockd-xdp"]));
        },
    );
}

/// `knock` for 64-bit ARM opens a door of this machine's daemon.
#[test]
#[ignore = "cargo xtask release --try"]
fn the_client_for_arm_knocks_in_an_emulator() {
    needs_bpf!();
    for arch in ["aarch64", "armv7"] {
        let release = target().join("release-files");
        let tarball = format!("-{arch}-linux.tar.gz");
        let names = fs::read_dir(&release).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name());
        if !names.any(|name| name.to_str().unwrap().ends_with(&tarball)) {
            eprintln!("skipped: this release has no {tarball}");
            continue;
        }
        let pair = Pair::new().unwrap();
        let server = Root::empty(&pair.server).unwrap();
        let client = Root::empty(&pair.client).unwrap();
        let own = file("knockd-", &format!("-{ARCH}-linux.tar.gz"));
        for (root, tarball) in [(&server, own), (&client, file("knockd-", &tarball))] {
            root.unpack(&tarball).unwrap();
        }
        server
            .write("etc/passwd", "root:x:0:0:::\nknockd:x:100:100:::\n", 0o644)
            .unwrap();
        let emulator = format!("qemu-{}-static", arch.trim_end_matches("v7"));
        let emulator = std::path::Path::new("/usr/bin").join(emulator);
        client.add_program(&emulator, "qemu").unwrap();
        configure(&server);
        equip(&client);
        visit(
            &pair,
            || server.command(CAPABILITIES, "/usr/sbin/knockd"),
            || {
                let mut qemu = client.command("+sys_chroot", "/qemu");
                qemu.arg("/usr/bin/knock");
                qemu
            },
        );
    }
}
