//! Where metrics are served.

use std::net::SocketAddr;

/// Where metrics are to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The address and port of the HTTP server.
    pub listen: SocketAddr,
}

impl Settings {
    /// What the administrator has to know of these settings, if anything.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        // Of an IPv4-mapped address the IPv4 address in it says where it leads to.
        (!self.listen.ip().to_canonical().is_loopback()).then(|| {
            format!(
                "metrics.listen: whoever reaches {} can read there, without a password, which doors there are and when somebody knocks",
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
