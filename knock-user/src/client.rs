//! The client: a passphrase and a door's sequence become a [`Knock`], and a knock becomes
//! SYNs to a [`Server`].
//!
//! [`cli`] says what is wanted, [`mod@knock`] enciphers it, [`server`] finds the addresses,
//! [`source`] chooses the ports to send from, [`pace`] says how fast and how often, and
//! [`mod@send`] sends through a [`stack`]. Only [`Server::addresses`], [`SystemStack`] and the
//! prompt for a passphrase touch the system; no privileges are needed.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow};
use knock_common::protocol::key::ClassicKey;

use crate::passphrase::Passphrase;

pub mod cli;
pub mod knock;
pub mod name;
pub mod pace;
pub mod sealed;
pub mod send;
pub mod server;
pub mod source;
pub mod source_ip;
pub mod stack;
pub mod verify;

pub use self::{
    cli::Cli,
    knock::Knock,
    name::Name,
    pace::{Copies, Delay, Pace},
    sealed::{Moment, SealedKnocks},
    send::{Sent, send},
    server::{Address, Families, Server},
    source::SourcePorts,
    source_ip::SourceIp,
    stack::{Stack, SystemStack},
    verify::{TcpPort, verify},
};

/// Does what the command line asks for.
///
/// The result, one line, goes to `out`; what went wrong without spoiling the knock goes to
/// `notes`. A reader that has gone away (a broken pipe) is no error.
///
/// # Errors
///
/// If there is no passphrase, the server has no suitable address, none of its addresses can
/// be knocked on, or the result cannot be written.
pub fn run(cli: &Cli, out: &mut dyn Write, notes: &mut dyn Write) -> Result<()> {
    if cli.dry_run {
        return say(out, &format!("{}", knock(cli)?));
    }
    // Before a passphrase is asked for, so that a mistyped name does not cost a typed one.
    let addresses = cli.server.addresses(cli.families())?;
    let knock = knock(cli)?;

    let mut reached = Vec::new();
    let mut failures = Vec::new();
    for address in addresses {
        match send(&knock, address, cli.pace()) {
            Ok(sent) => {
                if let Some(note) = sent.note() {
                    say(notes, &format!("knock: {address}: {note}"))?;
                }
                reached.push(address.to_string());
            }
            Err(error) => failures.push(anyhow!(error)),
        }
    }
    // A server with both families is knocked on from hosts that have only one of them.
    let fatal = if reached.is_empty() {
        failures.pop()
    } else {
        None
    };
    for failure in failures {
        say(notes, &format!("knock: {failure:#}"))?;
    }
    match fatal {
        Some(error) => Err(error),
        None => say(out, &success(&reached, cli.copies)),
    }
}

/// The knock that the command line stands for. The sealed protocol branches off here.
fn knock(cli: &Cli) -> Result<Knock> {
    let passphrase = passphrase(cli.passphrase_file.as_deref())?;
    let key = ClassicKey::from_passphrase(passphrase.as_bytes());
    Ok(Knock::classic(&key, &cli.sequence, cli.base))
}

fn passphrase(file: Option<&Path>) -> Result<Passphrase> {
    match file {
        // The error's text already ends in its cause: as a source it would stand there twice.
        Some(path) => Passphrase::from_file(path)
            .map_err(|error| anyhow!("passphrase file {}: {error}", path.display())),
        None => {
            let typed = rpassword::prompt_password("Passphrase: ").context(
                "cannot ask for the passphrase; where there is no terminal, name a file with --passphrase-file",
            )?;
            Passphrase::typed(typed).map_err(|error| anyhow!("passphrase: {error}"))
        }
    }
}

fn success(reached: &[String], copies: Copies) -> String {
    let times = match copies.get() {
        1 => "1 copy".to_owned(),
        copies => format!("{copies} copies"),
    };
    let each = if reached.len() > 1 { " each" } else { "" };
    format!(
        "knocked on {} (16 SYNs, {times}{each}); a knock is never answered: try the door now",
        reached.join(" and ")
    )
}

fn say(to: &mut dyn Write, line: &str) -> Result<()> {
    match writeln!(to, "{line}").and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the result"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Error};

    use clap::Parser as _;

    use super::*;

    /// Always fails to write, in the way given.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(Error::from(self.0))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn passphrase_file(content: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        fs::write(&path, content).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    fn dry_run(file: &str) -> Cli {
        Cli::try_parse_from([
            "knock",
            "--classic",
            "--sequence=1,2,3,4",
            "--passphrase-file",
            file,
            "--dry-run",
            "nowhere.invalid",
        ])
        .unwrap()
    }

    #[test]
    fn dry_run_prints_the_ports_and_nothing_else() {
        let (_folder, file) = passphrase_file("correct horse battery staple\n");
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        run(&dry_run(&file), &mut out, &mut notes).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "61137 61089 61239 61005 61070 61114 61016 61147 61059 61020 61023 61047 61016 61214 61082 61107\n"
        );
        assert!(notes.is_empty());
    }

    #[test]
    fn only_a_broken_pipe_is_forgiven() {
        let (_folder, file) = passphrase_file("open sesame");
        let cli = dry_run(&file);
        let write_to = |kind| run(&cli, &mut Broken(kind), &mut Vec::new());
        assert!(write_to(io::ErrorKind::BrokenPipe).is_ok());
        assert!(write_to(io::ErrorKind::StorageFull).is_err());
    }

    #[test]
    fn a_bad_passphrase_file_is_named_once_and_not_shown() {
        let (_folder, file) = passphrase_file("\n");
        let error = passphrase(Some(Path::new(&file))).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(&file) && error.contains("empty"), "{error}");

        let missing = passphrase(Some(Path::new("no/such/file"))).unwrap_err();
        let missing = format!("{missing:#}");
        assert!(missing.contains("no/such/file"), "{missing}");
        assert_eq!(missing.matches("os error").count(), 1, "{missing}");
    }

    #[test]
    fn success_is_one_line_for_a_person() {
        let one = success(&["192.0.2.7".to_owned()], Copies::DEFAULT);
        assert_eq!(
            one,
            "knocked on 192.0.2.7 (16 SYNs, 2 copies); a knock is never answered: try the door now"
        );
        let both = ["192.0.2.7".to_owned(), "2001:db8::7".to_owned()];
        let both = success(&both, "1".parse().unwrap());
        assert_eq!(
            both,
            "knocked on 192.0.2.7 and 2001:db8::7 (16 SYNs, 1 copy each); a knock is never answered: try the door now"
        );
    }
}
