//! The settings of the metrics endpoint.

use std::net::SocketAddr;

/// The settings of the metrics endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address and port of the HTTP server.
    pub listen: SocketAddr,
}

impl Settings {
    /// A warning for the administrator about these settings, if necessary.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        // An IPv4-mapped address is reachable like the IPv4 address in it.
        (!self.listen.ip().to_canonical().is_loopback()).then(|| {
            format!(
                "metrics.listen: anyone who can connect to {} can read the names of doors and the times of knocks, without authentication",
                self.listen
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_others_reach_is_warned_of() {
        let warning = |listen: &str| {
            let listen = listen.parse().unwrap();
            Settings { listen }.warning()
        };
        for own in [
            "127.0.0.1:9811",
            "127.8.0.1:1",
            "[::1]:9811",
            "[::ffff:127.0.0.1]:9811",
        ] {
            assert_eq!(warning(own), None, "{own}");
        }
        for reached in [
            "0.0.0.0:9811",
            "[::]:9811",
            "192.0.2.1:9811",
            "[::ffff:192.0.2.1]:9811",
        ] {
            assert!(warning(reached).unwrap().contains(reached), "{reached}");
        }
    }
}
