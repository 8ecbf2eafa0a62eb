//! The terminal: set up, drawn on, and always restored.

use std::thread;

use anyhow::Result;
use knockd_runtime::clock::monotonic;
use ratatui::{
    DefaultTerminal,
    crossterm::{
        event::{self, Event as Input},
        terminal::window_size,
    },
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::top::{
    ui::{Palette, Ui},
    view::View,
};

/// The capacity of the input queue.
const MAX_INPUTS: usize = 64;

/// The terminal in raw mode with its alternate screen. Dropping this value, or a panic, restores
/// the terminal.
#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
    palette: Palette,
}

impl Screen {
    /// Sets up the terminal.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no terminal, or it cannot be set up.
    pub fn open() -> Result<Self> {
        // ratatui's panic hook restores the terminal before the message is printed.
        let terminal = ratatui::try_init().inspect_err(|_| restore())?;
        Ok(Self {
            terminal,
            palette: Palette::from_env(),
        })
    }

    /// Draws `view`.
    ///
    /// # Errors
    ///
    /// Returns an error if the terminal was closed.
    pub fn draw(&mut self, view: &mut View) -> Result<()> {
        let ui = Ui {
            now: monotonic(),
            palette: self.palette,
            keys: true,
        };
        self.terminal
            .draw(|frame| ui.render(view, frame.area(), frame.buffer_mut()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    // Fails only if the terminal was closed.
    let _ = ratatui::try_restore();
}

/// The terminal's width in columns, if there is a terminal.
#[must_use]
pub fn width() -> Option<u16> {
    let columns = window_size().ok()?.columns;
    (columns > 0).then_some(columns)
}

/// Key presses and changes of the terminal's size.
#[derive(Debug)]
pub struct Inputs(mpsc::Receiver<Input>);

impl Inputs {
    /// Reads input on a thread. The thread ends with the process: only input wakes it.
    #[must_use]
    pub fn read() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_INPUTS);
        thread::spawn(move || {
            while let Ok(input) = event::read() {
                if sender.blocking_send(input).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// The next input; `None` after the terminal was closed.
    pub async fn next(&mut self) -> Option<Input> {
        self.0.recv().await
    }
}

/// The signals that quit: SIGTERM, SIGINT and SIGHUP.
#[derive(Debug)]
pub struct Quit {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Quit {
    /// Installs the handlers, which replace the default action.
    ///
    /// # Errors
    ///
    /// Returns an error if a handler cannot be installed.
    pub fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of the signals.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
