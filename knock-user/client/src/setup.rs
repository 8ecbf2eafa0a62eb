//! The commands that prepare a client: `knock import`, `enroll`, `list`, `keygen` and `pubkey`.

use std::{
    io::{self, IsTerminal as _, Read as _},
    mem,
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail};
use knock_common::protocol::identity::{KeyPair, Owner, PublicKey};
use knockd_credentials::{invitation::Invitation, key_file};
use zeroize::Zeroizing;

use crate::{
    cli::{SetUp, Uri},
    console::Console,
    enrolment::{Enrolment, Enrolments},
    name::Name,
    profile::{Profile, Profiles, check_name},
    secret::{Secret, read_key_file},
    server::Server,
};

/// The maximum length of an invitation; one with the longest name and host is shorter.
const MAX_INVITATION: usize = 1024;

/// The beginning of an invitation.
const SCHEME: &str = "knock://";

/// Words that are commands if they are the first argument.
const COMMANDS: [&str; 7] = [
    "import", "enroll", "doctor", "page", "list", "keygen", "pubkey",
];

/// Runs `command`.
pub(super) fn run(command: &SetUp, console: &mut Console<'_>) -> Result<()> {
    match command {
        SetUp::Import { uri, name } => {
            let mut profiles = Profiles::of_user()?;
            let text = match uri.as_ref().and_then(Uri::given) {
                Some(uri) => Zeroizing::new(uri.to_owned()),
                None => read_invitation()?,
            };
            let name = import(&text, name.as_ref(), &mut profiles)?;
            console.print(&imported(&name))
        }
        SetUp::Enroll { host, name } => {
            let text = enroll(&host.clone().into(), name.as_ref(), &Profiles::of_user()?)?;
            console.print(&text)
        }
        SetUp::List => list(&Profiles::of_user()?, console),
        SetUp::Keygen { file } => {
            let public = keygen(file)?;
            console.note(&format!(
                "wrote a new private key to {}; its public key:",
                file.display()
            ))?;
            console.print(&public.to_string())
        }
        SetUp::Pubkey {
            file,
            client,
            server_key,
            passphrase_file,
        } => {
            let public = match (file, client, server_key) {
                (Some(file), ..) => read_key_file(file)?.public(),
                (None, Some(client), Some(server)) => {
                    let secret = Secret::Passphrase(passphrase_file.clone(), client.clone());
                    secret.pair(server)?.public()
                }
                _ => bail!("FILE is missing, or --client NAME and --server-key PUBLIC"),
            };
            console.print(&public.to_string())
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
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_INVITATION + 64));
    input
        .take(MAX_INVITATION as u64 + 1)
        .read_to_end(&mut bytes)
        .context("cannot read the invitation from standard input")?;
    if bytes.len() > MAX_INVITATION {
        bail!("this is not an invitation: it is longer than {MAX_INVITATION} bytes");
    }
    // With every ASCII character, UTF-16 has a zero byte.
    if bytes.contains(&0) {
        bail!(
            "the invitation is UTF-16 text: save it as UTF-8 or ASCII, or run `knock import` and paste it"
        );
    }
    match String::from_utf8(mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            bail!("this is not an invitation: it is not text in UTF-8")
        }
    }
}

/// Stores the invitation `text` as a profile: under `name`, or else under the name of the
/// enrolment that it completes, or its host.
fn import(text: &str, name: Option<&Name>, profiles: &mut Profiles) -> Result<Name> {
    let mut invitation: Invitation = find(text)?.parse()?;
    let server = Server::from(invitation.host.clone());
    let client: Name = invitation
        .client
        .parse()
        .map_err(|error| anyhow!("the invitation's client: {error}"))?;
    let (name, key, enrolment): (_, _, Option<Enrolment>) = match invitation.key.take() {
        Some(key) => (profile_name(name, &server)?, key, None),
        None => {
            let found = Enrolments::of(profiles.folder()).find(name, &server)?;
            (found.name.clone(), found.read()?, Some(found))
        }
    };
    profiles.add(&name, &client, &server, &invitation, &key)?;
    if let Some(enrolment) = enrolment {
        // The profile has its copy. What is left over could only confuse a later import.
        enrolment
            .finish()
            .context("the profile is stored, but its key is also still there as an enrolment")?;
    }
    Ok(name)
}

/// The invitation in a pasted text: with or without the command that the server prints before it, quotes
/// around it, and the punctuation of a message after it. The text is not shown, since it may be a key.
fn find(text: &str) -> Result<&str> {
    let mut words = text.split_whitespace().filter(|word| word.contains(SCHEME));
    let Some(word) = words.next() else {
        // Its error says what an invitation looks like.
        return Ok(text.trim());
    };
    if words.next().is_some() {
        bail!("this is more than one invitation");
    }
    let after = text
        .split_whitespace()
        .rev()
        .take_while(|other| *other != word);
    if after.clone().any(|other| other.starts_with('-')) {
        bail!("give options to this command, not together with the invitation");
    }
    if after.clone().any(|other| other.contains(['=', '&'])) {
        bail!("there is a space or a line end in the invitation: remove it");
    }
    let start = word.find(SCHEME).unwrap_or_default();
    // It ends with a key or a number.
    let is_end = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    Ok(word[start..].trim_end_matches(|c| !is_end(c)))
}

/// `name`, or the name of `server`, if a profile can have it.
fn profile_name(name: Option<&Name>, server: &Server) -> Result<Name> {
    let name = match name {
        Some(name) => name.clone(),
        None => server.as_str().parse().map_err(|_| {
            anyhow!("the host name is too long for a profile: choose a name with --name")
        })?,
    };
    check_name(&name).map_err(|error| anyhow!("{error}: choose another with --name"))?;
    Ok(name)
}

fn imported(name: &Name) -> String {
    let escape = if COMMANDS.contains(&name.as_str()) {
        "-- "
    } else {
        ""
    };
    let name_in_shell = in_shell(name.as_str());
    format!("profile `{name}` is stored; to knock: knock {escape}{name_in_shell} DOOR")
}

/// `word` as a shell takes it for one argument.
fn in_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Makes the key of an enrolment. Returns what to do next.
fn enroll(host: &Server, name: Option<&Name>, profiles: &Profiles) -> Result<String> {
    let name = profile_name(name, host)?;
    if profiles.get(name.as_str()).is_some() {
        bail!("there is a profile `{name}` already: choose another name with --name");
    }
    let public = Enrolments::of(profiles.folder()).start(&name, host)?;
    let (name, shown) = (in_shell(name.as_str()), in_shell(host.as_str()));
    Ok(format!(
        "The public key of this client, which is no secret:

  {public}

1. On {host}, with a name for this client in the place of NAME, run

  sudo knockd client add NAME --server {shown} --public-key={public}

  It prints an invitation, knock://…, which is no secret either.

2. Here, run

  knock import --name {name}

  and paste the invitation."
    ))
}

fn list(profiles: &Profiles, console: &mut Console<'_>) -> Result<()> {
    let rows: Vec<[String; 4]> = profiles.iter().map(row).collect();
    for pending in Enrolments::of(profiles.folder()).list()? {
        let Enrolment { name, host, .. } = pending;
        console.note(&format!(
            "the enrolment `{name}` for {host} waits for its invitation; `knock enroll` with the same arguments shows again what to do"
        ))?;
    }
    if rows.is_empty() {
        return console.note(&format!(
            "there are no profiles in {}; `knock import` stores one",
            profiles.file().display()
        ));
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
    let udp = profile.udp.map(|port| format!(", udp/{port}"));
    [
        profile.name.to_string(),
        profile.server.to_string(),
        profile.client.to_string(),
        format!(
            "{}-{}{}",
            window.base(),
            window.port(u8::MAX),
            udp.unwrap_or_default()
        ),
    ]
}

/// Writes a new private key to a new file. Returns its public key.
fn keygen(file: &Path) -> Result<PublicKey> {
    let pair = KeyPair::from(key_file::generate().context("cannot generate a key")?);
    match key_file::create(Owner::Client, file, pair.private()) {
        Ok(()) => Ok(pair.public()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists already and is left unchanged", file.display())
        }
        Err(error) => bail!("{}: {error}", file.display()),
    }
}

#[cfg(test)]
mod tests;
