//! Tests of setting when a client expires.

use std::fs;

use super::*;
use crate::init::tests::Folder;

#[test]
fn an_end_is_set_changed_and_removed() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let before = fs::read_to_string(folder.config()).unwrap();
    for date in ["2027-01-01", "2028-02-29"] {
        expire(&folder.config(), "laptop", date.parse().unwrap()).unwrap();
        let after = fs::read_to_string(folder.config()).unwrap();
        let line = format!("expires = {date}T00:00:00Z\n");
        assert!(after.contains(&line), "{after}");
        assert_eq!(after.replace(&line, ""), before);
    }
    expire(&folder.config(), "laptop", When::Never).unwrap();
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), before);
    // That it does not expire is true already.
    expire(&folder.config(), "laptop", When::Never).unwrap();
    assert_eq!(folder.files(), ["knockd.toml", "server.key"]);
}

#[test]
fn what_cannot_be_set_changes_nothing() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let before = fs::read_to_string(folder.config()).unwrap();
    for (name, when, reason) in [
        ("phone", "never", "has no client \"phone\""),
        ("laptop", "1969-12-31", "client \"laptop\" is not changed: "),
    ] {
        let error = expire(&folder.config(), name, when.parse().unwrap()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(reason), "{error}");
        assert_eq!(fs::read_to_string(folder.config()).unwrap(), before);
    }
    assert_eq!(folder.files(), ["knockd.toml", "server.key"]);
}
