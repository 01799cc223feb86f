//! The ways between nodes: a proxy for each pair, so that what one sends to another can be held back.

use std::collections::HashSet;
use std::net::SocketAddr;

use ottla_quorum::{Voter, Voters};
use ottla_types::BrokerId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::Place;

type Cuts = HashSet<(BrokerId, BrokerId)>;

/// The ways between the nodes of a test.
pub struct Ways {
    /// From whom to whom nothing gets through.
    cuts: watch::Sender<Cuts>,
    addresses: Vec<(BrokerId, BrokerId, SocketAddr)>,
}

impl Ways {
    pub async fn between(places: &[Place]) -> Self {
        let mut ways = Self { cuts: watch::Sender::new(Cuts::new()), addresses: Vec::new() };
        for from in places {
            for to in places {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                ways.addresses.push((from.id, to.id, listener.local_addr().unwrap()));
                tokio::spawn(proxy(listener, (from.id, to.id), to.address, ways.cuts.subscribe()));
            }
        }
        ways
    }

    /// How a node reaches the voters.
    pub fn seen_from(&self, node: BrokerId) -> Voters {
        let seen = self.addresses.iter().filter(|(from, _, _)| *from == node);
        Voters::Static(seen.map(|(_, to, address)| Voter { id: *to, address: address.to_string() }).collect())
    }

    /// From now on, nothing gets from the first to the second of these. Everything else does.
    pub fn cut(&self, cuts: impl IntoIterator<Item = (BrokerId, BrokerId)>) {
        self.cuts.send_replace(cuts.into_iter().collect());
    }

    /// Cuts one node off from all others, both ways.
    pub fn isolate(&self, node: BrokerId, places: &[Place]) {
        self.cut(places.iter().flat_map(|place| [(node, place.id), (place.id, node)]));
    }

    pub fn heal(&self) {
        self.cut([]);
    }
}

async fn proxy(
    listener: TcpListener,
    (from, to): (BrokerId, BrokerId),
    target: SocketAddr,
    cuts: watch::Receiver<Cuts>,
) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let cuts = cuts.clone();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else { return };
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            tokio::spawn(pump(near_read, far_write, (from, to), cuts.clone()));
            pump(far_read, near_write, (to, from), cuts).await;
        });
    }
}

/// Carries bytes one way, and holds them back while that way is cut.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: (BrokerId, BrokerId),
    mut cuts: watch::Receiver<Cuts>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if cuts.wait_for(|cuts| !cuts.contains(&way)).await.is_err() || read == 0 {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
