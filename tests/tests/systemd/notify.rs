//! The notifications to systemd, received on a socket of the test.

use std::{fs, io, os::unix::net::UnixDatagram, process::Command, time::Duration};

use knock_tests::{
    link::Pair,
    needs_bpf,
    process::{Running, Signal},
    scene::{CONFIGURATION, Files, PHONE, SOON, SOURCE, SSH, Scene, classic, knockd},
    wire::Sender,
};
use knockd_runtime::clock::monotonic;

/// A daemon that sends notifications, and the socket that receives them.
struct Service {
    scene: Scene,
    socket: UnixDatagram,
}

impl Service {
    /// Starts the daemon with `configuration` and, if given, a watchdog timeout.
    fn start(configuration: &str, watchdog: Option<Duration>) -> Self {
        let pair = Pair::new().unwrap();
        let files = Files::new(configuration).unwrap();
        let path = files.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut command = knockd(&pair, &files).unwrap();
        command.args(["--iface", Pair::SERVER_INTERFACE]);
        command.env("NOTIFY_SOCKET", path);
        if let Some(time) = watchdog {
            command.env("WATCHDOG_USEC", time.as_micros().to_string());
        }
        let knockd = Running::spawn(command).unwrap();
        let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
        let scene = Scene {
            pair,
            files,
            knockd,
            sender,
        };
        Self { scene, socket }
    }

    /// The next notification.
    fn receive(&self) -> io::Result<String> {
        let mut bytes = [0; 1024];
        let len = self.socket.recv(&mut bytes)?;
        Ok(String::from_utf8(bytes[..len].to_vec()).unwrap())
    }

    fn expect(&self, message: &str) {
        assert_eq!(self.receive().unwrap(), message);
    }

    /// Waits for several consecutive watchdog notifications.
    fn expect_watchdog(&self) {
        for _ in 0..4 {
            self.expect("WATCHDOG=1");
        }
    }

    fn expect_reload(&self) {
        let message = self.receive().unwrap();
        let since = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let since = Duration::from_micros(since.unwrap().parse().unwrap());
        let now = monotonic();
        assert!(since <= now && now < since + SOON, "{since:?}, {now:?}");
        self.expect(READY);
    }
}

const READY: &str = "READY=1\nSTATUS=listening on srv0";

#[test]
fn start_reload_and_stop_are_notified_and_nothing_else() {
    needs_bpf!();
    let mut service = Service::start(CONFIGURATION, None);
    service.expect(READY);
    service.scene.knockd.signal(Signal::SIGHUP).unwrap();
    service.expect_reload();
    let reload = service.scene.watch("reload").unwrap().status().unwrap();
    assert!(reload.success());
    service.expect_reload();

    fs::write(service.scene.files.path("knockd.toml"), "no such thing").unwrap();
    let reload = service.scene.watch("reload").unwrap().output().unwrap();
    assert!(!reload.status.success());
    service.expect_reload();

    let silence = Duration::from_millis(300);
    service.socket.set_read_timeout(Some(silence)).unwrap();
    assert_eq!(
        service.receive().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    service.scene.stop().unwrap();
    service.expect("STOPPING=1\nSTATUS=closing every open door");
    assert!(service.receive().is_err(), "the socket is closed");
}

#[test]
fn changes_of_interfaces_are_notified() {
    needs_bpf!();
    let service = Service::start(CONFIGURATION, None);
    service.expect(READY);
    let server = &service.scene.pair.server;
    server.ip("link del srv0").unwrap();
    service.expect("STATUS=listening on no interface yet");
    server.ip("link add srv0 type veth peer name cli0").unwrap();
    service.expect("STATUS=listening on srv0");
}

/// Also while the daemon stops and its last command is still running.
#[test]
fn the_watchdog_is_notified_until_the_daemon_ends() {
    needs_bpf!();
    let configuration =
        CONFIGURATION.replace("echo close", "read line < {folder}/pipe; echo close");
    let mut service = Service::start(&configuration, Some(Duration::from_millis(400)));
    service.expect(READY);
    let pipe = service.scene.files.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    service.expect_watchdog();
    let server = Pair::SERVER_V4.into();
    let scene = &service.scene;
    scene
        .send(&classic(PHONE, SSH, SOURCE, server).unwrap())
        .unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.knockd.signal(Signal::SIGTERM).unwrap();
    scene.logged(&["SIGTERM: closing every open door"]).unwrap();
    while service.receive().unwrap() == "WATCHDOG=1" {}
    service.expect_watchdog();
    fs::write(pipe, "go on\n").unwrap();
    let status = service.scene.knockd.wait(SOON).unwrap();
    assert!(status.success());
}

#[test]
fn a_command_of_a_door_cannot_send_notifications() {
    needs_bpf!();
    let configuration = CONFIGURATION.replace("echo open", "env > {folder}/environment; echo open");
    let service = Service::start(&configuration, Some(SOON));
    let scene = &service.scene;
    service.expect(READY);
    let server = Pair::SERVER_V4.into();
    scene
        .send(&classic(PHONE, SSH, SOURCE, server).unwrap())
        .unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let environment = fs::read_to_string(scene.files.path("environment")).unwrap();
    assert!(environment.contains("KNOCK_IP=192.0.2.2"), "{environment}");
    assert!(
        !environment.contains("NOTIFY_SOCKET") && !environment.contains("WATCHDOG"),
        "{environment}"
    );
}
