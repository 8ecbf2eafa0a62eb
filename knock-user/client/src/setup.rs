//! The commands `knock import`, `knock list` and `knock keygen`.

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail};
use knockd_credentials::{invitation::Invitation, key_file};
use zeroize::Zeroizing;

use crate::{
    cli::{Command, Uri},
    console::Console,
    name::Name,
    profile::{Profile, Profiles, check_name},
    server::Server,
};

/// The maximum length of an invitation; one with the longest name and host is shorter.
const MAX_INVITATION: usize = 1024;

/// Words that are commands if they are the first argument.
const COMMANDS: [&str; 3] = ["import", "list", "keygen"];

/// Runs `command`.
pub(super) fn run(command: &Command, console: &mut Console<'_>) -> Result<()> {
    match command {
        Command::Import { uri, name } => {
            let mut profiles = Profiles::of_user()?;
            let text = match uri.as_ref().and_then(Uri::given) {
                Some(uri) => Zeroizing::new(uri.to_owned()),
                None => read_invitation()?,
            };
            let name = import(&text, name.as_ref(), &mut profiles)?;
            console.print(&imported(&name))
        }
        Command::List => list(&Profiles::of_user()?, console),
        Command::Keygen { file } => {
            keygen(file)?;
            console.print(&format!("wrote a new key to {}", file.display()))
        }
    }
}

fn read_invitation() -> Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("Invitation (knock://…): ")
            .map(Zeroizing::new)
            .context("cannot prompt for the invitation");
    }
    read(io::stdin().lock())
}

/// Reads the text into one allocation, because growing it would leave copies of the secret.
fn read(input: impl io::Read) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_INVITATION + 64));
    input
        .take(MAX_INVITATION as u64 + 1)
        .read_to_string(&mut text)
        .context("cannot read the invitation from standard input")?;
    if text.len() > MAX_INVITATION {
        bail!("this is not an invitation: it is longer than {MAX_INVITATION} bytes");
    }
    Ok(text)
}

/// Stores the invitation `text` under `name`, or under its host if there is no name.
fn import(text: &str, name: Option<&Name>, profiles: &mut Profiles) -> Result<Name> {
    let invitation: Invitation = text.parse()?;
    let server: Server = invitation
        .host
        .parse()
        .map_err(|error| anyhow!("the invitation's host: {error}"))?;
    let client: Name = invitation
        .client
        .parse()
        .map_err(|error| anyhow!("the invitation's client: {error}"))?;
    let name = match name {
        Some(name) => name.clone(),
        None => server.as_str().parse().map_err(|_| {
            anyhow!("the host name is too long for a profile: choose a name with --name")
        })?,
    };
    check_name(&name).map_err(|error| anyhow!("{error}: choose another with --name"))?;
    profiles.add(&name, &client, &server, &invitation)?;
    Ok(name)
}

fn imported(name: &Name) -> String {
    let escape = if COMMANDS.contains(&name.as_str()) {
        "-- "
    } else {
        ""
    };
    format!("profile `{name}` is stored; to knock: knock {escape}{name} DOOR")
}

fn list(profiles: &Profiles, console: &mut Console<'_>) -> Result<()> {
    let rows: Vec<[String; 4]> = profiles.iter().map(row).collect();
    if rows.is_empty() {
        return console.note("there are no profiles; `knock import` stores one");
    }
    let header = ["PROFILE", "SERVER", "CLIENT", "PORTS"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&header]).map(|row| &row[column]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let [first, second, third] = [width(0), width(1), width(2)];
    for [name, server, client, ports] in [&header].into_iter().chain(&rows) {
        console.print(&format!(
            "{name:first$}  {server:second$}  {client:third$}  {ports}"
        ))?;
    }
    Ok(())
}

fn row(profile: &Profile) -> [String; 4] {
    let window = profile.window;
    [
        profile.name.to_string(),
        profile.server.to_string(),
        profile.client.to_string(),
        format!("{}-{}", window.base(), window.port(u8::MAX)),
    ]
}

fn keygen(file: &Path) -> Result<()> {
    let key = key_file::generate().context("cannot generate a key")?;
    key_file::create(file, &key).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("{} exists already and is left unchanged", file.display())
        }
        _ => anyhow!("{}: {error}", file.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str =
        "knock://laptop@[2001:db8::1]:40000/AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

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
            import(&format!("{URI}\n"), Some(&home), &mut profiles).unwrap(),
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
            (&URI[..60], "43 characters"),
            (&long, "--name"),
            (&nobody, "client"),
            (&option, "--name"),
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
    fn input_is_bounded() {
        assert_eq!(**read(URI.as_bytes()).unwrap(), *URI);
        let error = read(io::repeat(b'x')).unwrap_err().to_string();
        assert!(error.contains("longer than 1024"), "{error}");
        assert!(read(&b"\xff"[..]).is_err());
    }

    #[test]
    fn a_profile_with_the_name_of_a_command_gets_a_hint() {
        assert!(imported(&name("home")).ends_with("knock home DOOR"));
        assert!(imported(&name("list")).ends_with("knock -- list DOOR"));
    }

    #[test]
    fn a_new_key_never_replaces_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("laptop.key");
        keygen(&file).unwrap();
        let first = key_file::read(&file).unwrap();
        let error = format!("{:#}", keygen(&file).unwrap_err());
        assert!(error.contains("laptop.key exists already"), "{error}");
        assert!(key_file::read(&file).unwrap() == first);
        let nowhere = folder.path().join("no/such/folder");
        let error = format!("{:#}", keygen(&nowhere).unwrap_err());
        assert_eq!(error.matches("os error").count(), 1, "{error}");
    }
}
