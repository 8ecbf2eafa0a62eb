//! `knock page`: a profile as a page for browsers.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, bail};
use knock_page::{Door, Written};
use knockd_credentials::{invitation::Invitation, secret_file};
use zeroize::Zeroizing;

use crate::{
    console::Console,
    name::Name,
    profile::{Profile, Profiles},
    secret::read_key_file,
    verify::TcpPort,
};

/// Writes the page of the profile `name`, or of the only one, with these `doors`: to the new file
/// `output`, or to standard output.
pub(super) fn run(
    name: Option<&Name>,
    doors: &[Name],
    output: Option<&Path>,
    console: &mut Console<'_>,
) -> Result<()> {
    if output.is_none() && io::stdout().is_terminal() {
        bail!("the page contains the key: write it to a file with --output FILE");
    }
    let profiles = Profiles::of_user()?;
    let profile = chosen(name, &profiles)?;
    let html = page(profile, doors)?;
    let whose = format!("the key of the profile `{}`", profile.name);
    let Some(path) = output else {
        console.note(&format!(
            "the page contains {whose}: whoever can read the file can knock"
        ))?;
        return console.copy(&html);
    };
    match secret_file::create(path, html.trim_end()) {
        Ok(()) => console.note(&format!(
            "wrote {} with {whose}: whoever can read it can knock",
            path.display()
        )),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists already and is left unchanged", path.display())
        }
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

fn chosen<'a>(name: Option<&Name>, profiles: &'a Profiles) -> Result<&'a Profile> {
    let place = profiles.file();
    if let Some(name) = name {
        return profiles.get(name.as_str()).ok_or_else(|| {
            anyhow!(
                "there is no profile `{name}` in {}: see `knock list`",
                place.display()
            )
        });
    }
    let mut all = profiles.iter();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => bail!(
            "there are no profiles in {}; `knock import` stores one",
            place.display()
        ),
        _ => bail!("there are several profiles: name one of `knock list`"),
    }
}

fn page(profile: &Profile, doors: &[Name]) -> Result<Zeroizing<String>> {
    let Some(key_file) = &profile.key_file else {
        bail!(
            "the profile `{}` has a passphrase, which a page cannot turn into its key: add a client for the page on the server with `knockd client add NAME --page FILE`",
            profile.name
        );
    };
    let host = profile.server.as_str().parse();
    let invitation = Invitation {
        client: profile.client.to_string(),
        host: host.with_context(|| format!("the server of the profile `{}`", profile.name))?,
        window: profile.window,
        server: profile.server_key,
        udp: None,
        key: Some(read_key_file(key_file)?),
    };
    let doors: Vec<_> = doors
        .iter()
        .map(|door| Door {
            name: door.to_string(),
            port: profile.verify.map(TcpPort::get),
        })
        .collect();
    let written = Written {
        name: profile.name.as_str(),
        invitation: &invitation,
        doors: &doors,
        port: profile.verify.map(TcpPort::get),
    };
    Ok(written.to_html())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: &str = r#"
[[profile]]
name = "home"
host = "192.0.2.1"
client = "laptop"
server_key = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI"
key_file = "home.key"
verify = "tcp/8080"

[[profile]]
name = "work"
host = "server.example.net"
client = "laptop"
server_key = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI"
"#;
    const KEY: &str = "knock2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn profiles() -> (tempfile::TempDir, Profiles) {
        let folder = tempfile::tempdir().unwrap();
        secret_file::create(&folder.path().join("knock.toml"), PROFILES).unwrap();
        secret_file::create(&folder.path().join("home.key"), KEY).unwrap();
        let profiles = Profiles::load(folder.path().to_owned()).unwrap();
        (folder, profiles)
    }

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    #[test]
    fn a_page_has_the_key_the_doors_and_the_port_of_its_profile() {
        let (_folder, profiles) = profiles();
        let home = chosen(Some(&name("home")), &profiles).unwrap();
        let page = page(home, &[name("ssh"), name("web admin")]).unwrap();
        for part in [
            KEY.strip_prefix("knock2:").unwrap(),
            "knock://laptop@192.0.2.1:61000?",
            r#""doors":[{"name":"ssh","port":8080},{"name":"web admin","port":8080}]"#,
        ] {
            // `&` is escaped in the data.
            assert!(page.replace("\\u0026", "&").contains(part), "{part}");
        }
    }

    #[test]
    fn a_profile_without_a_key_file_has_no_page() {
        let (_folder, profiles) = profiles();
        let work = chosen(Some(&name("work")), &profiles).unwrap();
        let error = page(work, &[]).unwrap_err().to_string();
        assert!(
            error.contains("passphrase") && error.contains("knockd client add"),
            "{error}"
        );
    }

    #[test]
    fn a_profile_is_named_unless_there_is_only_one() {
        let (folder, profiles) = profiles();
        let error = chosen(None, &profiles).unwrap_err().to_string();
        assert!(error.contains("several"), "{error}");
        let error = chosen(Some(&name("away")), &profiles).unwrap_err();
        assert!(error.to_string().contains("`away`"), "{error}");
        let one = folder.path().join("one");
        std::fs::create_dir(&one).unwrap();
        let first = PROFILES.split("\n\n").next().unwrap();
        secret_file::create(&one.join("knock.toml"), first).unwrap();
        let profiles = Profiles::load(one).unwrap();
        assert_eq!(chosen(None, &profiles).unwrap().name, name("home"));
        let none = Profiles::load(folder.path().join("none")).unwrap();
        let error = chosen(None, &none).unwrap_err().to_string();
        assert!(error.contains("knock import"), "{error}");
    }
}
