//! Validation of `[fleet]`, and of the files that it names.

use std::path::{Path, PathBuf};

use knockd_credentials::{fleet_key, secret_file};
use knockd_types::fleet::{Engine, FleetKey, SecretText};
use toml::Spanned;

use super::Checker;
use crate::{file, model::Fleet, strict, value::Node};

/// The longest file of certificates, or of a key.
const MAX_PEM: usize = 32 * 1024;

/// How the two kinds of files begin.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
const PRIVATE_KEY: &str = " PRIVATE KEY-----";

impl Checker<'_> {
    /// The fleet, or `None` after a problem.
    pub(super) fn fleet(&mut self, fleet: file::Fleet) -> Option<Fleet> {
        if fleet.engine.get_ref().is_empty() {
            let message = "there is no server: name those of the NATS cluster".to_owned();
            self.problem_at(&fleet.engine, message);
        }
        let node = fleet.node.or_else(Node::of_host);
        if node.is_none() {
            let message =
                "this host's name cannot be that of a node: set `node` in [fleet]".to_owned();
            self.problem(message);
        }
        let authorities = self.certificates(&fleet.ca);
        let certificate = self.certificates(&fleet.certificate);
        let key = self.certificate_key(&fleet.certificate_key);
        let path = self.folder().join(fleet.key_file.get_ref());
        let fleet_key = self.secret(&fleet.key_file, fleet_key::read(&path));
        let servers = fleet.engine.into_inner();
        let node: String = node?.into();
        Some(Fleet {
            engine: Engine {
                servers: servers.into_iter().map(Into::into).collect(),
                server_name: fleet.server_name.into(),
                prefix: fleet.prefix.into(),
                node: node.clone(),
                authorities: authorities?,
                certificate: certificate?,
                key: key?,
            },
            key: FleetKey::new(fleet_key?),
            node,
            when_unreachable: fleet.when_unreachable,
            patience: fleet.patience.into(),
        })
    }

    /// The text of a file of certificates, which is no secret but decides who is trusted.
    fn certificates(&mut self, path: &Spanned<PathBuf>) -> Option<String> {
        let place = self.folder().join(path.get_ref());
        let read = read_text(&place).and_then(|text| {
            if !text.contains(CERTIFICATE) {
                return Err(format!(
                    "it has no certificate: a PEM file has {CERTIFICATE}"
                ));
            }
            strict::check(&place).map_err(|untrusted| untrusted.to_string())?;
            Ok(text)
        });
        match read {
            Ok(text) => Some(text),
            Err(problem) => {
                self.problem_at(path, format!("{}: {problem}", place.display()));
                None
            }
        }
    }

    fn certificate_key(&mut self, path: &Spanned<PathBuf>) -> Option<SecretText> {
        let place = self.folder().join(path.get_ref());
        let text = self.secret(path, secret_file::read_text(&place, MAX_PEM))?;
        match String::from_utf8(text.to_vec()) {
            Ok(text) if text.contains(PRIVATE_KEY) => Some(SecretText::new(text)),
            _ => {
                let message = format!(
                    "{}: it has no private key: a PEM file has `-----BEGIN{PRIVATE_KEY}`",
                    place.display()
                );
                self.problem_at(path, message);
                None
            }
        }
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let metadata =
        std::fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?;
    if !metadata.is_file() || metadata.len() > MAX_PEM as u64 {
        return Err(format!("it is not a file of at most {MAX_PEM} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))
}
