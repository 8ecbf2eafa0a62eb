use super::*;

const URI: &str = "knock://laptop@[2001:db8::1]:40000?server=OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const WITHOUT_KEY: &str = "knock://laptop@server.example.net:61000?server=OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI&udp=53";

fn profiles() -> (tempfile::TempDir, Profiles) {
    let folder = tempfile::tempdir().unwrap();
    let profiles = Profiles::load(folder.path().join("knock")).unwrap();
    (folder, profiles)
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

fn listed(profiles: &Profiles) -> (String, String) {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    list(profiles, &mut Console::new(&mut out, &mut notes, false)).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(out), text(notes))
}

#[test]
fn an_invitation_becomes_a_profile() {
    let (_folder, mut profiles) = profiles();
    assert_eq!(
        import(URI, None, &mut profiles).unwrap(),
        name("2001:db8::1")
    );
    let home = name("home");
    assert_eq!(
        import(
            &format!("knock import '{URI}'\n"),
            Some(&home),
            &mut profiles
        )
        .unwrap(),
        home
    );
    let (out, notes) = listed(&profiles);
    assert_eq!(
        out,
        "PROFILE      SERVER       CLIENT  PORTS\n\
         2001:db8::1  2001:db8::1  laptop  40000-40255\n\
         home         2001:db8::1  laptop  40000-40255\n"
    );
    assert_eq!(notes, "");
}

#[test]
fn an_empty_list_is_a_note() {
    let (_folder, profiles) = profiles();
    let (out, notes) = listed(&profiles);
    assert_eq!(out, "");
    assert!(notes.contains("knock import"), "{notes}");
}

#[test]
fn import_errors_do_not_show_the_secret() {
    let (_folder, mut profiles) = profiles();
    let long = URI.replace("[2001:db8::1]", &"x".repeat(65));
    let nobody = URI.replace("laptop", &"x".repeat(65));
    let option = URI.replace("[2001:db8::1]", "-4");
    for (text, expected) in [
        ("", "looks like"),
        (&URI[..130], "43 characters"),
        (&long, "--name"),
        (&nobody, "client"),
        (&option, "server's name"),
    ] {
        let error = format!("{:#}", import(text, None, &mut profiles).unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("AAEC"), "{error}");
    }
    assert_eq!(profiles.iter().count(), 0);

    import(URI, Some(&name("home")), &mut profiles).unwrap();
    let error = import(URI, Some(&name("home")), &mut profiles).unwrap_err();
    assert!(format!("{error:#}").contains("`home` already"), "{error:#}");
}

#[test]
fn an_invitation_is_found_in_what_people_paste() {
    for text in [
        URI.to_owned(),
        format!("  {URI}\r\n"),
        format!("knock import '{URI}'"),
        format!("knock import {URI}"),
        format!("sudo knock import \"{URI}\""),
        format!("$ knock import '{URI}'\n"),
        format!("<{URI}>,"),
        format!("here it is: {URI}."),
    ] {
        assert_eq!(find(&text).unwrap(), URI, "{text}");
    }
    let (start, end) = URI.split_at(100);
    for (text, expected) in [
        (format!("{URI} {URI}"), "more than one"),
        (format!("knock import {URI} --name home"), "options"),
        (
            format!("{start}\n{end}&udp=1"),
            "a line end in the invitation",
        ),
    ] {
        let error = find(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("AAEC"), "{error}");
    }
    assert_eq!(find(" nothing ").unwrap(), "nothing");
}

#[test]
fn input_is_bounded() {
    assert_eq!(**read(URI.as_bytes()).unwrap(), *URI);
    let error = read(io::repeat(b'x')).unwrap_err().to_string();
    assert!(error.contains("longer than 1024"), "{error}");
    assert!(read(&b"\xff"[..]).is_err());
}

#[test]
fn an_invitation_from_powershell_is_taken_or_refused_by_the_name_of_its_encoding() {
    let marked = format!("\u{feff}{URI}\r\n");
    assert_eq!(find(&read(marked.as_bytes()).unwrap()).unwrap(), URI);
    let little: Vec<u8> = URI.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = URI.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (mark, text) in [
        (&b""[..], &little),
        (b"\xff\xfe", &little),
        (b"", &big),
        (b"\xfe\xff", &big),
    ] {
        let error = read(&[mark, text].concat()[..]).unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
    }
}

#[test]
fn a_profile_with_the_name_of_a_command_gets_a_hint() {
    assert!(imported(&name("home")).ends_with("knock home DOOR"));
    assert!(imported(&name("list")).ends_with("knock -- list DOOR"));
    assert!(imported(&name("it's")).ends_with(r"knock 'it'\''s' DOOR"));
}

#[test]
fn a_new_key_never_replaces_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("laptop.key");
    let public = keygen(&file).unwrap();
    let first = read_key_file(&file).unwrap();
    assert_eq!(first.public(), public);
    let error = format!("{:#}", keygen(&file).unwrap_err());
    assert!(error.contains("laptop.key exists already"), "{error}");
    assert!(read_key_file(&file).unwrap() == first);
    let nowhere = folder.path().join("no/such/folder");
    let error = format!("{:#}", keygen(&nowhere).unwrap_err());
    assert_eq!(error.matches("os error").count(), 1, "{error}");
}

#[test]
fn an_enrolment_ends_with_a_profile_that_has_its_key() {
    let (_folder, mut profiles) = profiles();
    let host: Server = "server.example.net".parse().unwrap();
    let home = name("home");
    let error = import(WITHOUT_KEY, None, &mut profiles).unwrap_err();
    assert!(format!("{error:#}").contains("knock enroll"), "{error:#}");

    let said = enroll(&host, Some(&home), &profiles).unwrap();
    let again = enroll(&host, Some(&home), &profiles).unwrap();
    assert_eq!(said, again);
    let (_, notes) = listed(&profiles);
    assert!(notes.contains("`home` for server.example.net"), "{notes}");

    // The name of the enrolment, not of the host.
    let stored = import(WITHOUT_KEY, None, &mut profiles).unwrap();
    assert_eq!(stored, home);
    let profile = profiles.get("home").unwrap();
    let key = read_key_file(profile.key_file.as_deref().unwrap()).unwrap();
    let command = format!(
        "sudo knockd client add NAME --server server.example.net --public-key={}\n",
        key.public()
    );
    assert!(said.contains(&command), "{said}");
    assert!(!said.contains(&**key_file::digits(&key)), "{said}");
    let (out, notes) = listed(&profiles);
    assert!(out.contains("61000-61255, udp/53"), "{out}");
    assert_eq!(notes, "");

    let error = format!("{:#}", enroll(&host, Some(&home), &profiles).unwrap_err());
    assert!(error.contains("`home` already"), "{error}");
}

#[test]
fn an_import_that_fails_keeps_the_enrolment() {
    let (folder, mut profiles) = profiles();
    let host: Server = "server.example.net".parse().unwrap();
    enroll(&host, Some(&name("home")), &profiles).unwrap();
    let taken = folder.path().join("knock/keys/home.key");
    std::fs::create_dir(taken.parent().unwrap()).unwrap();
    std::fs::write(&taken, "mine").unwrap();
    let error = format!(
        "{:#}",
        import(WITHOUT_KEY, None, &mut profiles).unwrap_err()
    );
    assert!(error.contains("exists already"), "{error}");
    assert_eq!(std::fs::read_to_string(&taken).unwrap(), "mine");

    std::fs::remove_file(&taken).unwrap();
    import(WITHOUT_KEY, Some(&name("home")), &mut profiles).unwrap();
}

#[test]
fn an_invitation_with_a_key_leaves_enrolments_alone() {
    let (_folder, mut profiles) = profiles();
    let host: Server = "2001:db8::1".parse().unwrap();
    enroll(&host, None, &profiles).unwrap();
    import(URI, Some(&name("home")), &mut profiles).unwrap();
    let (_, notes) = listed(&profiles);
    assert!(notes.contains("waits for its invitation"), "{notes}");
}
