//! The HTTP server that Prometheus scrapes. All resources that a peer can consume are bounded.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::TEXT_FORMAT;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    channel::Reply,
    connections::{Connections, Progress},
    page,
};

/// The path of the only page.
const PATH: &str = "/metrics";

/// The time limit of a connection.
const CONNECTION_TIME: Duration = Duration::from_secs(5);

/// The time limit of a request.
const REQUEST_TIME: Duration = Duration::from_secs(2);

/// The longest request in bytes: the minimum that hyper allows, and far more than a scrape needs.
const MAX_REQUEST: usize = 8192;

/// The HTTP server.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    scraper: Arc<Scraper>,
}

impl Server {
    /// A server on `listener` that gets the data through `requests`.
    pub(crate) fn new(listener: TcpListener, requests: mpsc::Sender<Reply>) -> Self {
        let scraper = Arc::new(Scraper { requests });
        Self { listener, scraper }
    }

    /// Serves connections forever.
    pub(crate) async fn serve(self) {
        let mut connections = Connections::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = connections.ended() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let scraper = Arc::clone(&self.scraper);
                    connections.add(peer, |request| async move {
                        match timeout(CONNECTION_TIME, scraper.serve(stream, &request)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(error)) => debug!("metrics for {peer}: {error}"),
                            Err(_) => debug!("metrics for {peer}: timed out"),
                        }
                    });
                }
                Err(error) => {
                    // Probably out of file descriptors: wait until some are closed.
                    warn!("metrics: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// The shared state of the connections.
#[derive(Debug)]
pub(crate) struct Scraper {
    pub(crate) requests: mpsc::Sender<Reply>,
}

impl Scraper {
    /// Answers one request and closes the connection.
    pub(crate) async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        progress: &Progress,
    ) -> hyper::Result<()> {
        let answer = |request| {
            progress.received();
            self.answer(request)
        };
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIME)
            .keep_alive(false)
            .max_buf_size(MAX_REQUEST)
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> hyper::http::Result<Response<Full<Bytes>>> {
        let response = Response::builder();
        if request.uri().path() != PATH {
            let elsewhere = format!("the metrics are at {PATH}\n");
            return response
                .status(StatusCode::NOT_FOUND)
                .body(elsewhere.into());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return response
                .status(StatusCode::METHOD_NOT_ALLOWED)
                .header(ALLOW, HeaderValue::from_static("GET, HEAD"))
                .body(Full::default());
        }
        match self.scrape().await {
            Ok(page) => response.header(CONTENT_TYPE, TEXT_FORMAT).body(page.into()),
            Err(error) => {
                debug!("metrics: {error:#}");
                response
                    .status(StatusCode::SERVICE_UNAVAILABLE)
                    .body(Full::default())
            }
        }
    }

    async fn scrape(&self) -> Result<String> {
        let (reply, snapshot) = oneshot::channel();
        self.requests.send(reply).await?;
        let snapshot = snapshot.await.context("the daemon is stopping")?;
        Ok(page::render(&snapshot)?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use knockd_ipc::metrics::Snapshot;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;
    use crate::connections::MAX_CONNECTIONS;

    /// The address of a server on a free port that passes requests on to the returned end.
    async fn server() -> (SocketAddr, mpsc::Receiver<Reply>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(1);
        tokio::spawn(Server::new(listener, sender).serve());
        (address, requests)
    }

    /// The address of a server on a free port for a daemon that has accepted one knock.
    async fn exporter() -> SocketAddr {
        let (address, mut requests) = server().await;
        tokio::spawn(async move {
            while let Some(reply) = requests.recv().await {
                let mut snapshot = Snapshot::default();
                snapshot.daemon.accepted = 1;
                let _ = reply.send(snapshot);
            }
        });
        address
    }

    /// The answer to `request`, until the connection is closed.
    async fn ask(exporter: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(exporter).await.unwrap();
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_scrape_is_answered_and_the_connection_closed() {
        let exporter = exporter().await;
        let answer = ask(exporter, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let kind = "\r\ncontent-type: text/plain; version=0.0.4\r\n";
        assert!(head.contains(kind), "{head}");
        assert!(body.contains("\nknockd_accepted_total 1\n"), "{body}");
        let old = ask(exporter, b"GET /metrics?a=b HTTP/1.0\r\n\r\n").await;
        assert!(old.ends_with(body), "{old}");
    }

    #[tokio::test]
    async fn a_head_request_gets_the_head_alone() {
        let answer = ask(
            exporter().await,
            b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(!answer.contains("content-length: 0"), "{answer}");
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let exporter = exporter().await;
        let long = format!(
            "GET /metrics HTTP/1.1\r\nA: {}\r\n\r\n",
            "a".repeat(MAX_REQUEST)
        );
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics/ HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            (
                "OPTIONS /metrics HTTP/1.1\r\n\r\n",
                "405 Method Not Allowed",
            ),
            ("\x16\x03\x01\r\n\r\n", "400 Bad Request"),
            ("GET /metrics\r\n\r\n", "400 Bad Request"),
            (&long, "431 Request Header Fields Too Large"),
        ] {
            let answer = ask(exporter, request.as_bytes()).await;
            let expected = format!("HTTP/1.1 {status}\r\n");
            assert!(answer.starts_with(&expected), "{request}: {answer}");
            assert!(!answer.contains("knockd_"), "{request}: {answer}");
        }
    }

    #[tokio::test]
    async fn silent_connections_end_and_the_next_is_served() {
        let exporter = exporter().await;
        let mut silent = Vec::new();
        for _ in 0..8 * MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(exporter).await.unwrap();
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\n")
                .await
                .unwrap();
            silent.push(stream);
        }
        let answer = ask(exporter, b"GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        for stream in &mut silent {
            // End of file, or a reset.
            assert!(!stream.read(&mut [0]).await.is_ok_and(|len| len > 0));
        }
    }

    #[tokio::test]
    async fn without_a_listener_the_page_is_unavailable() {
        let (address, requests) = server().await;
        drop(requests);
        let answer = ask(address, b"GET /metrics HTTP/1.1\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{answer}"
        );
    }
}
