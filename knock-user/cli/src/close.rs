//! `knockd close`: closes the doors of an address.

use std::net::IpAddr;

use anyhow::{Result, bail};
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
    /// Makes the running daemon close the doors.
    ///
    /// # Errors
    ///
    /// Returns an error if no daemon replies, if it refuses the request, or if no such door is
    /// open.
    pub(crate) fn execute(&self) -> Result<()> {
        let source = self.source;
        let door = self.door.as_ref().map(|door| format!("\t{door}"));
        let doors = control::command(
            &self.daemon.socket(),
            &format!("close\t{source}{}", door.unwrap_or_default()),
        )?;
        if doors.is_empty() {
            bail!("no such door is open to {source}: `knockd leases` shows those that are");
        }
        output::print(&format!("closing {} to {source}", doors.join(", ")))
    }
}
