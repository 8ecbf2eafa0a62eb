//! The fuzzing targets of this crate, for `tests/fuzz`. They panic if a parser breaks a rule.

use knockd_ipc::metrics::Snapshot;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    sync::mpsc,
};

use crate::{connections::Progress, page, server::Scraper};

/// More than a request and its answer.
const BUFFER: usize = 16 * 1024;

/// The page of a snapshot that a compromised listener has made up: every sample has a number.
pub fn page(snapshot: &Snapshot) {
    let Ok(page) = page::render(snapshot) else {
        return;
    };
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let number = line.rsplit(' ').next().map(str::parse::<f64>);
        assert!(matches!(number, Some(Ok(_))), "{line:?}");
    }
}

/// A request over HTTP: there is at most one answer, and the page only for its path.
pub async fn http(input: &[u8]) {
    let (mut client, server) = duplex(BUFFER);
    client.write_all(input).await.expect("there is room for it");
    client.shutdown().await.expect("it is connected");
    // Without the listener's end the page is unavailable, which saves its formatting.
    let (requests, _) = mpsc::channel(1);
    let progress = Progress::default();
    let _ = Scraper { requests }.serve(server, &progress).await;
    let mut answer = Vec::new();
    client
        .read_to_end(&mut answer)
        .await
        .expect("it is connected");
    if answer.is_empty() {
        return;
    }
    let answer = String::from_utf8(answer).expect("an answer is text");
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    assert_eq!(answer.matches("HTTP/1.").count(), 1, "{answer}");
    if answer[8..].starts_with(" 503 ") {
        let path = b"/metrics";
        assert!(
            input.windows(path.len()).any(|part| part == path),
            "{answer}"
        );
    }
}
