//! The listener: the restrictions on it even when it is compromised, and the daemon's reaction when
//! it dies.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use knock_tests::{
    link::Pair,
    process::{Running, Signal, status},
    scene::{
        self, BACKUP, CONFIGURATION, Files, LAPTOP, PAIR_CONFIGURATION, PHONE, SOON, SOURCE, SSH,
        STRANGER, Scene, classic, seal, unbound,
    },
};

fn scene() -> Scene {
    Scene::with(PAIR_CONFIGURATION).unwrap()
}

fn knock(scene: &Scene, sequence: &[u8], source: std::net::SocketAddr) {
    let knock = classic(PHONE, sequence, source, Pair::SERVER_V4.into()).unwrap();
    scene.send(&knock).unwrap();
}

#[test]
fn the_listener_has_no_privileges() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let listener = scene.listener().unwrap();
    let of = |key| status(listener, key).unwrap();
    for key in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&of(key), 16).unwrap(), 0, "{key}");
    }
    let uids = of("Uid");
    assert!(uids.split_whitespace().all(|uid| uid != "0"), "{uids}");
    let gids = of("Gid");
    assert!(gids.split_whitespace().all(|gid| gid != "0"), "{gids}");
    assert_eq!(of("Groups"), "");
    assert_eq!(of("NoNewPrivs"), "1");
    // SECCOMP_MODE_FILTER
    assert_eq!(of("Seccomp"), "2");
    // Of the kernel's BPF objects it holds only the ring buffer, and no file descriptor leads to a
    // program or out of its folder.
    let open: Vec<_> = fs::read_dir(format!("/proc/{listener}/fd"))
        .unwrap()
        .map(|file| fs::read_link(file.unwrap().path()).unwrap())
        .map(|target| target.display().to_string())
        .collect();
    let maps = open.iter().filter(|it| it.contains("bpf-map")).count();
    assert!((1..=2).contains(&maps), "{open:?}");
    for target in &open {
        let is_harmless = [
            "socket:",
            "pipe:",
            "anon_inode:[event",
            "anon_inode:bpf-map",
            "/dev/null",
        ]
        .iter()
        .any(|kind| target.starts_with(kind));
        assert!(is_harmless || target.contains("/state/knocks"), "{open:?}");
    }
    // Its root directory contains nothing else.
    let root = fs::read_dir(format!("/proc/{listener}/root")).unwrap();
    let names: Vec<_> = root.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["accepted.journal"]);
    // It can write the file of the replay store, and create no other one.
    let folder = fs::metadata(scene.files.path("state/knocks")).unwrap();
    assert_eq!((folder.uid(), folder.mode() & 0o7777), (0, 0o755));
    let file = fs::metadata(scene.files.path("state/knocks/accepted.journal")).unwrap();
    assert_eq!((file.uid(), file.mode() & 0o7777), (0, 0o660));
    assert_eq!(
        file.gid().to_string(),
        gids.split_whitespace().next().unwrap()
    );
}

/// Before Linux 6.4 there is no `PR_GET_AUXV`, and `/proc/self/auxv` of a non-dumpable process
/// belongs to root. A listener that reads its auxiliary vector through the kernel does not start
/// there. Newer kernels allow the read, so the test checks the system calls. The supervisor is not
/// dumpable either, and the same applies to it.
#[test]
fn the_listener_never_reads_its_auxiliary_vector_through_the_kernel() {
    knock_tests::needs_bpf!();
    /// `PR_GET_AUXV` of linux/prctl.h, as strace prints it with and without a symbolic name.
    const GET_AUXV: [&str; 2] = ["PR_GET_AUXV", "0x41555856"];

    let pair = Pair::new().unwrap();
    let files = Files::new(PAIR_CONFIGURATION).unwrap();
    let trace = files.path("trace");
    let knockd = scene::knockd(&pair, &files).unwrap();
    let mut strace = Command::new("strace");
    strace
        .args(["--follow-forks", "--quiet=all"])
        .args(["--trace=execve,open,openat,prctl", "--output"])
        .arg(&trace)
        .arg(knockd.get_program())
        .args(knockd.get_args())
        .args(["--iface", Pair::SERVER_INTERFACE]);
    let mut strace = Running::spawn(strace).unwrap();
    strace
        .wait_for(|line| line.contains("listening on srv0"), SOON)
        .unwrap();
    // strace does not forward signals to its child, the daemon.
    let daemon = fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id())).unwrap();
    signal_to(daemon.trim().parse().unwrap(), "TERM");
    strace.wait(SOON).unwrap();

    let trace = fs::read_to_string(trace).unwrap();
    // Each line is `PID CALL(ARGUMENTS…`.
    let started = trace
        .lines()
        .find(|call| call.contains(r#"["knockd-listener"]"#))
        .expect("the listener is started");
    let listener = started.split(' ').next();
    let undumpable = trace
        .lines()
        .filter(|call| call.split(' ').next() == listener)
        .any(|call| call.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE"));
    assert!(undumpable, "{trace}");
    for call in trace.lines() {
        let reads = GET_AUXV.iter().any(|name| call.contains(name)) || call.contains("auxv\"");
        assert!(!reads, "{call}");
    }
}

#[test]
fn a_killed_listener_is_restarted_and_doors_stay_open() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let block = seal(&unbound().unwrap()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let first = scene.listener().unwrap();
    kill(first);
    scene
        .logged(&[
            "the listener exited (signal: 9",
            "restarting in 1 s; open doors are unaffected",
        ])
        .unwrap();
    scene.logged(&["listening again on srv0"]).unwrap();
    assert_ne!(scene.listener().unwrap(), first);
    let status = scene.status().unwrap();
    assert_eq!(status["daemon"]["listener_restarts"], 1);
    assert!(status["doors"].to_string().contains("192.0.2.2"));
    // The second listener knows what the first one has accepted.
    scene.send_block(block, STRANGER).unwrap();
    scene
        .logged(&["refused source=192.0.2.66 reason=repeated"])
        .unwrap();
    knock(&scene, SSH, STRANGER);
    scene.opened("ssh", STRANGER.ip()).unwrap();
}

#[test]
fn the_listener_ends_with_the_daemon() {
    knock_tests::needs_bpf!();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut scene = scene();
        let listener = scene.listener().unwrap();
        scene.knockd.signal(signal).unwrap();
        scene.knockd.wait(SOON).unwrap();
        // Both processes write to the captured stream, so it ends only after the listener.
        let is_running = || {
            let status = fs::read_to_string(format!("/proc/{listener}/status"));
            status.is_ok_and(|status| !status.contains("State:\tZ"))
        };
        let deadline = std::time::Instant::now() + SOON;
        while is_running() {
            assert!(std::time::Instant::now() < deadline, "{signal}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn the_listener_ignores_the_stop_signals_of_the_daemon() {
    knock_tests::needs_bpf!();
    let scene = scene();
    let listener = scene.listener().unwrap();
    for signal in ["TERM", "INT", "HUP"] {
        signal_to(listener, signal);
    }
    knock(&scene, SSH, SOURCE);
    scene.opened("ssh", SOURCE.ip()).unwrap();
    assert_eq!(scene.listener().unwrap(), listener);
}

#[test]
fn only_the_daemon_can_start_the_listener() {
    let knockd = scene::program("knockd").unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "exec -a knockd-listener \"$0\" </dev/null"]);
    let output = Command::new("bash")
        .args(command.get_args())
        .arg(knockd)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("which only knockd itself starts"), "{error}");
}

#[test]
fn the_commands_of_a_door_run_as_the_configured_user() {
    knock_tests::needs_bpf!();
    let configuration = CONFIGURATION.replace(
        r#"run = ["sh", "-c", "echo open %DOOR% $KNOCK_IP >> {folder}/commands"]"#,
        r#"run = ["sh", "-c", "id -u; id -g; id -G; echo cap $(grep CapEff /proc/self/status)"]
user = "nobody"
group = "daemon""#,
    );
    let scene = Scene::with(&configuration).unwrap();
    knock(&scene, BACKUP, SOURCE);
    scene
        .logged(&["command run door=\"backup\"", "succeeded"])
        .unwrap();
    let printed: Vec<_> = scene
        .knockd
        .lines()
        .iter()
        .filter_map(|line| Some(line.text.split_once("for 192.0.2.2: ")?.1.to_owned()))
        .collect();
    let none = "cap CapEff: 0000000000000000";
    assert_eq!(printed, ["65534", "1", "1", none]);
    // The commands of other doors run as before.
    let laptop = classic(LAPTOP, SSH, STRANGER, Pair::SERVER_V4.into()).unwrap();
    scene.send(&laptop).unwrap();
    scene.opened("ssh", STRANGER.ip()).unwrap();
}

fn kill(process: u32) {
    signal_to(process, "KILL");
}

fn signal_to(process: u32, signal: &str) {
    let mut kill = Command::new("kill");
    kill.args(["-s", signal, &process.to_string()]);
    assert!(kill.status().unwrap().success());
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod compromised {
    use knock_tests::hijack::{Hijacked, Outcome};
    use nix::{errno::Errno, libc, sys::signal::Signal::SIGSYS};

    use super::*;

    /// The IPC channel to the supervisor is the listener's standard input.
    const CHANNEL: u64 = 0;

    /// Commands of fcntl(2), of asm-generic/fcntl.h.
    const F_SETSIG: u64 = 10;
    const F_SETOWN_EX: u64 = 15;

    /// `BPF_MAP_CREATE`, `BPF_PROG_LOAD` and `BPF_OBJ_GET_INFO_BY_FD` of linux/bpf.h.
    const BPF_MAP_CREATE: u64 = 0;
    const BPF_PROG_LOAD: u64 = 5;
    const BPF_OBJ_GET_INFO_BY_FD: u64 = 15;

    fn hijack(scene: &Scene) -> Hijacked {
        // The listener is ready and about to block.
        scene.settle().unwrap();
        Hijacked::new(scene.listener().unwrap()).unwrap()
    }

    /// Whether a door was opened to the address in the forged requests.
    fn was_opened(scene: &Scene) -> bool {
        let commands = scene.files.commands();
        commands.iter().any(|line| line.contains("192.0.2.99"))
    }

    fn denied(outcome: Outcome) -> bool {
        // In its root directory there is nothing but the replay store.
        let errors = [Errno::EPERM, Errno::EACCES, Errno::ENOENT];
        matches!(outcome, Outcome::Failed(error) if errors.contains(&error))
    }

    #[test]
    fn the_listener_cannot_open_files_connect_fork_or_kill() {
        knock_tests::needs_bpf!();
        let scene = scene();
        let mut listener = hijack(&scene);
        let here = i64::from(libc::AT_FDCWD).cast_unsigned();
        for path in [
            "/etc/shadow",
            "/etc/passwd",
            "/proc/self/environ",
            "..",
            "/sys/fs/bpf",
        ] {
            let path = listener.put(&[path.as_bytes(), b"\0"].concat()).unwrap();
            let opened = listener.call(libc::SYS_openat, &[here, path, 0]).unwrap();
            assert!(denied(opened), "{opened:?}");
        }
        let configuration = scene.files.path("knockd.toml");
        let path = [configuration.as_os_str().as_encoded_bytes(), b"\0"].concat();
        let path = listener.put(&path).unwrap();
        let opened = listener.call(libc::SYS_openat, &[here, path, 0]).unwrap();
        assert!(denied(opened), "{opened:?}");
        let (inet, unix, stream) = (
            libc::AF_INET as u64,
            libc::AF_UNIX as u64,
            libc::SOCK_STREAM as u64,
        );
        let rwx = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
        let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let supervisor = u64::from(scene.knockd.id());
        for (call, arguments) in [
            (libc::SYS_socket, &[inet, stream, 0][..]),
            (libc::SYS_socket, &[unix, stream, 0]),
            #[cfg(target_arch = "x86_64")]
            (libc::SYS_fork, &[]),
            (libc::SYS_clone, &[libc::SIGCHLD as u64, 0, 0, 0, 0]),
            (libc::SYS_kill, &[supervisor, libc::SIGTERM as u64]),
            (
                libc::SYS_tgkill,
                &[supervisor, supervisor, libc::SIGTERM as u64],
            ),
            (libc::SYS_setuid, &[0]),
            (libc::SYS_mmap, &[0, 4096, rwx, private, u64::MAX, 0]),
            (libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1]),
            #[cfg(target_arch = "x86_64")]
            (libc::SYS_chmod, &[path, 0o777]),
            (libc::SYS_fchmodat, &[here, path, 0o777]),
            (libc::SYS_io_uring_setup, &[1, path]),
            (libc::SYS_userfaultfd, &[0]),
            (libc::SYS_memfd_create, &[path, 0]),
            // Sockets: to another peer, or connected by sending.
            (libc::SYS_connect, &[CHANNEL, path, 16]),
            (libc::SYS_sendto, &[CHANNEL, path, 1, 0, path, 16]),
            (
                libc::SYS_sendto,
                &[CHANNEL, path, 1, libc::MSG_FASTOPEN as u64, 0, 0],
            ),
            (libc::SYS_sendmsg, &[CHANNEL, path, 0]),
            (libc::SYS_sendmmsg, &[CHANNEL, path, 1, 0]),
            (libc::SYS_setsockopt, &[CHANNEL, 6, 30, path, 4]),
            // Files: none is made, removed or enlarged.
            (libc::SYS_fallocate, &[CHANNEL, 1, 0, 1 << 31]),
            (libc::SYS_ftruncate, &[CHANNEL, 1 << 31]),
            (libc::SYS_mkdirat, &[here, path, 0o700]),
            (libc::SYS_unlinkat, &[here, path, 0]),
            (libc::SYS_symlinkat, &[path, here, path]),
            (libc::SYS_linkat, &[here, path, here, path, 0]),
            (libc::SYS_mknodat, &[here, path, 0o600, 0]),
        ] {
            let outcome = listener.call(call, arguments).unwrap();
            assert!(denied(outcome), "call {call}: {outcome:?}");
        }
        drop(listener);
        // The listener continues normally.
        knock(&scene, SSH, SOURCE);
        scene.opened("ssh", SOURCE.ip()).unwrap();
    }

    /// It can fill neither the disk nor its directory.
    #[test]
    fn the_listener_can_only_overwrite_its_file() {
        knock_tests::needs_bpf!();
        let scene = scene();
        let mut listener = hijack(&scene);
        let here = i64::from(libc::AT_FDCWD).cast_unsigned();
        let new = listener.put(b"new\0").unwrap();
        let create = (libc::O_CREAT | libc::O_WRONLY) as u64;
        let created = listener.call(libc::SYS_openat, &[here, new, create, 0o600]);
        assert!(denied(created.unwrap()));
        let store = listener.put(b"accepted.journal\0").unwrap();
        let write = libc::O_WRONLY as u64;
        let opened = listener.call(libc::SYS_openat, &[here, store, write]);
        let Outcome::Returned(file) = opened.unwrap() else {
            panic!("the store cannot be opened");
        };
        let path = scene.files.path("state/knocks/accepted.journal");
        let len = fs::metadata(&path).unwrap().len();
        let last = listener.call(libc::SYS_pwrite64, &[file, store, 1, len - 1]);
        assert_eq!(last.unwrap(), Outcome::Returned(1));
        let beyond = listener.call(libc::SYS_pwrite64, &[file, store, 1, len]);
        assert_eq!(beyond.unwrap(), Outcome::Failed(Errno::EFBIG));
        assert_eq!(fs::metadata(&path).unwrap().len(), len);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn the_listener_is_killed_for_exec_ptrace_mount_bpf_and_signal_owners() {
        knock_tests::needs_bpf!();
        for (call, arguments) in [
            (libc::SYS_execve, &[][..]),
            (libc::SYS_execveat, &[]),
            (libc::SYS_ptrace, &[]),
            (libc::SYS_mount, &[]),
            (libc::SYS_bpf, &[BPF_PROG_LOAD]),
            (libc::SYS_bpf, &[BPF_MAP_CREATE]),
            (libc::SYS_bpf, &[BPF_OBJ_GET_INFO_BY_FD]),
            // Signals of asynchronous I/O would reach every process of the same user. The kernel
            // ignores the upper half of the argument, and so must the filter.
            (libc::SYS_fcntl, &[0, libc::F_SETOWN as u64, 1]),
            (libc::SYS_fcntl, &[0, 1 << 32 | libc::F_SETOWN as u64, 1]),
            (libc::SYS_fcntl, &[0, F_SETSIG, 9]),
            (libc::SYS_fcntl, &[0, F_SETOWN_EX, 0]),
        ] {
            let scene = scene();
            knock(&scene, SSH, SOURCE);
            scene.opened("ssh", SOURCE.ip()).unwrap();
            let mut listener = hijack(&scene);
            let outcome = listener.call(call, arguments).unwrap();
            assert_eq!(outcome, Outcome::Killed(SIGSYS), "call {call}");
            scene
                .logged(&["the listener exited", "signal: 31"])
                .unwrap();
            scene.logged(&["listening again on srv0"]).unwrap();
            let doors = scene.status().unwrap()["doors"].to_string();
            assert!(doors.contains("192.0.2.2"), "{doors}");
        }
    }

    #[test]
    fn an_invalid_request_kills_the_listener_and_nothing_else() {
        knock_tests::needs_bpf!();
        let request = |kind: u8, door: u32, client: u32| {
            let mut bytes = [0; 64];
            bytes[0] = kind;
            bytes[8..12].copy_from_slice(&door.to_le_bytes());
            bytes[12..16].copy_from_slice(&client.to_le_bytes());
            for address in [26..32, 58..64] {
                bytes[address].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 99]);
            }
            bytes[32..40].copy_from_slice(&60_u64.to_le_bytes());
            bytes.to_vec()
        };
        let mut excessive = request(2, 0, 3);
        excessive[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        // Valid, but allowed only once.
        let mut ready = [0; 64];
        ready[0] = 1;
        for (message, reason) in [
            (vec![0xff; 64], "there is no request of kind 255"),
            (b"open sesame".to_vec(), "this one has 11"),
            (vec![0; 4096], "a request has 64 bytes"),
            (excessive, "a lease of"),
            (
                ready.to_vec(),
                "a request of kind ready is not allowed while the listener is running",
            ),
            (request(2, 77, 3), "it requested an unknown door"),
            (request(2, 0, 77), "it requested an unknown client"),
        ] {
            let scene = scene();
            let mut listener = hijack(&scene);
            let at = listener.put(&message).unwrap();
            // The supervisor is stopped meanwhile, so that a valid request follows the invalid one
            // in the channel.
            signal_to(scene.knockd.id(), "STOP");
            let written = listener
                .call(libc::SYS_write, &[CHANNEL, at, message.len() as u64])
                .unwrap();
            assert_eq!(written, Outcome::Returned(message.len() as u64));
            let at = listener.put(&request(2, 0, 3)).unwrap();
            let written = listener.call(libc::SYS_write, &[CHANNEL, at, 64]).unwrap();
            assert_eq!(written, Outcome::Returned(64));
            signal_to(scene.knockd.id(), "CONT");
            scene.logged(&["killing the listener", reason]).unwrap();
            drop(listener);
            scene.logged(&["listening again on srv0"]).unwrap();
            assert!(!was_opened(&scene));
            knock(&scene, SSH, SOURCE);
            scene.opened("ssh", SOURCE.ip()).unwrap();
        }
    }

    /// A compromised listener can send valid requests only within the policy of the clients.
    #[test]
    fn the_listener_can_open_a_door_only_for_permitted_clients() {
        knock_tests::needs_bpf!();
        let scene = scene();
        let mut bytes = [0; 64];
        bytes[0] = 2;
        // Door 1 is `backup`, and client 1 is `laptop`, which may not open it.
        (bytes[8], bytes[12]) = (1, 1);
        for address in [26..32, 58..64] {
            bytes[address].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 99]);
        }
        bytes[32..40].copy_from_slice(&60_u64.to_le_bytes());
        let mut listener = hijack(&scene);
        let at = listener.put(&bytes).unwrap();
        listener.call(libc::SYS_write, &[CHANNEL, at, 64]).unwrap();
        drop(listener);
        scene
            .logged(&[
                "a knock has no effect",
                "\"laptop\" may not open door \"backup\"",
            ])
            .unwrap();
        assert!(!was_opened(&scene));
    }
}
