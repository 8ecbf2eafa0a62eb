//! The fleet process: the unprivileged process `knockd-fleet`, which is connected to the engine,
//! NATS with JetStream.
//!
//! It owns one end of a [channel](knockd_ipc::fleet) to the listener, and its connection to the
//! engine. It has the certificate of this host, no key of a client and not the fleet's key: a claim
//! is bytes to it. Its standard input is the channel.

mod beats;
mod channel;
mod claims;
mod feed;
mod health;
mod link;
mod session;
mod stream;
mod tls;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
pub use knockd_ipc::fleet::FLEET_NAME as NAME;
use knockd_ipc::fleet::{Order, Report, Startup};
use knockd_runtime::{log, role, sandbox::Sandbox};
use knockd_types::fleet::{Engine, SecretText};
use tokio::sync::{mpsc, watch};

pub use self::stream::init;
use self::{
    channel::FleetEnd,
    claims::Claims,
    link::{Link, State},
};

/// How many reports wait for the listener. Above it claims are read no further, and beats are
/// dropped.
const MAX_REPORTS: usize = 64;

/// Runs the fleet process until the listener closes the channel.
///
/// # Errors
///
/// Returns an error if the supervisor did not start this process, if the sandbox cannot be entered,
/// or if what the listener sends is not an order.
pub fn main() -> Result<()> {
    role::begin(c"knockd-fleet")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        role::ignore_signals()?;
        let channel = FleetEnd::from_stdin()?;
        let Some(startup) = channel.startup().await? else {
            return Ok(());
        };
        log::init_like(&startup.log);
        run(channel, startup).await
    })
}

async fn run(channel: FleetEnd, startup: Startup) -> Result<()> {
    let mut engine = startup.engine;
    let tls = tls::config(&engine)?;
    // The settings have it now.
    engine.key = SecretText::new(String::new());
    let engine = Arc::new(engine);
    let ports: BTreeSet<u16> = engine.servers.iter().map(SocketAddr::port).collect();
    // From here on untrusted input may arrive.
    Sandbox::connecting_to(&ports)?.enter()?;

    let (reports, outbox) = mpsc::channel(MAX_REPORTS);
    let (state, states) = watch::channel(State::not_yet());
    let claims = Claims::new(&engine, startup.patience, states.clone(), reports.clone());
    let link = Link::new(Arc::clone(&engine), tls, state, reports);
    tokio::select! {
        outcome = follow(&channel, &engine, &claims, &states) => outcome,
        outcome = send(&channel, outbox) => outcome,
        () = link.hold() => Ok(()),
    }
}

/// Carries out the orders of the listener until it closes the channel.
async fn follow(
    channel: &FleetEnd,
    engine: &Engine,
    claims: &Claims,
    states: &watch::Receiver<State>,
) -> Result<()> {
    while let Some(order) = channel.recv().await? {
        match order {
            Order::Claim { id, record } => claims.begin(id, record).await,
            Order::Beat { node, text } => {
                beats::check(&node, &text).context("the listener sent a beat")?;
                if let State::Connected(session) = &*states.borrow() {
                    beats::send(session, engine, &node, text);
                }
            }
        }
    }
    Ok(())
}

/// Sends the reports that arrive, until the listener closes the channel.
async fn send(channel: &FleetEnd, mut outbox: mpsc::Receiver<Report>) -> Result<()> {
    while let Some(report) = outbox.recv().await {
        if !channel.send(&report).await? {
            break;
        }
    }
    Ok(())
}
