//! The pipeline of line mode: `knockd tap` prints lines and `knockd --lines` reads them, including
//! invalid ones.

use std::{io::Write as _, net::SocketAddr};

use knock_tests::{
    link::Pair,
    privilege,
    process::{Running, Signal},
    scene::{CONFIGURATION, Files, LAPTOP, SOON, SSH, classic, knockd, program},
};

fn client() -> SocketAddr {
    SocketAddr::new(Pair::CLIENT_V4.into(), 40_000)
}

#[test]
fn tap_and_lines_form_a_pipeline() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let files = Files::new(CONFIGURATION).unwrap();
    let program = program("knockd").unwrap();
    // The kernel kills all processes of a PID namespace with the first one, the shell.
    let mut shell = pair.server.command("unshare");
    shell.args(["--pid", "--fork", "--kill-child", "sh", "-c"]);
    shell.arg(format!(
        "{knockd} tap --iface srv0 | {knockd} --lines - --config {config}",
        knockd = program.display(),
        config = files.path("knockd.toml").display(),
    ));
    let pipeline = Running::spawn(shell).unwrap();
    pipeline
        .wait_for(|line| line.contains("attached to srv0"), SOON)
        .unwrap();
    let mut knock = pair
        .client
        .command(knock_tests::scene::program("knock").unwrap());
    knock.args(["--classic", "--sequence", "1,2,3,4", "--passphrase-file"]);
    knock.arg(files.path("laptop.passphrase"));
    assert!(knock.arg("192.0.2.1").output().unwrap().status.success());
    pipeline
        .wait_for(
            |line| line.contains("command run door=\"ssh\" source=192.0.2.2 succeeded"),
            SOON,
        )
        .unwrap();
    assert_eq!(files.commands(), ["open ssh 192.0.2.2 laptop 3600"]);
}

#[test]
fn tap_prints_lines_only_and_drops_its_privileges() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let mut tap = pair.server.command(program("knockd").unwrap());
    tap.args(["tap", "--iface", "srv0", "--base", "40000"]);
    let mut tap = Running::spawn(tap).unwrap();
    tap.wait_for(|line| line.contains("attached"), SOON)
        .unwrap();
    let sender = knock_tests::wire::Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    for (source, port) in [
        ("192.0.2.7", 40_000),
        ("192.0.2.8", 39_999),
        ("192.0.2.9", 40_255),
    ] {
        let source = SocketAddr::new(source.parse().unwrap(), 1024);
        let frame = knock_tests::frame::Frame::syn(source, (Pair::SERVER_V4, port).into());
        sender.send(&frame.bytes().unwrap()).unwrap();
    }
    tap.wait_for(|line| line == "40255 192.0.2.9", SOON)
        .unwrap();
    let printed = tap.text(knock_tests::process::Stream::Out);
    assert_eq!(printed, "40000 192.0.2.7\n40255 192.0.2.9\n");
    // It has dropped the privileges that attaching needed.
    let of = |key| knock_tests::process::status(tap.id(), key).unwrap();
    assert_eq!(u64::from_str_radix(&of("CapEff"), 16).unwrap(), 0);
    assert_eq!(
        (of("NoNewPrivs").as_str(), of("Seccomp").as_str()),
        ("1", "2")
    );
    tap.signal(Signal::SIGTERM).unwrap();
    assert!(tap.wait(SOON).unwrap().success());
}

#[test]
fn invalid_lines_are_skipped_and_doors_still_close() {
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let files = Files::new(&CONFIGURATION.replace("\"1h\"", "\"1s\"")).unwrap();
    let mut command = knockd(&pair, &files).unwrap();
    command.args(["--lines", "-"]);
    let (mut knockd, mut input) = Running::spawn_fed(command).unwrap();
    input
        .write_all(b"nonsense\n61000\n\xff\xff 192.0.2.7\n80 192.0.2.7\n")
        .unwrap();
    let ports = classic(LAPTOP, SSH, client(), Pair::SERVER_V4.into()).unwrap();
    for frame in &ports {
        let bytes = frame.bytes().unwrap();
        let port = knock_tests::frame::Segment::read(&bytes)
            .unwrap()
            .destination
            .port();
        writeln!(input, "{port} 192.0.2.7").unwrap();
        // Lines of another source are assembled separately.
        writeln!(input, "{port} 2001:db8::7 too much").unwrap();
    }
    input.write_all(b"61000 192.0.2.").unwrap();
    drop(input);
    assert!(knockd.wait(SOON).unwrap().success());
    assert_eq!(
        files.commands(),
        [
            "open ssh 192.0.2.7 laptop 1",
            "close ssh 192.0.2.7 laptop 1"
        ]
    );
    let warnings: Vec<_> = knockd
        .lines()
        .into_iter()
        .filter(|line| line.text.contains("is skipped"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].text.contains("line 1 is skipped"),
        "{warnings:?}"
    );
}

#[test]
fn a_source_that_tries_too_many_blocks_is_rate_limited() {
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let files = Files::new(CONFIGURATION).unwrap();
    let mut command = knockd(&pair, &files).unwrap();
    command.args(["--lines", "-"]);
    let (knockd, mut input) = Running::spawn_fed(command).unwrap();
    for i in 0..2000 {
        writeln!(input, "{} 192.0.2.7", 61_000 + i * 31 % 256).unwrap();
    }
    let rate = "refused source=192.0.2.7 reason=rate: this source has tried too many blocks";
    knockd.wait_for(|line| line.contains(rate), SOON).unwrap();
    // Other sources are still processed.
    for frame in classic(LAPTOP, SSH, client(), Pair::SERVER_V4.into()).unwrap() {
        let bytes = frame.bytes().unwrap();
        let port = knock_tests::frame::Segment::read(&bytes)
            .unwrap()
            .destination
            .port();
        writeln!(input, "{port} 192.0.2.8").unwrap();
    }
    knockd
        .wait_for(
            |line| line.contains("accepted door=\"ssh\" client=\"laptop\" source=192.0.2.8"),
            SOON,
        )
        .unwrap();
}
