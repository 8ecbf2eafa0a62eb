use std::{fs, net::IpAddr, time::Duration};

use knock_common::protocol::door::ShortTag;
use knockd_config::{Config, template::Expansion};
use knockd_types::interface::{Hook, Wanted};
use proptest::prelude::*;

use super::*;

/// The file that Debian 12 installs, without its blank lines and indentation.
const DEBIAN: &str = "
[options]
\tUseSyslog

[openSSH]
\tsequence = 7000,8000,9000
\tseq_timeout = 5
\tcommand = /sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
\ttcpflags = syn

[closeSSH]
\tsequence = 9000,8000,7000
\tseq_timeout = 5
\tcommand = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
\ttcpflags = syn

[openHTTPS]
\tsequence = 12345,54321,24680,13579
\tseq_timeout = 5
\tcommand = /usr/local/sbin/knock_add -i -c INPUT -p tcp -d 443 -f %IP%
\ttcpflags = syn
";

/// The relevant lines of the second, third and fourth example in knockd(1).
const MANUAL: &str = "
[options]
logfile = /var/log/knockd.log

[opencloseSSH]
sequence      = 2222:udp,3333:tcp,4444:udp
seq_timeout   = 15
tcpflags      = syn,ack
start_command = /usr/sbin/iptables -A INPUT -s %IP% -p tcp --syn -j ACCEPT
cmd_timeout   = 5
stop_command  = /usr/sbin/iptables -D INPUT -s %IP% -p tcp --syn -j ACCEPT

[opencloseSMTP]
one_time_sequences = /etc/knockd/smtp_sequences
seq_timeout        = 15
tcpflags           = fin,!ack
start_command      = /usr/sbin/iptables -A INPUT -s %IP% -p tcp --dport 25 -j ACCEPT
start_command_6    = /usr/sbin/ip6tables -A INPUT -s %IP% -p tcp --dport 25 -j ACCEPT
cmd_timeout        = 5
stop_command       = /usr/sbin/iptables -D INPUT -s %IP% -p tcp --dport 25 -j ACCEPT
stop_command_6     = /usr/sbin/ip6tables -D INPUT -s %IP% -p tcp --dport 25 -j ACCEPT
";

const KEY: &str = "knockd2:kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw\n";

fn imported(text: &[u8]) -> Import {
    Import::new(&Source::parse(text).unwrap(), Path::new("/etc/knockd.conf"))
}

/// The import of `text`, and the resulting configuration with a client added.
fn loaded(text: &str) -> (Import, Config) {
    let import = imported(text.as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("server.key");
    knockd_credentials::secret_file::create(&key, KEY.trim_end()).unwrap();
    let text = format!(
        "server_key_file = \"server.key\"\n{}[[client]]\nname = \"laptop\"\npublic_key = \"j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8\"\n",
        import.text
    );
    let config = Config::parse(&text, &folder.path().join("knockd.toml"));
    let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
    (import, config)
}

/// Program and arguments that `config` runs for `address` when `door` opens and closes.
fn argvs(config: &Config, door: usize, address: &str) -> (String, Option<String>) {
    let expansion = Expansion {
        source: address.parse::<IpAddr>().unwrap(),
        door: "door",
        client: "laptop",
        seconds: 1,
    };
    let argv = |template: &knockd_config::template::Template| {
        let command = template.expand(&expansion);
        [&[command.program][..], &command.arguments]
            .concat()
            .join(" ")
    };
    let door = &config.doors[door];
    (
        argv(door.run.as_ref().unwrap()),
        door.close.as_ref().map(argv),
    )
}

fn comments(import: &Import) -> String {
    let lines = import.text.lines().skip(TOP.lines().count());
    lines
        .filter(|line| line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_file_that_debian_installs_is_carried_over() {
    let (import, config) = loaded(DEBIAN);
    assert_eq!(import.doors, ["openSSH", "closeSSH", "openHTTPS"]);
    assert_eq!(config.interfaces, named(&["eth0"]));
    let (run, close) = argvs(&config, 0, "192.0.2.7");
    assert_eq!(
        run,
        "/sbin/iptables -A INPUT -s 192.0.2.7 -p tcp --dport 22 -j ACCEPT"
    );
    assert_eq!(close, None);
    let (run, _) = argvs(&config, 2, "192.0.2.7");
    assert_eq!(
        run,
        "/usr/local/sbin/knock_add -i -c INPUT -p tcp -d 443 -f 192.0.2.7"
    );
    // A longer lease would suppress the command of a second knock.
    assert_eq!(config.doors[0].lease, Duration::from_secs(1));
    let comments = comments(&import);
    for line in [3, 6, 7, 9, 12, 13, 15, 18, 19, 21] {
        assert!(
            comments.contains(&format!("line {line}: ")),
            "{line}: {comments}"
        );
    }
    assert!(comments.contains("seems to undo \"openSSH\""), "{comments}");
    assert_eq!(comments.matches("seems to undo").count(), 1);
    for secret in ["7000", "8000", "9000", "12345", "13579"] {
        assert!(!import.text.contains(secret), "{}", import.text);
    }
}

#[test]
fn the_manual_s_examples_are_carried_over() {
    let (import, config) = loaded(MANUAL);
    let (run, close) = argvs(&config, 0, "192.0.2.7");
    assert_eq!(
        run,
        "/usr/sbin/iptables -A INPUT -s 192.0.2.7 -p tcp --syn -j ACCEPT"
    );
    assert_eq!(close.unwrap(), run.replace("-A", "-D"));
    assert_eq!(config.doors[0].lease, Duration::from_secs(5));
    let (run, close) = argvs(&config, 1, "2001:db8::7");
    assert!(run.starts_with("/bin/sh -c case \"$KNOCK_IP\" in\n*:*)\n/usr/sbin/ip6tables -A "));
    assert!(
        close
            .unwrap()
            .contains("/usr/sbin/iptables -D INPUT -s \"$KNOCK_IP\"")
    );
    let comments = comments(&import);
    assert!(
        comments.contains("\"/etc/knockd/smtp_sequences\" is not needed"),
        "{comments}"
    );
    assert!(
        comments.contains("line 3: logfile: \"/var/log/knockd.log\""),
        "{comments}"
    );
}

#[test]
fn what_ipv6_is_not_told_is_as_for_ipv4_and_what_is_empty_is_nothing() {
    let (_, config) =
        loaded("[a]\ncommand = open %IP%\nstop_command = close %IP%\nstop_command_6 =\n");
    assert_eq!(argvs(&config, 0, "2001:db8::7").0, "open 2001:db8::7");
    assert!(
        argvs(&config, 0, "2001:db8::7")
            .1
            .unwrap()
            .contains("*:*)\n:\n;;")
    );
    // The other knockd's default.
    assert_eq!(config.doors[0].lease, Duration::from_secs(10));
    // Without a start command no stop command is run.
    let (_, config) = loaded("[a]\ncommand =\ncommand_6 = open\nstop_command = close\n");
    assert!(
        argvs(&config, 0, "192.0.2.7")
            .1
            .unwrap()
            .contains("*)\n:\n;;\nesac")
    );
}

#[test]
fn the_last_of_a_key_counts_and_times_are_read_as_c_does() {
    let (import, config) = loaded(
        "[a]\nStart_Command = first\nCOMMAND = second\nstop_command = x\ncmd_timeout = 7 s\n\
         [b]\ncommand = x\nstop_command = y\ncmd_timeout = 0\n\
         [c]\ncommand = x\nstop_command = y\ncmd_timeout = 99999999999999999999\n\
         [d]\ncommand = x\ncmd_timeout = 9\n",
    );
    assert_eq!(argvs(&config, 0, "192.0.2.7").0, "second");
    let seconds: Vec<_> = config
        .doors
        .iter()
        .map(|door| door.lease.as_secs())
        .collect();
    assert_eq!(seconds, [7, 1, 365 * 24 * 60 * 60, 1]);
    let comments = comments(&import);
    for comment in [
        "line 2: start_command: is overridden by line 3, since the last one counts",
        "line 5: cmd_timeout: \"7 s\" becomes 7s",
        "line 9: cmd_timeout: \"0\" becomes 1s",
        "line 16: cmd_timeout: has no effect without a stop_command",
    ] {
        assert!(comments.contains(comment), "{comment}: {comments}");
    }
}

/// Commands of the sample configuration, of knockd(1) and of guides, each with what runs for
/// 192.0.2.7.
#[test]
fn commands_that_are_in_use_are_carried_over_word_by_word() {
    for command in [
        "/usr/sbin/iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        "/usr/sbin/iptables -I INPUT 1 -s %IP% -p tcp --dport ssh -j ACCEPT",
        "/usr/sbin/iptables -A INPUT -s %IP% --dport 22 -j ACCEPT",
        "/sbin/iptables -I JUMPHOST -s %IP%/32 -p tcp -m tcp --dport 2222 -j ACCEPT",
        "/usr/local/sbin/knock_add -i -c INPUT -p tcp -d 443 -f %IP%",
        "ufw insert 1 allow from %IP% to any port 22 comment knockd",
        "ufw delete allow from %IP% to any port 22",
        "/usr/bin/firewall-cmd --zone=public --add-source=%IP%",
        "/usr/sbin/ipset add ssh %IP% timeout 3600 -exist",
        "etherwake -i eth1 00:11:22:33:44:55",
    ] {
        let (_, config) = loaded(&format!("[a]\n\tcommand = {command}\n\tcmd_timeout = 30\n"));
        let (run, close) = argvs(&config, 0, "192.0.2.7");
        assert_eq!(run, command.replace("%IP%", "192.0.2.7"));
        assert_eq!(
            (close, config.doors[0].lease),
            (None, Duration::from_secs(1))
        );
    }
    // Some guides use braces of nftables and redirections, which need a shell.
    for (command, script) in [
        (
            "nft add element inet filter allowed { %IP% timeout 1h }",
            "nft add element inet filter allowed { \"$KNOCK_IP\" timeout 1h }",
        ),
        (
            "echo %IP% >> /var/log/knocks",
            "echo \"$KNOCK_IP\" >> /var/log/knocks",
        ),
    ] {
        let (_, config) = loaded(&format!("[a]\ncommand = {command}\n"));
        let (run, _) = argvs(&config, 0, "192.0.2.7");
        assert_eq!(run, format!("/bin/sh -c {script}"));
    }
}

#[test]
fn a_comment_after_a_value_is_part_of_it_and_is_told() {
    let import = imported("[options]\n Interface = enp5s0  # 网卡\n[a]\ncommand = x\n".as_bytes());
    let comments = comments(&import);
    assert!(
        comments.contains("\"enp5s0  # 网卡\" is not an interface name"),
        "{comments}"
    );
    assert!(comments.contains("# interfaces = [\"eth0\"]"), "{comments}");
}

fn named(names: &[&str]) -> Wanted {
    Wanted::by_name(names)
}

#[test]
fn interfaces_are_gathered() {
    let import = |text: &str| loaded(&format!("{text}\n[a]\ncommand = x\n")).1.interfaces;
    assert_eq!(
        import("[options]\ninterface = ens3\nInterface = ens4"),
        named(&["ens3"])
    );
    assert_eq!(
        import("[b]\ncommand = x\nInterface = ppp0\n[options]\nInterface=ens3"),
        named(&["ens3", "ppp0"])
    );
    assert_eq!(
        import("[options]\ninterface = any"),
        Wanted::Any(Hook::Auto)
    );
    assert_eq!(import("[options]\ninterface = eth0 \u{1}"), named(&[]));
}

#[test]
fn a_door_that_cannot_be_carried_over_is_told_and_the_others_are() {
    let import = imported(
        b"[a]\ncommand = log `whois %IP%`\nsequence = 7000\n[b]\nsequence = 1\n\
          [c]\ncommand = x\nstop_command = it's %IP%\n[d]\ncommand = x\n",
    );
    assert_eq!(import.doors, ["d"]);
    let [a, b, c] = &import.left_out[..] else {
        panic!("{:?}", import.left_out);
    };
    assert!(
        a.starts_with("/etc/knockd.conf:1: [a] is skipped: the command for `run` cannot"),
        "{a}"
    );
    assert!(
        b.starts_with("/etc/knockd.conf:4: [b] is skipped: it has no command"),
        "{b}"
    );
    assert!(
        c.starts_with("/etc/knockd.conf:6: [c] is skipped: the command for `close` cannot"),
        "{c}"
    );
    let comments = comments(&import);
    assert!(comments.contains("# [a], line 1, is skipped"), "{comments}");
    assert!(
        comments.contains("line 3: sequence: had 1 ports"),
        "{comments}"
    );
    assert!(
        comments.contains("line 8: stop_command: is skipped with the door"),
        "{comments}"
    );
}

#[test]
fn a_command_that_sleeps_is_told_that_it_will_be_killed() {
    let import = imported(b"[a]\ncommand = open %IP%; sleep 60; close %IP%\n[b]\ncommand = open\n");
    assert_eq!(
        comments(&import).matches("`run` is killed after").count(),
        1
    );
}

#[test]
fn names_are_made_to_fit() {
    let long = "é".repeat(60);
    let text = format!(
        "[{long}]\ncommand=x\n[{long}]\ncommand=x\n[ ssh ]\ncommand=x\n[ssh]\ncommand=x\n[by-hand]\ncommand=x\n[a\tb]\ncommand=x\n[ ]\ncommand=x\n"
    );
    let (import, config) = loaded(&text);
    let names: Vec<_> = config.doors.iter().map(|door| &door.name).collect();
    assert_eq!(names, import.doors.iter().collect::<Vec<_>>());
    assert_eq!(*names[0], "é".repeat(32));
    assert_eq!(*names[1], format!("{}-2", "é".repeat(31)));
    assert_eq!(names[2..], ["ssh", "ssh-2", "door", "a-b", "door-2"]);
    assert!(comments(&import).contains("[ssh], line 7\n#   is renamed to \"ssh-2\""));
}

#[test]
fn names_of_one_tag_are_told_apart() {
    // A name with the tag of `ssh`; there is one in 65536.
    let twin = (0_u32..)
        .map(|number| format!("door{number}"))
        .find(|name| ShortTag::of(name) == ShortTag::of("ssh"))
        .unwrap();
    let (import, _) = loaded(&format!("[ssh]\ncommand=x\n[{twin}]\ncommand=x\n"));
    assert_eq!(import.doors, ["ssh".to_owned(), format!("{twin}-2")]);
}

#[test]
fn what_is_unknown_or_not_utf8_is_told() {
    let import = imported(b"[options]\nlogfiles = x\n[a]\ncommand = say caf\xe9\nSeqence = 7000\n\x1b[1m = y\nTarget = 192.0.2.1\n");
    let comments = comments(&import);
    for comment in [
        "# line 2: logfiles: unknown key",
        "line 4: command: is not UTF-8 and was read as Latin-1",
        "line 5: seqence: unknown key",
        "line 6: \\u{1b}[1m: unknown key",
        "line 7: target: \"192.0.2.1\" has no counterpart",
    ] {
        assert!(comments.contains(comment), "{comment}: {comments}");
    }
    assert!(
        import.text.contains("run = [\"say\", \"café\"]"),
        "{}",
        import.text
    );
    assert!(!import.text.contains("7000") && !import.text.contains('\x1b'));
}

#[test]
fn nothing_is_written_where_no_door_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (
        folder.path().join("knockd.conf"),
        folder.path().join("new.toml"),
    );
    fs::write(&source, "[a]\nsequence = 1\n").unwrap();
    let error = import(&source, Some(&output)).unwrap_err().to_string();
    assert!(error.contains("no door can be converted"), "{error}");
    assert!(
        error.contains("knockd.conf:1: [a] is skipped: it has no command"),
        "{error}"
    );
    assert!(!output.exists());
}

/// Lines of a configuration, valid and invalid ones.
fn source() -> impl Strategy<Value = String> {
    let key = "(command|start_command|stop_command|command_6|stop_command_6|cmd_timeout|sequence|interface|target|tcpflags|[a-z_]{1,5})";
    let value = r#"([ab%$'"\\;#\t é\x01-]|%IP%|sh -c |sudo |`|\$\(|\)|[0-9]{1,3}){0,12}"#;
    let line = prop::string::string_regex(&format!("{key} = {value}")).unwrap();
    let line = prop_oneof![
        1 => r"\[[a-c \t\x01é]{1,70}\]",
        4 => line,
    ];
    prop::collection::vec(line, 0..20)
        .prop_map(|lines| format!("[a]\n{}\n[z]\ncommand = x", lines.join("\n")))
}

proptest! {
    #[test]
    fn every_output_is_a_configuration_and_no_shell_s_text_has_the_address(source in source()) {
        let (import, config) = loaded(&source);
        prop_assert_eq!(config.doors.len(), import.doors.len());
        let address = "2001:db8::7";
        let document: toml::Table = import.text.parse().unwrap();
        for (index, door) in document["door"].as_array().unwrap().iter().enumerate() {
            for key in ["run", "close"] {
                let Some(argv) = door.get(key).and_then(toml::Value::as_array) else {
                    continue;
                };
                let argv: Vec<_> = argv.iter().map(|word| word.as_str().unwrap()).collect();
                if let Some(shell) = argv.iter().position(|word| matches!(*word, "sh" | "/bin/sh"))
                    && argv.get(shell + 1) == Some(&"-c")
                {
                    let script = argv.get(shell + 2).copied().unwrap_or_default();
                    // `%%` is a percent sign.
                    prop_assert!(!script.replace("%%", "").contains("%IP%"), "{script}");
                }
            }
            let (run, _) = argvs(&config, index, address);
            prop_assert!(!run.contains('\0'));
        }
    }

    #[test]
    fn nothing_of_the_source_is_lost_silently(source in source()) {
        let parsed = Source::parse(source.as_bytes()).unwrap();
        let import = imported(source.as_bytes());
        for section in &parsed.doors {
            let door = Door::from(section);
            for directive in &section.directives {
                let is_told = |note: &String| note.starts_with(&format!("line {}: ", directive.line));
                let told = door.notes.iter().any(is_told);
                // All notes are in the output.
                prop_assert!(door.notes.iter().all(|note| import.text.contains(note)));
                prop_assert!(told || is_carried(&door, &directive.key), "{directive:?} {door:?}");
            }
        }
    }
}

/// Whether `door` contains the directive called `key`.
fn is_carried(door: &Door, key: &str) -> bool {
    let Ok(work) = &door.work else {
        return false;
    };
    match key {
        "command" | "start_command" | "command_6" | "start_command_6" => true,
        "cmd_timeout" => work.close.is_some(),
        // An empty one means no command.
        "stop_command" | "stop_command_6" => true,
        _ => false,
    }
}
