//! `knockd top`: the running daemon on one screen.
//!
//! [`feed`] reads from the control socket and [`screen`] is the terminal. Both update a [`view`],
//! which is plain, bounded data, and [`ui`] draws the view. Everything but the two ends can be
//! tested without a daemon and a terminal.

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
use knockd_runtime::clock::monotonic;
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

/// The default width of a frame in columns.
const DEFAULT_WIDTH: u16 = 80;

/// How long `--once` watches: a rate needs two readings.
const ONCE: Duration = Duration::from_secs(1);

/// The shortest time between two redraws, so that a flood of verdicts does not cause a flood of
/// output.
const REDRAW: Duration = Duration::from_millis(100);

/// Options of `knockd top`.
#[derive(Args, Clone, Copy, Debug)]
pub struct Options {
    /// Watch for one second and print one frame as plain text
    #[arg(long)]
    once: bool,
    /// The width of the frame [default: the width of the terminal, or 80]
    #[arg(long, value_name = "COLUMNS", requires = "once",
          value_parser = value_parser!(u16).range(i64::from(ui::LEAST_WIDTH)..=1000))]
    width: Option<u16>,
}

/// Shows the state of the daemon at `socket`, live or once.
///
/// # Errors
///
/// Returns an error if no daemon answers at `socket` initially, the terminal cannot be used, or
/// standard output is closed.
pub async fn top(socket: &Path, options: &Options) -> Result<()> {
    if options.once {
        once(socket, options.width).await
    } else {
        watch(socket).await
    }
}

/// Prints one frame as plain text. `width` is in columns; the default is the terminal's width.
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

/// The complete `view` as text without colours.
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

/// Shows the daemon until a key or a signal. Reconnects to a daemon that has stopped.
async fn watch(socket: &Path) -> Result<()> {
    if !io::stdout().is_terminal() {
        bail!("standard output is not a terminal: `knockd top --once` prints one frame");
    }
    // Before the alternate screen is shown, so that an error about the socket stays readable.
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
            () = feed.ended() => bail!("a task that reads from the daemon has failed"),
            input = inputs.next() => match input {
                Some(input) if is_quit(&input) => return Ok(()),
                Some(input) => {
                    scroll(&mut view, &input);
                    is_due = true;
                }
                None => bail!("the terminal was closed"),
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

/// Whether `input` is a key that quits. In raw mode Ctrl-C is a key.
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

/// Scrolls the list of doors.
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
        // Clamped when the list is drawn.
        KeyCode::End => usize::MAX,
        _ => first,
    };
}

#[cfg(test)]
mod tests;
