use super::*;

const MAIN_FILE: &str = r#"
include = ["conf.d/*.toml"]
server_key_file = "server.key"

[[door]]
name = "ssh"
run = ["true"]
"#;

const LAPTOP: &str = r#"
[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"
"#;

const PHONE: &str = r#"
[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.pass"
"#;

impl Folder {
    /// Writes a file of the folder `conf.d`.
    fn include(&self, name: &str, content: &str) -> PathBuf {
        fs::create_dir_all(self.0.path().join("conf.d")).unwrap();
        self.write(&format!("conf.d/{name}"), content, 0o644)
    }
}

fn names(config: &Config) -> Vec<&str> {
    let clients = config.clients.iter();
    clients.map(|client| client.name.as_str()).collect()
}

#[test]
fn the_files_are_read_in_the_order_of_their_names() {
    let folder = Folder::new();
    let phone = folder.include("20-phone.toml", PHONE);
    let laptop = folder.include("10-laptop.toml", LAPTOP);
    folder.include("30.toml.orig", "[[nonsense");
    folder.include(".hidden.toml", "[[nonsense");
    // Relative to the file that names it.
    folder.write("conf.d/phone.pass", "another one\n", 0o600);
    fs::remove_file(folder.0.path().join("phone.pass")).unwrap();
    let door = "[[door]]\nname = \"attic\"\nclients = [\"laptop\", \"phone\"]\nsequence = [1]\nrun = [\"true\"]\n";
    let door = folder.include("90-doors.toml", door);
    let main = folder.0.path().join("knockd.toml");
    let config = folder.load(MAIN_FILE).unwrap();
    assert_eq!(names(&config), ["laptop", "phone"]);
    assert_eq!(config.doors[1].clients, [0, 1]);
    assert_eq!(config.files, [main, laptop, phone, door]);
    assert_eq!(config.clients[1].file, 2);
}

#[test]
fn a_pattern_can_match_nothing_and_a_path_has_to_exist() {
    let folder = Folder::new();
    let with = |include: &str| {
        let line = format!("include = {include}");
        MAIN_FILE.replace("include = [\"conf.d/*.toml\"]", &line) + LAPTOP
    };
    for include in ["[]", "[\"conf.d/*.toml\"]", "[\"none-*\"]"] {
        assert!(folder.load(&with(include)).is_ok(), "{include}");
    }
    folder.include("phone.toml", &PHONE.replace("phone.pass", "../phone.pass"));
    // Read once.
    let twice = "[\"conf.d/phone.toml\", \"conf.d/*.toml\"]";
    assert_eq!(folder.load(&with(twice)).unwrap().clients.len(), 2);
    for (include, expected) in [
        ("[\"conf.d/x.toml\"]", "conf.d/x.toml does not exist"),
        (
            "[\"conf.d\"]",
            "conf.d is a folder: write conf.d/*.toml for its files",
        ),
        ("[\"*.toml\"]", "this includes the configuration itself"),
        ("[\"\"]", "this names no file"),
        ("[\"*/x.toml\"]", "only the name of the file may contain"),
        ("[\"conf.d/*.*\"]", "only the name of the file may contain"),
        ("[\"conf.d/[ab].toml\"]", "only `*` stands for"),
        ("[\"a\\nb\"]", "a path must not contain control"),
        ("\"conf.d/*.toml\"", "invalid type: string"),
    ] {
        let error = folder.error(&with(include));
        let expected = format!("knockd.toml:2: include: {expected}");
        assert!(error.starts_with(&expected), "{include}: {error}");
    }
}

#[test]
fn each_problem_names_its_file() {
    let folder = Folder::new();
    folder.include("a.toml", LAPTOP);
    folder.write("conf.d/phone.pass", "another one\n", 0o600);
    for (included, expected) in [
        (
            LAPTOP.replace("public", "colour = 1\npublic"),
            "conf.d/b.toml:4: colour: unknown field `colour`",
        ),
        (
            format!("include = [\"c.toml\"]\n{PHONE}"),
            "conf.d/b.toml:1: include: unknown field `include`, expected `client` or `door`",
        ),
        (
            LAPTOP.to_owned(),
            "conf.d/b.toml:3: name: there is a client named `laptop` in conf.d/a.toml too\nconf.d/b.toml:4: public_key: client `laptop` has the same key as client `laptop`",
        ),
        (
            PHONE.replace("phone.pass", "x"),
            "conf.d/b.toml:5: passphrase_file: conf.d/x: it cannot be read",
        ),
        (
            format!("{PHONE}doors = [\"ssh\"]\n"),
            "conf.d/b.toml:6: doors: door `ssh` has no `sequence`",
        ),
        (
            "[[door]]\nname = \"web\"\nopen = [\"tcp/80\"]\n".into(),
            "conf.d/b.toml:3: open: there is no [gate]",
        ),
        (
            "[[door]]\nname = \"web\"\nrun = [\"true\"]\ngroup = \"daemon\"\n".into(),
            "conf.d/b.toml:4: group: a `group` needs a `user`",
        ),
    ] {
        folder.include("b.toml", &included);
        let error = folder.error(MAIN_FILE);
        assert!(error.starts_with(expected), "{error}\nnot\n{expected}");
        assert_eq!(error.lines().count(), expected.lines().count(), "{error}");
    }
}

#[test]
fn problems_are_in_the_order_of_the_files() {
    let folder = Folder::new();
    folder.include("a.toml", &LAPTOP.replace("F8", "/8"));
    folder.include("b.toml", "[[client]]\nname = \"\"\n");
    let error = folder.error(MAIN_FILE);
    let places: Vec<_> = error.lines().map(|line| &line[..15]).collect();
    assert_eq!(places, ["conf.d/a.toml:4", "conf.d/b.toml:2"], "{error}");
    folder.include(
        "a.toml",
        &LAPTOP.replace("public_key", "doors = []\npublic_key"),
    );
    folder.include("b.toml", &LAPTOP.replace("laptop", "phone"));
    let error = folder.error(&MAIN_FILE.replace("[\"true\"]", "[\"true\"]\nipv4_prefix = 24"));
    let places: Vec<_> = error.lines().map(|line| &line[..13]).collect();
    let expected = ["knockd.toml:8", "conf.d/a.toml", "conf.d/b.toml"];
    assert_eq!(places, expected, "{error}");
}

#[test]
fn an_included_file_that_others_can_change_is_refused() {
    let folder = Folder::new();
    let path = folder.include("a.toml", LAPTOP);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    let error = folder.error(MAIN_FILE);
    let expected = "conf.d/a.toml: others can change it (mode 0646)";
    assert!(error.starts_with(expected), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let conf_d = path.parent().unwrap();
    fs::set_permissions(conf_d, fs::Permissions::from_mode(0o757)).unwrap();
    let error = folder.error(MAIN_FILE);
    assert!(error.contains("others can replace it"), "{error}");
}

#[test]
fn what_a_killed_command_leaves_behind_is_not_included() {
    let folder = Folder::new();
    folder.include("laptop", LAPTOP);
    folder.include("laptop.knockd-new", LAPTOP);
    let main = MAIN_FILE.replace("*.toml", "*");
    let config = folder.load(&main).unwrap();
    assert_eq!(names(&config), ["laptop"]);
}

#[test]
fn changed_files_are_checked_before_they_are_written() {
    let folder = Folder::new();
    let included = folder.include("a.toml", LAPTOP);
    let main = folder.write("knockd.toml", MAIN_FILE, 0o644);
    let other = LAPTOP.replace("laptop", "tablet");
    let config = Config::parse_changed(&main, &[(&included, &other)]).unwrap();
    assert_eq!(names(&config), ["tablet"]);
    let web = MAIN_FILE.replace("ssh", "web");
    for (changes, expected) in [
        (&[(&*main, &*web)][..], "laptop"),
        (&[(&included, &other), (&main, &web)], "tablet"),
    ] {
        let config = Config::parse_changed(&main, changes).unwrap();
        assert_eq!(names(&config), [expected]);
        assert_eq!(config.doors[0].name, "web");
    }
    let wrong = "[[client]]\nname = 1";
    let error = Config::parse_changed(&main, &[(&included, wrong)]).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("conf.d/a.toml:2: name: invalid type"),
        "{error}"
    );
}
