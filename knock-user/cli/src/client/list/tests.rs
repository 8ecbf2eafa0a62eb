//! Tests of the table of clients, and of what `show` adds.

use std::fs;

use knockd_config::Config;
use knockd_runtime::history;

use super::*;
use crate::init::tests::Folder;

/// An accepted datagram of `phone` for another address than its own.
const HISTORY: &str = concat!(
    r#"{"event":"opened","time":"2027-01-15T08:00:00.123Z","client":"phone","door":"ssh","source":"192.0.2.7","sender":"192.0.2.8","until":"2027-01-15T08:00:30.123Z","via":"datagram"}"#,
    "\n"
);

const CLIENTS: &str = r#"
[[client]]
name = "phone"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"
expires = 2001-01-01T00:00:00+01:00
from = ["192.0.2.0/24", "2001:db8::/32"]

[[client]]
name = "tablet"
public_key = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI"
expires = 2999-01-01T00:00:00Z
doors = ["backup"]
previous_key = "pOCSkrZRwni5dyxWnzO_gNlwqSBCd1X2cSvKwpYQfhM"
previous_until = 2998-01-01T00:00:00Z

[[client]]
name = "old"
protocol = "classic"
passphrase_file = "old.pass"

[[door]]
name = "backup"
clients = ["tablet"]
run = ["true"]
"#;

fn configured() -> (Folder, Config) {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let text = fs::read_to_string(folder.config()).unwrap();
    let text = text.replacen("run = ", "sequence = [1]\nrun = ", 1) + CLIENTS;
    fs::write(folder.config(), text).unwrap();
    knockd_credentials::secret_file::create(&folder.path("etc/old.pass"), "sesame").unwrap();
    let config = Config::load(&folder.config()).unwrap();
    history::append(&config.state_dir, HISTORY.as_bytes(), u64::MAX).unwrap();
    (folder, config)
}

#[test]
fn the_table_is_aligned_and_complete() {
    let (_folder, config) = configured();
    let text = table(&Record::all(&config)[1..]);
    let expected = "\
NAME    KIND      FINGERPRINT              DOORS   FROM                         EXPIRES                       PREVIOUS KEY                                        LAST ACCEPTED
phone   key pair  SHA256:7t2IPaCpRRWT3Ao4  ssh     192.0.2.0/24, 2001:db8::/32  expired 2000-12-31T23:00:00Z  -                                                   2027-01-15T08:00:00.123Z from 192.0.2.8 (ssh)
tablet  key pair  SHA256:uc3vtsb7tbjF7k8J  backup  anywhere                     2999-01-01T00:00:00Z          SHA256:McYYSewmatbOBmAY until 2998-01-01T00:00:00Z  -
old     classic   -                        ssh     anywhere                     never                         -                                                   -
";
    assert_eq!(text, expected);
}

#[test]
fn json_has_every_field() {
    let (folder, config) = configured();
    let clients = serde_json::to_value(Record::all(&config)).unwrap();
    let file = folder.config();
    assert_eq!(
        clients[2],
        serde_json::json!({
            "name": "tablet",
            "kind": "key pair",
            "public_key": "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI",
            "fingerprint": "SHA256:uc3vtsb7tbjF7k8J",
            "doors": ["backup"],
            "from": [],
            "expires": "2999-01-01T00:00:00Z",
            "has_expired": false,
            "previous_key": {
                "public_key": "pOCSkrZRwni5dyxWnzO_gNlwqSBCd1X2cSvKwpYQfhM",
                "fingerprint": "SHA256:McYYSewmatbOBmAY",
                "until": "2998-01-01T00:00:00Z",
            },
            "last_accepted": null,
            "file": file,
        })
    );
    assert!(clients[3]["public_key"].is_null());
    let last = serde_json::json!({
        "time": "2027-01-15T08:00:00.123Z",
        "source": "192.0.2.8",
        "door": "ssh",
    });
    assert_eq!(clients[1]["last_accepted"], last);
}
