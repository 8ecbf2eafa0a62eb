//! Tests of giving a client another key.

use std::fs;

use super::*;
use crate::init::tests::{Folder, invited, new, public_key};

const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The previous key of the only client.
fn previous_key(config: &Config) -> String {
    let client = &record::Record::all(config)[0];
    client.previous_key.as_ref().unwrap().public_key.clone()
}

#[test]
fn the_old_key_stays_valid_for_the_given_time() {
    let folder = Folder::new();
    let first = folder.init("laptop").unwrap().key.unwrap().public();
    let before = fs::read_to_string(folder.config()).unwrap();
    let invitation = rotate(&folder.config(), new("laptop"), WEEK, invited).unwrap();
    let second = invitation.key.unwrap().public();
    assert_ne!(first, second);
    let config = Config::load(&folder.config()).unwrap();
    assert_eq!(public_key(&config, 0), second);
    assert_eq!(previous_key(&config), first.to_string());

    // The next rotation ends the first key, and one without a time all old keys.
    rotate(&folder.config(), new("laptop"), WEEK, invited).unwrap();
    let config = Config::load(&folder.config()).unwrap();
    assert_eq!(previous_key(&config), second.to_string());
    let invitation = rotate(&folder.config(), new("laptop"), Duration::ZERO, invited).unwrap();
    let last = invitation.key.unwrap().public();
    let after = fs::read_to_string(folder.config()).unwrap();
    assert_eq!(after, before.replace(&first.to_string(), &last.to_string()));
}

#[test]
fn a_rotation_that_fails_changes_nothing() {
    let folder = Folder::new();
    let invitation = folder.init("laptop").unwrap();
    let key = invitation.key.unwrap().public();
    let before = fs::read_to_string(folder.config()).unwrap();
    let own = |name: &str| NewClient::new(name, invitation.host.clone(), Some(key)).unwrap();
    for (client, keep, reason) in [
        (new("phone"), WEEK, "has no client \"phone\""),
        (own("laptop"), WEEK, "has this key already"),
        (
            new("laptop"),
            WEEK * 10_000,
            "--keep: this is more than a century",
        ),
    ] {
        let error = rotate(&folder.config(), client, keep, invited).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(reason), "{error}");
    }
    let shown: Result<()> = rotate(&folder.config(), new("laptop"), WEEK, |_, _| bail!("full"));
    assert_eq!(shown.unwrap_err().to_string(), "full");
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), before);
    assert_eq!(folder.files(), ["knockd.toml", "server.key"]);
}

#[test]
fn a_classic_client_has_no_key() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let text = fs::read_to_string(folder.config()).unwrap();
    let classic =
        "[[client]]\nname = \"old\"\nprotocol = \"classic\"\npassphrase_file = \"old.pass\"\n";
    let text = text.replace("run = ", "sequence = [1]\nrun = ") + classic;
    fs::write(folder.config(), text).unwrap();
    knockd_credentials::secret_file::create(&folder.path("etc/old.pass"), "sesame").unwrap();
    let error = rotate(&folder.config(), new("old"), WEEK, invited).unwrap_err();
    assert!(error.to_string().contains("is classic"), "{error:#}");
}
