//! The terminal: taken, drawn on, and always given back.

use std::thread;

use anyhow::Result;
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
use knockd_runtime::clock::monotonic;

/// Keys that wait to be looked at.
const MAX_INPUTS: usize = 64;

/// The terminal in raw mode with its other screen shown. Dropping it, or a panic anywhere,
/// gives it back as it was.
#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
    palette: Palette,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be set up.
    pub fn open() -> Result<Self> {
        // Its hook gives the terminal back before the panic's message is printed.
        let terminal = ratatui::try_init().inspect_err(|_| give_back())?;
        Ok(Self {
            terminal,
            palette: Palette::from_env(),
        })
    }

    /// Draws `view`.
    ///
    /// # Errors
    ///
    /// The terminal has gone.
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
        give_back();
    }
}

fn give_back() {
    // Fails only where there is no terminal any more.
    let _ = ratatui::try_restore();
}

/// The terminal's columns, if there is a terminal.
#[must_use]
pub fn width() -> Option<u16> {
    let columns = window_size().ok()?.columns;
    (columns > 0).then_some(columns)
}

/// Keys, and changes of the terminal's size.
#[derive(Debug)]
pub struct Inputs(mpsc::Receiver<Input>);

impl Inputs {
    /// Reads them on a thread that ends with the process: nothing wakes it but a key.
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

    /// The next one; `None` when the terminal has gone.
    pub async fn next(&mut self) -> Option<Input> {
        self.0.recv().await
    }
}

/// The signals that end it like a key does.
#[derive(Debug)]
pub struct Quit {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Quit {
    /// From here on the signals end nothing by themselves.
    ///
    /// # Errors
    ///
    /// They cannot be received.
    pub fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one.
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
