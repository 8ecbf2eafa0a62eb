//! `knockd open`: opens a door without a knock.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use clap::Args;

use crate::{args::DaemonArgs, control, output};

#[derive(Args, Debug)]
pub(crate) struct Open {
    /// The source address
    #[arg(value_name = "IP")]
    source: IpAddr,
    /// The name of the door
    door: String,
    /// How long, such as 30s or 10m [default: the door's `for`]
    #[arg(long = "for", value_name = "TIME", value_parser = lease)]
    lease: Option<Duration>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

impl Open {
    /// Makes the running daemon open the door.
    ///
    /// # Errors
    ///
    /// Returns an error if no daemon replies, or if it refuses the request.
    pub(crate) fn execute(&self) -> Result<()> {
        let Self {
            source,
            door,
            lease,
            daemon,
        } = self;
        let seconds = lease.map(|lease| format!("\t{}", lease.as_secs()));
        let seconds = seconds.unwrap_or_default();
        control::command(
            &daemon.socket(),
            &format!("open\t{source}\t{door}{seconds}"),
        )?;
        output::print(&format!(
            "opening {door} to {source}; `knockd leases` shows it"
        ))
    }
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if lease < Duration::from_secs(1) || lease.subsec_nanos() != 0 {
        return Err("a lease has to be a whole number of seconds, at least one".into());
    }
    Ok(lease)
}
