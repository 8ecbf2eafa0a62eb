use knock_common::protocol::{datagram::Request, identity::Owner};
use proptest::prelude::*;

use super::*;
use crate::message;

const KEY: &str = "knock2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const SERVER_KEY: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";
const OPEN: &str =
    "knock://laptop@192.0.2.1:61000?server=OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI&udp=53";

fn secret() -> String {
    format!("{OPEN}&key={}", &KEY["knock2:".len()..])
}

fn parts() -> Description<'static> {
    Description {
        key: Some(KEY),
        server: Some("192.0.2.1"),
        server_key: Some(SERVER_KEY),
        door: "ssh",
        ..Description::default()
    }
}

fn error(description: Description<'_>) -> String {
    message::of(&description.knocker().unwrap_err())
}

#[test]
fn an_invitation_and_its_parts_make_the_same_client() {
    let server = b"knockd2:kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw";
    let server = KeyPair::from(PrivateKey::from_key_file(Owner::Server, server).unwrap());
    let secret = secret();
    let invited = Description {
        invitation: Some(&secret),
        door: "ssh",
        ..Description::default()
    };
    let completed = Description {
        invitation: Some(OPEN),
        key: Some(KEY),
        door: "ssh",
        ..Description::default()
    };
    let mut seen = Vec::new();
    for description in [invited, completed, parts()] {
        let datagram = description.knocker().unwrap().datagram().unwrap();
        let (client, request) = Request::open(&server, &datagram).unwrap();
        seen.push((client, request.door, request.beneficiary, request.lease));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

#[test]
fn a_part_takes_precedence_over_that_of_the_invitation() {
    let description = Description {
        invitation: Some(OPEN),
        key: Some(KEY),
        server: Some("2001:db8::1"),
        base: Some(40_000),
        udp_port: Some(443),
        ..Description::default()
    };
    let invitation: Invitation = OPEN.parse().unwrap();
    let target = description.target(Some(&invitation)).unwrap();
    assert_eq!(target.host.as_str(), "2001:db8::1");
    assert_eq!((target.window.base(), target.udp.get()), (40_000, 443));
    let plain = Description::default().target(Some(&invitation)).unwrap();
    assert_eq!((plain.window.base(), plain.udp.get()), (61_000, 53));
}

#[test]
fn the_wrong_part_is_named() {
    let low_order = "A".repeat(43);
    for (description, start) in [
        (
            Description {
                invitation: Some("knock://"),
                ..parts()
            },
            "invitation: an invitation looks like",
        ),
        (
            Description {
                key: None,
                ..parts()
            },
            "key: the client's private key is missing",
        ),
        (
            Description {
                key: Some("knock2:x"),
                ..parts()
            },
            "key: a key has 43 characters, not 1",
        ),
        (
            Description {
                server: None,
                ..parts()
            },
            "server: it is missing",
        ),
        (
            Description {
                server: Some("a b"),
                ..parts()
            },
            "server: ' ' is not valid",
        ),
        (
            Description {
                server_key: None,
                ..parts()
            },
            "server_key: it is missing",
        ),
        (
            Description {
                server_key: Some(""),
                ..parts()
            },
            "server_key: a public key has 43",
        ),
        (
            Description {
                server_key: Some(&low_order),
                ..parts()
            },
            "server_key: this public key belongs to no",
        ),
        (
            Description {
                base: Some(0),
                ..parts()
            },
            "base: 0 cannot be",
        ),
        (
            Description {
                udp_port: Some(0),
                ..parts()
            },
            "udp_port: it must be",
        ),
        (
            Description {
                door: "",
                ..parts()
            },
            "door: a name has 1 to 64 bytes",
        ),
        (
            Description {
                source_ip: Some("::"),
                ..parts()
            },
            "source_ip: :: cannot be",
        ),
    ] {
        let error = error(description);
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    let secret = secret();
    let digits = &KEY["knock2:".len()..];
    // A secret in the wrong place, as a whole and in part.
    for text in [
        secret.as_str(),
        KEY,
        digits,
        &secret[..secret.len() - 1],
        &KEY[..40],
    ] {
        for description in [
            Description {
                invitation: Some(text),
                door: "\n",
                ..Description::default()
            },
            Description {
                key: Some(text),
                door: "",
                ..parts()
            },
            Description {
                server: Some(text),
                ..parts()
            },
            Description {
                server_key: Some(text),
                ..parts()
            },
            Description {
                door: text,
                key: None,
                ..parts()
            },
            Description {
                source_ip: Some(text),
                ..parts()
            },
        ] {
            let Err(error) = description.knocker() else {
                continue;
            };
            let shown = format!("{} {error:?}", message::of(&error));
            assert!(!shown.contains(&digits[..8]), "{shown}");
        }
    }
    let knocker = parts().knocker().unwrap();
    let shown = format!("{knocker:?}");
    assert!(
        !shown.contains("AAEC") && !shown.contains("[0, 1, 2"),
        "{shown}"
    );
}

#[test]
fn what_threads_make_at_once_differs() {
    let knocker = parts().knocker().unwrap();
    let made = || (0..8).map(|_| knocker.ports().unwrap()).collect::<Vec<_>>();
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(made)).collect();
        let threads = threads.into_iter();
        threads
            .flat_map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 32);
}

proptest! {
    #[test]
    fn any_texts_are_a_client_or_an_error_on_one_line(
        invitation: Option<String>,
        key: Option<String>,
        server: Option<String>,
        door: String,
        source_ip: Option<String>,
    ) {
        let description = Description {
            invitation: invitation.as_deref(),
            key: key.as_deref().or(Some(KEY)),
            server: server.as_deref(),
            server_key: Some(SERVER_KEY),
            door: &door,
            source_ip: source_ip.as_deref(),
            ..Description::default()
        };
        if let Err(error) = description.knocker() {
            prop_assert!(!message::of(&error).contains(char::is_control));
        }
    }
}
