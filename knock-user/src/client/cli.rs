//! The command line of `knock`.

use std::{ffi::OsStr, path::PathBuf};

use clap::{
    Arg, Command, Parser,
    builder::{StringValueParser, TypedValueParser},
    error::ErrorKind,
};
use knock_common::{
    protocol::classic::{InvalidLength, Sequence},
    window::{InvalidBase, Window},
};
use thiserror::Error;

use super::{Copies, Delay, Families, Pace, Server};

/// Knock on a server, so that it opens a door for this host.
///
/// The knock is 16 connection attempts (TCP SYNs) to ports of the server. Nothing answers it,
/// whether it was right or wrong: try the door afterwards. No privileges are needed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "knock",
    version,
    max_term_width = 100,
    after_help = "Example: knock --classic --sequence 1,2,3,4 server.example.net\n\
        More of them: knock --help",
    after_long_help = "Examples:
  Knock; the passphrase is asked for:
    knock --classic --sequence 1,2,3,4 server.example.net

  Knock and log in, from a script:
    knock --classic --sequence 1,2,3,4 --passphrase-file ~/.knock server.example.net \\
      && ssh server.example.net

  Nothing opens, and the network loses packets: more copies, sent more slowly:
    knock --classic --sequence 1,2,3,4 --copies 5 --delay 50ms server.example.net

  See which ports would be knocked on, without sending anything:
    knock --classic --sequence 1,2,3,4 --dry-run server.example.net

Exit status: 0 the knock was sent; 1 it could not be; 2 the command line is wrong."
)]
pub struct Cli {
    /// Knock with the classic protocol; required, as this version speaks no other
    ///
    /// A classic knock is always the same 16 ports, so whoever sees one on the network can
    /// send it again.
    #[arg(long, required = true)]
    pub classic: bool,

    /// The door's sequence: 1 to 15 numbers from 0 to 255, with commas between them
    ///
    /// It is the sequence that stands at the door in the daemon's configuration.
    #[arg(long, value_name = "N,N,…", value_parser = SequenceParser)]
    pub sequence: Sequence,

    /// The first of the server's 256 knock ports
    ///
    /// It is the daemon's `base`, from 1 to 65280.
    #[arg(long, value_name = "PORT", default_value = "61000", value_parser = window)]
    pub base: Window,

    /// Read the passphrase from this file instead of asking for it
    ///
    /// A newline at the file's end is not part of the passphrase. The file is refused if
    /// group or others can read or change it: `chmod 600 FILE`.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,

    /// Knock on the server's IPv4 address only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Knock on the server's IPv6 address only
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// The pause between two SYNs, at most 500ms
    #[arg(long, value_name = "TIME", default_value = "2ms")]
    pub delay: Delay,

    /// How often all 16 SYNs are sent, 1 to 8: insurance against loss
    ///
    /// Copies leave from the same source ports as the first, so that the daemon does not
    /// take them for another knock while it is assembling this one.
    #[arg(long, value_name = "N", default_value_t)]
    pub copies: Copies,

    /// Print the 16 ports on one line and send nothing
    #[arg(long)]
    pub dry_run: bool,

    /// The server's name or IP address
    ///
    /// A name with both IPv4 and IPv6 addresses is knocked on the first of each.
    pub server: Server,
}

impl Cli {
    /// Which of the server's addresses are to be knocked on.
    #[must_use]
    pub fn families(&self) -> Families {
        match (self.ipv4, self.ipv6) {
            (true, _) => Families::Ipv4,
            (_, true) => Families::Ipv6,
            _ => Families::Both,
        }
    }

    /// How fast and how often the SYNs are to be sent.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace {
            delay: self.delay,
            copies: self.copies,
        }
    }
}

/// Why a text is no window's base.
#[derive(Debug, Error)]
enum BaseError {
    #[error("it is a port number from 1 to {}", Window::MAX_BASE)]
    NoPort,
    #[error(transparent)]
    Invalid(#[from] InvalidBase),
}

fn window(text: &str) -> Result<Window, BaseError> {
    Ok(Window::new(text.parse().map_err(|_| BaseError::NoPort)?)?)
}

/// Why a text is no sequence. It does not show the text: a sequence is a secret.
#[derive(Debug, PartialEq, Eq, Error)]
enum SequenceError {
    #[error("what stands at place {0} is no number from 0 to 255")]
    NoByte(usize),
    #[error(transparent)]
    Length(#[from] InvalidLength),
}

fn sequence(text: &str) -> Result<Sequence, SequenceError> {
    let bytes = text
        .split(',')
        .enumerate()
        .map(|(i, number)| {
            number
                .trim()
                .parse()
                .map_err(|_| SequenceError::NoByte(i + 1))
        })
        .collect::<Result<Vec<u8>, _>>()?;
    Ok(Sequence::new(&bytes)?)
}

/// Reads a sequence as `value_parser` would, but does not repeat it when it is wrong.
#[derive(Clone)]
struct SequenceParser;

impl TypedValueParser for SequenceParser {
    type Value = Sequence;

    fn parse_ref(
        &self,
        cmd: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Sequence, clap::Error> {
        let text = StringValueParser::new().parse_ref(cmd, arg, value)?;
        sequence(&text).map_err(|error| {
            let message = format!("invalid value for '--sequence <N,N,…>': {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(cmd)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use proptest::prelude::*;

    use super::*;

    const GOOD: [&str; 4] = ["--classic", "--sequence", "1,2,3,4", "192.0.2.7"];

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["knock"], args].concat())
    }

    fn with(args: &[&str]) -> Result<Cli, clap::Error> {
        parse(&[args, GOOD.as_slice()].concat())
    }

    /// What is said about a wrong command line, which must end with exit status 2.
    fn refused(parsed: Result<Cli, clap::Error>) -> String {
        let error = parsed.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn command_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_protocol() {
        let cli = parse(&GOOD).unwrap();
        assert_eq!(cli.base, Window::DEFAULT);
        assert_eq!(cli.sequence, Sequence::new(&[1, 2, 3, 4]).unwrap());
        assert_eq!(cli.delay.get().as_millis(), 2);
        assert_eq!(cli.copies, Copies::DEFAULT);
        assert_eq!(cli.families(), Families::Both);
        assert!(!cli.dry_run && cli.passphrase_file.is_none());
    }

    #[test]
    fn options_are_read() {
        let cli = with(&["-6", "--base=40000", "--delay=50ms", "--copies=5"]).unwrap();
        assert_eq!(cli.base, Window::new(40000).unwrap());
        assert_eq!(cli.pace().delay.get().as_millis(), 50);
        assert_eq!(cli.pace().copies.get(), 5);
        assert_eq!(cli.families(), Families::Ipv6);
        assert_eq!(with(&["-4"]).unwrap().families(), Families::Ipv4);
    }

    #[test]
    fn what_is_required_is_named() {
        let said = refused(parse(&["--sequence", "1", "192.0.2.7"]));
        assert!(said.contains("--classic"), "{said}");
        let said = refused(parse(&["--classic", "192.0.2.7"]));
        assert!(said.contains("--sequence"), "{said}");
        let said = refused(parse(&["--classic", "--sequence", "1"]));
        assert!(said.contains("SERVER"), "{said}");
    }

    #[test]
    fn wrong_values_are_explained() {
        for (option, says) in [
            ("--base=0", "between 1 and 65280"),
            ("--base=65281", "between 1 and 65280"),
            ("--base=65536", "from 1 to 65280"),
            ("--base=ssh", "from 1 to 65280"),
            ("--delay=501ms", "at most 500ms"),
            ("--delay=2", "like 2ms"),
            ("--copies=0", "from 1 to 8"),
            ("--copies=9", "from 1 to 8"),
            ("-4 -6", "cannot be used with"),
        ] {
            let options: Vec<&str> = option.split(' ').collect();
            let said = refused(with(&options));
            assert!(said.contains(says), "{option}: {said}");
        }
        let said = refused(parse(&["--classic", "--sequence=1", "host:22"]));
        assert!(said.contains("leave out the port :22"), "{said}");
    }

    #[test]
    fn a_wrong_sequence_is_explained_and_not_repeated() {
        for (text, says) in [
            ("71,72,256", "place 3"),
            ("71,,72", "place 2"),
            ("71,72,", "place 3"),
            ("", "place 1"),
            ("-71", "place 1"),
            ("71;72", "place 1"),
            ("71,71,71,71,71,71,71,71,71,71,71,71,71,71,71,71", "not 16"),
        ] {
            let said = refused(parse(&["--classic", &format!("--sequence={text}"), "host"]));
            assert!(said.contains(says) && said.contains("--sequence"), "{said}");
            assert!(!said.contains("71"), "{said}");
        }
    }

    #[test]
    fn there_is_no_option_for_the_passphrase_itself() {
        refused(with(&["--passphrase", "sesame"]));
        let cli = with(&["--passphrase-file", "secret"]).unwrap();
        assert_eq!(cli.passphrase_file, Some(PathBuf::from("secret")));
        assert!(format!("{cli:?}").contains("Sequence(..)"));
    }

    #[test]
    fn help_is_short_or_long() {
        let short = Cli::command().render_help().to_string();
        let long = Cli::command().render_long_help().to_string();
        assert!(short.lines().count() < 30, "{short}");
        assert!(long.contains("--copies 5") && long.contains("Exit status"));
    }

    proptest! {
        #[test]
        fn reads_every_sequence(bytes in prop::collection::vec(any::<u8>(), 1..=15)) {
            let text: Vec<String> = bytes.iter().map(u8::to_string).collect();
            prop_assert_eq!(sequence(&text.join(",")), Ok(Sequence::new(&bytes).unwrap()));
            let padded = sequence(&text.join(" , ")).unwrap();
            prop_assert_eq!(padded, Sequence::new(&bytes).unwrap());
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = (sequence(&text), window(&text));
        }
    }
}
