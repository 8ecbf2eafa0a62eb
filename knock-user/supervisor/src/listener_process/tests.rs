use anyhow::anyhow;
use knockd_ipc::kind::RequestKind;
use tokio::process::Command;

use super::*;

/// A process in the listener's place that waits for a signal, and the listener's end.
fn started(listener: &mut ListenerProcess) -> OwnedFd {
    let (end, theirs) = SupervisorEnd::pair().unwrap();
    let process = Command::new("sleep")
        .arg("600")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let end = Arc::new(end);
    let messages = listener.outbox.open();
    listener.running = Some(Running {
        process,
        delivery: tokio::spawn(messages.deliver(Arc::clone(&end))),
        end,
        started: monotonic(),
        phase: Phase::Starting,
        has_answered: true,
        is_killed: false,
    });
    theirs
}

fn send(listener: &OwnedFd, request: Request) {
    rustix::io::write(listener, &request.to_bytes()).unwrap();
}

fn process() -> ListenerProcess {
    ListenerProcess::new(Outbox::default())
}

#[tokio::test]
async fn only_the_requests_of_its_phase_are_received() {
    let mut listener = process();
    let theirs = started(&mut listener);
    send(&theirs, Request::Flush);
    let early = InvalidRequest::Phase {
        kind: RequestKind::Flush,
        phase: Phase::Starting,
    };
    let received = listener.recv().await.unwrap();
    assert!(matches!(received, Received::Invalid(invalid) if invalid == early));

    send(&theirs, Request::Ready);
    let received = listener.recv().await.unwrap();
    assert!(matches!(received, Received::Request(Request::Ready)));
    assert!(listener.ready());
    send(&theirs, Request::Flush);
    let received = listener.recv().await.unwrap();
    assert!(matches!(received, Received::Request(Request::Flush)));
    send(&theirs, Request::Ready);
    let again = InvalidRequest::Phase {
        kind: RequestKind::Ready,
        phase: Phase::Running,
    };
    let received = listener.recv().await.unwrap();
    assert!(matches!(received, Received::Invalid(invalid) if invalid == again));

    listener.stopping();
    send(&theirs, Request::Alive);
    let received = listener.recv().await.unwrap();
    assert!(matches!(received, Received::Invalid(_)));
}

#[tokio::test]
async fn nothing_is_received_from_a_killed_listener_but_its_exit() {
    let mut listener = process();
    let theirs = started(&mut listener);
    listener.ready();
    send(&theirs, Request::Flush);
    listener.kill(&"this is a test");
    assert!(matches!(listener.recv().await.unwrap(), Received::Closed));
    listener.reap().await.unwrap();
    assert_eq!(listener.counters().listener_restarts, 1);
    assert!(listener.next_start().is_some());
}

#[tokio::test]
async fn a_listener_that_does_not_answer_is_killed() {
    let mut listener = process();
    let _theirs = started(&mut listener);
    listener.ready();
    listener.ping();
    listener.alive();
    listener.ping();
    assert!(!listener.running.as_ref().unwrap().is_killed);
    listener.ping();
    assert!(listener.running.as_ref().unwrap().is_killed);
    listener.stop().await;
}

#[tokio::test]
async fn a_listener_that_does_not_read_is_killed() {
    let mut listener = process();
    let _theirs = started(&mut listener);
    let filled = async {
        while !listener.running.as_ref().unwrap().is_killed {
            listener.send(Message::Flushed);
            tokio::task::yield_now().await;
        }
    };
    let filled = tokio::time::timeout(Duration::from_secs(60), filled).await;
    filled.unwrap();
    listener.stop().await;
}

#[tokio::test]
async fn the_first_listener_must_become_ready_and_a_later_one_is_retried() {
    let mut listener = process();
    assert!(listener.start(|| Err(anyhow!("no account"))).is_err());
    let _theirs = started(&mut listener);
    listener.kill(&"this is a test");
    let error = listener.reap().await.unwrap_err().to_string();
    assert!(error.starts_with("the listener did not start"), "{error}");
    assert_eq!(listener.next_start(), None);

    let _theirs = started(&mut listener);
    assert!(listener.ready(), "the first");
    listener.kill(&"this is a test");
    listener.reap().await.unwrap();
    listener.start(|| Err(anyhow!("no account"))).unwrap();
    assert!(listener.next_start().is_some());
    let _theirs = started(&mut listener);
    assert!(!listener.ready(), "not the first");
    listener.stop().await;
}
