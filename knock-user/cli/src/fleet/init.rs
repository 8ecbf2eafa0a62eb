//! `knockd fleet init`: the fleet's key and the stream of claims.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Result;
use clap::Args;

use crate::{args::ConfigArg, fleet::size::Size};

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The administrator's certificate for the engine, as PEM
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// The private key of the administrator's certificate, as PEM
    #[arg(long, value_name = "FILE")]
    certificate_key: PathBuf,
    /// The servers that store each claim; fewer than three lose claims with one server
    #[arg(long, value_name = "NUMBER", default_value = "3")]
    replicas: NonZeroUsize,
    /// How much the stream of claims holds, such as 256MiB; when it is full, knocks are refused
    /// [default: 64MiB, or what it holds already]
    ///
    /// A claim takes 258 bytes and is kept for 25 hours, or for the longest `max_for` and an hour.
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<Size>,
    #[command(flatten)]
    config: ConfigArg,
}

#[cfg(not(feature = "fleet"))]
impl Init {
    /// Says that this program has no fleet.
    pub(crate) fn execute(&self) -> Result<()> {
        anyhow::bail!("{}", crate::features::NO_FLEET)
    }
}

#[cfg(feature = "fleet")]
mod with_fleet {
    use std::{io::ErrorKind, path::Path, time::Duration};

    use anyhow::{Context as _, anyhow};
    use knockd_config::Config;
    use knockd_credentials::{fleet_key, secret_file};
    use knockd_types::fleet::{Engine, SecretText};

    use super::{Init, Result, Size};
    use crate::{output, runtime};

    /// The longest file of certificates, or of a key.
    const MAX_PEM: usize = 32 * 1024;

    /// How long the engine keeps a claim at least: a day, in which clocks may be set back, and an
    /// hour.
    const MIN_AGE: Duration = Duration::from_secs(25 * 60 * 60);

    /// What the subjects of the answers to this command begin with, after `_INBOX`.
    const ADMINISTRATOR: &str = "administrator";

    const HOUR: Duration = Duration::from_secs(60 * 60);

    impl Init {
        /// Makes the fleet's key, if there is none, and the stream of claims.
        ///
        /// # Errors
        ///
        /// Returns an error if the configuration is invalid, or if the engine cannot be prepared.
        pub(crate) fn execute(&self) -> Result<()> {
            // The configuration is valid only with the key.
            if let Some(path) = knockd_config::fleet_key_file(&self.config.path)? {
                make_key(&path)?;
            }
            let config = Config::load(&self.config.path)?;
            let fleet = config.fleet.as_ref();
            let fleet = fleet.context("the configuration has no [fleet]")?;
            let engine = Engine {
                node: ADMINISTRATOR.into(),
                certificate: read(&self.certificate)?,
                key: SecretText::new(read_key(&self.certificate_key)?),
                ..fleet.engine.clone()
            };
            let longest = config.doors.iter().map(|door| door.max_lease).max();
            let max_age = MIN_AGE.max(longest.unwrap_or_default() + HOUR);
            let made = runtime::new()?.block_on(knockd_fleet::init(
                &engine,
                self.replicas.get(),
                max_age,
                self.max_bytes.map(Size::bytes),
            ))?;
            output::print(&made)
        }
    }

    fn make_key(path: &Path) -> Result<()> {
        let shown = path.display();
        match fleet_key::create(path) {
            Ok(()) => output::print(&format!(
                "{shown} is the new key of the fleet: copy it to every node, over a way that keeps it secret"
            )),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(anyhow!(error).context(format!("{shown}"))),
        }
    }

    fn read(path: &Path) -> Result<String> {
        std::fs::read_to_string(path).with_context(|| path.display().to_string())
    }

    fn read_key(path: &Path) -> Result<String> {
        let text = secret_file::read_text(path, MAX_PEM);
        let text = text.with_context(|| path.display().to_string())?;
        String::from_utf8(text.to_vec()).map_err(|_| anyhow!("{}: it is no text", path.display()))
    }
}
