use super::*;
use knockd_types::event::{Event, Notice};

async fn ends() -> (SupervisorEnd, ListenerEnd) {
    let (keeper, listener) = SupervisorEnd::pair().unwrap();
    (keeper, ListenerEnd::new(listener.try_into().unwrap()))
}

#[tokio::test]
async fn an_order_arrives_and_an_end_is_heard() {
    let (keeper, listener) = ends().await;
    let order = Request::Reload { question: 7 };
    listener.send(&order).await.unwrap();
    assert!(matches!(keeper.recv().await.unwrap(), Received::Request(heard) if heard == order));
    drop(listener);
    assert!(matches!(keeper.recv().await.unwrap(), Received::Closed));
}

#[tokio::test]
async fn what_is_no_order_is_garbled_whatever_its_length() {
    let (keeper, listener) = ends().await;
    for len in [1, REQUEST_LEN - 1, REQUEST_LEN, REQUEST_LEN + 1, 10_000] {
        listener.socket.send(&vec![0xff; len]).await.unwrap();
        let heard = keeper.recv().await.unwrap();
        assert!(matches!(heard, Received::Invalid(_)), "{len}: {heard:?}");
    }
    // And the next message is one of its own.
    listener.send(&Request::Alive).await.unwrap();
    let heard = keeper.recv().await.unwrap();
    assert!(matches!(heard, Received::Request(Request::Alive)));
}

#[tokio::test]
async fn a_message_of_any_length_arrives_with_its_files() {
    let (keeper, mut listener) = ends().await;
    let folder = tempfile::tempdir().unwrap();
    for len in [0, MAX_INLINE - 200, MAX_INLINE, 5_000_000] {
        let file = std::fs::File::create(folder.path().join("file")).unwrap();
        let message = "x".repeat(len);
        let event = Event::Trouble {
            message: message.clone(),
        };
        let told = Message::Notice(Box::new(Notice::now(event)));
        keeper.send(&told, &[file.as_fd(); 3]).await.unwrap();
        let (told, files) = listener.recv().await.unwrap().unwrap();
        let Message::Notice(told) = told else {
            panic!("{told:?}");
        };
        assert_eq!(told.event, Event::Trouble { message });
        assert_eq!(files.len(), 3);
    }
    drop(keeper);
    assert!(listener.recv().await.unwrap().is_none());
}
