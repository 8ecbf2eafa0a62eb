use knockd_types::event::{Event, Notice};

use super::*;
use crate::request::ReloadConfig;

async fn ends() -> (SupervisorEnd, ListenerEnd) {
    let (supervisor, listener) = SupervisorEnd::pair().unwrap();
    (supervisor, ListenerEnd::new(listener.try_into().unwrap()))
}

#[tokio::test]
async fn a_request_arrives_and_an_exit_is_noticed() {
    let (supervisor, listener) = ends().await;
    let request = Request::Reload(ReloadConfig { query: 7 });
    listener.send(&request).await.unwrap();
    assert!(
        matches!(supervisor.recv().await.unwrap(), Received::Request(received) if received == request)
    );
    drop(listener);
    assert!(matches!(supervisor.recv().await.unwrap(), Received::Closed));
}

#[tokio::test]
async fn a_packet_of_any_length_that_is_no_request_is_invalid() {
    let (supervisor, listener) = ends().await;
    for len in [1, REQUEST_LEN - 1, REQUEST_LEN, REQUEST_LEN + 1, 10_000] {
        listener.socket.send(&vec![0xff; len]).await.unwrap();
        let received = supervisor.recv().await.unwrap();
        assert!(
            matches!(received, Received::Invalid(_)),
            "{len}: {received:?}"
        );
    }
    // The next packet is not affected.
    listener.send(&Request::Alive).await.unwrap();
    let received = supervisor.recv().await.unwrap();
    assert!(matches!(received, Received::Request(Request::Alive)));
}

#[tokio::test]
async fn a_message_of_any_length_arrives_with_its_files() {
    let (supervisor, mut listener) = ends().await;
    let dir = tempfile::tempdir().unwrap();
    for len in [0, MAX_INLINE - 200, MAX_INLINE, 5_000_000] {
        let file = std::fs::File::create(dir.path().join("file")).unwrap();
        let text = "x".repeat(len);
        let event = Event::Trouble {
            message: text.clone(),
        };
        let message = Message::Notice(Box::new(Notice::now(event)));
        supervisor.send(&message, &[file.as_fd(); 3]).await.unwrap();
        let (message, files) = listener.recv().await.unwrap().unwrap();
        let Message::Notice(notice) = message else {
            panic!("{message:?}");
        };
        assert_eq!(notice.event, Event::Trouble { message: text });
        assert_eq!(files.len(), 3);
    }
    drop(supervisor);
    assert!(listener.recv().await.unwrap().is_none());
}

#[tokio::test]
async fn no_command_of_a_door_inherits_the_channel_and_nothing_blocks_on_it() {
    use rustix::{
        fs::{OFlags, fcntl_getfl},
        io::{FdFlags, fcntl_getfd},
    };

    let (supervisor, listener) = SupervisorEnd::pair().unwrap();
    for end in [supervisor.0.as_fd(), listener.as_fd()] {
        assert!(fcntl_getfd(end).unwrap().contains(FdFlags::CLOEXEC));
        assert!(fcntl_getfl(end).unwrap().contains(OFlags::NONBLOCK));
    }
}

#[tokio::test]
async fn after_a_shutdown_both_ends_are_closed() {
    let (supervisor, mut listener) = ends().await;
    supervisor.shutdown();
    assert!(listener.recv().await.unwrap().is_none());
    assert!(listener.send(&Request::Alive).await.is_err());
    assert!(matches!(supervisor.recv().await.unwrap(), Received::Closed));
}
