//! Writes lines to standard error. A daemon is not delayed by it: what its reader does not take is
//! left out and counted.

use std::{
    fmt, io, mem,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use knockd_types::utc;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open},
    io::Errno,
    net::{SendFlags, send},
    stdio::dup2_stderr,
    termios::isatty,
};

const PATH: &str = "/proc/self/fd/2";

/// What a pipe takes at once if poll(2) reports it as writable (`PIPE_BUF` of pipe(7)).
const PIPE_BUF: usize = 4096;

static NEVER_BLOCKS: AtomicBool = AtomicBool::new(false);

/// Makes the log never wait for the reader of standard error, in this process and its children. Other
/// processes with the same standard error are not affected.
pub fn never_block() {
    NEVER_BLOCKS.store(true, Ordering::Relaxed);
    // If this fails, poll(2) tells when a write does not block.
    let _ = reopen();
}

/// Makes the log of this process never block. Its standard error is inherited from one that called
/// [`never_block`].
pub(super) fn never_block_like_parent() {
    NEVER_BLOCKS.store(true, Ordering::Relaxed);
}

/// Replaces the standard error that is a pipe or a terminal by one that does not block. The mode
/// belongs to the open file, which this process may share with a shell.
fn reopen() -> rustix::io::Result<()> {
    let stderr = io::stderr();
    let is_pipe = file_type(&stderr) == Some(FileType::Fifo);
    if !is_pipe && !isatty(&stderr) {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    dup2_stderr(open(PATH, flags, Mode::empty())?)
}

fn file_type(file: impl AsFd) -> Option<FileType> {
    let stat = fstat(file).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// The entries that are missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lost {
    entries: u64,
    /// Why the last write failed, unless its reader was too slow.
    error: Option<Errno>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} log entries lost: ", self.entries)?;
        match self.error {
            None => f.write_str("nothing has read standard error fast enough"),
            Some(error) => write!(
                f,
                "standard error could not be written: {}",
                io::Error::from(error)
            ),
        }
    }
}

/// The line of text that reports `lost` entries.
pub(super) fn notice(lost: &Lost) -> String {
    let time = utc::micros(utc::now());
    format!("{time}  WARN {lost}\n")
}

/// Standard error, as the destination of a log.
#[derive(Debug)]
pub(super) struct Stderr {
    /// The line that tells how many are missing, and why.
    notice: fn(&Lost) -> String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The end of a line whose beginning is written.
    rest: Vec<u8>,
    lost: Lost,
}

impl Stderr {
    pub(super) fn new(notice: fn(&Lost) -> String) -> Self {
        let state = Mutex::default();
        Self { notice, state }
    }
}

impl io::Write for &Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if NEVER_BLOCKS.load(Ordering::Relaxed) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.write(io::stderr().as_fd(), line, self.notice);
        } else {
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    /// Writes `line` to `file`, or counts it as lost.
    fn write(&mut self, file: BorrowedFd<'_>, line: &[u8], notice: fn(&Lost) -> String) {
        if !self.write_rest(file) {
            self.lost.entries += 1;
            return;
        }
        if self.lost.entries > 0 {
            let notice = notice(&self.lost);
            if !self.begin(file, notice.as_bytes()) {
                self.lost.entries += 1;
                return;
            }
            self.lost = Lost::default();
        }
        if !self.write_rest(file) || !self.begin(file, line) {
            self.lost.entries += 1;
        }
    }

    /// Writes the end of an earlier line. Returns whether nothing is left of it.
    fn write_rest(&mut self, file: BorrowedFd<'_>) -> bool {
        let rest = mem::take(&mut self.rest);
        let written = self.write_now(file, &rest);
        self.rest.extend(&rest[written..]);
        self.rest.is_empty()
    }

    /// Writes the beginning of `line` and keeps the rest. Returns whether it has begun.
    fn begin(&mut self, file: BorrowedFd<'_>, line: &[u8]) -> bool {
        let written = self.write_now(file, line);
        if written > 0 {
            self.rest.extend(&line[written..]);
        }
        written > 0
    }

    /// Writes as much of `bytes` as `file` takes without blocking, and returns how much that is.
    fn write_now(&mut self, file: BorrowedFd<'_>, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match write_once(file, &bytes[written..]) {
                Ok(0) => break,
                Ok(len) => written += len,
                Err(Errno::INTR) => {}
                Err(error) => {
                    self.lost.error = (error != Errno::AGAIN).then_some(error);
                    break;
                }
            }
        }
        written
    }
}

/// The major number of /dev/null, /dev/kmsg and others (Documentation/admin-guide/devices.txt of the
/// kernel).
const MEMORY_DEVICES: u32 = 1;

/// Whether a file is a character device that tells when it can be written, as terminals do. Those of
/// memory, such as /dev/kmsg, take everything and do not tell.
fn is_slow_device(file: BorrowedFd<'_>) -> bool {
    fstat(file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && rustix::fs::major(stat.st_rdev) != MEMORY_DEVICES
    })
}

fn write_once(file: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    let kind = file_type(file);
    if kind == Some(FileType::Socket) {
        return send(file, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
    let may_block = (kind == Some(FileType::Fifo) || is_slow_device(file))
        && !fcntl_getfl(file)?.contains(OFlags::NONBLOCK);
    if !may_block {
        return rustix::io::write(file, bytes);
    }
    let mut file_to_poll = [PollFd::from_borrowed_fd(file, PollFlags::OUT)];
    if poll(&mut file_to_poll, Some(&Timespec::default()))? == 0 {
        return Err(Errno::AGAIN);
    }
    rustix::io::write(file, &bytes[..bytes.len().min(PIPE_BUF)])
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{PipeReader, PipeWriter, Read as _, pipe},
        os::unix::net::UnixStream,
    };

    use rustix::{fs::fcntl_setfl, pipe::fcntl_setpipe_size};

    use super::*;

    const LINE: &[u8] = &[b'x'; 100];

    fn short(lost: &Lost) -> String {
        format!("{} lost\n", lost.entries)
    }

    fn small_pipe(blocks: bool) -> (PipeReader, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        // poll(2) reports a pipe as full while its last page is in use.
        fcntl_setpipe_size(&writer, 2 * PIPE_BUF).unwrap();
        if !blocks {
            fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        }
        (reader, writer)
    }

    fn read(reader: &mut impl io::Read) -> String {
        let mut bytes = [0; 1 << 20];
        let len = reader.read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    #[test]
    fn a_full_pipe_loses_lines_and_tells_how_many() {
        for blocks in [false, true] {
            let (mut reader, writer) = small_pipe(blocks);
            let mut log = State::default();
            let line = "x".repeat(99) + "\n";
            for _ in 0..100 {
                log.write(writer.as_fd(), line.as_bytes(), short);
            }
            assert!(log.lost.entries > 0);
            let mut text = read(&mut reader);
            log.write(writer.as_fd(), b"again\n", short);
            assert_eq!(log.lost.entries, 0);
            text += &read(&mut reader);
            assert!(text.ends_with(" lost\nagain\n"), "{text}");
            let (mut lines, mut lost) = (0, 0);
            for line in text.lines() {
                match line.strip_suffix(" lost") {
                    Some(number) => lost += number.parse::<u64>().unwrap(),
                    None => lines += 1,
                }
            }
            assert_eq!(lines + lost, 101, "{text}");
        }
    }

    #[test]
    fn a_full_socket_loses_lines_and_tells_how_many() {
        let (writer, mut reader) = UnixStream::pair().unwrap();
        let mut log = State::default();
        let mut written = 0;
        while log.lost.entries == 0 {
            log.write(writer.as_fd(), LINE, short);
            written += 1;
        }
        reader.set_nonblocking(true).unwrap();
        let mut before = Vec::new();
        reader.read_to_end(&mut before).unwrap_err();
        assert!(before.len() > (written - 2) * LINE.len());
        log.write(writer.as_fd(), b"again\n", short);
        assert!(read(&mut reader).ends_with("1 lost\nagain\n"));
    }

    #[test]
    fn a_long_line_is_continued_before_the_next_one() {
        let (mut reader, writer) = small_pipe(false);
        let mut log = State::default();
        log.write(writer.as_fd(), &[b'a'; 10_000], short);
        let first = read(&mut reader);
        log.write(writer.as_fd(), b"\nnext\n", short);
        assert_eq!(first + &read(&mut reader), "a".repeat(10_000) + "\nnext\n");
        assert_eq!(log.lost.entries, 0);
    }

    #[test]
    fn a_file_takes_everything_and_a_closed_pipe_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = File::create(&path).unwrap();
        let mut log = State::default();
        for _ in 0..100 {
            log.write(file.as_fd(), LINE, short);
        }
        let mut text = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut text).unwrap();
        assert_eq!((text.len(), log.lost.entries), (100 * LINE.len(), 0));

        let (reader, writer) = small_pipe(false);
        drop(reader);
        log.write(writer.as_fd(), LINE, short);
        assert_eq!(log.lost.entries, 1);
        let told = log.lost.to_string();
        assert!(told.contains("not be written: Broken pipe"), "{told}");
    }

    /// /dev/full fails as a file on a full disk does.
    #[test]
    fn a_full_disk_is_named_as_the_cause() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let file = File::create(&path).unwrap();
        let mut log = State::default();
        for _ in 0..3 {
            log.write(full.as_fd(), LINE, |lost| format!("{lost}\n"));
        }
        log.write(file.as_fd(), b"again\n", |lost| format!("{lost}\n"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "3 log entries lost: standard error could not be written: \
             No space left on device (os error 28)\nagain\n"
        );
        assert_eq!(log.lost.entries, 0);
    }
}
