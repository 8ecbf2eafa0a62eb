//! Validation across several values of the configuration.

mod accounts;
mod clients;
mod doors;
mod fleet;
mod gate;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use knock_common::{
    protocol::identity::{KeyPair, Owner},
    rate::Rate,
};
use knockd_credentials::key_file;
use knockd_runtime::account;
use knockd_types::{account::Account, interface::Wanted};
use toml::Spanned;

use crate::{
    file, metrics,
    model::{Config, Limits, NO_CLIENT},
    place::{Problem, legible},
    source::{MAIN, SourceFile},
    strict, value,
};

/// Turns the parsed files into a [`Config`] and collects all problems.
pub(super) struct Checker<'a> {
    files: &'a [SourceFile<'a>],
    /// The index of the file of the values that are being checked. Paths of secret files are relative
    /// to its folder.
    file: usize,
    /// The user of the unprivileged processes.
    listener: Option<Account>,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(files: &'a [SourceFile<'a>]) -> Self {
        Self {
            files,
            file: MAIN,
            listener: None,
            problems: Vec::new(),
        }
    }

    /// Checks the main file, to which the clients and doors of the others were added.
    pub(super) fn check(mut self, file: file::Config) -> Result<Config, Vec<Problem>> {
        let names = file.client.iter().map(|client| (client.file, &client.name));
        let names = self.unique_names("client", names);
        let door_names = file.door.iter().map(|door| (door.file, &door.name));
        let door_names = self.unique_names("door", door_names);
        if file.client.is_empty() {
            self.problem(format!("{NO_CLIENT}: `knockd client add NAME` adds one"));
        }
        if file.door.is_empty() {
            self.problem("there is no [[door]]: a knock could open nothing, so add one".into());
        }
        let reaches = self.reaches(&file.client, &file.door, &door_names);
        let server = file.server_key_file.as_ref();
        let server = server.and_then(|path| self.server_key(path));
        let has_server = file.server_key_file.is_some();
        let clients = self.clients(&file.client, server.as_ref(), has_server);
        if let Some(datagram) = &file.datagram
            && !has_server
        {
            let message =
                "datagram knocks need a top-level `server_key_file`: `knockd init` makes one";
            self.problem_at(&datagram.port, message.into());
        }
        let window = file.window.base.into();
        let gate = self.gate(
            file.gate,
            &file.door,
            window,
            file.limits.leases.clone().into(),
        );
        let fleet = file.fleet.and_then(|fleet| self.fleet(fleet));
        let user = file.user.as_ref().and_then(|user| self.user(user));
        self.listener = user
            .clone()
            .or_else(|| account::find(account::DEFAULT_USER).ok().flatten());
        let doors = self.doors(file.door, &names, &reaches);
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let limits = file.limits;
        Ok(Config {
            files: self.files.iter().map(|file| file.path.clone()).collect(),
            interfaces: Wanted::new(file.interfaces.into_iter().map(Into::into).collect()),
            state_dir: file.state_dir,
            user,
            server,
            max_skew: file.max_skew.into(),
            window,
            verdict: file.window.verdict.into(),
            sequence_timeout: file.sequence_timeout.into(),
            control_socket: file.control_socket.into(),
            limits: Limits {
                events: Rate::new(limits.events_per_second, limits.event_burst),
                sources: limits.sources,
                open_doors: limits.open_doors,
                commands: limits.commands,
                command_timeout: limits.command_timeout.into(),
                history: limits.history.into(),
            },
            clients,
            doors,
            datagram_port: file.datagram.map(|datagram| datagram.port.into_inner()),
            gate,
            metrics: file.metrics.map(|metrics| metrics::Settings {
                listen: metrics.listen.into(),
            }),
            fleet,
        })
    }

    /// Checks values of the file with this index.
    fn within<T>(&mut self, file: usize, check: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.file, file);
        let checked = check(self);
        self.file = outer;
        checked
    }

    /// The folder of the file of the values that are being checked.
    fn folder(&self) -> &'a Path {
        self.files[self.file].folder()
    }

    fn problem(&mut self, message: String) {
        self.problems.push(Problem::anywhere(self.file, message));
    }

    fn problem_at<T>(&mut self, value: &Spanned<T>, message: String) {
        self.problem_in(self.file, value, message);
    }

    /// A problem at a value of the file with this index.
    fn problem_in<T>(&mut self, file: usize, value: &Spanned<T>, message: String) {
        self.problems.push(Problem::at(file, value.span(), message));
    }

    /// The index of every name, which comes with the index of its file. A duplicate name is a problem.
    fn unique_names<'n>(
        &mut self,
        kind: &str,
        names: impl Iterator<Item = (usize, &'n Spanned<value::Name>)>,
    ) -> HashMap<String, usize> {
        let mut files = Vec::new();
        let mut indices = HashMap::new();
        for (index, (file, name)) in names.enumerate() {
            files.push(file);
            let text = name.get_ref().as_str();
            if let Some(other) = indices.insert(text.to_owned(), index) {
                let message = if files[other] == file {
                    format!("there are two {kind}s named `{text}`")
                } else {
                    let other = legible(&self.files[files[other]].path);
                    format!("there is a {kind} named `{text}` in {other} too")
                };
                self.problem_in(file, name, message);
            }
        }
        indices
    }

    fn server_key(&mut self, path: &Spanned<PathBuf>) -> Option<KeyPair> {
        let read = key_file::read(Owner::Server, &self.folder().join(path.get_ref()));
        self.secret(path, read).map(KeyPair::from)
    }

    /// The secret that was read from the file at `path`, or `None` after a problem.
    fn secret<T, E: std::fmt::Display>(
        &mut self,
        path: &Spanned<PathBuf>,
        read: Result<T, E>,
    ) -> Option<T> {
        let place = self.folder().join(path.get_ref());
        let problem = match read {
            Ok(secret) => match strict::check(&place) {
                Ok(()) => return Some(secret),
                Err(untrusted) => untrusted.to_string(),
            },
            Err(error) => error.to_string(),
        };
        self.problem_at(path, format!("{}: {problem}", place.display()));
        None
    }
}
