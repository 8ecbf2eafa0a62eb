//! The files of a node, and the programs that use them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Result, ensure};

use super::net::{Net, UPLINK, WITNESS};
use crate::{
    nats::{ADMINISTRATOR, Cluster, SERVER_NAME},
    netns::Namespace,
    process::Running,
    scene::{Files, SOON, program},
};

/// The key that all nodes have.
pub const FLEET_KEY: &str = "knockd-fleet1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// A node. `{extra}` is replaced by further keys of `[fleet]`.
const CONFIGURATION: &str = r#"
interfaces = ["{uplink}"]
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"
server_key_file = "server.key"

[datagram]
port = 62201

# The client knocks more often here than one does.
[limits]
events_per_second = 1000
event_burst = 1000
# A client can have a quarter of them open at one door.
open_doors = 16384

[gate]
protect = ["tcp/22"]
trusted = ["{witness}/32"]

[fleet]
engine = [{engine}]
server_name = "{server_name}"
ca = "ca.pem"
certificate = "node.pem"
certificate_key = "node.key"
key_file = "fleet.key"
node = "edge{number}"
{extra}

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[[door]]
name = "ssh"
open = ["tcp/22"]
for = "1h"
"#;

/// The files of a node.
pub(super) fn files(cluster: &Cluster<'_>, index: usize, extra: &str) -> Result<Files> {
    let engine = cluster
        .addresses()
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect::<Vec<_>>();
    let number = index + 1;
    let configuration = CONFIGURATION
        .replace("{uplink}", UPLINK)
        .replace("{witness}", &WITNESS.to_string())
        .replace("{engine}", &engine.join(", "))
        .replace("{server_name}", SERVER_NAME)
        .replace("{number}", &number.to_string())
        .replace("{extra}", extra);
    let files = Files::new(&configuration)?;
    let identity = cluster.identity(&format!("edge{number}"))?;
    for (from, to) in [
        (&identity.authority, "ca.pem"),
        (&identity.certificate, "node.pem"),
        (&identity.key, "node.key"),
    ] {
        write(&files, to, &fs::read(from)?)?;
    }
    write(&files, "fleet.key", FLEET_KEY.as_bytes())?;
    Ok(files)
}

/// Writes a file of a node that only its owner can read.
///
/// # Errors
///
/// Returns an error if the kernel or a program refuses.
pub fn write(files: &Files, name: &str, content: &[u8]) -> Result<()> {
    let path = files.path(name);
    fs::write(&path, content)?;
    Ok(fs::set_permissions(
        &path,
        fs::Permissions::from_mode(0o600),
    )?)
}

/// Makes the stream, or changes it, as an administrator does. Returns what was printed.
pub(super) fn init(
    net: &Net,
    cluster: &Cluster<'_>,
    files: &Files,
    options: &[&str],
) -> Result<String> {
    let identity = cluster.identity(ADMINISTRATOR)?;
    fs::set_permissions(&identity.key, fs::Permissions::from_mode(0o600))?;
    let mut init = net.nodes[0].command(program("knockd")?);
    init.args(["fleet", "init", "--certificate"])
        .arg(&identity.certificate);
    init.arg("--certificate-key").arg(&identity.key);
    init.arg("--config").arg(files.path("knockd.toml"));
    let output = init.args(options).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

pub(super) fn start(namespace: &Namespace, files: &Files) -> Result<Running> {
    let mut command = namespace.command(program("knockd")?);
    command.args(["--log", "debug", "--config"]);
    command.arg(files.path("knockd.toml"));
    let knockd = Running::spawn(command)?;
    knockd.wait_for(|line| line.contains("listening on "), SOON)?;
    Ok(knockd)
}
