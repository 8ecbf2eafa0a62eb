use std::time::Duration;

use super::*;

fn shell(script: &str) -> io::Result<Running> {
    Running::start(OsStr::new("sh"), &["-c".into(), script.into()])
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn the_status_is_that_of_a_shell() {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
    ] {
        let ended = shell(script).unwrap().wait_until(soon()).unwrap();
        assert_eq!(ended, Some(status), "{script}");
    }
}

#[test]
fn waiting_ends_at_the_deadline() {
    let start = Instant::now();
    let mut running = shell("exec sleep 10").unwrap();
    let deadline = start + Duration::from_millis(100);
    assert_eq!(running.wait_until(deadline).unwrap(), None);
    assert!(start.elapsed() < Duration::from_secs(5));
    running.child.kill().unwrap();
    assert_eq!(running.wait_until(soon()).unwrap(), Some(128 + 9));
}

#[test]
fn the_end_is_noticed_at_once() {
    let start = Instant::now();
    let ended = shell("exit 3")
        .unwrap()
        .wait_until(start + Duration::from_secs(60));
    assert_eq!(ended.unwrap(), Some(3));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_command_that_does_not_exist_is_an_error() {
    let error = Running::start(OsStr::new("/no/such/program"), &[]).err();
    assert_eq!(error.unwrap().kind(), io::ErrorKind::NotFound);
}
