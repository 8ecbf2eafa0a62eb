//! `knockd init` and `knockd client add`: a first configuration, and further clients in it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use knock_common::{protocol::key::SecretKey, window::Window};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};
use zeroize::Zeroizing;

use knockd_config::{self, model::Config};
use knockd_credentials::{invitation::Invitation, key_file};

/// The configuration that `init` writes, with the placeholders `{interfaces}`, `{state_dir}` and
/// `{client}`.
const TEMPLATE: &str = include_str!("init/knockd.toml");

/// A client to set up.
#[derive(Clone, Debug)]
pub(crate) struct NewClient {
    /// The client's name, also the name of its key file.
    pub name: String,
    /// The name or address by which the client reaches this server.
    pub host: String,
}

impl NewClient {
    /// A client called `name`, which reaches this server as `host` (default: the host name).
    ///
    /// # Errors
    ///
    /// Returns an error if `name` is not a valid file name, or the host name is not UTF-8.
    pub(crate) fn new(name: &str, host: Option<String>) -> Result<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty()
            || name.len() > 64
            || name.starts_with('.')
            || !name.chars().all(is_plain)
        {
            bail!("{name:?} is not a valid client name: use letters, digits, `-`, `_` and `.`");
        }
        let host = match host {
            Some(host) => host,
            None => rustix::system::uname()
                .nodename()
                .to_str()
                .context("this host's name is not UTF-8: give --server HOST")?
                .to_owned(),
        };
        Ok(Self {
            name: name.to_owned(),
            host,
        })
    }

    fn key_path(&self, config: &Path) -> PathBuf {
        config.with_file_name(format!("{}.key", self.name))
    }

    fn invitation(self, key: SecretKey, window: Window) -> Zeroizing<String> {
        let invitation = Invitation {
            client: self.name,
            host: self.host,
            window,
            key,
        };
        invitation.to_uri()
    }
}

/// Writes a commented configuration with one sealed client and one door to `config`, writes the
/// client's key beside it, and creates `state_dir`. Returns the client's invitation.
///
/// # Errors
///
/// Returns an error if a file exists already or cannot be written. Existing files are never
/// overwritten, and new files are removed after an error.
pub(crate) fn init(
    config: &Path,
    state_dir: &Path,
    client: NewClient,
) -> Result<Zeroizing<String>> {
    make_place(config)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state_dir)
        .with_context(|| state_dir.display().to_string())?;
    let text = TEMPLATE
        .replace("{interfaces}", &interfaces())
        .replace(
            "{state_dir}",
            &toml_string(&state_dir.display().to_string()),
        )
        .replace("{client}", &client.name);
    let (key, new_key_file) = new_key(&client.key_path(config))?;
    let new_config = write_new(config, &text)?;
    let loaded = Config::load(config)?;
    new_config.keep();
    new_key_file.keep();
    Ok(client.invitation(key, loaded.window))
}

/// Writes `text` to the new file `config` with mode 0600. The file is removed unless
/// [`RemovedUnlessKept::keep`] is called.
///
/// # Errors
///
/// Returns an error if `config` exists already or cannot be written.
pub(super) fn write_new(config: &Path, text: &str) -> Result<RemovedUnlessKept> {
    make_place(config)?;
    let file = create_new(config, 0o600)?;
    let new = RemovedUnlessKept(config.to_owned());
    write_synced(file, text)?;
    Ok(new)
}

/// Creates the directory for the new file `config`, which must not exist.
fn make_place(config: &Path) -> Result<()> {
    if config.try_exists()? {
        bail!(
            "{} exists already and is left unchanged: `knockd client add NAME` adds a client to it",
            config.display()
        );
    }
    if let Some(folder) = config.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

/// Adds a sealed client to the configuration at `config`, keeps its comments, and writes the
/// client's key beside it. Returns the client's invitation.
///
/// # Errors
///
/// Returns an error if the configuration is invalid, has a client of this name, or cannot be
/// written. Nothing is changed in this case.
pub(crate) fn add_client(config: &Path, client: NewClient) -> Result<Zeroizing<String>> {
    let text = knockd_config::read(config)?;
    // Existing problems are reported before anything is added. A configuration without clients,
    // the output of `knockd import-knockd`, becomes valid with the first client.
    if !is_without_client(&text) {
        let before = Config::parse(&text, config)?;
        if before.clients.iter().any(|other| other.name == client.name) {
            bail!(
                "{} has a client {:?} already",
                config.display(),
                client.name
            );
        }
    }
    let key_path = client.key_path(config);
    let text = with_client(&text, &client.name, &key_path)?;
    let (key, new_key_file) = new_key(&key_path)?;
    let after = Config::parse(&text, config)?;
    replace(config, &text)?;
    new_key_file.keep();
    Ok(client.invitation(key, after.window))
}

/// Whether `text` is TOML and names no client.
fn is_without_client(text: &str) -> bool {
    let document = text.parse::<DocumentMut>();
    document.is_ok_and(|document| !document.contains_key("client"))
}

/// `text` with another `[[client]]` after the existing ones.
fn with_client(text: &str, name: &str, key_path: &Path) -> Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let key_file = key_path.file_name().unwrap_or(key_path.as_os_str());
    let mut client = Table::new();
    client.decor_mut().set_prefix("\n");
    client.insert("name", value(name));
    client.insert("key_file", value(key_file.to_string_lossy().as_ref()));
    document
        .entry("client")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .context("`client` is written as an inline array: write [[client]] tables")?
        .push(client);
    Ok(document.to_string())
}

/// A new key, and its file at `path`.
fn new_key(path: &Path) -> Result<(SecretKey, RemovedUnlessKept)> {
    let key = key_file::generate().context("the kernel provides no random numbers")?;
    key_file::create(path, &key).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => anyhow!(
            "{} exists already and is not overwritten: remove it, or choose another name",
            path.display()
        ),
        _ => anyhow!(error).context(path.display().to_string()),
    })?;
    Ok((key, RemovedUnlessKept(path.to_owned())))
}

/// A new file, which is removed if a later step fails.
#[must_use]
pub(super) struct RemovedUnlessKept(PathBuf);

impl RemovedUnlessKept {
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for RemovedUnlessKept {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // The file may have been removed already.
            let _ = fs::remove_file(&self.0);
        }
    }
}

fn create_new(path: &Path, mode: u32) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| path.display().to_string())
}

fn write_synced(mut file: File, text: &str) -> Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}

/// Atomically replaces the content of the file at `path` with `text`. Keeps owner, mode and, if
/// `path` is one, the symbolic link.
fn replace(path: &Path, text: &str) -> Result<()> {
    let path = fs::canonicalize(path)?;
    let old = fs::metadata(&path)?;
    let new = path.with_extension("toml.new");
    // This file also serves as a lock against a concurrent change.
    let file = create_new(&new, old.mode() & 0o7777).context(
        "another change of the configuration is in progress; if none is, remove this file",
    )?;
    let new = RemovedUnlessKept(new);
    fchown(&file, Some(old.uid()), Some(old.gid()))?;
    write_synced(file, text)?;
    fs::rename(&new.0, &path)?;
    new.keep();
    if let Some(folder) = path.parent() {
        // The configuration names the key already: an error here must not remove the key file.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

/// The line for `interfaces`: the interface of the default route, or a commented example.
fn interfaces() -> String {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let default = routes.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let interface = fields.next()?;
        (fields.next()? == "00000000").then_some(interface)
    });
    match default {
        Some(interface) => format!("interfaces = [{}]", toml_string(interface)),
        None => "# interfaces = [\"eth0\"]".into(),
    }
}

fn toml_string(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
