//! The listener's event loop: waits for the supervisor, the control socket and the source, and
//! routes what they yield.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use knockd_ipc::{
    message::{Effect, ListenerConfig, Message},
    request::Request,
};
use knockd_runtime::clock::{monotonic, sleep_until_monotonic};
use knockd_types::{reason::Reason, syn::Syn};
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    assembler::{Candidates, PendingLookup},
    auth::Authenticator,
    query::Query,
    source::{lines::Line, ring::Ring},
    state::{Input, Listener, Source},
};

impl Listener {
    /// Runs until the keeper goes. `requests` come from the control socket.
    ///
    /// # Errors
    ///
    /// The source cannot be read any more, or the keeper not be understood.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Query>) -> Result<()> {
        self.keeper.send(&Request::Ready).await?;
        let mut knocks = Vec::new();
        loop {
            // In this order: a flood of events must not keep anything else waiting.
            tokio::select! {
                biased;
                told = self.keeper.recv() => match told? {
                    Some((told, files)) => self.recv(told, files).await?,
                    None => break,
                },
                () = sleep_until_monotonic(self.refusals.next_deadline()) => self.sum_up_refusals(),
                Some(request) = requests.recv() => self.answer(request).await?,
                input = self.source.next(&mut knocks) => match input? {
                    Input::Syns => {
                        self.flush_kernel_log().await?;
                        self.knocks(&knocks).await?;
                        knocks.clear();
                    }
                    Input::Line(line) => self.line(line).await?,
                    Input::Ended => {
                        self.source = Source::Ended;
                        self.keeper.send(&Request::Ended).await?;
                    }
                },
            }
        }
        self.sum_up_refusals();
        Ok(())
    }

    async fn recv(&mut self, told: Message, files: Vec<OwnedFd>) -> Result<()> {
        match told {
            Message::Begin(_) => bail!("it has begun already"),
            Message::Change(terms) => self.change(*terms, files).await?,
            Message::Notice(notice) => {
                // Somebody may be about to.
                if !self.reporter.relay(*notice) && !self.questions.awaits_tail() {
                    self.notified = false;
                    self.keeper.send(&Request::Notify(false)).await?;
                }
            }
            Message::Took(effect, time) => {
                if let Some(latencies) = &self.latencies {
                    match effect {
                        Effect::Gate => latencies.gate_opened(time),
                        Effect::Command => latencies.command_started(time),
                    }
                }
            }
            Message::Full { client, source } => {
                let detail = "as many doors are open as `limits.open_doors` allows".to_owned();
                let clients = self.terms.auth.clients.iter();
                let client = clients.enumerate().find(|(_, one)| one.number == client);
                let client = client.map(|(index, _)| index);
                self.refuse(source, Reason::DoorsFull, client, detail);
            }
            Message::Report(question, report) => self.report(question, *report),
            Message::Answer(question, outcome) => self.questions.answer(question, outcome),
            // Only awaited in `flush_kernel_log`.
            Message::Flushed => {}
            Message::Ping => self.keeper.send(&Request::Alive).await?,
        }
        Ok(())
    }

    /// Goes over to another configuration, and to the ring that is new with it.
    async fn change(&mut self, terms: ListenerConfig, files: Vec<OwnedFd>) -> Result<()> {
        let keeps_window = terms.window() == self.terms.window();
        self.authenticator = Authenticator::new(&terms.auth);
        self.assembler
            .set_limits(terms.sequence_timeout, terms.sources);
        self.terms = terms;
        self.open_store()?;
        let before = match (files.into_iter().next(), &mut self.source) {
            (Some(ring), Source::Ring(_)) => {
                let next = Source::Ring(Box::new(Ring::open(ring)?));
                std::mem::replace(&mut self.source, next)
            }
            _ => return Ok(()),
        };
        if !keeps_window {
            // What is half-finished was for other ports.
            self.assembler.clear();
        } else if let Source::Ring(mut before) = before {
            let mut knocks = Vec::new();
            before.drain(&mut knocks);
            self.knocks(&knocks).await?;
        }
        Ok(())
    }

    /// While somebody follows, waits until the kernel's lines of what was just read are told:
    /// so a SYN is seen before what became of it.
    async fn flush_kernel_log(&mut self) -> Result<()> {
        if self.tails == 0 {
            return Ok(());
        }
        self.keeper.send(&Request::Flush).await?;
        loop {
            match self.keeper.recv().await? {
                Some((Message::Flushed, _)) => return Ok(()),
                // Boxed, since it may come back here: a change drains a ring.
                Some((told, files)) => Box::pin(self.recv(told, files)).await?,
                None => bail!("knockd has ended"),
            }
        }
    }

    async fn line(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Syn(knock) => self.knocks(&[knock]).await?,
            Line::OutsideWindow => self.counters.lines_outside_window += 1,
            Line::Skipped { number, reason } => {
                self.counters.lines_skipped += 1;
                if let Some(others) = self.skipped_lines.may_warn(monotonic()) {
                    warn!(
                        "line {number} is skipped: {reason} ({others} others since the last such warning)"
                    );
                }
            }
        }
        Ok(())
    }

    async fn knocks(&mut self, knocks: &[Syn]) -> Result<()> {
        for sighting in self.assembler.sight(knocks) {
            self.knock(sighting).await?;
        }
        Ok(())
    }

    async fn knock(&mut self, sighting: PendingLookup<'_>) -> Result<()> {
        let knock = sighting.knock;
        self.counters.events += 1;
        if !knock.has_unicast_source() {
            self.counters.not_unicast += 1;
            return Ok(());
        }
        let Some(Candidates { blocks, limited }) = self.assembler.push_sighted(sighting) else {
            self.counters.retransmissions += 1;
            return Ok(());
        };
        self.counters.sources_evicted = self.assembler.evicted();
        if limited > 0 {
            self.counters.attempts_limited += limited as u64;
            let detail = "this source has tried too many blocks".to_owned();
            self.refuse(knock.source, Reason::Rate, None, detail);
        }
        for block in &blocks {
            if let Some(order) = self.attempt(block, knock) {
                self.assembler.accept(&knock.source);
                return self
                    .keeper
                    .send(&order)
                    .await
                    .context("knockd does not hear of a knock");
            }
        }
        Ok(())
    }
}
