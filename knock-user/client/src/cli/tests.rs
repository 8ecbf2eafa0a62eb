use knock_common::{protocol::classic::Sequence, window::Window};

use super::*;
use crate::{pace::Pace, server::Families, source_ip::SourceIp, transport::Transport};

const PUBLIC: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";

const CLASSIC: [&str; 4] = ["--classic", "--sequence", "1,2,3,4", "192.0.2.7"];

fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["knock"], args].concat())
}

fn knock(args: &[&str]) -> KnockArgs {
    let cli = parse(args).unwrap();
    assert!(cli.command.is_none());
    cli.knock.unwrap()
}

fn sealed(args: &[&str]) -> Result<Cli, clap::Error> {
    parse(&[args, &["home", "ssh"]].concat())
}

/// The error message of an invalid command line, which must have exit status 2.
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
fn a_knock_is_sealed_unless_told_otherwise() {
    let args = knock(&["home", "ssh"]);
    assert_eq!(args.server.as_str(), "home");
    assert_eq!(args.door.as_ref().map(Name::as_str), Some("ssh"));
    assert!(!args.classic && !args.dry_run);
    assert!(args.key_file.is_none() && args.passphrase_file.is_none() && args.client.is_none());
    assert!(args.lease.is_none() && args.source_ip.is_none() && args.base.is_none());
    assert!(args.verify().is_none() && args.timeout.is_none());
    assert!(args.server_key.is_none() && args.open_for.is_none() && args.udp_port.is_none());
    assert!(args.time_offset.is_none() && args.transport().is_none() && !args.close);
    assert_eq!(args.pace(Pace::SYNS), Pace::SYNS);
    assert_eq!(args.families(), Families::Both);
}

#[test]
fn a_classic_knock_has_a_sequence_and_needs_no_door() {
    let args = knock(&CLASSIC);
    assert!(args.classic && args.door.is_none());
    let named = knock(&[CLASSIC.as_slice(), &["ssh"]].concat());
    assert_eq!(named.door.as_ref().map(Name::as_str), Some("ssh"));
    assert_eq!(args.sequence, Some(Sequence::new(&[1, 2, 3, 4]).unwrap()));

    let message = refused(parse(&["--classic", "192.0.2.7"]));
    assert!(message.contains("--sequence"), "{message}");
    let message = refused(parse(&["--sequence", "1", "192.0.2.7", "ssh"]));
    assert!(message.contains("--classic"), "{message}");
    let message = refused(parse(&["--sequence", "1", "192.0.2.7"]));
    assert!(message.contains("--classic"), "{message}");
    let server_key = format!("--server-key={PUBLIC}");
    for more in [
        "--key-file=f",
        &server_key,
        "--client=c",
        "--for=1m",
        "--source-ip=none",
        "--udp",
        "--udp-port=53",
        "--open-for=::1",
        "--close",
        "--time-offset=1s",
    ] {
        let message = refused(parse(&[CLASSIC.as_slice(), &[more]].concat()));
        assert!(message.contains("cannot be used with"), "{message}");
    }
}

#[test]
fn options_are_read() {
    let cli = sealed(&[
        "-6",
        "--base=40000",
        "--delay=50ms",
        "--copies=5",
        "--key-file=laptop.key",
        "--client=laptop",
        &format!("--server-key={PUBLIC}"),
        "--udp",
        "--udp-port=53",
        "--time-offset",
        "-2h",
        "--for=10m",
        "--source-ip=2001:db8::1",
        "--verify=tcp/22",
        "--timeout=1m",
    ]);
    let args = cli.unwrap().knock.unwrap();
    assert_eq!(args.base, Window::new(40000).ok());
    assert_eq!(args.pace(Pace::SYNS).delay.get().as_millis(), 50);
    assert_eq!(args.pace(Pace::SYNS).copies.get(), 5);
    assert_eq!(args.families(), Families::Ipv6);
    assert_eq!(args.key_file, Some(PathBuf::from("laptop.key")));
    assert_eq!(args.client, "laptop".parse().ok());
    assert_eq!(args.server_key, PUBLIC.parse().ok());
    assert_eq!(args.transport(), Some(Transport::Udp));
    assert_eq!(args.udp_port, "53".parse().ok());
    assert_eq!(args.time_offset, "-2h".parse().ok());
    assert_eq!(args.lease, lease("600s").ok());
    assert_eq!(args.source_ip, "2001:db8::1".parse().ok());
    assert_eq!(args.verify(), Some("tcp/22".parse().ok()));
    assert_eq!(args.timeout, "60s".parse().ok());

    let args = knock(&["-4", "--verify=none", "--source-ip=none", "home", "ssh"]);
    assert_eq!(args.families(), Families::Ipv4);
    assert_eq!(args.verify(), Some(None));
    assert_eq!(args.source_ip, Some(SourceIp::None));

    let args = knock(&["--syn", "--udp", "--close", "home", "ssh"]);
    assert!(args.close);
    assert_eq!(args.transport(), Some(Transport::Both));
    let args = knock(&["--syn", "--open-for=::ffff:192.0.2.9", "home", "ssh"]);
    assert_eq!(args.transport(), Some(Transport::Syn));
    assert_eq!(args.open_for, "192.0.2.9".parse().ok());
}

/// One public key in 64 begins with a hyphen.
#[test]
fn a_public_key_may_look_like_an_option() {
    let public = format!("-{}", &PUBLIC[1..]);
    let expected: PublicKey = public.parse().unwrap();
    let args = knock(&["--server-key", &public, "home", "ssh"]);
    assert_eq!(args.server_key, Some(expected));
    let cli = parse(&["pubkey", "--client", "laptop", "--server-key", &public]);
    let Some(Command::SetUp(SetUp::Pubkey { server_key, .. })) = cli.unwrap().command else {
        panic!("no command");
    };
    assert_eq!(server_key, Some(expected));
}

#[test]
fn a_public_key_is_that_of_a_file_or_of_a_passphrase() {
    for args in [
        &["pubkey"][..],
        &["pubkey", "--client", "laptop"],
        &["pubkey", "--server-key", PUBLIC],
        &["pubkey", "f", "--client", "laptop", "--server-key", PUBLIC],
        &["pubkey", "f", "--passphrase-file", "f"],
    ] {
        refused(parse(args));
    }
}

#[test]
fn missing_arguments_are_named() {
    let message = refused(parse(&[]));
    assert!(message.contains("SERVER"), "{message}");
    let message = refused(parse(&["home"]));
    assert!(message.contains("DOOR"), "{message}");
    let message = refused(parse(&["--classic", "--sequence", "1"]));
    assert!(message.contains("SERVER"), "{message}");
    let message = refused(parse(&["keygen"]));
    assert!(message.contains("FILE"), "{message}");
}

#[test]
fn wrong_values_are_explained() {
    for (option, expected) in [
        ("--base=0", "between 1 and 65280"),
        ("--base=65281", "between 1 and 65280"),
        ("--base=65536", "from 1 to 65280"),
        ("--base=ssh", "from 1 to 65280"),
        ("--delay=501ms", "at most 500ms"),
        ("--delay=2", "such as 2ms"),
        ("--copies=0", "from 1 to 8"),
        ("--copies=9", "from 1 to 8"),
        ("--for=137y", "1 to 4294967294 whole seconds"),
        ("--for=10", "such as 30s or 10m"),
        ("--source-ip=eth0", "`auto`, `none`"),
        ("--source-ip=0.0.0.0", "cannot be the address of a host"),
        ("--open-for=none", "expected an IP address"),
        ("--open-for=::", "cannot be the address of a host"),
        ("--open-for=::1 --source-ip=none", "cannot be used with"),
        ("--open-for=::1 --verify=tcp/22", "cannot be used with"),
        ("--close --for=1m", "cannot be used with"),
        ("--close --verify=tcp/22", "cannot be used with"),
        ("--close --timeout=1s", "cannot be used with"),
        ("--hold", "COMMAND"),
        ("--hold --close", "cannot be used with"),
        ("--hold --dry-run", "cannot be used with"),
        ("--udp-port=0", "from 1 to 65535"),
        ("--time-offset=2", "such as +30s or -2h"),
        ("--server-key=x", "43 characters, not 1"),
        ("--verify=22", "such as tcp/22"),
        ("--verify=udp/53", "such as tcp/22"),
        ("--timeout=2h", "at most 1h"),
        ("--client=", "1 to 64 bytes"),
        ("-4 -6", "cannot be used with"),
        ("--key-file=a --passphrase-file=b", "cannot be used with"),
        ("--dry-run --verify=tcp/22", "cannot be used with"),
    ] {
        let options: Vec<&str> = option.split(' ').collect();
        let message = refused(sealed(&options));
        assert!(message.contains(expected), "{option}: {message}");
    }
    let message = refused(parse(&["home", "ssh", "ls"]));
    assert!(message.contains("--hold"), "{message}");
    let message = refused(parse(&["host:22", "ssh"]));
    assert!(message.contains("omit the port :22"), "{message}");
    let message = refused(parse(&["host", ""]));
    assert!(message.contains("1 to 64 bytes"), "{message}");
}

#[test]
fn a_wrong_sequence_is_explained_and_not_shown() {
    for (text, expected) in [
        ("71,72,256", "number 3"),
        ("71,,72", "number 2"),
        ("71,72,", "number 3"),
        ("", "number 1"),
        ("-71", "number 1"),
        ("71;72", "number 1"),
        ("71,71,71,71,71,71,71,71,71,71,71,71,71,71,71,71", "not 16"),
    ] {
        let message = refused(parse(&["--classic", &format!("--sequence={text}"), "host"]));
        assert!(
            message.contains(expected) && message.contains("--sequence"),
            "{message}"
        );
        assert!(!message.contains("71"), "{message}");
    }
}

#[test]
fn there_is_no_option_for_the_passphrase_or_the_key_itself() {
    refused(sealed(&["--passphrase", "sesame"]));
    refused(sealed(&["--key", "sesame"]));
    // A private key in the place of a public one, whole or not.
    let private = "knock2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    for text in [private, &private[7..40]] {
        let message = refused(sealed(&["--server-key", text]));
        assert!(message.contains("--server-key <PUBLIC>"), "{message}");
        assert!(!message.contains("AwQFBg"), "{message}");
    }
    let shown = format!("{:?}", parse(&CLASSIC).unwrap());
    assert!(shown.contains("Sequence(..)"), "{shown}");
}

#[test]
fn commands_are_read() {
    let command = |args: &[&str]| {
        let cli = parse(args).unwrap();
        assert!(cli.knock.is_none());
        match cli.command {
            Some(Command::SetUp(command)) => command,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        command(&["import"]),
        SetUp::Import {
            uri: None,
            name: None
        }
    ));
    let import = command(&["import", "knock://KEY", "--name", "home"]);
    assert!(!format!("{import:?}").contains("KEY"), "{import:?}");
    let SetUp::Import { uri, name } = import else {
        panic!("no import");
    };
    assert_eq!(uri.unwrap().given(), Some("knock://KEY"));
    assert_eq!(name, "home".parse().ok());
    assert!(matches!(command(&["list"]), SetUp::List));
    assert!(matches!(command(&["keygen", "f"]), SetUp::Keygen { .. }));
    assert!(matches!(command(&["pubkey", "f"]), SetUp::Pubkey { .. }));
    let SetUp::Enroll { host, name } = command(&["enroll", "host", "--name", "home"]) else {
        panic!("no enrolment");
    };
    assert_eq!(host.as_str(), "host");
    assert_eq!(name, "home".parse().ok());
}

#[test]
fn the_doctor_needs_no_server_and_a_knock_needs_a_door() {
    let doctor = |args: &[&str]| match parse(&[&["doctor"], args].concat())?.command {
        Some(Command::Doctor(args)) => Ok(args),
        other => panic!("{other:?}"),
    };
    assert!(doctor(&[]).unwrap().server.is_none());
    let args = doctor(&["home", "ssh", "--knock", "--verify", "tcp/22", "--json"]).unwrap();
    assert!(args.knock && args.json);
    let knock = args.knock_args(args.server.as_ref().unwrap());
    assert_eq!(knock.server.as_str(), "home");
    assert_eq!(knock.door.as_ref().map(Name::as_str), Some("ssh"));
    assert_eq!(knock.verify, args.verify);
    let message = refused(doctor(&["home", "--knock"]).map(|_| unreachable!()));
    assert!(message.contains("DOOR"), "{message}");
}

#[test]
fn servers_and_doors_can_have_the_names_of_commands() {
    for name in [
        "import", "enroll", "doctor", "page", "list", "keygen", "pubkey", "help",
    ] {
        for args in [vec!["--", name, "ssh"], vec!["-4", name, "ssh"]] {
            let args = knock(&args);
            assert_eq!(args.server.as_str(), name);
            assert_eq!(args.door.unwrap().as_str(), "ssh");
        }
        assert_eq!(knock(&["home", name]).door.unwrap().as_str(), name);
    }
    assert_eq!(knock(&["help", "ssh"]).server.as_str(), "help");
    let args = parse(&["list", "ssh"]).unwrap_err();
    assert_eq!(args.kind(), ErrorKind::UnknownArgument);
}

#[test]
fn help_is_short_or_long() {
    let short = Cli::command().render_help().to_string();
    let long = Cli::command().render_long_help().to_string();
    assert!(short.lines().count() < 60, "{short}");
    assert!(long.contains("Match originalhost") && long.contains("Exit status"));
}
