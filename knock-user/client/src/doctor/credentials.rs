//! The profile and the keys.

use std::path::Path;

use anyhow::Result;
use knock_common::protocol::{
    identity::{KeyPair, Owner, PublicKey},
    syn::SynSecret,
};
use knockd_credentials::key_file;

use super::{
    report::Report,
    subject::{Subject, secret_of},
};
use crate::{profile::Profiles, secret::Secret};

/// Looks at the profile and the key of one knock.
pub(super) fn examine(
    subject: &Subject,
    profiles: &Profiles,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let given = &subject.given;
    let file = profiles.file();
    let file = file.display();
    if subject.has_profile {
        let window = subject.window;
        let (first, last) = (window.base(), window.port(u8::MAX));
        report.ok(
            "profile",
            &format!(
                "`{given}` in {file} is for {}, knock ports {first}-{last}",
                subject.server
            ),
        )?;
    } else if subject.secret.is_none() {
        report.warning(
            "profile",
            &format!("there is no profile `{given}` in {file}, so it is taken for a host"),
            "`knock list` shows the profiles of this user, and `knock import` stores one",
        )?;
    }
    match (&subject.secret, &subject.server_key) {
        (None, _) => Ok(()),
        (Some(secret), Some(server)) => key(secret, server, report),
        (Some(_), None) => report.problem(
            "key",
            "the server's public key is missing",
            "use --server-key PUBLIC; `knockd public-key` prints it on the server",
        ),
    }
}

/// Looks at every profile and its key.
pub(super) fn examine_all(profiles: &Profiles, report: &mut Report<'_, '_>) -> Result<()> {
    let file = profiles.file();
    let file = file.display();
    if profiles.iter().next().is_none() && report.findings.is_empty() {
        return report.warning(
            "profile",
            &format!("there are no profiles in {file}"),
            "`knock import` stores one",
        );
    }
    for profile in profiles.iter() {
        let name = &profile.name;
        report.ok(
            "profile",
            &format!("`{name}` in {file} is for {}", profile.server),
        )?;
        key(&secret_of(profile), &profile.server_key, report)?;
    }
    Ok(())
}

fn key(secret: &Secret, server: &PublicKey, report: &mut Report<'_, '_>) -> Result<()> {
    match secret {
        Secret::KeyFile(path) => file(path, server, report),
        Secret::Passphrase(..) => report.ok(
            "key",
            "it is made from a passphrase, which is not asked for here",
        ),
    }
}

fn file(path: &Path, server: &PublicKey, report: &mut Report<'_, '_>) -> Result<()> {
    let shown = path.display();
    let pair = match key_file::read(Owner::Client, path) {
        Ok(key) => KeyPair::from(key),
        Err(error) => {
            return report.problem(
                "key",
                &format!("{shown}: {error}"),
                "correct or restore the file, or set this client up again with `knock enroll` or \
                 `knock import`",
            );
        }
    };
    if let Err(error) = SynSecret::of_client(&pair, server) {
        return report.problem(
            "key",
            &format!("the server's public key {server}: {error}"),
            "take the one that `knockd public-key` prints on the server",
        );
    }
    report.ok(
        "key",
        &format!(
            "{shown} is good; on the server, the client must have the public key {}",
            pair.public()
        ),
    )
}
