//! Messages of the supervisor to the listener.

use knockd_ipc::message::Message;

/// A message that is sent on is received as it was.
pub(crate) fn run(input: &[u8]) {
    let Ok(message) = serde_json::from_slice::<Message>(input) else {
        return;
    };
    let sent = serde_json::to_vec(&message).expect("a message has a form in JSON");
    let received: Message = serde_json::from_slice(&sent).expect("what was sent is a message");
    let again = serde_json::to_vec(&received).expect("a message has a form in JSON");
    assert_eq!(sent, again, "{message:?}");
}
