//! The exporter's end of the channel to the listener.

use std::io::{self, Read as _};

use anyhow::{Result, bail};
use knockd_ipc::metrics::{PREFIX_LEN, REQUEST, Snapshot, frame_len};
use knockd_runtime::log;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::{mpsc, oneshot},
};

/// The channel that a snapshot is sent to.
pub(crate) type Reply = oneshot::Sender<Snapshot>;

/// Reads the frame that the supervisor put into `channel` before it started this process.
///
/// # Errors
///
/// Returns an error if there is no such frame, as in a process that the supervisor did not start.
pub(crate) fn read_log_choice(channel: &mut std::os::unix::net::UnixStream) -> Result<log::Choice> {
    let mut prefix = [0; PREFIX_LEN];
    channel.read_exact(&mut prefix)?;
    let mut json = vec![0; frame_len(prefix)?];
    channel.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// Gets a snapshot for each of `requests`, one at a time: a knock waits for at most one of them,
/// regardless of the number of peers that scrape. Returns when the listener has closed the channel.
///
/// # Errors
///
/// Returns an error if the channel breaks or the listener breaks the protocol.
pub(crate) async fn run(
    mut channel: UnixStream,
    mut requests: mpsc::Receiver<Reply>,
) -> Result<()> {
    loop {
        let mut byte = [0];
        tokio::select! {
            read = channel.read(&mut byte) => match read {
                Ok(0) => return Ok(()),
                Ok(_) => bail!("the listener sent something without a request"),
                Err(error) => return closed(error),
            },
            Some(reply) = requests.recv() => {
                // The connection may have timed out while others were served.
                if !reply.is_closed() {
                    match request(&mut channel).await {
                        Ok(snapshot) => drop(reply.send(snapshot)),
                        Err(error) => return closed(error),
                    }
                }
            }
        }
    }
}

async fn request(channel: &mut UnixStream) -> io::Result<Snapshot> {
    channel.write_all(&[REQUEST]).await?;
    let mut prefix = [0; PREFIX_LEN];
    channel.read_exact(&mut prefix).await?;
    let mut json = vec![0; frame_len(prefix)?];
    channel.read_exact(&mut json).await?;
    Ok(serde_json::from_slice(&json)?)
}

/// A listener that exits in the middle of an answer is no error here.
fn closed(error: io::Error) -> Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::UnexpectedEof => Ok(()),
        _ => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use knockd_ipc::metrics::frame;

    use super::*;

    #[test]
    fn the_log_settings_come_first() {
        let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let bytes = [frame(&log::chosen()).unwrap(), b"more".to_vec()].concat();
        theirs.write_all(&bytes).unwrap();
        read_log_choice(&mut ours).unwrap();
        let mut rest = [0; 4];
        ours.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"more");
    }

    #[tokio::test]
    async fn a_request_gets_the_snapshot_and_the_end_ends_it() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (sender, requests) = mpsc::channel(1);
        let channel = tokio::spawn(run(ours, requests));
        for tails in [1, 2] {
            let (reply, snapshot) = oneshot::channel();
            sender.send(reply).await.unwrap();
            assert_eq!(theirs.read_u8().await.unwrap(), REQUEST);
            let answer = Snapshot {
                tails,
                ..Snapshot::default()
            };
            theirs.write_all(&frame(&answer).unwrap()).await.unwrap();
            assert_eq!(snapshot.await.unwrap(), answer);
        }
        drop(theirs);
        channel.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_invalid_snapshot_is_an_error() {
        for answer in [&[0xff; PREFIX_LEN][..], b"\x02\0\0\0{]"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let (sender, requests) = mpsc::channel(1);
            let channel = tokio::spawn(run(ours, requests));
            let (reply, snapshot) = oneshot::channel();
            sender.send(reply).await.unwrap();
            theirs.read_u8().await.unwrap();
            theirs.write_all(answer).await.unwrap();
            assert!(channel.await.unwrap().is_err(), "{answer:?}");
            assert!(snapshot.await.is_err());
        }
    }

    #[tokio::test]
    async fn a_byte_without_a_request_is_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (_sender, requests) = mpsc::channel(1);
        theirs.write_all(b"!").await.unwrap();
        assert!(run(ours, requests).await.is_err());
    }
}
