//! Runs one knock: plans it, sends it, and optionally verifies that the door's port answers.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Result, anyhow, bail};
use knock_common::protocol::sealed::Binding;

use crate::{
    cli::KnockArgs,
    console::Console,
    knock::Knock,
    pace::Copies,
    plan::{Plan, Protocol},
    profile::Profiles,
    sealed::{Moment, SealedKnocks},
    secret, send,
    server::Address,
    source_ip::SourceIp,
    verify::{Attempts, Doorway, Outcome, TcpPort, Timeout, verify},
};

/// Knocks as `args` and `profiles` define.
pub(super) fn run(args: &KnockArgs, profiles: &Profiles, console: &mut Console<'_>) -> Result<()> {
    let plan = Plan::new(args, profiles)?;
    if args.dry_run {
        return dry_run(&plan, console);
    }
    // First, so that a mistyped server name is reported before the passphrase prompt.
    let addresses = plan.addresses()?;
    let mut session = Session {
        knocks: Knocks::new(&plan)?,
        plan: &plan,
        addresses,
        reached: Vec::new(),
        noted: Vec::new(),
        console,
    };
    match plan.verify {
        None => {
            session.knock()?;
            let done = done(&session.reached, 1, plan.pace.copies);
            console.print(&format!(
                "{done}; a knock is never answered: try the door now"
            ))
        }
        Some((port, timeout)) => session.verify(port, timeout),
    }
}

fn dry_run(plan: &Plan, console: &mut Console<'_>) -> Result<()> {
    let binding = match &plan.protocol {
        Protocol::Sealed { source_ip, .. } => match source_ip.fixed_binding() {
            Some(fixed) => fixed,
            None => first(&plan.addresses()?).map_or(Binding::Unbound, |to| source_ip.binding(to)),
        },
        Protocol::Classic { .. } => Binding::Unbound,
    };
    let knock = Knocks::new(plan)?.bound(binding)?;
    console.print(&knock.to_string())
}

fn first(addresses: &[Address]) -> Option<Address> {
    addresses.first().copied()
}

/// The source of the knocks to send.
enum Knocks {
    /// The same knock every time.
    Classic(Knock),
    /// A fresh knock every time. Boxed, because moving the value would leave copies of its key.
    Sealed(Box<SealedKnocks>, SourceIp),
}

impl Knocks {
    /// Reads the key of the plan, or prompts for the passphrase.
    fn new(plan: &Plan) -> Result<Self> {
        match &plan.protocol {
            Protocol::Classic {
                sequence,
                passphrase_file,
            } => {
                let key = secret::classic_key(passphrase_file.as_deref())?;
                Ok(Self::Classic(Knock::classic(&key, sequence, plan.window)))
            }
            Protocol::Sealed {
                secret,
                door,
                lease,
                source_ip,
            } => {
                let knocks = SealedKnocks::new(secret.key()?, door.as_str(), *lease, plan.window);
                Ok(Self::Sealed(Box::new(knocks), *source_ip))
            }
        }
    }

    /// The knock for one address. Two addresses never get the same knock: the daemon would accept
    /// the first and reject the second as a replay.
    fn to(&mut self, address: Address) -> Result<Knock> {
        let binding = self.binding(address);
        self.bound(binding)
    }

    fn binding(&self, address: Address) -> Binding {
        match self {
            Self::Classic(_) => Binding::Unbound,
            Self::Sealed(_, source_ip) => source_ip.binding(address),
        }
    }

    fn bound(&mut self, binding: Binding) -> Result<Knock> {
        match self {
            Self::Classic(knock) => Ok(*knock),
            Self::Sealed(knocks, _) => Ok(knocks.knock(binding, Moment::now()?)),
        }
    }
}

/// The state of a plan in execution.
struct Session<'a, 'c> {
    plan: &'a Plan,
    addresses: Vec<Address>,
    knocks: Knocks,
    /// The addresses that at least one knock was sent to.
    reached: Vec<Address>,
    /// The notes already printed; a repeated failure is reported once.
    noted: Vec<String>,
    console: &'a mut Console<'c>,
}

impl Session<'_, '_> {
    /// Knocks once on every address. Returns an error if no knock was sent.
    fn knock(&mut self) -> Result<()> {
        let mut failures = Vec::new();
        let mut left = false;
        for address in self.addresses.clone() {
            let knock = self.knocks.to(address)?;
            match send(&knock, address, self.plan.pace) {
                Ok(sent) => {
                    left = true;
                    if let Some(note) = sent.note() {
                        self.note(format!("{address}: {note}"))?;
                    }
                    if !self.reached.contains(&address) {
                        self.reached.push(address);
                    }
                }
                Err(error) => failures.push(anyhow!(error)),
            }
        }
        // This host may have only one of the server's address families.
        let fatal = if left { None } else { failures.pop() };
        for failure in failures {
            self.note(format!("{failure:#}"))?;
        }
        fatal.map_or(Ok(()), Err)
    }

    fn note(&mut self, line: String) -> Result<()> {
        if !self.noted.contains(&line) {
            self.console.note(&line)?;
            self.noted.push(line);
        }
        Ok(())
    }

    fn verify(self, port: TcpPort, timeout: Timeout) -> Result<()> {
        let (plan, server) = (self.plan, &self.plan.server);
        let targets = self.addresses.iter().map(|it| it.with_port(port.get()));
        let mut doorway = SystemDoorway {
            attempts: Attempts::at(targets.collect()),
            port,
            session: self,
        };
        doorway
            .session
            .console
            .wait(&format!("knocking until {port} on {server} answers"));
        let outcome = verify(&mut doorway, plan.pace.copies, timeout)?;
        let refused = doorway.attempts.refused();
        let Session {
            console,
            reached,
            knocks,
            ..
        } = doorway.session;
        let done = |count| done(&reached, count, plan.pace.copies);
        match outcome {
            Outcome::WasOpen => console.print(&format!(
                "{port} answered before the knock; {} anyway, to renew the lease",
                done(1)
            )),
            Outcome::Opened(count) => console.print(&format!("{}; {port} answers", done(count))),
            Outcome::Silent(count) => {
                console.quiet();
                let silence = if refused {
                    "refuses connections"
                } else {
                    "does not answer"
                };
                let times = if count == 1 {
                    "a knock".to_owned()
                } else {
                    format!("{count} knocks")
                };
                let bound = reached.iter().any(|it| knocks.binding(*it).is_bound());
                bail!(
                    "{port} on {server} still {silence} after {times} in {timeout}. {}",
                    causes(plan, port, bound, SystemTime::now())
                )
            }
        }
    }
}

/// The door's port, for [`verify`].
struct SystemDoorway<'a, 'c> {
    session: Session<'a, 'c>,
    attempts: Attempts,
    port: TcpPort,
}

impl Doorway for SystemDoorway<'_, '_> {
    type Error = anyhow::Error;

    fn knock(&mut self, count: u32) -> Result<()> {
        if count == 1 {
            return self.session.knock();
        }
        self.session.console.wait_longer(&format!(
            "{} on {} does not answer yet: knocking again ({count})",
            self.port, self.session.plan.server
        ))?;
        // The network may recover before the timeout.
        match self.session.knock() {
            Err(error) => self.session.note(format!("{error:#}")),
            knocked => knocked,
        }
    }

    fn try_port(&mut self) {
        self.attempts.start();
    }

    fn answers(&mut self) -> bool {
        self.attempts.succeeded()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&mut self, pause: Duration) {
        thread::sleep(pause);
    }
}

fn done(reached: &[Address], knocks: u32, copies: Copies) -> String {
    let copies = match copies.get() {
        1 => "1 copy".to_owned(),
        copies => format!("{copies} copies"),
    };
    let times = match knocks {
        1 => String::new(),
        knocks => format!("{knocks} times, "),
    };
    let each = if reached.len() > 1 { " each" } else { "" };
    let reached: Vec<String> = reached.iter().map(Address::to_string).collect();
    format!(
        "knocked on {} ({times}16 SYNs, {copies}{each})",
        reached.join(" and ")
    )
}

/// The likely causes of a knock that opened nothing. The server gives no answer.
fn causes(plan: &Plan, port: TcpPort, bound: bool, now: SystemTime) -> String {
    let window = plan.window;
    let filtered = format!(
        "a firewall on the way drops {port} or TCP ports {}-{}",
        window.base(),
        window.port(u8::MAX)
    );
    let why = match &plan.protocol {
        Protocol::Classic { .. } => format!(
            "the passphrase or the sequence is wrong; the door does not open {port}; {filtered}"
        ),
        Protocol::Sealed { door, .. } => {
            let binding = if bound {
                "the server sees this host under another address than the knock is bound to (--source-ip none)"
            } else {
                "the door requires a knock that is bound to an address (--source-ip ADDR)"
            };
            format!(
                "a clock is wrong: check this host's clock, it shows {}; the key is not the one that the server has for this client; the server has no door `{door}` for this client, or it does not open {port}; {filtered}; {binding}",
                humantime::format_rfc3339_seconds(now)
            )
        }
    };
    format!("A knock is never answered, but the server's log shows the reason. Likely: {why}.")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use clap::Parser as _;
    use knockd_credentials::secret_file;

    use super::*;
    use crate::cli::Cli;

    fn run(args: &[&str]) -> (Result<()>, String, String) {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let cli = Cli::try_parse_from([&["knock"], args].concat()).unwrap();
        let mut console = Console::new(&mut out, &mut notes, false);
        let result = super::run(&cli.knock.unwrap(), &Profiles::none(), &mut console);
        drop(console);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (result, text(out), text(notes))
    }

    #[test]
    fn dry_run_prints_the_ports_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passphrase");
        secret_file::create(&file, "correct horse battery staple").unwrap();
        let (result, out, notes) = run(&[
            "--classic",
            "--sequence=1,2,3,4",
            "--passphrase-file",
            file.to_str().unwrap(),
            "--dry-run",
            "nowhere.invalid",
        ]);
        result.unwrap();
        assert_eq!(
            out,
            "61137 61089 61239 61005 61070 61114 61016 61147 61059 61020 61023 61047 61016 61214 61082 61107\n"
        );
        assert_eq!(notes, "");
    }

    #[test]
    fn two_addresses_never_share_a_knock() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("laptop.key");
        knockd_credentials::key_file::create(
            &file,
            &knockd_credentials::key_file::generate().unwrap(),
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let args = [
            "knock",
            "--source-ip=none",
            "--key-file",
            file,
            "host",
            "ssh",
        ];
        let args = Cli::try_parse_from(args).unwrap().knock.unwrap();
        let plan = Plan::new(&args, &Profiles::none()).unwrap();
        let mut knocks = Knocks::new(&plan).unwrap();
        let mut to = |ip: std::net::IpAddr| knocks.to(ip.into()).unwrap();
        let ipv4 = to([127, 0, 0, 1].into());
        let ipv6 = to(std::net::Ipv6Addr::LOCALHOST.into());
        assert_ne!(ipv4, ipv6);
    }

    #[test]
    fn success_is_one_line_for_a_person() {
        let address = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
        let one = done(&[address("192.0.2.7")], 1, Copies::DEFAULT);
        assert_eq!(one, "knocked on 192.0.2.7 (16 SYNs, 3 copies)");
        let both = [address("192.0.2.7"), address("2001:db8::7")];
        let both = done(&both, 3, "1".parse().unwrap());
        assert_eq!(
            both,
            "knocked on 192.0.2.7 and 2001:db8::7 (3 times, 16 SYNs, 1 copy each)"
        );
    }

    #[test]
    fn the_causes_are_those_of_the_protocol() {
        let causes_of = |args: &str, bound| {
            let args = Cli::try_parse_from(args.split(' ')).unwrap().knock.unwrap();
            let plan = Plan::new(&args, &Profiles::none()).unwrap();
            let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            causes(&plan, "tcp/22".parse().unwrap(), bound, now)
        };
        let sealed = "knock --key-file f --base 40000 host ssh";
        let unbound = causes_of(sealed, false);
        for expected in [
            "clock, it shows 2027-01-15T08:00:00Z",
            "the key",
            "no door `ssh`",
            "40000-40255",
            "--source-ip ADDR",
        ] {
            assert!(unbound.contains(expected), "{unbound}");
        }
        let bound = causes_of(sealed, true);
        assert!(bound.contains("--source-ip none"), "{bound}");
        let classic = causes_of("knock --classic --sequence 1 host", false);
        assert!(
            classic.contains("sequence") && !classic.contains("clock"),
            "{classic}"
        );
    }
}
