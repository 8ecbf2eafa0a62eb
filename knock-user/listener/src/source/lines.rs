//! SYNs from lines `destination_port source_ip`.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader, Read},
    net::IpAddr,
    os::fd::OwnedFd,
    str::FromStr,
    thread,
};

use anyhow::{Context as _, Result};
use knock_common::window::Window;
use knockd_runtime::clock::monotonic;
use knockd_types::syn::Syn;
use tokio::sync::mpsc;

/// The longest valid line in bytes: a port, a blank and an IPv6 address, with room to spare.
const MAX_LINE: usize = 128;

/// Lines that the event loop has not handled yet. When they are full, reading pauses.
const MAX_QUEUED: usize = 1024;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A SYN to the window.
    Syn(Syn),
    /// A SYN to a port outside the window.
    OutsideWindow,
    /// An invalid line.
    Skipped {
        /// The number of the line, from 1.
        number: u64,
        /// The reason that it is invalid.
        reason: Mistake,
    },
}

/// The reason that a line is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It is not `destination_port source_ip`.
    Malformed,
    /// It is longer than any valid line.
    Overlong,
    /// The input ended without a newline, so its address may be cut short.
    Torn,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is not `destination_port source_ip`",
            Self::Overlong => "it is too long",
            Self::Torn => "it ends without a newline, so its address may be cut short",
        })
    }
}

/// A stream of lines.
#[derive(Debug)]
pub struct Lines {
    received: mpsc::Receiver<Line>,
}

impl Lines {
    /// Starts to read `input`, in a thread of its own: a file cannot be polled.
    ///
    /// # Errors
    ///
    /// Returns an error if the thread cannot be started.
    pub fn read(input: OwnedFd, window: Window) -> Result<Self> {
        let input: Box<dyn Read + Send> = Box::new(File::from(input));
        let (sender, received) = mpsc::channel(MAX_QUEUED);
        thread::Builder::new()
            .name("lines".into())
            .spawn(move || {
                let mut reader = Reader::new(input, window);
                while let Some(line) = reader.next() {
                    if sender.blocking_send(line).is_err() {
                        return;
                    }
                }
            })
            .context("the thread that reads lines cannot be started")?;
        Ok(Self { received })
    }

    /// The next line; `None` at the end of the input. Cancel-safe.
    pub async fn next(&mut self) -> Option<Line> {
        self.received.recv().await
    }
}

pub(crate) struct Reader {
    input: BufReader<Box<dyn Read + Send>>,
    window: Window,
    number: u64,
}

impl Reader {
    pub(crate) fn new(input: Box<dyn Read + Send>, window: Window) -> Self {
        Self {
            input: BufReader::new(input),
            window,
            number: 0,
        }
    }

    /// The next line; `None` at the end of the input, or if it cannot be read further.
    pub(crate) fn next(&mut self) -> Option<Line> {
        let mut line = Vec::with_capacity(MAX_LINE);
        self.number += 1;
        let limit = MAX_LINE as u64 + 1;
        let read = (&mut self.input).take(limit).read_until(b'\n', &mut line);
        match read {
            Ok(1..) => {}
            Ok(0) => return None,
            Err(error) => {
                tracing::error!("the lines cannot be read further: {error}");
                return None;
            }
        }
        let skipped = |reason| Line::Skipped {
            number: self.number,
            reason,
        };
        if line.last() == Some(&b'\n') {
            return Some(parse(&line, self.window).unwrap_or_else(skipped));
        }
        if line.len() <= MAX_LINE {
            return Some(skipped(Mistake::Torn));
        }
        let overlong = skipped(Mistake::Overlong);
        self.input.skip_until(b'\n').ok()?;
        Some(overlong)
    }
}

fn parse(line: &[u8], window: Window) -> Result<Line, Mistake> {
    let line = str::from_utf8(line).map_err(|_| Mistake::Malformed)?;
    let mut fields = line.split_ascii_whitespace();
    let (Some(port), Some(source), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(Mistake::Malformed);
    };
    // `from_str` accepts a plus sign, which no firewall writes.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Mistake::Malformed);
    }
    let port = u16::from_str(port).map_err(|_| Mistake::Malformed)?;
    let source = IpAddr::from_str(source).map_err(|_| Mistake::Malformed)?;
    Ok(window
        .offset_of(port)
        .map_or(Line::OutsideWindow, |offset| {
            Line::Syn(Syn {
                source: source.to_canonical(),
                source_port: None,
                offset,
                at: monotonic(),
            })
        }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(input: &[u8]) -> Vec<Line> {
        let mut reader = Reader::new(
            Box::new(std::io::Cursor::new(input.to_vec())),
            Window::DEFAULT,
        );
        std::iter::from_fn(|| reader.next()).collect()
    }

    fn syn(line: &Line) -> Option<(u8, String)> {
        match line {
            Line::Syn(syn) => Some((syn.offset, syn.source.to_string())),
            _ => None,
        }
    }

    #[test]
    fn reads_ports_and_sources() {
        let lines = read(
            b"61000 192.0.2.7\n61255\t2001:db8::7\r\n 61001  ::ffff:192.0.2.7 \n22 192.0.2.7\n",
        );
        assert_eq!(syn(&lines[0]), Some((0, "192.0.2.7".into())));
        assert_eq!(syn(&lines[1]), Some((255, "2001:db8::7".into())));
        assert_eq!(syn(&lines[2]), Some((1, "192.0.2.7".into())));
        assert_eq!(lines[3..], [Line::OutsideWindow]);
    }

    #[test]
    fn skips_bad_lines_and_goes_on() {
        let mut input = Vec::new();
        let bad: [&[u8]; 11] = [
            b"",
            b"61000",
            b"61000 192.0.2",
            b"61000 192.0.2.7 40000",
            b"+61000 192.0.2.7",
            b"-1 192.0.2.7",
            b"65536 192.0.2.7",
            b"61000 \xff\xfe",
            b"61000 192.0.2.7\0",
            b"61000 fe80::1%eth0",
            &[b'6'; 100_000],
        ];
        for line in bad {
            input.extend_from_slice(line);
            input.push(b'\n');
        }
        input.extend_from_slice(b"61000 192.0.2.7\n61000 192.0.2.1");
        let lines = read(&input);
        for (number, line) in (1..).zip(&lines[..bad.len()]) {
            let reason = if number == 11 {
                Mistake::Overlong
            } else {
                Mistake::Malformed
            };
            assert_eq!(*line, Line::Skipped { number, reason });
        }
        assert_eq!(syn(&lines[11]), Some((0, "192.0.2.7".into())));
        let torn = Line::Skipped {
            number: 13,
            reason: Mistake::Torn,
        };
        assert_eq!(lines[12..], [torn]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_lines_or_skipped(input: Vec<u8>) {
            let newlines = input.iter().filter(|byte| **byte == b'\n').count();
            let lines = read(&input).len();
            prop_assert!(lines == newlines || lines == newlines + 1);
        }

        #[test]
        fn output_of_tap_is_valid_input(offset: u8, source: IpAddr) {
            let port = Window::DEFAULT.port(offset);
            let lines = read(format!("{port} {source}\n").as_bytes());
            let expected = (offset, source.to_canonical().to_string());
            prop_assert_eq!(lines.first().and_then(syn), Some(expected));
        }
    }
}
