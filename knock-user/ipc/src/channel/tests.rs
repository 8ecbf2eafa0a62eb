use std::time::Duration;

use super::*;
use knockd_types::event::{Event, Notice};

async fn ends() -> (KeeperEnd, ListenerEnd) {
    let (keeper, listener) = KeeperEnd::pair().unwrap();
    (keeper, ListenerEnd::new(listener.try_into().unwrap()))
}

#[tokio::test]
async fn an_order_arrives_and_an_end_is_heard() {
    let (keeper, listener) = ends().await;
    let order = Order::Reload { question: 7 };
    listener.say(&order).await.unwrap();
    assert!(matches!(keeper.hear().await.unwrap(), Heard::Order(heard) if heard == order));
    drop(listener);
    assert!(matches!(keeper.hear().await.unwrap(), Heard::Gone));
}

#[tokio::test]
async fn what_is_no_order_is_garbled_whatever_its_length() {
    let (keeper, listener) = ends().await;
    for len in [1, ORDER_LEN - 1, ORDER_LEN, ORDER_LEN + 1, 10_000] {
        listener.socket.send(&vec![0xff; len]).await.unwrap();
        let heard = keeper.hear().await.unwrap();
        assert!(matches!(heard, Heard::Garbled(_)), "{len}: {heard:?}");
    }
    // And the next message is one of its own.
    listener.say(&Order::Alive).await.unwrap();
    let heard = keeper.hear().await.unwrap();
    assert!(matches!(heard, Heard::Order(Order::Alive)));
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
        let told = Told::Notice(Box::new(Notice::now(event)));
        keeper.tell(&told, &[file.as_fd(); 3]).await.unwrap();
        let (told, files) = listener.hear().await.unwrap().unwrap();
        let Told::Notice(told) = told else {
            panic!("{told:?}");
        };
        assert_eq!(told.event, Event::Trouble { message });
        assert_eq!(files.len(), 3);
    }
    drop(keeper);
    assert!(listener.hear().await.unwrap().is_none());
}

#[tokio::test]
async fn a_listener_that_takes_nothing_holds_nobody_up() {
    let (keeper, _listener) = ends().await;
    let outbox = outbox::Outbox::default();
    let messages = outbox.open();
    let delivery = tokio::spawn(messages.deliver(std::sync::Arc::new(keeper)));
    let stuck = tokio::time::timeout(Duration::from_secs(60), async {
        while outbox.tell(Told::Ping).is_ok() {
            tokio::task::yield_now().await;
        }
    });
    stuck.await.unwrap();
    delivery.abort();
}
