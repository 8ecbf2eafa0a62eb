use std::{fs, net::IpAddr, path::Path};

use knockd_config::{Config, template::Expansion};
use knockd_types::interface::Wanted;
use proptest::prelude::*;

use super::{source::tests::Memory, *};

mod corpus;
mod daemon;

/// What must not be in any output.
const SECRET: &str = "SECRET";

const SERVER_KEY: &str = "knockd2:kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw\n";

/// The import of `access` with `fwknopd.conf` and the ports `open`.
fn imported(access: &Access, settings: &str, open: &str) -> Import {
    let files = Memory::new(&[("fwknopd.conf", settings)]);
    let path = PathBuf::from("/f/fwknopd.conf");
    let settings = Settings::load(&path, &files).unwrap();
    let open = open.split(',').filter(|port| !port.is_empty());
    let open: Vec<_> = open.map(|port| port.parse().unwrap()).collect();
    let key = || Ok(key_file::generate()?.public());
    let import = Import::of_fwknop(access, &settings, &[&path], &open, key).unwrap();
    assert!(!import.text.contains(SECRET), "{}", import.text);
    import
}

fn access(text: &str) -> Access {
    let files = Memory::new(&[("access.conf", text)]);
    Access::load(Path::new("/f/access.conf"), &files).unwrap()
}

/// The configuration in the text of `import`, which has to be valid.
fn config(import: &Import) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("server.key");
    knockd_credentials::secret_file::create(&key, SERVER_KEY.trim_end()).unwrap();
    let config = Config::parse(&import.text, &folder.path().join("knockd.toml"));
    config.unwrap_or_else(|error| panic!("{error}\n{}", import.text))
}

/// A line for each client and each door in the text of `import`.
fn summary(import: &Import) -> Vec<String> {
    let document: toml::Table = import.text.parse().unwrap();
    let tables = |name| {
        document
            .get(name)
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten()
    };
    let text = |value: &toml::Value| match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(words) => {
            let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
            words.join(" ")
        }
        value => value.to_string(),
    };
    let line = |table: &toml::Value, keys: &[&str]| {
        let value = |key: &&str| Some(format!("{key}: {}", text(table.get(key)?)));
        let values: Vec<_> = keys.iter().filter_map(value).collect();
        format!("{}, {}", text(&table["name"]), values.join(", "))
    };
    let clients = tables("client").map(|client| line(client, &["from", "expires"]));
    let keys = [
        "clients",
        "open",
        "run",
        "close",
        "for",
        "max_for",
        "require_binding",
    ];
    let doors = tables("door").map(|door| line(door, &keys));
    clients.chain(doors).collect()
}

fn comments(import: &Import) -> String {
    let lines = import.text.lines().filter(|line| line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn stanzas_share_a_door_and_others_get_their_own() {
    let text = "SOURCE ANY\nOPEN_PORTS tcp/22\nREQUIRE_USERNAME alice\n\
        SOURCE ANY\nOPEN_PORTS tcp/22, udp/53\nREQUIRE_USERNAME bob\n\
        SOURCE ANY\nOPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 9\nREQUIRE_USERNAME bob\n";
    let import = imported(&access(text), "", "");
    config(&import);
    assert_eq!(
        summary(&import)[3..],
        [
            "tcp/22, clients: alice bob, open: tcp/22, for: 30s, max_for: 300s",
            "udp/53, clients: bob, open: udp/53, for: 30s, max_for: 300s",
            "tcp/22,udp/53, clients: bob, open: tcp/22 udp/53, for: 30s, max_for: 300s",
            "tcp/22-2, clients: bob-2, open: tcp/22, for: 9s, max_for: 300s",
        ]
    );
    assert!(import.text.contains("protect = [\"tcp/22\", \"udp/53\"]"));
}

#[test]
fn times_are_read_as_fwknopd_does() {
    for (lines, expected) in [
        ("", "for: 30s, max_for: 300s"),
        (
            "FW_ACCESS_TIMEOUT 0\nMAX_FW_TIMEOUT 0",
            "for: 30s, max_for: 300s",
        ),
        ("FW_ACCESS_TIMEOUT 3600", "for: 3600s"),
        (
            "FW_ACCESS_TIMEOUT 60 s\nMAX_FW_TIMEOUT 90",
            "for: 60s, max_for: 90s",
        ),
        ("FW_ACCESS_TIMEOUT 60\nMAX_FW_TIMEOUT 9", "for: 60s"),
        (
            "FW_ACCESS_TIMEOUT 60\nFW_ACCESS_TIMEOUT 8388608",
            "for: 8388608s",
        ),
    ] {
        let import = imported(&access(&format!("SOURCE ANY\n{lines}\n")), "", "tcp/22");
        config(&import);
        let line = &summary(&import)[1];
        assert!(
            line.ends_with(&format!("open: tcp/22, {expected}")),
            "{line}"
        );
    }
}

#[test]
fn ports_that_cannot_be_opened_are_told() {
    let text = "SOURCE ANY\nOPEN_PORTS tcp/22, TCP/61005, tcp/80, tcp/22\nRESTRICT_PORTS tcp/80\n";
    let import = imported(&access(text), "", "");
    config(&import);
    assert_eq!(import.doors, ["tcp/22"]);
    assert!(comments(&import).contains("tcp/61005 is skipped: it is in the window"));
    let import = imported(
        &access("SOURCE ANY\nRESTRICT_PORTS tcp/22\n"),
        "",
        "tcp/22,udp/53",
    );
    assert_eq!(import.doors, ["udp/53"]);
    let import = imported(&access("SOURCE ANY\nRESTRICT_PORTS tcp/22\n"), "", "");
    assert!(
        import.left_out[0].ends_with("as in --open tcp/22"),
        "{:?}",
        import.left_out
    );
}

#[test]
fn everything_that_is_not_converted_is_told_with_its_place() {
    let text = "KEY SECRET\nSOURCE ANY\nKEY SECRET\nHMAC_KEY_BASE64 SECRET\nSECRET_KEY SECRET\n\
        %include_keys SECRET\nENABLE_CMD_EXEC Y\nCMD_EXEC_USER nobody\nGPG_REMOTE_ID AB, CD\n\
        DESTINATION 192.0.2.1\nACCESS_EXPIRE 1/2/2030\nOPEN_PORTS tcp/22\nNONSENSE x\n\x76_SECRET x\n";
    let text = text.replace("SECRET_KEY", "c2VjcmV0");
    let import = imported(&access(&text), "", "");
    let comments = comments(&import);
    for comment in [
        "# /f/access.conf:1: KEY has no effect before the first SOURCE",
        "# Stanza 1, /f/access.conf:2\n",
        "#   /f/access.conf:3: KEY is not converted: a key pair",
        "#   /f/access.conf:4: HMAC_KEY_BASE64 is not converted: a key pair",
        "#   /f/access.conf:5: this line is unknown",
        "#   /f/access.conf:6: %include_keys is not read: old keys",
        "#   /f/access.conf:7: ENABLE_CMD_EXEC has no counterpart",
        "#   /f/access.conf:8: CMD_EXEC_USER has no effect here",
        "#   /f/access.conf:9: GPG_REMOTE_ID is not converted: copy the [[client]]",
        "#   /f/access.conf:10: DESTINATION has no counterpart",
        "#   /f/access.conf:11: ACCESS_EXPIRE is midnight UTC",
        "#   /f/access.conf:13: NONSENSE is unknown",
        "#   /f/access.conf:14: this line is unknown",
    ] {
        assert!(comments.contains(comment), "{comment}\n{comments}");
    }
}

#[test]
fn a_translated_door_has_a_table_and_commands() {
    let text = "SOURCE ANY\nOPEN_PORTS tcp/8022\nFORCE_NAT 192.0.2.9 22\nFORCE_SNAT 192.0.2.1\n";
    let import = imported(&access(text), "ENABLE_IPT_SNAT Y\n", "");
    let config = config(&import);
    let expansion = Expansion {
        source: "198.51.100.7".parse::<IpAddr>().unwrap(),
        door: "",
        client: "",
        seconds: 1,
    };
    let close = config.doors[0].close.as_ref().unwrap().expand(&expansion);
    assert_eq!(
        close.arguments,
        ["add element ip knockd_stanza_1 admitted { 198.51.100.7 }; \
          delete element ip knockd_stanza_1 admitted { 198.51.100.7 }"]
    );
    let table: Vec<_> = import
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("#nft "))
        .collect();
    let table = table.join("\n");
    for line in [
        "ip saddr @admitted fib daddr type local tcp dport 8022 dnat to 192.0.2.9:22",
        "ip saddr @admitted ip daddr 192.0.2.9 snat to 192.0.2.1",
    ] {
        assert!(table.contains(line), "{table}");
    }
    assert!(import.text.contains("sed -n 's/^#nft //p'"));
}

#[test]
fn a_translated_door_has_no_port_that_was_restricted() {
    for ports in [
        "RESTRICT_PORTS tcp/22\n",
        "OPEN_PORTS tcp/80\nRESTRICT_PORTS tcp/80\n",
    ] {
        let text = format!("SOURCE ANY\n{ports}FORCE_NAT 192.0.2.9 22\n");
        let import = imported(&access(&text), "", "");
        assert!(import.doors.is_empty(), "{}", import.text);
        assert!(import.left_out[0].contains("no port is left"), "{ports}");
    }
}

#[test]
fn what_has_no_effect_is_told() {
    let cycle = "SOURCE ANY\nOPEN_PORTS tcp/22\nFORWARD_ALL Y\nFW_ACCESS_TIMEOUT 3\n\
        CMD_CYCLE_OPEN x\nCMD_CYCLE_CLOSE NONE\nPCAP_INTF eth0\n";
    let import = imported(&access(cycle), "SOURCE ANY\n", "");
    config(&import);
    let access = "SOURCE ANY\nOPEN_PORTS tcp/22\nCMD_CYCLE_TIMER 3\n";
    let other = imported(&self::access(access), "", "");
    let comments = comments(&import) + &comments(&other);
    for comment in [
        "access.conf:2: OPEN_PORTS has no effect with CMD_CYCLE_OPEN",
        "access.conf:3: FORWARD_ALL has no effect with CMD_CYCLE_OPEN",
        "access.conf:4: FW_ACCESS_TIMEOUT has no effect with CMD_CYCLE_OPEN",
        "access.conf:7: PCAP_INTF is unknown",
        "fwknopd.conf:1: SOURCE is unknown",
        "access.conf:3: CMD_CYCLE_TIMER has no effect without CMD_CYCLE_OPEN",
    ] {
        assert!(comments.contains(comment), "{comment}\n{comments}");
    }
}

#[test]
fn hostile_names_and_paths_are_escaped() {
    let text = "SOURCE ANY\nREQUIRE_USERNAME \u{202e}evil\"\nCMD_CYCLE_OPEN \u{200b}x \"'''\\ $IP\nCMD_CYCLE_CLOSE NONE\n";
    let files = Memory([("/f/\u{1b}[1m\n".into(), text.into())].into());
    let access = Access::load(Path::new("/f/\u{1b}[1m\n"), &files).unwrap();
    let import = imported(&access, "PCAP_INTF \u{202e}0\n", "");
    config(&import);
    let is_shown = |c: char| c == '\n' || !knock_common::legible::misleads(c);
    let hidden: Vec<_> = import.text.chars().filter(|c| !is_shown(*c)).collect();
    assert!(hidden.is_empty(), "{hidden:?}\n{}", import.text);
}

#[test]
fn nothing_is_written_where_no_door_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("access.conf"), "SOURCE 1.2.3\nKEY SECRET\n").unwrap();
    let import = ImportFwknop {
        access: path("access.conf"),
        settings: None,
        open: Vec::new(),
        output: Some(path("new/knockd.toml")),
    };
    let error = import.execute().unwrap_err().to_string();
    assert!(
        error.contains("access.conf: no door can be converted\n"),
        "{error}"
    );
    assert!(
        error.contains("access.conf:1: stanza 1 is skipped: "),
        "{error}"
    );
    assert!(!path("new").exists());
}

#[test]
fn an_existing_file_and_an_existing_key_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("access.conf"), "SOURCE ANY\nOPEN_PORTS tcp/22\n").unwrap();
    let import = |output: &str| {
        let import = ImportFwknop {
            access: path("access.conf"),
            settings: None,
            open: Vec::new(),
            output: Some(path(output)),
        };
        import.execute()
    };
    import("knockd.toml").unwrap();
    let key = fs::read(path("server.key")).unwrap();
    Config::load(&path("knockd.toml")).unwrap();
    let error = import("knockd.toml").unwrap_err().to_string();
    assert!(error.contains("exists already"), "{error}");
    import("other.toml").unwrap();
    assert_eq!(fs::read(path("server.key")).unwrap(), key);
    // Without a key, the configuration would be of no use.
    fs::write(path("server.key"), "x").unwrap();
    import("third.toml").unwrap_err();
    assert!(!path("third.toml").exists());
}

/// Lines of an access control, valid and invalid ones.
fn source() -> impl Strategy<Value = String> {
    let key = "(SOURCE|OPEN_PORTS|RESTRICT_PORTS|FW_ACCESS_TIMEOUT|MAX_FW_TIMEOUT|CMD_CYCLE_OPEN|CMD_CYCLE_CLOSE|CMD_CYCLE_TIMER|REQUIRE_USERNAME|FORCE_NAT|FORCE_SNAT|FORCE_MASQUERADE|ACCESS_EXPIRE|ACCESS_EXPIRE_EPOCH|KEY|[A-Z_]{1,5})";
    let value = r#"(ANY|192\.0\.2\.[0-9]{1,3}(/[0-9]{1,2})?|(tcp|udp)/[0-9]{1,5}(, tcp/[0-9]{1,5}){0,3}|[0-9]{1,9}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{1,4}|Y|NONE|([ab%"'\\é-]|\$(IP|SRC|DST|PORT|PROTO|TIMEOUT|CLIENT_TIMEOUT)| |sh -c ){1,12}|192\.0\.2\.1 22)"#;
    let line = prop::string::string_regex(&format!("{key} {value}x?")).unwrap();
    let source = Just("SOURCE ANY".to_owned());
    prop::collection::vec(prop_oneof![1 => source, 4 => line], 0..20)
        .prop_map(|lines| format!("SOURCE ANY\n{}", lines.join("\n")))
}

proptest! {
    #[test]
    fn every_output_is_a_configuration_and_nothing_is_lost_silently(source in source()) {
        let files = Memory::new(&[("access.conf", &source)]);
        let Ok(access) = Access::load(Path::new("/f/access.conf"), &files) else {
            return Ok(());
        };
        let import = imported(&access, "", "tcp/22");
        prop_assert_eq!(
            import.text.matches("\n[[client]]\n").count() + import.left_out.len(),
            access.stanzas.len()
        );
        if !import.doors.is_empty() {
            prop_assert_eq!(config(&import).doors.len(), import.doors.len());
        }
        for stanza in &access.stanzas {
            for directive in &stanza.directives {
                let place = directive.place.to_string();
                let is_told = comments(&import).contains(&place);
                let is_kept = !directive.value.is_empty() && directive.key != "DESTINATION";
                prop_assert!(is_told || is_kept, "{directive:?}\n{}", import.text);
            }
        }
    }
}
