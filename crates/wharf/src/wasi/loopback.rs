//! A workload's own loopback: which real ports stand for its virtual ones, and who may connect to them.
//!
//! It takes virtual ports and the real ones that sockets were bound to; it gives each by the other. It opens no socket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime_wasi::sockets::SocketAddrUse;
use workload::manifest::Protocol;

/// How many ports a workload may have bound at once.
const MAX_PORTS: usize = 4096;
/// How many connections may be on their way at once: those that nobody has accepted yet.
const MAX_PEERS: usize = 8192;
/// Where the search for a free virtual port starts over.
const FIRST_FREE: u16 = 1024;

/// The loopback of one workload.
#[derive(Default)]
pub(crate) struct Loopback(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// By virtual port.
    ports: HashMap<Key, Port>,
    /// By real port: the virtual one, and whose it is.
    real: HashMap<Key, (u16, u64)>,
    /// The real addresses that connections come from and were not accepted yet.
    peers: HashMap<SocketAddr, Origin>,
    last_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    protocol: Protocol,
    v6: bool,
    port: u16,
}

struct Port {
    id: u64,
    real: Option<u16>,
    listening: bool,
}

struct Origin {
    id: u64,
    /// The listener that it connects to.
    to: u64,
}

/// Why the loopback does not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The virtual port is taken.
    InUse,
    /// The workload has too many ports or connections.
    Full,
    /// Nobody listens on the virtual port.
    Nobody,
    /// A datagram is not for the address that its socket is connected to.
    NotConnectedTo,
}

/// The address of the loopback itself. Others of 127/8 are none of ours: anybody may bind the same port on them.
pub(crate) fn localhost(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

fn is_localhost(ip: IpAddr) -> bool {
    ip == localhost(ip.is_ipv6())
}

impl Table {
    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn take(&mut self, key: Key, id: u64) -> Result<(), Refusal> {
        if self.ports.contains_key(&key) {
            return Err(Refusal::InUse);
        }
        if self.ports.len() >= MAX_PORTS {
            return Err(Refusal::Full);
        }
        self.ports.insert(key, Port { id, real: None, listening: false });
        Ok(())
    }

    /// The real port itself if it is free as a virtual one, which it almost always is.
    fn free(&self, key: Key, real: u16) -> Option<u16> {
        let mut candidates = (real..=u16::MAX).chain(FIRST_FREE..real);
        candidates.find(|port| !self.ports.contains_key(&Key { port: *port, ..key }))
    }
}

impl Loopback {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a virtual port for a socket that is about to be bound; 0 takes whichever is free once it is.
    pub(crate) fn reserve(self: &Arc<Self>, protocol: Protocol, v6: bool, port: u16) -> Result<Bound, Refusal> {
        let key = Key { protocol, v6, port };
        let mut table = self.table();
        let id = table.id();
        if port != 0 {
            table.take(key, id)?;
        }
        drop(table);
        Ok(Bound { loopback: self.clone(), key, id, real: None })
    }

    /// The real port that stands for a virtual one. A TCP port counts from when its socket listens: before that, some
    /// other process of this host could still take the real one.
    pub(crate) fn find(&self, protocol: Protocol, v6: bool, port: u16) -> Result<u16, Refusal> {
        let table = self.table();
        let found = table.ports.get(&Key { protocol, v6, port });
        let found = found.filter(|port| protocol != Protocol::Tcp || port.listening);
        found.and_then(|port| port.real).ok_or(Refusal::Nobody)
    }

    /// A real address as guests see it.
    pub(crate) fn shown(&self, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        let key = Key { protocol, v6: real.is_ipv6(), port: real.port() };
        let port = if is_localhost(real.ip()) { self.table().real.get(&key).map(|(port, _)| *port) } else { None };
        port.map_or(real, |port| SocketAddr::new(real.ip(), port))
    }

    /// Announces a connection, before it is made, from a real local address to what [`find`](Self::find) gave.
    pub(crate) fn announce(self: &Arc<Self>, from: SocketAddr, to: SocketAddr) -> Result<Peer, Refusal> {
        let mut table = self.table();
        let listener = Key { protocol: Protocol::Tcp, v6: to.is_ipv6(), port: to.port() };
        let to = table.real.get(&listener).map(|(_, id)| *id).ok_or(Refusal::Nobody)?;
        if table.peers.len() >= MAX_PEERS {
            return Err(Refusal::Full);
        }
        let id = table.id();
        table.peers.insert(from, Origin { id, to });
        drop(table);
        Ok(Peer { loopback: self.clone(), from, id, connected: false })
    }

    /// Whether a real address may be used because a virtual one stands behind it. A connection is let in once: its
    /// address may be another process' the next time.
    pub(crate) fn serves(&self, real: SocketAddr, how: SocketAddrUse) -> bool {
        if !is_localhost(real.ip()) {
            // A socket that is bound to another address of this host is announced by that one.
            return matches!(how, SocketAddrUse::TcpAccept) && self.table().peers.remove(&real).is_some();
        }
        let known = |protocol| {
            let key = Key { protocol, v6: real.is_ipv6(), port: real.port() };
            self.table().real.contains_key(&key)
        };
        match how {
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => real.port() == 0,
            SocketAddrUse::TcpListen | SocketAddrUse::TcpConnect => known(Protocol::Tcp),
            SocketAddrUse::TcpAccept => self.table().peers.remove(&real).is_some(),
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => known(Protocol::Udp),
        }
    }
}

/// A virtual port, taken until this is dropped.
pub(crate) struct Bound {
    loopback: Arc<Loopback>,
    key: Key,
    id: u64,
    real: Option<u16>,
}

impl Bound {
    /// Says which real port it has come to stand for, and gives the virtual one.
    pub(crate) fn settle(&mut self, real: u16) -> Result<u16, Refusal> {
        let mut table = self.loopback.table();
        if self.key.port == 0 {
            let port = table.free(self.key, real).ok_or(Refusal::Full)?;
            table.take(Key { port, ..self.key }, self.id)?;
            self.key.port = port;
        }
        if let Some(port) = table.ports.get_mut(&self.key) {
            port.real = Some(real);
        }
        table.real.insert(Key { port: real, ..self.key }, (self.key.port, self.id));
        self.real = Some(real);
        Ok(self.key.port)
    }

    /// Lets connections come.
    pub(crate) fn listening(&self) {
        if let Some(port) = self.loopback.table().ports.get_mut(&self.key) {
            port.listening = true;
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let mut table = self.loopback.table();
        if table.ports.get(&self.key).is_some_and(|port| port.id == self.id) {
            table.ports.remove(&self.key);
        }
        let Some(real) = self.real else { return };
        let real = Key { port: real, ..self.key };
        // The system may have given the real port to the next socket already.
        if table.real.get(&real).is_some_and(|(_, id)| *id == self.id) {
            table.real.remove(&real);
        }
        table.peers.retain(|_, origin| origin.to != self.id);
    }
}

/// A connection that was announced. One that was made stays announced when this is dropped, until it is accepted: a
/// guest may connect, write and leave before that.
pub(crate) struct Peer {
    loopback: Arc<Loopback>,
    from: SocketAddr,
    id: u64,
    connected: bool,
}

impl Peer {
    /// The connection was made.
    pub(crate) fn connected(&mut self) {
        self.connected = true;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut table = self.loopback.table();
        if !self.connected && table.peers.get(&self.from).is_some_and(|origin| origin.id == self.id) {
            table.peers.remove(&self.from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Loopback, Protocol, Refusal, SocketAddr, SocketAddrUse, localhost};
    use std::sync::Arc;

    fn real(port: u16) -> SocketAddr {
        SocketAddr::new(localhost(false), port)
    }

    #[test]
    fn a_port_is_found_while_its_socket_listens() {
        let loopback = Arc::new(Loopback::default());
        let mut bound = loopback.reserve(Protocol::Tcp, false, 7000).unwrap();
        assert_eq!(loopback.reserve(Protocol::Tcp, false, 7000).err(), Some(Refusal::InUse));
        assert!(
            loopback.reserve(Protocol::Udp, false, 7000).is_ok() && loopback.reserve(Protocol::Tcp, true, 7000).is_ok()
        );
        assert_eq!(bound.settle(40_000), Ok(7000));
        assert_eq!(loopback.find(Protocol::Tcp, false, 7000), Err(Refusal::Nobody));
        bound.listening();
        assert_eq!(loopback.find(Protocol::Tcp, false, 7000), Ok(40_000));
        assert_eq!(loopback.find(Protocol::Tcp, false, 40_000), Err(Refusal::Nobody), "a real port is no virtual one");
        assert_eq!(loopback.shown(Protocol::Tcp, real(40_000)), real(7000));
        drop(bound);
        assert_eq!(loopback.find(Protocol::Tcp, false, 7000), Err(Refusal::Nobody));
        assert_eq!(loopback.shown(Protocol::Tcp, real(40_000)), real(40_000));
    }

    #[test]
    fn whichever_is_free_is_the_real_port_unless_that_is_taken() {
        let loopback = Arc::new(Loopback::default());
        let _taken = loopback.reserve(Protocol::Udp, false, 40_000).unwrap();
        assert_eq!(loopback.reserve(Protocol::Udp, false, 0).unwrap().settle(40_001), Ok(40_001));
        assert_eq!(loopback.reserve(Protocol::Udp, false, 0).unwrap().settle(40_000), Ok(40_001));
    }

    #[test]
    fn a_connection_is_let_in_once_and_only_when_announced() {
        let loopback = Arc::new(Loopback::default());
        let mut bound = loopback.reserve(Protocol::Tcp, false, 7000).unwrap();
        bound.settle(40_000).unwrap();
        assert!(!loopback.serves(real(50_000), SocketAddrUse::TcpAccept));
        let mut peer = loopback.announce(real(50_000), real(40_000)).unwrap();
        peer.connected();
        drop(peer);
        assert!(loopback.serves(real(50_000), SocketAddrUse::TcpAccept), "it left before it was accepted");
        assert!(!loopback.serves(real(50_000), SocketAddrUse::TcpAccept));
        drop(loopback.announce(real(50_000), real(40_000)).unwrap());
        assert!(!loopback.serves(real(50_000), SocketAddrUse::TcpAccept), "it was never made");
        let mut peer = loopback.announce(real(50_000), real(40_000)).unwrap();
        peer.connected();
        drop(bound);
        assert!(!loopback.serves(real(50_000), SocketAddrUse::TcpAccept), "its listener is gone");
    }

    #[test]
    fn real_addresses_are_served_only_where_a_virtual_one_stands_behind_them() {
        let loopback = Arc::new(Loopback::default());
        let mut bound = loopback.reserve(Protocol::Udp, false, 7000).unwrap();
        bound.settle(40_000).unwrap();
        assert!(loopback.serves(real(40_000), SocketAddrUse::UdpSend));
        assert!(!loopback.serves(real(40_000), SocketAddrUse::TcpConnect));
        assert!(!loopback.serves(real(40_001), SocketAddrUse::UdpReceive));
        assert!(!loopback.serves(([127, 0, 0, 2], 40_000).into(), SocketAddrUse::UdpReceive), "anybody may bind that");
        assert!(loopback.serves(real(0), SocketAddrUse::TcpBind) && !loopback.serves(real(80), SocketAddrUse::TcpBind));
    }
}
