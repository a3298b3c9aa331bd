//! The virtual loopback of a workload: its components reach each other's sockets through it, and no other process does.
//!
//! A virtual port of the loopback maps to the real port to which a socket is bound. This module translates between the two, and
//! decides which connections a socket may make and accept. While a service is starting, a connection to a port on which no socket
//! listens waits for one. It opens no socket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use wasmtime_wasi::sockets::SocketAddrUse;
use workload::manifest::Protocol;

/// The most ports that a workload has bound.
const MAX_PORTS: usize = 4096;
/// The most announced connections that are not accepted yet.
const MAX_ANNOUNCED: usize = 8192;
/// The port at which the search for a free virtual port wraps around.
const FIRST_FREE: u16 = 1024;

/// How long a service may take from its start until it listens. A connection waits no longer than this.
const START_TIME: Duration = Duration::from_secs(5);

/// The loopback of one workload.
#[derive(Default)]
pub(crate) struct Loopback {
    table: Mutex<Table>,
    /// Notified when a socket listens, and when a service is no longer starting.
    changed: Notify,
}

#[derive(Default)]
struct Table {
    /// The sockets by virtual port.
    ports: HashMap<Key, Port>,
    /// The virtual port, and the id of its binding, by real port.
    real: HashMap<Key, (u16, u64)>,
    /// The connections that are not accepted yet, by the real address that they come from.
    announced: HashMap<SocketAddr, Announced>,
    /// The services that are starting.
    starting: HashMap<u64, Starting>,
    last_id: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    protocol: Protocol,
    v6: bool,
    port: u16,
}

/// A service that is starting.
struct Starting {
    /// The component, which does not wait for itself.
    owner: usize,
    /// The end of the time that it has to listen.
    until: Instant,
    /// It starts for the first time, and no socket has begun to listen since.
    first: bool,
}

/// A virtual port in use.
struct Port {
    id: u64,
    real: Option<u16>,
    listening: bool,
}

/// An announced connection.
struct Announced {
    id: u64,
    /// The id of the listener's binding.
    listener: u64,
}

/// Why an operation on the loopback fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoopbackError {
    /// The virtual port is in use.
    InUse,
    /// The workload has too many ports or connections.
    Full,
    /// No socket listens on the virtual port.
    NotListening,
    /// A datagram has another destination than the peer of its connected socket.
    NotConnectedTo,
}

/// The address of the loopback. The other addresses of 127.0.0.0/8 do not belong to it, because another process can bind the same
/// port there.
pub(crate) fn localhost(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

fn is_localhost(ip: IpAddr) -> bool {
    ip == localhost(ip.is_ipv6())
}

impl Table {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn take(&mut self, key: Key, id: u64) -> Result<(), LoopbackError> {
        if self.ports.contains_key(&key) {
            return Err(LoopbackError::InUse);
        }
        if self.ports.len() >= MAX_PORTS {
            return Err(LoopbackError::Full);
        }
        self.ports.insert(key, Port { id, real: None, listening: false });
        Ok(())
    }

    /// Returns a free virtual port for a real one: usually the same number.
    fn free(&self, key: Key, real: u16) -> Option<u16> {
        let mut candidates = (real..=u16::MAX).chain(FIRST_FREE..real);
        candidates.find(|port| !self.ports.contains_key(&Key { port: *port, ..key }))
    }
}

impl Loopback {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a service of the workload, which has not started yet. `owner` identifies its component.
    pub(crate) fn register_service(self: &Arc<Self>, owner: usize) -> ServiceStart {
        ServiceStart { loopback: self.clone(), owner, id: self.table().next_id() }
    }

    /// Waits until a socket listens on a TCP port, as long as a service is starting that may open it.
    pub(super) async fn wait_for_listener(&self, waiting: &Waiting) {
        let Waiting { address, owner, or_real, .. } = *waiting;
        let longest = Instant::now() + START_TIME;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the table is read, so that a change in between is not missed.
            changed.as_mut().enable();
            if self.real_port(Protocol::Tcp, address.is_ipv6(), address.port()).is_ok() {
                return;
            }
            let may_listen = |service: &&Starting| service.owner != owner && (service.first || !or_real);
            let until = self.table().starting.values().filter(may_listen).map(|service| service.until).max();
            let Some(until) = until else { return };
            let until = until.min(longest);
            if until <= Instant::now() {
                return;
            }
            // A restart may have moved the time meanwhile.
            tokio::time::timeout_at(until, changed).await.ok();
        }
    }

    /// Reserves a virtual port for a socket that is about to be bound. For port 0, [`PortBinding::set_real`] chooses a free one.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        protocol: Protocol,
        v6: bool,
        port: u16,
    ) -> Result<PortBinding, LoopbackError> {
        let key = Key { protocol, v6, port };
        let mut table = self.table();
        let id = table.next_id();
        if port != 0 {
            table.take(key, id)?;
        }
        drop(table);
        Ok(PortBinding { loopback: self.clone(), key, id, real: None })
    }

    /// Returns the real port of a virtual one. A TCP port has one only while its socket listens: until then, another process of
    /// the machine could listen on the real port.
    pub(crate) fn real_port(&self, protocol: Protocol, v6: bool, port: u16) -> Result<u16, LoopbackError> {
        let table = self.table();
        let found = table.ports.get(&Key { protocol, v6, port });
        let found = found.filter(|port| protocol != Protocol::Tcp || port.listening);
        found.and_then(|port| port.real).ok_or(LoopbackError::NotListening)
    }

    /// Translates a real address to the virtual one that guests see. An address outside of the loopback stays as it is.
    pub(crate) fn to_virtual(&self, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        let key = Key { protocol, v6: real.is_ipv6(), port: real.port() };
        let port = if is_localhost(real.ip()) { self.table().real.get(&key).map(|(port, _)| *port) } else { None };
        port.map_or(real, |port| SocketAddr::new(real.ip(), port))
    }

    /// Announces a connection before it is made, from a real local address to the real address of a listener, whose port comes
    /// from [`real_port`](Self::real_port). The listener accepts announced connections only.
    pub(crate) fn announce(self: &Arc<Self>, from: SocketAddr, to: SocketAddr) -> Result<Announcement, LoopbackError> {
        let mut table = self.table();
        let listener = Key { protocol: Protocol::Tcp, v6: to.is_ipv6(), port: to.port() };
        let listener = table.real.get(&listener).map(|(_, id)| *id).ok_or(LoopbackError::NotListening)?;
        if table.announced.len() >= MAX_ANNOUNCED {
            return Err(LoopbackError::Full);
        }
        let id = table.next_id();
        table.announced.insert(from, Announced { id, listener });
        drop(table);
        Ok(Announcement { loopback: self.clone(), from, id, connected: false })
    }

    /// Whether a socket may use a real address because it maps to a virtual one. An announced connection is accepted once, and the
    /// announcement is removed: afterwards another process may get the same address.
    pub(crate) fn permits(&self, real: SocketAddr, how: SocketAddrUse) -> bool {
        if !is_localhost(real.ip()) {
            // A client socket that is bound to another address of the machine is announced with that address.
            return matches!(how, SocketAddrUse::TcpAccept) && self.table().announced.remove(&real).is_some();
        }
        let known = |protocol| {
            let key = Key { protocol, v6: real.is_ipv6(), port: real.port() };
            self.table().real.contains_key(&key)
        };
        match how {
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => real.port() == 0,
            SocketAddrUse::TcpListen | SocketAddrUse::TcpConnect => known(Protocol::Tcp),
            SocketAddrUse::TcpAccept => self.table().announced.remove(&real).is_some(),
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => known(Protocol::Udp),
        }
    }
}

/// A virtual port that a socket is bound to. Dropping it frees the port.
pub(crate) struct PortBinding {
    loopback: Arc<Loopback>,
    key: Key,
    id: u64,
    real: Option<u16>,
}

impl PortBinding {
    /// Maps the virtual port to the real one, after the socket is bound. Returns the virtual port.
    pub(crate) fn set_real(&mut self, real: u16) -> Result<u16, LoopbackError> {
        let mut table = self.loopback.table();
        if self.key.port == 0 {
            let port = table.free(self.key, real).ok_or(LoopbackError::Full)?;
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

    /// Marks the socket as listening, so that others can connect to it.
    pub(crate) fn set_listening(&self) {
        let mut table = self.loopback.table();
        if let Some(port) = table.ports.get_mut(&self.key) {
            port.listening = true;
        }
        table.starting.values_mut().for_each(|service| service.first = false);
        drop(table);
        self.loopback.changed.notify_waiters();
    }
}

impl Drop for PortBinding {
    fn drop(&mut self) {
        let mut table = self.loopback.table();
        if table.ports.get(&self.key).is_some_and(|port| port.id == self.id) {
            table.ports.remove(&self.key);
        }
        let Some(real) = self.real else { return };
        let real = Key { port: real, ..self.key };
        // The system may already have assigned the real port to another socket.
        if table.real.get(&real).is_some_and(|(_, id)| *id == self.id) {
            table.real.remove(&real);
        }
        table.announced.retain(|_, announced| announced.listener != self.id);
    }
}

/// A connection to a port on which no socket listens yet.
pub(super) struct Waiting {
    pub(super) loopback: Arc<Loopback>,
    pub(super) address: SocketAddr,
    /// The component that connects.
    pub(super) owner: usize,
    /// The component may connect to the machine's own port instead. So it waits only for services that start with the workload, and
    /// until one of them listens: what it connects to is more likely the machine's.
    pub(super) or_real: bool,
}

impl Waiting {
    /// Waits until a socket listens, or none will.
    pub(super) async fn wait(self) {
        self.loopback.wait_for_listener(&self).await;
    }
}

/// A service, from its first start to its end.
pub(crate) struct ServiceStart {
    loopback: Arc<Loopback>,
    owner: usize,
    id: u64,
}

impl ServiceStart {
    /// Marks the service as one that starts after `delay`.
    pub(crate) fn starts_after(&self, delay: Duration) {
        let (owner, until) = (self.owner, Instant::now() + delay + START_TIME);
        let mut table = self.loopback.table();
        let first = !table.starting.contains_key(&self.id);
        table.starting.insert(self.id, Starting { owner, until, first });
    }
}

impl Drop for ServiceStart {
    fn drop(&mut self) {
        self.loopback.table().starting.remove(&self.id);
        self.loopback.changed.notify_waiters();
    }
}

/// An announced connection. Dropping it withdraws the announcement of a connection that was not made. One that was made stays
/// announced until it is accepted, because a client may connect, write and close its socket before that.
pub(crate) struct Announcement {
    loopback: Arc<Loopback>,
    from: SocketAddr,
    id: u64,
    connected: bool,
}

impl Announcement {
    /// Marks the connection as made.
    pub(crate) fn set_connected(&mut self) {
        self.connected = true;
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let mut table = self.loopback.table();
        if !self.connected && table.announced.get(&self.from).is_some_and(|announced| announced.id == self.id) {
            table.announced.remove(&self.from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Loopback, LoopbackError, Protocol, SocketAddr, SocketAddrUse, localhost};
    use std::sync::Arc;

    fn real(port: u16) -> SocketAddr {
        SocketAddr::new(localhost(false), port)
    }

    #[test]
    fn a_virtual_port_has_a_real_one_while_its_socket_listens() {
        let loopback = Arc::new(Loopback::default());
        let mut bound = loopback.reserve(Protocol::Tcp, false, 7000).unwrap();
        assert_eq!(loopback.reserve(Protocol::Tcp, false, 7000).err(), Some(LoopbackError::InUse));
        assert!(
            loopback.reserve(Protocol::Udp, false, 7000).is_ok() && loopback.reserve(Protocol::Tcp, true, 7000).is_ok()
        );
        assert_eq!(bound.set_real(40_000), Ok(7000));
        assert_eq!(loopback.real_port(Protocol::Tcp, false, 7000), Err(LoopbackError::NotListening));
        bound.set_listening();
        assert_eq!(loopback.real_port(Protocol::Tcp, false, 7000), Ok(40_000));
        assert_eq!(
            loopback.real_port(Protocol::Tcp, false, 40_000),
            Err(LoopbackError::NotListening),
            "real ports are not virtual ones"
        );
        assert_eq!(loopback.to_virtual(Protocol::Tcp, real(40_000)), real(7000));
        drop(bound);
        assert_eq!(loopback.real_port(Protocol::Tcp, false, 7000), Err(LoopbackError::NotListening));
        assert_eq!(loopback.to_virtual(Protocol::Tcp, real(40_000)), real(40_000));
    }

    #[test]
    fn port_zero_gets_the_number_of_the_real_port_unless_that_is_in_use() {
        let loopback = Arc::new(Loopback::default());
        let _taken = loopback.reserve(Protocol::Udp, false, 40_000).unwrap();
        assert_eq!(loopback.reserve(Protocol::Udp, false, 0).unwrap().set_real(40_001), Ok(40_001));
        assert_eq!(loopback.reserve(Protocol::Udp, false, 0).unwrap().set_real(40_000), Ok(40_001));
    }

    #[test]
    fn an_announced_connection_is_accepted_once() {
        let loopback = Arc::new(Loopback::default());
        let mut bound = loopback.reserve(Protocol::Tcp, false, 7000).unwrap();
        bound.set_real(40_000).unwrap();
        assert!(!loopback.permits(real(50_000), SocketAddrUse::TcpAccept));
        let mut announcement = loopback.announce(real(50_000), real(40_000)).unwrap();
        announcement.set_connected();
        drop(announcement);
        assert!(
            loopback.permits(real(50_000), SocketAddrUse::TcpAccept),
            "the client closed its socket before the listener accepted"
        );
        assert!(!loopback.permits(real(50_000), SocketAddrUse::TcpAccept));
        drop(loopback.announce(real(50_000), real(40_000)).unwrap());
        assert!(!loopback.permits(real(50_000), SocketAddrUse::TcpAccept), "the connection was never made");
        let mut announcement = loopback.announce(real(50_000), real(40_000)).unwrap();
        announcement.set_connected();
        drop(bound);
        assert!(!loopback.permits(real(50_000), SocketAddrUse::TcpAccept), "the listener is closed");
    }

    #[test]
    fn only_real_addresses_that_map_to_virtual_ones_are_permitted() {
        let loopback = Arc::new(Loopback::default());
        let mut bound = loopback.reserve(Protocol::Udp, false, 7000).unwrap();
        bound.set_real(40_000).unwrap();
        assert!(loopback.permits(real(40_000), SocketAddrUse::UdpSend));
        assert!(!loopback.permits(real(40_000), SocketAddrUse::TcpConnect));
        assert!(!loopback.permits(real(40_001), SocketAddrUse::UdpReceive));
        assert!(
            !loopback.permits(([127, 0, 0, 2], 40_000).into(), SocketAddrUse::UdpReceive),
            "another process can bind that address"
        );
        assert!(
            loopback.permits(real(0), SocketAddrUse::TcpBind) && !loopback.permits(real(80), SocketAddrUse::TcpBind)
        );
    }
}
