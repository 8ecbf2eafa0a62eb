//! Real browsers without a screen, and the pages that they open.
//!
//! Nothing drives them: a page says by a request to a [`Web`] server what it has seen.

use std::{
    env::consts::ARCH,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tempfile::TempDir;

use crate::{netns::Namespace, privilege::granted, process::Running, scene::SOON};

/// A browser that Debian has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    /// Chromium.
    Chromium,
    /// Firefox, the release with extended support.
    Firefox,
    /// The program that WebKit is tried with. It shares its engine with Safari, and not its network.
    WebKit,
}

/// A browser that shows a page. Its processes end when this is dropped.
#[derive(Debug)]
pub struct Visit {
    /// The browser.
    pub running: Running,
    _profile: TempDir,
}

/// Runs a program with a screen in memory.
const SCREEN: &str = "/usr/bin/xvfb-run";

/// Keeps Chromium from talking to other servers, and from what needs a screen or a sandbox.
const CHROMIUM: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // There is no name server. Firefox needs no name: it knocks on names and addresses alike.
    "--host-resolver-rules=MAP server.example.net 192.0.2.1",
];

impl Browser {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chromium, Self::Firefox, Self::WebKit];

    /// Debian's packages.
    #[must_use]
    pub const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &["chromium"],
            Self::Firefox => &["firefox-esr"],
            // It needs a screen.
            Self::WebKit => &["webkit2gtk-driver", "xvfb", "xauth"],
        }
    }

    /// The program, if it is installed: Debian's, or the one that other distributions have.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        let webkit = "webkit2gtk-4.1/MiniBrowser";
        let names: &[&str] = match self {
            Self::Chromium => &["bin/chromium", "bin/google-chrome"],
            Self::Firefox => &["bin/firefox-esr", "bin/firefox"],
            Self::WebKit => &[
                &format!("lib/{ARCH}-linux-gnu/{webkit}"),
                &format!("libexec/{webkit}"),
                &format!("lib/{webkit}"),
            ],
        };
        let mut paths = names.iter().map(|name| Path::new("/usr").join(name));
        let has_screen = self != Self::WebKit || Path::new(SCREEN).is_file();
        paths.find(|path| path.is_file() && has_screen)
    }

    /// Whether it is installed. A test that needs it ends here if it is not.
    ///
    /// # Panics
    ///
    /// Panics if it is not installed and `CI` is set in the environment.
    #[must_use]
    pub fn is_installed(self) -> bool {
        let packages = self.packages().join(" ");
        granted(
            self.program().is_some(),
            &format!("{self:?}: run `apt-get install {packages}`"),
        )
    }

    /// The name and version that it prints, without what follows.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not run.
    pub fn version(self) -> Result<String> {
        let [program, arguments @ ..] = &self.start()?[..] else {
            bail!("{self:?} has no program");
        };
        let mut command = Command::new(program);
        let output = command.args(arguments).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = text.split(" built on").next().unwrap_or_default();
        Ok(text.trim().to_owned())
    }

    /// Opens `url` in `namespace`, with a new profile.
    ///
    /// # Errors
    ///
    /// Returns an error if the browser cannot be started.
    pub fn open(self, namespace: &Namespace, url: &str) -> Result<Visit> {
        let profile = tempfile::tempdir()?;
        // All processes of the browser are in a namespace of their own, and end with its first.
        let mut command = namespace.command("unshare");
        command.args(["--fork", "--pid", "--kill-child", "--mount-proc"]);
        self.add_arguments(&mut command, profile.path())?;
        let url = match self {
            Self::Chromium | Self::Firefox => url.to_owned(),
            Self::WebKit => leading_to(url, profile.path())?,
        };
        command.arg(url).env("HOME", profile.path());
        command.env_remove("DISPLAY");
        Ok(Visit {
            running: Running::spawn(command)?,
            _profile: profile,
        })
    }

    /// The program, after that with which it is started.
    fn start(self) -> Result<Vec<OsString>> {
        let program = self.program();
        let program = program.with_context(|| format!("{self:?} is not installed"))?;
        let screen: &[&str] = match self {
            Self::Chromium | Self::Firefox => &[],
            // It waits for ever as the first process of a namespace, so a shell is that.
            Self::WebKit => &[
                "sh",
                "-c",
                "\"$0\" \"$@\"; exit",
                SCREEN,
                "--auto-servernum",
            ],
        };
        let screen = screen.iter().map(OsString::from);
        Ok(screen.chain([program.into()]).collect())
    }

    fn add_arguments(self, command: &mut Command, profile: &Path) -> Result<()> {
        command.args(self.start()?);
        match self {
            Self::Chromium => command
                .args(CHROMIUM)
                // Without a request from outside, Chromium prints the page once and ends.
                .arg("--remote-debugging-port=0")
                .arg(format!("--user-data-dir={}", profile.display())),
            Self::Firefox => command
                .args(["--headless", "--no-remote", "--profile"])
                .arg(profile),
            // There is no bus on which it would offer the page to assistive technologies.
            Self::WebKit => command.env("NO_AT_BRIDGE", "1"),
        };
        Ok(())
    }
}

/// A page in `folder` that leads to `url`: WebKit's program drops the fragment of an address that it is
/// started with.
fn leading_to(url: &str, folder: &Path) -> Result<String> {
    let file = folder.join("start.html");
    let target = url.replace('&', "&amp;");
    let page = format!("<meta http-equiv=\"refresh\" content=\"0; url={target}\">");
    fs::write(&file, page)?;
    Ok(format!("file://{}", file.display()))
}

impl Drop for Visit {
    fn drop(&mut self) {
        let id = self.running.id();
        let children = format!("/proc/{id}/task/{id}/children");
        // The first process of the namespace, with which the kernel ends all others.
        let first = fs::read_to_string(children).unwrap_or_default();
        if let Ok(first) = first.trim().parse() {
            // It may have ended already.
            let _ = kill(Pid::from_raw(first), Signal::SIGKILL);
        }
        let _ = self.running.wait(SOON);
    }
}

/// A web server. It answers with one page, and tells which paths were requested.
#[derive(Debug)]
pub struct Web {
    listener: TcpListener,
    requests: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

/// A path and what the server answers there.
pub type Page = (&'static str, String);

impl Web {
    /// Listens in `namespace` on `port` of every address. Every other path than those of `pages` has
    /// an empty page.
    ///
    /// # Errors
    ///
    /// Returns an error if the port is in use or the namespace cannot be entered.
    pub fn start(namespace: &Namespace, port: u16, pages: Vec<Page>) -> Result<Self> {
        let listener: TcpListener = namespace.run(|| {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_only_v6(false)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into())?;
            socket.listen(128)?;
            Ok(socket.into())
        })?;
        let (sender, requests) = mpsc::channel();
        let thread = thread::spawn({
            let listener = listener.try_clone()?;
            move || serve(&listener, &sender, &Arc::new(pages))
        });
        Ok(Self {
            listener,
            requests,
            thread: Some(thread),
        })
    }

    /// Waits for the next request whose path begins with `/` and `word`, and returns the rest of it
    /// without percent-encoding of spaces. A request that begins with `/failed` is an error.
    ///
    /// # Errors
    ///
    /// Returns an error if there is none in time.
    pub fn wait_for(&self, word: &str, timeout: Duration) -> Result<String> {
        loop {
            let path = self
                .requests
                .recv_timeout(timeout)
                .with_context(|| format!("no page said {word}"))?;
            let text = path.trim_start_matches('/').replace("%20", " ");
            if let Some(rest) = text.strip_prefix(word) {
                return Ok(rest.trim().to_owned());
            }
            if text.starts_with("failed") {
                bail!("the page says: {text}");
            }
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // Unblocks `accept`.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, requests: &Sender<String>, pages: &Arc<Vec<Page>>) {
    while let Ok((connection, _)) = listener.accept() {
        let (requests, pages) = (requests.clone(), Arc::clone(pages));
        // A browser may open a connection and say nothing.
        thread::spawn(move || answer(&connection, &requests, &pages));
    }
}

/// Answers one request. Errors of a connection are visible to the browser.
fn answer(mut connection: &TcpStream, requests: &Sender<String>, pages: &[Page]) -> Option<()> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let path = first.split(' ').nth(1)?;
    let page = pages.iter().find(|(at, _)| *at == path);
    let body = page.map_or("", |(_, body)| body);
    let kind = match path.rsplit('.').next() {
        Some("js") => "text/javascript",
        Some("svg") => "image/svg+xml",
        _ => "text/html",
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).ok()?;
    connection.write_all(body.as_bytes()).ok()?;
    // The test may have ended.
    requests.send(path.to_owned()).ok()
}
