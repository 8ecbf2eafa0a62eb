//! Tests of adding a client.

use std::fs;

use super::*;
use crate::{
    init::tests::{Folder, invited, mode, new, public_key},
    new_file::write_configuration,
};

#[test]
fn adding_a_client_keeps_the_comments() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let before = fs::read_to_string(folder.config()).unwrap();
    let invitation = add(&folder.config(), new("phone"), &Terms::default(), invited).unwrap();
    let public = invitation.key.unwrap().public();
    let after = fs::read_to_string(folder.config()).unwrap();
    for line in before.lines() {
        assert!(after.contains(line), "{line}");
    }
    assert!(
        after.contains(&format!(
            "\n[[client]]\nname = \"phone\"\npublic_key = \"{public}\"\n"
        )),
        "{after}"
    );
    let config = Config::load(&folder.config()).unwrap();
    let names: Vec<_> = config
        .clients
        .iter()
        .map(|client| &client.name[..])
        .collect();
    assert_eq!(names, ["laptop", "phone"]);
    assert_eq!(public_key(&config, 1), public);
    // The door does not name its clients, so the new client may open it.
    assert_eq!(config.doors[0].clients, [0, 1]);
    assert_eq!(mode(&folder.config()), 0o600);
}

#[test]
fn the_first_client_of_a_configuration_comes_last() {
    let folder = Folder::new();
    let doors = "# Doors.\n\n[[door]]\nname = \"ssh\"\nrun = [\"x\"]\n# The end.\n";
    write_configuration(&folder.config(), doors).unwrap().keep();
    assert_eq!(mode(&folder.config()), 0o600);
    add(&folder.config(), new("laptop"), &Terms::default(), invited).unwrap();
    let after = fs::read_to_string(folder.config()).unwrap();
    assert!(after.contains("# Doors.\n\n[[door]]\n"), "{after}");
    assert!(
        after.contains("server_key_file = \"server.key\"\n"),
        "{after}"
    );
    assert_eq!(folder.files(), ["knockd.toml", "server.key"]);
    assert!(after.contains("# The end.\n"), "{after}");
    assert_eq!(Config::load(&folder.config()).unwrap().clients.len(), 1);
}

#[test]
fn other_problems_are_reported_and_nothing_is_changed() {
    let folder = Folder::new();
    let text = "[[door]]\nname = \"ssh\"\n";
    write_configuration(&folder.config(), text).unwrap().keep();
    let error = add(&folder.config(), new("laptop"), &Terms::default(), invited).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("knockd.toml:2: name: door `ssh` has neither"),
        "{error}"
    );
    assert_eq!(folder.files(), ["knockd.toml"]);
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), text);
    drop(write_configuration(&folder.path("etc/other.toml"), text).unwrap());
    assert_eq!(folder.files(), ["knockd.toml"]);
}

#[test]
fn a_linked_configuration_stays_linked() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let elsewhere = folder.path("elsewhere.toml");
    fs::rename(folder.config(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.config()).unwrap();
    add(&folder.config(), new("phone"), &Terms::default(), invited).unwrap();
    assert!(fs::symlink_metadata(folder.config()).unwrap().is_symlink());
    assert_eq!(Config::load(&folder.config()).unwrap().clients.len(), 2);
}

#[test]
fn a_client_that_cannot_be_added_changes_nothing() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let config = folder.config();
    let before = fs::read(&config).unwrap();
    let same = add(&config, new("laptop"), &Terms::default(), invited).unwrap_err();
    assert!(
        same.to_string().contains("has a client \"laptop\" already"),
        "{same:#}"
    );
    let other = Change::begin(&config).unwrap();
    let error = add(&config, new("tablet"), &Terms::default(), invited).unwrap_err();
    assert!(
        error.to_string().contains("is changing the configuration"),
        "{error}"
    );
    drop(other);
    assert_eq!(fs::read(&config).unwrap(), before);
    assert_eq!(folder.files(), ["knockd.toml", "server.key"]);
}

#[test]
fn an_invitation_that_cannot_be_shown_adds_no_client() {
    let folder = Folder::new();
    let doors = "[[door]]\nname = \"ssh\"\nrun = [\"x\"]\n";
    write_configuration(&folder.config(), doors).unwrap().keep();
    let shown: Result<()> = add(&folder.config(), new("phone"), &Terms::default(), |_, _| {
        bail!("full")
    });
    assert_eq!(shown.unwrap_err().to_string(), "full");
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), doors);
    assert_eq!(folder.files(), ["knockd.toml"]);
}

#[test]
fn what_a_new_client_may_do_is_written_and_validated() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let before = fs::read_to_string(folder.config()).unwrap();
    let mut terms = Terms {
        expires: Some("2027-01-01".parse().unwrap()),
        from: vec!["192.0.2.0/24".into(), "2001:db8::/32".into()],
        doors: vec!["attic".into()],
    };
    let error = add(&folder.config(), new("phone"), &terms, invited).unwrap_err();
    assert!(error.to_string().contains("attic"), "{error}");
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), before);
    terms.doors = vec!["ssh".into()];
    add(&folder.config(), new("phone"), &terms, invited).unwrap();
    let after = fs::read_to_string(folder.config()).unwrap();
    let written = "expires = 2027-01-01T00:00:00Z\nfrom = [\"192.0.2.0/24\", \"2001:db8::/32\"]\ndoors = [\"ssh\"]\n";
    assert!(after.contains(written), "{after}");
}

#[test]
fn a_page_has_the_only_copy_of_the_key_and_the_doors_of_its_client() {
    let folder = Folder::new();
    let doors = "[[door]]\nname = \"web\"\nopen = [\"udp/53\", \"tcp/8080\"]\n
[[door]]\nname = \"job\"\nrun = [\"x\"]\n
[[door]]\nname = \"bound\"\nrun = [\"x\"]\nrequire_binding = true\n
[[door]]\nname = \"other\"\nrun = [\"x\"]\nclients = []\n
[gate]\nprotect = [\"udp/53\", \"tcp/8080\"]\n";
    let doors = doors.replace("clients = []", "clients = [\"laptop\"]");
    write_configuration(&folder.config(), &doors)
        .unwrap()
        .keep();
    let path = folder.config().with_file_name("phone.html");
    let write = |client: NewClient, config: &Config| page::write(&path, client, config);
    // The configuration needs the client that a door names.
    add(&folder.config(), new("laptop"), &Terms::default(), invited).unwrap();
    let file = add(&folder.config(), new("phone"), &Terms::default(), write).unwrap();
    assert_eq!(mode(file.path()), 0o600);
    let html = fs::read_to_string(file.path()).unwrap();
    assert!(
        html.contains(r#""doors":[{"name":"web","port":8080},{"name":"job","port":null}]"#),
        "{html}"
    );
    file.keep();

    let error = add(&folder.config(), new("tablet"), &Terms::default(), write).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(Config::load(&folder.config()).unwrap().clients.len(), 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), html);
}
