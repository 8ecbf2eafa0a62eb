//! `knockd fleet close`: closes the doors of an address on every node.

use std::net::IpAddr;

use anyhow::Result;
use clap::Args;

use crate::{args::DaemonArgs, control, output};

#[derive(Args, Debug)]
pub(crate) struct Close {
    /// The source address
    #[arg(value_name = "IP")]
    source: IpAddr,
    /// The name of the door [default: every door]
    door: Option<String>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

impl Close {
    /// Makes every node close the doors.
    ///
    /// # Errors
    ///
    /// Returns an error if no daemon replies, or if the engine has not taken the request in time.
    pub(crate) fn execute(&self) -> Result<()> {
        let source = self.source;
        let door = self.door.as_ref().map(|door| format!("\t{door}"));
        let request = format!("fleet-close\t{source}{}", door.unwrap_or_default());
        let closed = control::command(&self.daemon.socket(), &request)?;
        output::print(&format!(
            "closing {} to {source} on every node",
            closed.join(", ")
        ))
    }
}
