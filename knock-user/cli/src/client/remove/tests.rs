//! Tests of removing a client.

use std::fs;

use super::*;
use crate::{
    client::add::{Terms, add},
    init::tests::{Folder, invited, new},
};

/// A configuration with the clients `laptop` and `phone`, and its text.
fn with_two() -> (Folder, String) {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    add(&folder.config(), new("phone"), &Terms::default(), invited).unwrap();
    let text = fs::read_to_string(folder.config()).unwrap();
    (folder, text)
}

#[test]
fn removing_a_client_undoes_adding_it() {
    let (folder, text) = with_two();
    let message = remove(&folder.config(), "phone").unwrap();
    let key = text.rsplit("public_key = \"").next().unwrap();
    let (key, _) = key.split_once('"').unwrap();
    let expected = format!("removed client \"phone\", whose public key was {key}");
    assert_eq!(message, expected);
    let after = fs::read_to_string(folder.config()).unwrap();
    let client = format!("\n[[client]]\nname = \"phone\"\npublic_key = \"{key}\"\n");
    assert_eq!(after, text.replace(&client, ""));
    assert_eq!(folder.files(), ["knockd.toml", "server.key"]);
}

#[test]
fn what_cannot_be_removed_changes_nothing() {
    let (folder, text) = with_two();
    let text = text.replace("# clients = [\"laptop\"] ", "clients = [\"laptop\"]\n#");
    fs::write(folder.config(), &text).unwrap();
    for (name, reason) in [
        ("tablet", "has no client \"tablet\""),
        (
            "laptop",
            "client \"laptop\" is not removed: door \"ssh\" names no other",
        ),
    ] {
        let error = format!("{:#}", remove(&folder.config(), name).unwrap_err());
        assert!(error.contains(reason), "{error}");
        assert_eq!(fs::read_to_string(folder.config()).unwrap(), text);
    }
    remove(&folder.config(), "phone").unwrap();
    let error = remove(&folder.config(), "laptop").unwrap_err().to_string();
    assert!(error.contains("is the only client"), "{error}");
    assert_eq!(folder.files(), ["knockd.toml", "server.key"]);
}

#[test]
fn one_change_is_made_at_a_time() {
    let (folder, text) = with_two();
    let path = folder.config();
    let other = Change::begin(&path).unwrap();
    let error = format!("{:#}", remove(&folder.config(), "phone").unwrap_err());
    assert!(error.contains("is changing the configuration"), "{error}");
    drop(other);
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), text);
    remove(&folder.config(), "phone").unwrap();
}

/// The client is in one file, and the door that names it in another.
#[test]
fn a_client_is_removed_from_every_file() {
    let (folder, text) = with_two();
    let place = text.rfind("\n[[client]]").unwrap();
    let client = &text[place..][..text[place..].find("\n\n").unwrap()];
    fs::create_dir(folder.path("etc/conf.d")).unwrap();
    let included = folder.path("etc/conf.d/phone.toml");
    fs::write(&included, format!("# Theirs.\n{client}\n")).unwrap();
    let main = text.replace(client, "");
    let main = main.replace(
        "# clients = [\"laptop\"] ",
        "clients = [\"laptop\", \"phone\"]\n#",
    );
    let main = format!("include = [\"conf.d/*.toml\"]\n{main}");
    fs::write(folder.config(), &main).unwrap();
    remove(&folder.config(), "phone").unwrap();
    assert_eq!(fs::read_to_string(&included).unwrap(), "# Theirs.\n");
    let after = fs::read_to_string(folder.config()).unwrap();
    assert_eq!(after, main.replace(", \"phone\"", ""));
    assert_eq!(folder.files(), ["conf.d", "knockd.toml", "server.key"]);
    assert_eq!(fs::read_dir(folder.path("etc/conf.d")).unwrap().count(), 1);
}
