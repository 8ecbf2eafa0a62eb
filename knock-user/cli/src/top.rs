//! `knockd top`: the running daemon on one screen.
//!
//! [`feed`] asks the control socket and [`screen`] is the terminal; what they bring goes into a
//! [`view`], which is plain data and bounded, and [`ui`] draws that. So all but the two ends is
//! tested without a daemon and without a terminal.

pub mod feed;
pub mod rates;
pub mod screen;
pub mod text;
pub mod ui;
pub mod verdict;
pub mod view;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, value_parser};
use ratatui::{
    buffer::Buffer,
    crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::Rect,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};

use self::{
    feed::{Feed, Verdicts, status},
    screen::{Inputs, Quit, Screen},
    ui::{Palette, Ui},
    view::{Update, View},
};
use knockd_runtime::clock::monotonic;

/// The columns that a frame has where nobody says how many.
const DEFAULT_WIDTH: u16 = 80;

/// How long a single frame watches: a rate needs two moments.
const ONCE: Duration = Duration::from_secs(1);

/// The shortest time between two drawings. A flood of verdicts is one picture.
const REDRAW: Duration = Duration::from_millis(100);

/// How the daemon is shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Watch for a second and print one frame as plain text
    #[arg(long)]
    once: bool,
    /// The frame's columns [default: the terminal's, or 80]
    #[arg(long, value_name = "COLUMNS", requires = "once",
          value_parser = value_parser!(u16).range(i64::from(ui::LEAST_WIDTH)..=1000))]
    width: Option<u16>,
}

/// Shows the daemon at `socket`, live or once.
///
/// # Errors
///
/// No daemon answers at `socket` to begin with, the terminal cannot be used, or standard output
/// is gone.
pub async fn top(socket: &Path, options: &Options) -> Result<()> {
    if options.once {
        once(socket, options.width).await
    } else {
        watch(socket).await
    }
}

/// Prints one frame as plain text, as wide as the terminal if no `width` in columns is given.
async fn once(socket: &Path, width: Option<u16>) -> Result<()> {
    let mut view = View::default();
    let mut verdicts = Verdicts::connect(socket).await?;
    view.apply(Update::Status(status(socket).await?.into()), monotonic());
    let end = Instant::now() + ONCE;
    while let Ok(notice) = timeout_at(end, verdicts.next()).await {
        view.apply(Update::Notice(notice?), monotonic());
    }
    view.apply(Update::Status(status(socket).await?.into()), monotonic());
    let width = width.or_else(screen::width).unwrap_or(DEFAULT_WIDTH);
    let text = frame(&mut view, width.max(ui::LEAST_WIDTH));
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// All of `view`, as text without colours.
fn frame(view: &mut View, width: u16) -> String {
    let ui = Ui {
        now: monotonic(),
        palette: Palette::Plain,
        keys: false,
    };
    let area = Rect::new(0, 0, width, ui::height(view));
    let mut buffer = Buffer::empty(area);
    ui.render(view, area, &mut buffer);
    text::lines(&buffer)
}

/// Shows the daemon until a key or a signal ends it. A daemon that stops meanwhile is waited for.
async fn watch(socket: &Path) -> Result<()> {
    if !io::stdout().is_terminal() {
        bail!("standard output is no terminal: `knockd top --once` prints one frame");
    }
    // Before the screen is taken: whoever has named a wrong socket reads a plain sentence.
    let first = status(socket).await?;
    let mut quit = Quit::new()?;
    let (sender, mut updates) = mpsc::channel(feed::MAX_LAG);
    let mut feed = Feed::start(socket, &sender);
    let mut view = View::default();
    view.apply(Update::Status(first.into()), monotonic());
    let mut screen = Screen::open().context("the terminal cannot be used")?;
    let mut inputs = Inputs::read();
    let mut is_due = true;
    let mut draw_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = quit.recv() => return Ok(()),
            () = feed.ended() => bail!("what the daemon says is not heard any more"),
            input = inputs.next() => match input {
                Some(input) if is_quit(&input) => return Ok(()),
                Some(input) => {
                    scroll(&mut view, &input);
                    is_due = true;
                }
                None => bail!("the terminal has gone"),
            },
            () = sleep_until(draw_at), if is_due => {
                screen.draw(&mut view)?;
                is_due = false;
                draw_at = Instant::now() + REDRAW;
            }
            Some(update) = updates.recv() => {
                view.apply(update, monotonic());
                is_due = true;
            }
        }
    }
}

/// Whether a key ends it. In raw mode Ctrl-C is a key.
fn is_quit(input: &Input) -> bool {
    let Input::Key(KeyEvent {
        code,
        modifiers,
        kind: KeyEventKind::Press,
        ..
    }) = input
    else {
        return false;
    };
    match code {
        KeyCode::Esc | KeyCode::Char('q' | 'Q') => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// Moves through the doors.
fn scroll(view: &mut View, input: &Input) {
    let Input::Key(key) = input else {
        return;
    };
    let first = view.first_door;
    view.first_door = match key.code {
        KeyCode::Up | KeyCode::Char('k') => first.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => first.saturating_add(1),
        KeyCode::PageUp => first.saturating_sub(10),
        KeyCode::PageDown => first.saturating_add(10),
        KeyCode::Home => 0,
        // The drawing holds it within what there is.
        KeyCode::End => usize::MAX,
        _ => first,
    };
}

#[cfg(test)]
mod tests;
