use base64ct::Encoding as _;
use knock_common::{
    protocol::identity::{PrivateKey, PublicKey},
    window::Window,
};

use super::*;

fn invitation(host: &str) -> Invitation {
    Invitation {
        client: "phone".into(),
        host: host.parse().unwrap(),
        window: Window::DEFAULT,
        server: PublicKey([8; 32]),
        udp: None,
        key: Some(PrivateKey::new([7; 32])),
    }
}

fn page(name: &str, host: &str, door: &str) -> String {
    let door = Door {
        name: door.into(),
        port: Some(22),
    };
    let written = Written {
        name,
        invitation: &invitation(host),
        doors: &[door],
        port: None,
    };
    written.to_html().to_string()
}

/// The content of the only element between `start` and `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0
}

fn data(page: &str) -> serde_json::Value {
    let json = between(
        page,
        "<script type=\"application/json\" id=\"data\">",
        "</script>",
    );
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_data_is_what_was_written() {
    let page = page("home", "server.example.net", "ssh");
    let data = data(&page);
    assert_eq!(data["name"], "home");
    assert_eq!(data["doors"][0]["name"], "ssh");
    assert_eq!(data["doors"][0]["port"], 22);
    let uri: Invitation = data["invitation"].as_str().unwrap().parse().unwrap();
    assert!(uri.key == invitation("server.example.net").key);
}

#[test]
fn no_name_leaves_its_place_in_the_page() {
    for name in [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "]]>",
        "&lt;img src=x onerror=alert(1)>",
        "\u{2028}alert(1)//",
        "\\u003c/script\\u003e",
        "{script}{policy}",
        "'\"`",
    ] {
        let plain = page("home", "server.example.net", "ssh");
        let attacked = page(name, "server.example.net", name);
        let data = data(&attacked);
        assert_eq!(data["name"], name);
        assert_eq!(data["doors"][0]["name"], name);
        for (text, in_page) in [
            ("<script", 2),
            ("</script", 2),
            ("<!--", 0),
            ("\u{2028}", 0),
        ] {
            assert_eq!(attacked.matches(text).count(), in_page, "{name}: {text}");
        }
        // Everything besides the data is the same.
        let rest = |page: &str| {
            let (before, rest) = page.split_once("id=\"data\">").unwrap();
            (
                before.to_owned(),
                rest.split_once("</script>").unwrap().1.to_owned(),
            )
        };
        assert_eq!(rest(&plain), rest(&attacked));
    }
}

#[test]
fn the_policy_allows_the_script_of_the_page_and_nothing_else() {
    let page = page("home", "server.example.net", "ssh");
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    let script = between(&page, "<script>", "</script>");
    let digest = base64ct::Base64::encode_string(&Sha256::digest(script));
    assert!(
        policy.contains(&format!("script-src 'sha256-{digest}' 'wasm-unsafe-eval';")),
        "{policy}"
    );
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert_eq!(policy.matches("unsafe").count(), 1, "{policy}");
    assert!(
        policy.contains("connect-src http://server.example.net:* https://server.example.net:*;"),
        "{policy}"
    );
    // What the policy would block, or what would be loaded.
    for absent in [" onclick", " onload", " style=", "src=", "href=", "@import"] {
        assert!(!page.contains(absent), "{absent}");
    }
    for marker in ["{policy}", "{head}", "{style}", "{data}", "{script}"] {
        assert!(!page.contains(marker), "{marker}");
    }
}

#[test]
fn a_host_that_a_policy_cannot_name_is_not_in_it() {
    for host in [
        "192.0.2.1",
        "2001:db8::1",
        "my_host",
        "example.net.",
        "fe80::1%eth0",
    ] {
        let page = page("home", host, "ssh");
        assert!(page.contains("connect-src http: https:;"), "{host}");
    }
}

#[test]
fn the_page_without_a_key_has_all_files_that_it_names() {
    let files = hosted();
    let names: Vec<_> = files.iter().map(|file| file.name).collect();
    let page = &files[0].content;
    assert!(data(page).is_null());
    for part in ["href=\"", "register('"] {
        for name in page.split(part).skip(1) {
            let name = name.split(['"', '\'']).next().unwrap();
            assert!(names.contains(&name), "{name}");
        }
    }
    let worker = &files.iter().find(|file| file.name == "worker.js").unwrap();
    assert!(!worker.content.contains("{version}"));
    for name in between(&worker.content, "FILES = [", "]").split(", ") {
        let name = name.trim_matches('\'');
        assert!(name == "./" || names.contains(&name), "{name}");
    }
}

#[test]
fn the_page_names_no_other_host() {
    for File { name, content } in hosted() {
        let addresses = content.matches("://").count();
        let own = content.matches("knock://").count()
            + content.matches("${scheme}://").count()
            + content.matches("`http://${host}/`").count()
            + content.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(addresses, own, "{name}");
    }
}

/// The number at the start of `bytes`, seven bits a byte, and what follows.
fn number(bytes: &[u8]) -> (usize, &[u8]) {
    let last = bytes.iter().position(|byte| *byte < 0x80).unwrap();
    let number = bytes[..=last]
        .iter()
        .rfold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    (number, &bytes[last + 1..])
}

#[test]
fn the_module_imports_nothing_and_is_the_same_on_every_machine() {
    const IMPORTS: u8 = 2;

    let module = base64ct::Base64::decode_vec(MODULE).unwrap();
    let mut rest = module.strip_prefix(b"\0asm\x01\0\0\0").unwrap();
    while let [section, after @ ..] = rest {
        assert_ne!(*section, IMPORTS);
        let (len, content) = number(after);
        rest = &content[len..];
    }
    // Neither symbols nor the places of panics, which would be paths.
    for absent in [&b".rs"[..], b"knock_common"] {
        assert!(!module.windows(absent.len()).any(|bytes| bytes == absent));
    }
}
