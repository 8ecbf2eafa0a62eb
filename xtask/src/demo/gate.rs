//! The second act: the kernel itself keeps the port closed, with a daemon or without one.

use std::fs;

use anyhow::{Result, bail, ensure};
use knock_tests::{link::Pair, process::Signal, service::Session};

use super::{LEASE, PATIENCE, PORT, SOON, STRANGER, Stage, note, say, show_command};
use crate::workspace::{output, run};

impl Stage {
    /// Shows a door that opens in the kernel, and that outlives its daemon.
    pub(super) fn without_a_firewall(&self) -> Result<()> {
        say("Now without any firewall. Its rules are taken away, and anybody can connect:");
        let mut firewall = self.pair.server.command(&self.script);
        firewall.arg("teardown");
        show_command(&firewall);
        run(&mut firewall)?;
        let greeting = self.connect(STRANGER)?;
        note(&format!("{STRANGER} is greeted: {greeting}"));

        say("With these lines in the configuration the kernel keeps the port closed, in XDP:");
        self.put_gate_in_configuration()?;
        self.show_configuration()?;
        let mut knockd = self.start_daemon()?;
        self.expect_refused(Pair::CLIENT_V4)?;

        say("The client knocks as before:");
        let mut knock = self.client();
        knock.args(["--verify", "tcp/22", "home", "ssh"]);
        show_command(&knock);
        for line in output(&mut knock)?.lines() {
            note(line);
        }
        self.open_for_the_knocker()?;
        let mut session = self.session()?;

        say("The daemon is killed. The gate is the kernel's, and stays closed to others:");
        note("$ kill -9 knockd");
        knockd.signal(Signal::SIGKILL)?;
        knockd.wait(SOON)?;
        self.expect_refused(STRANGER)?;

        say(&format!(
            "{} seconds after the knock the kernel ends the lease by itself; a connection that was made in time goes on:",
            LEASE.as_secs()
        ));
        self.wait_until_closed()?;
        self.expect_refused(Pair::CLIENT_V4)?;
        let echo = session.ask("still there?")?;
        ensure!(echo == "still there?", "the connection says {echo:?}");
        note("the connection that was made before: still there");

        say("A new daemon would take over where that one was. Or the gate is taken away for good:");
        let mut detach = self.pair.server.command(&self.knockd);
        detach.args(["detach", "--config"]).arg(&self.config);
        show_command(&detach);
        for line in output(&mut detach)?.lines() {
            note(line);
        }
        let greeting = self.connect(STRANGER)?;
        note(&format!("{STRANGER} is greeted: {greeting}"));
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
        Ok(Session::open(&self.pair.client, client, server, PATIENCE)?)
    }

    /// Tries until there is no answer any more; nobody is there who could tell.
    fn wait_until_closed(&self) -> Result<()> {
        let deadline = std::time::Instant::now() + LEASE + SOON;
        while self.connect(Pair::CLIENT_V4).is_ok() {
            if std::time::Instant::now() > deadline {
                bail!("the lease does not end");
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(())
    }
}
