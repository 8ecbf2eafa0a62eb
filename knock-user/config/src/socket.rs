//! The path of the control socket.

use std::path::PathBuf;

use serde::Deserialize;

use crate::model::{DEFAULT_SOCKET, MAX_SOCKET_PATH};

/// The path of a Unix socket.
#[derive(Clone, Deserialize)]
#[serde(try_from = "PathBuf")]
pub(super) struct SocketPath(PathBuf);

impl Default for SocketPath {
    fn default() -> Self {
        Self(DEFAULT_SOCKET.into())
    }
}

impl From<SocketPath> for PathBuf {
    fn from(path: SocketPath) -> Self {
        path.0
    }
}

impl TryFrom<PathBuf> for SocketPath {
    type Error = String;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(format!(
                "the path of a socket has at most {MAX_SOCKET_PATH} bytes"
            ));
        }
        Ok(Self(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_socket_has_a_limit() {
        let path = |len| SocketPath::try_from(PathBuf::from("x".repeat(len)));
        assert!(path(MAX_SOCKET_PATH).is_ok());
        let error = path(MAX_SOCKET_PATH + 1).err().unwrap();
        assert_eq!(error, "the path of a socket has at most 107 bytes");
    }
}
