//! The open connections. Peers that send nothing must not keep a scrape waiting.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::{AbortHandle, JoinSet};

/// The number of concurrent connections.
pub(crate) const MAX_CONNECTIONS: usize = 16;

/// The open connections, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Vec<Connection>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    request: Progress,
    task: AbortHandle,
}

/// Whether a connection has sent its request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicBool>);

impl Progress {
    /// Records that the request is complete.
    pub(crate) fn received(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_received(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connections {
    /// Serves a connection from `peer` with the result of `serve`. If there are too many, one that
    /// has not sent its request is closed: the oldest of the peer that has most. If all have sent it,
    /// the new one is closed.
    pub(crate) fn add<F>(&mut self, peer: SocketAddr, serve: impl FnOnce(Progress) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.remove_finished();
        if self.open.len() >= MAX_CONNECTIONS {
            let Some(idle) = self.longest_idle() else {
                return;
            };
            self.open.remove(idle).task.abort();
        }
        let request = Progress::default();
        self.open.push(Connection {
            peer: peer.ip(),
            task: self.tasks.spawn(serve(request.clone())),
            request,
        });
    }

    /// Waits until a connection has ended. Never returns if there is none. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    fn remove_finished(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.open
            .retain(|connection| !connection.task.is_finished());
    }

    fn longest_idle(&self) -> Option<usize> {
        let mut idle: HashMap<IpAddr, (usize, usize)> = HashMap::new();
        for (place, connection) in self.open.iter().enumerate() {
            if !connection.request.is_received() {
                idle.entry(connection.peer).or_insert((0, place)).0 += 1;
            }
        }
        // Of several, the one whose connection is the oldest.
        let most = idle
            .into_values()
            .max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)));
        most.map(|(_, oldest)| oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 40_000).into()
    }

    fn peers(connections: &Connections) -> Vec<u8> {
        let open = connections.open.iter();
        open.map(|connection| match connection.peer {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        })
        .collect()
    }

    #[tokio::test]
    async fn silent_connections_make_room_for_others() {
        let mut connections = Connections::default();
        connections.add(peer(1), |_| std::future::pending());
        for _ in 0..200 {
            connections.add(peer(2), |_| std::future::pending());
        }
        connections.add(peer(3), |_| std::future::pending());
        let open = peers(&connections);
        assert_eq!(open.len(), MAX_CONNECTIONS);
        assert_eq!((open[0], open[MAX_CONNECTIONS - 1]), (1, 3));
    }

    #[tokio::test]
    async fn a_connection_that_is_answered_stays() {
        let mut connections = Connections::default();
        for number in 0..MAX_CONNECTIONS {
            connections.add(peer(1), |request| {
                request.received();
                std::future::pending()
            });
            assert_eq!(connections.open.len(), number + 1);
        }
        connections.add(peer(2), |_| std::future::pending());
        assert_eq!(peers(&connections), [1; MAX_CONNECTIONS]);
    }

    #[tokio::test]
    async fn ended_connections_do_not_count() {
        let mut connections = Connections::default();
        for _ in 0..100 {
            connections.add(peer(1), |_| async {});
            connections.ended().await;
        }
        assert_eq!(connections.open.len(), 1);
        connections.remove_finished();
        assert!(connections.open.is_empty());
    }
}
