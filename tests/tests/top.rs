//! `knockd top` with the real daemon: one frame for a pipe, and the live screen in a terminal.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    process::Command,
};

use knock_tests::{
    link::Pair,
    needs_bpf,
    process::{Running, Signal},
    pty::Terminal,
    scene::{
        PAIR_CONFIGURATION, SOON, SOURCE, SSH, STRANGER, Scene, classic, program, request, seal,
    },
};
use knockd_cli::top::screen::Screen;

/// A scene with a gate on port 22, which door `ssh` opens for clients with and without key pairs.
fn gated() -> Scene {
    let gate = "\n[gate]\nprotect = [\"tcp/22\"]\n";
    let configuration =
        PAIR_CONFIGURATION.replace("name = \"ssh\"\n", "name = \"ssh\"\nopen = [\"tcp/22\"]\n");
    Scene::with(&(configuration + gate)).unwrap()
}

fn open_ssh(scene: &Scene) {
    let knock = seal(&request("ssh", SOURCE.ip()).unwrap()).unwrap();
    scene.send_block(knock, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
}

/// Sends a knock that no key decrypts.
fn send_invalid_knock(scene: &Scene) {
    let knock = classic("a wrong passphrase", SSH, STRANGER, Pair::SERVER_V4.into()).unwrap();
    scene.send(&knock).unwrap();
}

/// Starts `knockd top` for the daemon of `scene`.
fn top(scene: &Scene, columns: u16, rows: u16) -> Terminal {
    Terminal::spawn(top_command(scene), columns, rows).unwrap()
}

fn top_command(scene: &Scene) -> Command {
    let mut command = scene.pair.server.command("setsid");
    command.arg("--ctty").arg(program("knockd").unwrap());
    command.args(["top", "--socket"]);
    command.arg(scene.files.path("knockd.sock"));
    command.env_remove("NO_COLOR");
    command
}

fn shows_all_of(parts: &[&str]) -> impl Fn(&str) -> bool {
    move |text| parts.iter().all(|part| text.contains(part))
}

#[test]
fn a_printed_frame_shows_an_open_door_and_the_last_second() {
    needs_bpf!();
    let scene = gated();
    open_ssh(&scene);
    let mut once = scene.watch("top").unwrap();
    let output = once.args(["--once", "--width", "100"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("knockd up "), "{text}");
    assert!(lines[1].starts_with("on srv0 native"), "{text}");
    assert_eq!(lines[2], "gate enforces tcp/22, leases: 1", "{text}");
    let accepted = lines
        .iter()
        .find(|l| l.starts_with("knocks accepted"))
        .unwrap();
    let words: Vec<_> = accepted.split_whitespace().collect();
    assert_eq!(words[2..], ["0/s", "1", "in", "all"], "{text}");
    assert!(lines.contains(&"doors open: 1"), "{text}");
    let door = lines.iter().find(|l| l.starts_with("ssh ")).unwrap();
    let words: Vec<_> = door.split_whitespace().collect();
    assert_eq!(
        words[..5],
        ["ssh", "laptop", "192.0.2.2", "tcp/22", "open"],
        "{text}"
    );
    assert_eq!(words[5], "59m", "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(lines.iter().all(|line| line.chars().count() <= 100));
}

#[test]
fn the_screen_shows_open_doors_and_verdicts() {
    needs_bpf!();
    let scene = gated();
    let screen = top(&scene, 80, 24);
    screen
        .wait_for(shows_all_of(&["doors open: 0", "no verdict yet"]), SOON)
        .unwrap();
    open_ssh(&scene);
    send_invalid_knock(&scene);
    screen
        .wait_for(
            shows_all_of(&[
                "gate enforces tcp/22, leases: 1",
                "doors open: 1",
                "ssh   laptop  192.0.2.2  tcp/22  open   59m",
                "accepted 192.0.2.2: laptop opens ssh for 1h 00m",
                "refused 192.0.2.66: ",
            ]),
            SOON,
        )
        .unwrap();
    // The screen does not turn on the kernel log.
    assert_eq!(scene.status().unwrap()["tails"], 0);
}

/// The command `verdicts` of the screen excludes kernel lines even while `tail` has turned them on.
#[test]
fn verdicts_do_not_include_kernel_lines() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    let mut stream = UnixStream::connect(scene.files.path("knockd.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"verdicts\n").unwrap();
    let mut verdicts = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(verdicts.next().unwrap().contains("\"following\""));
    let tail = Running::spawn(scene.watch("tail").unwrap()).unwrap();
    tail.wait_for(|line| line.contains("following"), SOON)
        .unwrap();
    scene.settle().unwrap();
    tail.wait_for(|line| line.contains("kernel: SYN"), SOON)
        .unwrap();
    assert!(verdicts.next().unwrap().contains("\"opening\""));
    assert_eq!(scene.status().unwrap()["tails"], 1);
}

#[test]
fn every_exit_restores_the_terminal() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    for (key, signal) in [
        (Some("q"), None),
        (Some("\u{1b}"), None),
        (Some("\u{3}"), None),
        (None, Some(Signal::SIGTERM)),
        (None, Some(Signal::SIGINT)),
        (None, Some(Signal::SIGHUP)),
    ] {
        let mut screen = top(&scene, 80, 24);
        screen
            .wait_for(shows_all_of(&["doors open: 0"]), SOON)
            .unwrap();
        assert!(
            !screen.settings_are_restored().unwrap(),
            "the terminal is not in raw mode"
        );
        match (key, signal) {
            (Some(key), _) => screen.press(key).unwrap(),
            (_, Some(signal)) => screen.signal(signal).unwrap(),
            _ => {}
        }
        let status = screen.ended(SOON).unwrap();
        assert!(status.success(), "{key:?} {signal:?}: {status}");
        assert!(
            screen.settings_are_restored().unwrap(),
            "{key:?} {signal:?}"
        );
        let shell = screen.wait_for_shell(SOON).unwrap();
        assert_eq!(shell.trim(), "", "{key:?} {signal:?}");
    }
}

#[test]
fn the_screen_reconnects_to_a_restarted_daemon() {
    needs_bpf!();
    let mut scene = gated();
    open_ssh(&scene);
    let mut screen = top(&scene, 80, 24);
    screen
        .wait_for(shows_all_of(&["doors open: 1"]), SOON)
        .unwrap();
    scene.knockd.signal(Signal::SIGKILL).unwrap();
    let shown = screen
        .wait_for(
            shows_all_of(&[
                "knockd has stopped; showing data from ",
                "no verdicts: not connected",
            ]),
            SOON,
        )
        .unwrap();
    assert!(shown.contains("ssh   laptop  192.0.2.2"), "{shown}");
    scene.restart().unwrap();
    screen
        .wait_for(shows_all_of(&["knockd up ", "no verdict yet"]), SOON)
        .unwrap();
    send_invalid_knock(&scene);
    screen
        .wait_for(shows_all_of(&["refused 192.0.2.66: "]), SOON)
        .unwrap();
    screen.press("q").unwrap();
    assert!(screen.ended(SOON).unwrap().success());
}

#[test]
fn a_hanging_daemon_is_distinguished_from_a_stopped_one() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    let screen = top(&scene, 80, 24);
    screen
        .wait_for(shows_all_of(&["doors open: 0"]), SOON)
        .unwrap();
    scene.knockd.signal(Signal::SIGSTOP).unwrap();
    screen
        .wait_for(shows_all_of(&["knockd does not answer"]), SOON)
        .unwrap();
    scene.knockd.signal(Signal::SIGCONT).unwrap();
    screen
        .wait_for(shows_all_of(&["knockd up "]), SOON)
        .unwrap();
}

#[test]
fn a_resize_redraws_the_screen() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    let screen = top(&scene, 80, 24);
    screen.wait_for(shows_all_of(&["q quit"]), SOON).unwrap();
    screen.resize(30, 8).unwrap();
    screen
        .wait_for(shows_all_of(&["too small: 40×10 at least"]), SOON)
        .unwrap();
    screen.resize(60, 12).unwrap();
    screen
        .wait_for(shows_all_of(&["doors open: 0", "gate drops"]), SOON)
        .unwrap();
}

#[test]
fn no_color_disables_colours() {
    needs_bpf!();
    let scene = gated();
    open_ssh(&scene);
    // Green foreground, as crossterm writes it.
    let green = b"\x1b[38;5;2";
    for (colours, expected) in [(None, true), (Some("1"), false)] {
        let mut command = top_command(&scene);
        if let Some(value) = colours {
            command.env("NO_COLOR", value);
        }
        let screen = Terminal::spawn(command, 80, 24).unwrap();
        screen
            .wait_for(shows_all_of(&["ssh   laptop"]), SOON)
            .unwrap();
        let bytes = screen.bytes();
        let is_green = bytes.windows(green.len()).any(|bytes| bytes == green);
        assert_eq!(is_green, expected, "{}", String::from_utf8_lossy(&bytes));
        let others = [&b"\x1b[38;"[..], b"\x1b[48;"];
        let is_coloured = |colour: &[u8]| bytes.windows(colour.len()).any(|b| b == colour);
        assert_eq!(others.into_iter().any(is_coloured), expected);
    }
}

#[test]
fn without_a_daemon_or_terminal_an_error_is_printed() {
    let mut nowhere = Command::new("setsid");
    nowhere.arg("--ctty").arg(program("knockd").unwrap());
    nowhere.args(["top", "--socket", "/nonexistent/knockd.sock"]);
    let mut terminal = Terminal::spawn(nowhere, 200, 24).unwrap();
    assert_eq!(terminal.ended(SOON).unwrap().code(), Some(1));
    terminal
        .wait_for(
            shows_all_of(&["knockd: no running knockd answers at /nonexistent/knockd.sock"]),
            SOON,
        )
        .unwrap();
    assert!(!terminal.bytes().contains(&0x1b));

    for (arguments, expected) in [
        (&["top"][..], "standard output is not a terminal"),
        (&["top", "--once"], "no running knockd answers"),
    ] {
        let mut piped = Command::new(program("knockd").unwrap());
        piped
            .args(arguments)
            .args(["--socket", "/nonexistent/knockd.sock"]);
        let output = piped.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{error}");
    }
}

/// The name of the test below, which [`a_panic_restores_the_terminal`] runs.
const PANICS: &str = "open_a_screen_and_panic";

#[test]
#[ignore = "another test runs it in a terminal"]
fn open_a_screen_and_panic() {
    let _screen = Screen::open().unwrap();
    panic!("as if the drawing were wrong");
}

#[test]
fn a_panic_restores_the_terminal() {
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", PANICS, "--nocapture"]);
    let mut terminal = Terminal::spawn(command, 120, 50).unwrap();
    assert!(!terminal.ended(SOON).unwrap().success());
    // The message is on the primary screen, and each line starts in the first column.
    let shell = terminal.wait_for_shell(SOON).unwrap();
    assert!(
        shell.contains("\nas if the drawing were wrong\n"),
        "{shell}"
    );
    assert!(
        terminal
            .bytes()
            .windows(8)
            .any(|bytes| bytes == b"\x1b[?1049h"),
        "the alternate screen was never shown"
    );
    assert!(terminal.settings_are_restored().unwrap());
}
