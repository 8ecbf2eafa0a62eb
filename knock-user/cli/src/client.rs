//! `knockd client`: the clients of the configuration, from the first invitation to their removal.

mod add;
mod array;
mod change;
mod document;
mod expire;
mod list;
mod page;
mod record;
mod remove;
mod rotate;
mod show;
mod when;

use anyhow::Result;
use clap::Subcommand;

use self::{add::Add, expire::Expire, list::List, remove::Remove, rotate::Rotate, show::Show};

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Add another client and print the command that sets it up
    ///
    /// With --public-key the client has made its own key pair, and the command is no secret. Without
    /// it, this command makes the pair, and the printed line contains the private key.
    Add(Add),
    /// List the clients
    ///
    /// The fingerprint of a public key is the beginning of its SHA-256, as ssh-keygen writes it.
    /// Compare it as a whole. `knockd client show` prints the key itself.
    List(List),
    /// Show everything about a client, and the command that sets it up if it has its private key
    ///
    /// The server does not know any private key. A client that has lost its key, or an invitation
    /// with it, needs a new one.
    Show(Show),
    /// Give a client another key and print the command that sets it up
    ///
    /// Both keys are valid for the time --keep, so that the client can change over. With --public-key
    /// the client has made its own key pair, and the command is no secret. Without it, this command
    /// makes the pair, and the printed line contains the private key.
    Rotate(Rotate),
    /// Set when a client expires; if it has, what it has open is closed at once
    Expire(Expire),
    /// Remove a client, also from the doors that name it; what it has open is closed at once
    Remove(Remove),
}

impl ClientCommand {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration is invalid or cannot be changed, if the client does not
    /// exist or, for `add`, exists already, or if the running daemon refuses the change.
    pub(crate) fn execute(self) -> Result<()> {
        match self {
            Self::Add(add) => add.execute(),
            Self::List(list) => list.execute(),
            Self::Show(show) => show.execute(),
            Self::Rotate(rotate) => rotate.execute(),
            Self::Expire(expire) => expire.execute(),
            Self::Remove(remove) => remove.execute(),
        }
    }
}
