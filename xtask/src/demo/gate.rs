//! The second part: the gate, with which the kernel keeps the port closed, even without a daemon.

use std::fs;

use anyhow::{Result, bail, ensure};
use knock_tests::{link::Pair, process::Signal, service::Session};

use super::{CONNECT_TIMEOUT, LEASE, OTHER, PORT, SOON, Stage, note, say, show_command};
use crate::workspace::{output, run};

impl Stage {
    /// Shows a door that opens in the kernel, and a gate that outlives the daemon.
    pub(super) fn without_a_firewall(&self) -> Result<()> {
        say("Without firewall rules every address can connect:");
        let mut firewall = self.pair.server.command(&self.script);
        firewall.arg("teardown");
        show_command(&firewall);
        run(&mut firewall)?;
        let greeting = self.connect(OTHER)?;
        note(&format!("{OTHER} is connected: {greeting}"));

        say("With [gate] in the configuration the kernel itself closes the port, in XDP:");
        self.put_gate_in_configuration()?;
        self.show_configuration()?;
        let mut knockd = self.start_daemon()?;
        self.expect_refused(Pair::CLIENT_V4)?;

        say("The client knocks again:");
        let mut knock = self.client();
        knock.args(["--verify", "tcp/22", "home", "ssh"]);
        show_command(&knock);
        for line in output(&mut knock)?.lines() {
            note(line);
        }
        self.open_for_the_client()?;
        let mut session = self.session()?;

        say("The daemon is killed. The gate is in the kernel, and stays closed to others:");
        note("$ kill -9 knockd");
        knockd.signal(Signal::SIGKILL)?;
        knockd.wait(SOON)?;
        self.expect_refused(OTHER)?;

        say(&format!(
            "After {} seconds the lease expires in the kernel; the established connection continues:",
            LEASE.as_secs()
        ));
        self.wait_until_closed()?;
        self.expect_refused(Pair::CLIENT_V4)?;
        let echo = session.ask("still there?")?;
        ensure!(echo == "still there?", "the connection answers {echo:?}");
        note("the established connection still works");

        say("A new daemon would take over the gate. `knockd detach` removes it:");
        let mut detach = self.pair.server.command(&self.knockd);
        detach.args(["detach", "--config"]).arg(&self.config);
        show_command(&detach);
        for line in output(&mut detach)?.lines() {
            note(line);
        }
        let greeting = self.connect(OTHER)?;
        note(&format!("{OTHER} is connected: {greeting}"));
        Ok(())
    }

    /// Replaces the script's commands with `open`, and adds the gate.
    fn put_gate_in_configuration(&self) -> Result<()> {
        let text = fs::read_to_string(&self.config)?;
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| match line.split(' ').next() {
                Some("run") => format!("open = [\"tcp/{PORT}\"]"),
                Some("close") => String::new(),
                _ => line.to_owned(),
            })
            .collect();
        lines.extend(["[gate]".to_owned(), format!("protect = [\"tcp/{PORT}\"]")]);
        fs::write(&self.config, lines.join("\n"))?;
        Ok(())
    }

    fn session(&self) -> Result<Session> {
        let server = (Pair::SERVER_V4, PORT).into();
        let client = Some(Pair::CLIENT_V4.into());
        Ok(Session::open(
            &self.pair.client,
            client,
            server,
            CONNECT_TIMEOUT,
        )?)
    }

    /// Tries until there is no answer. Without a daemon nothing reports the end of the lease.
    fn wait_until_closed(&self) -> Result<()> {
        let deadline = std::time::Instant::now() + LEASE + SOON;
        while self.connect(Pair::CLIENT_V4).is_ok() {
            if std::time::Instant::now() > deadline {
                bail!("the lease does not expire");
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(())
    }
}
