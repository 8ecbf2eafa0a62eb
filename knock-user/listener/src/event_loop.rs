//! The listener's event loop: waits for messages of the supervisor, queries and input of the
//! source, and routes them.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail};
use knock_common::protocol::tile::TILE_LEN;
use knockd_ipc::{
    message::{ListenerConfig, Message},
    request::Request,
};
use knockd_runtime::clock::{monotonic, sleep_until_monotonic};
use knockd_types::{datagram::Datagram, reason::Reason, syn::Syn};
use tokio::{sync::mpsc, task::yield_now};
use tracing::warn;

use crate::{
    assembler::{Candidates, PendingLookup},
    auth::Authenticator,
    claims,
    query::Query,
    replay_store::MAX_BATCH,
    scattered::Scattered,
    source::{lines::Line, ring::MAX_BATCH as MAX_READ},
    state::{Batch, Input, Listener, Rings, Source},
};

/// SYNs that are read, if the ring buffer is never empty, before some of the blocks that they complete
/// are tried: as many as it holds. So reading has most of the time when there is not enough for both.
const MAX_UNTRIED: usize = 1 << 15;

impl Listener {
    /// Runs until the supervisor exits.
    ///
    /// # Errors
    ///
    /// Returns an error if the source fails, or if the supervisor sends something unexpected.
    pub(crate) async fn run(mut self, mut queries: mpsc::Receiver<Query>) -> Result<()> {
        self.supervisor.send(&Request::Ready).await?;
        let mut batch = Batch::default();
        loop {
            // Biased: a flood of packets must not delay anything else.
            tokio::select! {
                biased;
                message = self.supervisor.recv() => match message? {
                    Some((message, files)) => self.handle_message(message, files).await?,
                    None => break,
                },
                () = sleep_until_monotonic(self.refusals.next_deadline()) => {
                    self.log_refusal_sums();
                }
                Some(query) = queries.recv() => self.handle_query(query).await?,
                wake = claims::next(&mut self.fleet) => self.wake_fleet(wake).await?,
                input = self.source.next(&mut batch) => match input? {
                    Input::Events => {
                        self.flush_kernel_log().await?;
                        self.handle_events(&mut batch).await?;
                    }
                    Input::Line(line) => self.handle_line(line).await?,
                    Input::Ended => {
                        self.source = Source::Ended;
                        self.supervisor.send(&Request::Ended).await?;
                    }
                },
                // Not at once: timers and files become ready only in between.
                () = yield_now(), if !self.trials.is_empty() => self.try_next().await?,
            }
        }
        self.log_refusal_sums();
        Ok(())
    }

    async fn handle_message(&mut self, message: Message, files: Vec<OwnedFd>) -> Result<()> {
        match message {
            Message::Begin(_) => bail!("the supervisor sent the startup configuration twice"),
            Message::Change(config) => self.change_config(*config, files).await?,
            Message::Notice(notice) => {
                // A subscriber may be about to be added.
                if !self.reporter.relay(*notice) && !self.pending.awaits_tail() {
                    self.notices_on = false;
                    self.supervisor.send(&Request::Notify(false)).await?;
                }
            }
            Message::Took(effect, time) => self.metrics.observe(effect, time),
            Message::Full { client, source, at } => self.refuse_full(client, source, at),
            Message::Report(number, report) => self.receive_report(number, *report),
            Message::Answer(number, outcome) => self.pending.answer(number, outcome),
            // `flush_kernel_log` waits for it.
            Message::Flushed => {}
            Message::Ping => self.supervisor.send(&Request::Alive).await?,
            Message::Exporter => {
                let channel = files.into_iter().next();
                let served = channel
                    .context("its file descriptor is missing")
                    .and_then(|channel| Ok(self.metrics.serve(channel)?));
                // Metrics are optional. The exporter exits without a channel, and the supervisor
                // starts another one.
                if let Err(error) = served {
                    warn!("the channel to the metrics exporter cannot be used: {error:#}");
                }
            }
            Message::Fleet => {
                let fleet = self.fleet.as_mut().context("there is no fleet")?;
                let channel = files.into_iter().next();
                fleet.connect(channel.context("its file descriptor is missing")?)?;
            }
        }
        Ok(())
    }

    /// Changes to another configuration, and to the ring buffers that come with it.
    async fn change_config(&mut self, config: ListenerConfig, files: Vec<OwnedFd>) -> Result<()> {
        let keeps_window = config.window() == self.config.window();
        self.authenticator = Authenticator::new(&config.auth);
        // The clients may have changed.
        self.decrypted.clear();
        self.assembler
            .set_limits(config.sequence_timeout, config.sources);
        if let (Some(fleet), Some(changed)) = (&mut self.fleet, &config.fleet) {
            fleet.reconfigure(changed, &config.auth, config.max_skew);
        }
        self.config = config;
        self.open_store()?;
        let Source::Rings(rings) = &mut self.source else {
            return Ok(());
        };
        if files.is_empty() {
            return Ok(());
        }
        let next = Rings::open(&mut files.into_iter(), &self.config)?;
        let mut left = std::mem::replace(&mut **rings, next).drain();
        if !keeps_window {
            // These SYNs and incomplete sequences are offsets in the previous window.
            left.syns.clear();
            self.assembler.clear();
            self.trials.clear();
            self.scattered = Scattered::default();
        }
        self.handle_events(&mut left).await
    }

    /// If there is a `tail` subscriber, waits until the supervisor has passed on the kernel's log
    /// lines of the SYNs that were just read, so that each line precedes the events of its SYN.
    async fn flush_kernel_log(&mut self) -> Result<()> {
        if self.tails == 0 {
            return Ok(());
        }
        self.supervisor.send(&Request::Flush).await?;
        loop {
            match self.supervisor.recv().await? {
                Some((Message::Flushed, _)) => return Ok(()),
                // Boxed because it is recursive: a new configuration may drain a ring buffer.
                Some((message, files)) => Box::pin(self.handle_message(message, files)).await?,
                None => bail!("the supervisor has exited"),
            }
        }
    }

    async fn handle_line(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Syn(syn) => {
                self.handle_syns(&[syn]);
                while !self.trials.is_empty() {
                    self.try_next().await?;
                }
            }
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

    /// Handles the events in `batch`, which is empty afterwards. Blocks of SYNs wait until the ring
    /// buffer was read to its end, so that it has room for a genuine knock, and the blocks that are
    /// tried first are chosen among as many as possible.
    async fn handle_events(&mut self, batch: &mut Batch) -> Result<()> {
        self.handle_syns(&batch.syns);
        self.untried += batch.syns.len();
        let may_be_more = batch.syns.len() == MAX_READ;
        batch.syns.clear();
        for datagram in &batch.datagrams {
            self.handle_datagram(datagram).await?;
        }
        batch.datagrams.clear();
        self.commit().await?;
        if may_be_more && self.untried < MAX_UNTRIED {
            return Ok(());
        }
        self.try_next().await
    }

    /// Tries the next blocks, as many as its pace allows, and commits the accepted ones.
    async fn try_next(&mut self) -> Result<()> {
        const { assert!(TILE_LEN <= MAX_BATCH) }
        self.untried = 0;
        let trials = self.trials.take(self.pace.blocks());
        let begun = monotonic();
        self.attempt(&trials);
        let took = monotonic().saturating_sub(begun);
        self.pace = self.pace.after(trials.len(), took);
        self.commit().await
    }

    /// Commits the accepted knocks, and claims them or sends their requests to the supervisor.
    async fn commit(&mut self) -> Result<()> {
        let knocks = self.commit_knocks();
        if self.fleet.is_some() {
            return self.claim(knocks).await;
        }
        for knock in knocks {
            let request = self.accept(knock);
            self.supervisor
                .send(&request)
                .await
                .context("the supervisor does not receive requests")?;
        }
        Ok(())
    }

    /// Commits the accepted knocks before one write cannot hold them.
    async fn commit_full_batch(&mut self) -> Result<()> {
        if self.accepted_knocks.len() >= MAX_BATCH {
            self.commit().await?;
        }
        Ok(())
    }

    async fn handle_datagram(&mut self, datagram: &Datagram) -> Result<()> {
        self.counters.datagrams += 1;
        if !datagram.has_unicast_source() {
            self.counters.not_unicast += 1;
            return Ok(());
        }
        self.attempt_datagram(datagram);
        self.commit_full_batch().await
    }

    fn handle_syns(&mut self, syns: &[Syn]) {
        for lookup in self.assembler.sight(syns) {
            self.handle_syn(lookup);
        }
        self.count_holes();
    }

    fn handle_syn(&mut self, lookup: PendingLookup<'_>) {
        let syn = lookup.syn;
        self.counters.events += 1;
        if !syn.has_unicast_source() {
            self.counters.not_unicast += 1;
            return;
        }
        let Some(Candidates { blocks, limited }) = self.assembler.push_sighted(lookup) else {
            self.counters.retransmissions += 1;
            return;
        };
        self.counters.sources_evicted = self.assembler.evicted();
        if limited > 0 {
            self.counters.attempts_limited += limited as u64;
            let detail = "this source has tried too many blocks".to_owned();
            self.refuse(syn.source, Reason::Rate, None, detail);
        }
        if let Some(block) = self.scattered.push(syn, self.config.sequence_timeout) {
            self.try_scattered(block, syn);
        }
        for candidate in &blocks {
            if self.trials.push(candidate, syn) {
                self.counters.attempts_shed += 1;
            }
        }
    }
}
