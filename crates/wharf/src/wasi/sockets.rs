//! [`wasi:sockets`](https://github.com/WebAssembly/wasi-sockets) 0.2 and 0.3 with the workload's virtual [loopback].
//!
//! Takes the addresses that guests request; returns those that wasmtime's sockets use. Makes no system call: [`p2`] and [`p3`]
//! implement the bindings and leave the work to wasmtime.

mod connections;
pub(super) mod denials;
pub(crate) mod loopback;
pub(crate) mod lookup;
pub(crate) mod network;
pub(super) mod p2;
mod p3;

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};

use wasmtime::component::HasData;
use wasmtime_wasi::sockets::{SocketAddrUse, TcpSocket, WasiSocketsCtx, WasiSocketsCtxView};
use workload::manifest::Protocol;

use super::grants::Grants;
use crate::limits::{Limit, LimitTracker};
use crate::store::{Scope, View};
use connections::{Connections, OpenGuard};
use loopback::{Announcement, Loopback, LoopbackError, PortBinding, Waiting, localhost};
use network::Network;

/// The sockets of an instance of a unit.
#[derive(Default)]
pub(super) struct UnitSockets {
    /// wasmtime's context, for operations on handles.
    pub(super) ctx: WasiSocketsCtx,
    pub(super) open: OpenSockets,
}

/// What the host knows of the open sockets of an instance beyond wasmtime's own state, by handle. It is dropped with the store, so
/// that an instance that ends frees its virtual ports.
#[derive(Default)]
pub(crate) struct OpenSockets {
    sockets: HashMap<u32, Socket>,
    streams: Streams,
    connections: Option<Arc<Connections>>,
    /// Cloned by each call that waits for a datagram.
    receiving: Arc<()>,
}

/// The accepted connections with streams of WASI 0.3. A stream keeps its connection open after the handle is dropped.
#[derive(Default)]
struct Streams {
    /// The guards of the connections, by handle.
    guards: HashMap<u32, Arc<OpenGuard>>,
    /// The guards of connections whose handles are dropped.
    orphans: Vec<Weak<OpenGuard>>,
}

impl OpenSockets {
    fn connections(&mut self, tracker: &Arc<LimitTracker>) -> &Arc<Connections> {
        self.connections.get_or_insert_with(|| Connections::new(tracker))
    }
}

/// A socket, or a datagram stream of one.
struct Socket {
    /// The network of the component that opened the socket. It stays the same when a sibling receives the handle.
    network: Arc<Network>,
    v6: bool,
    is_tcp: bool,
    /// Counts the socket. A datagram stream has none, because its socket is counted.
    guard: Option<Arc<OpenGuard>>,
    binding: Option<PortBinding>,
    announcement: Option<Announcement>,
    /// Whether the system has connected a datagram stream, in which case wasmtime rejects other destinations.
    connected: bool,
    /// The local address on the loopback, as the guest sees it.
    local: Option<SocketAddr>,
    /// The remote address on the loopback, as the guest sees it.
    remote: Option<SocketAddr>,
}

impl Socket {
    fn new(network: Arc<Network>, v6: bool, is_tcp: bool, guard: Option<Arc<OpenGuard>>) -> Self {
        let (binding, announcement, local, remote) = (None, None, None, None);
        Self { network, v6, is_tcp, guard, binding, announcement, connected: false, local, remote }
    }
}

/// The smallest backlog of a listener. Guests ask for less than bursts of a few dozen connections need, and Linux then resets
/// those that do not fit.
const MIN_BACKLOG: u64 = 1024;

/// The network to which an address of a guest belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The machine's network. wasmtime has the address checked against `hosts`.
    Real,
    /// The loopback of the workload.
    Loopback,
}

/// The data of the bindings of every socket interface.
pub(crate) struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = SocketsView<'a>;
}

/// wasmtime's sockets behind the loopback of the workload.
pub(crate) struct SocketsView<'a> {
    pub(super) inner: WasiSocketsCtxView<'a>,
    pub(super) loopback: &'a Arc<Loopback>,
    open: &'a mut OpenSockets,
    /// The network of the calling component, which may open sockets; `None` in a view for operations on handles.
    opener: Option<&'a Arc<Network>>,
    tracker: &'a Arc<LimitTracker>,
}

/// The sockets of the calling component.
pub(super) struct Sockets;

impl View for Sockets {
    type Of = HasSockets;
    fn view(scope: Scope<'_>) -> SocketsView<'_> {
        let Scope { unit, table, state, component, tracker, .. } = scope;
        let wasi = Grants::of(component);
        let open = &mut unit.get_or_insert_with(UnitSockets::default).open;
        let connections = open.connections(tracker);
        let ctx = state.get_or_insert_with(|| wasi.network.sockets(connections, None));
        let inner = WasiSocketsCtxView { ctx, table };
        SocketsView { inner, loopback: wasi.loopback(), open, opener: Some(&wasi.network), tracker }
    }
}

/// Raises the backlog that a guest asks for to the smallest one; 0 stays, which wasmtime rejects.
fn at_least(backlog: u64) -> u64 {
    if backlog == 0 { 0 } else { backlog.max(MIN_BACKLOG) }
}

/// The address that binds a socket to any interface and any port.
fn unspecified(v6: bool) -> SocketAddr {
    let ip: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, 0)
}

impl<'a> SocketsView<'a> {
    /// Creates a view for operations on handles, which a component of the unit opened through its grant.
    pub(crate) fn of_handles(
        inner: WasiSocketsCtxView<'a>,
        loopback: &'a Arc<Loopback>,
        open: &'a mut OpenSockets,
        tracker: &'a Arc<LimitTracker>,
    ) -> Self {
        Self { inner, loopback, open, opener: None, tracker }
    }

    fn connections(&mut self) -> &Arc<Connections> {
        self.open.connections(self.tracker)
    }

    /// Whether the instance may open another socket. Otherwise it records a refusal.
    fn has_room_for_socket(&mut self) -> bool {
        let full = self.is_full();
        if full {
            self.connections().refuse();
        }
        !full
    }

    /// Whether the instance has reached its limit of sockets. Recounts the accepted connections, because one that failed, or was
    /// closed with its listener, is not released.
    fn is_full(&mut self) -> bool {
        let Self { inner, open, .. } = self;
        let (known, orphans) = (&open.sockets, &mut open.streams.orphans);
        let is_socket =
            |entry: &(dyn Any + Send)| entry.is::<wasmtime_wasi::p2::TcpSocket>() || entry.is::<TcpSocket>();
        let sockets = inner.table.iter_mut().filter(|entry| is_socket(&**entry)).count();
        let created = known.values().filter(|socket| socket.guard.is_some() && socket.is_tcp).count();
        orphans.retain(|stream| stream.strong_count() > 0);
        let accepted = sockets.saturating_sub(created) + orphans.len();
        self.connections().set_accepted(accepted);
        self.connections().is_full()
    }

    /// Admits another call that waits for a datagram, until the returned guard is dropped. Returns `None` when the buffers of the
    /// waiting calls would exceed the memory limit.
    fn start_receive(&mut self) -> Option<Arc<()>> {
        let waiting = Arc::strong_count(&self.open.receiving) as u64 - 1;
        if waiting < self.tracker.limits().capped_by_memory(u32::MAX) {
            return Some(self.open.receiving.clone());
        }
        self.tracker.refuse(Limit::Memory);
        None
    }

    /// Returns the context with which wasmtime creates a socket, and the guard that counts the socket until it, its listener and
    /// its streams are closed.
    fn socket_context(&mut self) -> (WasiSocketsCtx, Option<Arc<OpenGuard>>) {
        let Some(opener) = self.opener else { return (self.inner.ctx.clone(), None) };
        let connections = self.connections().clone();
        let guard = connections.count_created();
        (opener.sockets(&connections, Some(guard.clone())), Some(guard))
    }

    /// Returns the guard that a stream of a socket holds while it is open.
    fn stream_guard(&mut self, rep: u32) -> Arc<OpenGuard> {
        if let Some(guard) = self.open.sockets.get(&rep).and_then(|socket| socket.guard.clone()) {
            return guard;
        }
        let connections = self.connections().clone();
        self.open.streams.guards.entry(rep).or_insert_with(|| connections.guard_accepted()).clone()
    }

    /// Records a new socket with the network of the component that opened it.
    fn record_socket(&mut self, rep: u32, v6: bool, is_tcp: bool, guard: Option<Arc<OpenGuard>>) {
        let Some(network) = self.opener.cloned() else { return };
        self.open.sockets.insert(rep, Socket::new(network, v6, is_tcp, guard));
    }

    /// Records a datagram stream of a socket. `connected` says whether the system has connected it.
    fn record_datagram_stream(&mut self, rep: u32, socket: u32, connected: bool) {
        let Some(Socket { network, v6, remote, .. }) = self.open.sockets.get(&socket) else { return };
        let (network, v6, remote) = (network.clone(), *v6, *remote);
        self.open.sockets.insert(rep, Socket { connected, remote, ..Socket::new(network, v6, false, None) });
    }

    /// Forgets a socket before wasmtime closes it, because the system may assign its real port again at once.
    fn forget_socket(&mut self, rep: u32) {
        self.is_full();
        if self.open.sockets.remove(&rep).is_some_and(|socket| socket.guard.is_some()) {
            return;
        }
        match self.open.streams.guards.remove(&rep) {
            Some(guard) => self.open.streams.orphans.push(Arc::downgrade(&guard)),
            None => self.connections().release_accepted(),
        }
    }

    /// Forgets a datagram stream of a socket.
    fn forget_datagram_stream(&mut self, rep: u32) {
        self.open.sockets.remove(&rep);
    }

    fn is_v6(&self, rep: u32) -> bool {
        self.open.sockets.get(&rep).is_some_and(|socket| socket.v6)
    }

    /// Returns the real address to bind to when a guest requests `requested`, and the virtual port that is reserved for it. An
    /// address outside of the loopback stays as it is.
    fn plan_bind(
        &self,
        rep: u32,
        protocol: Protocol,
        requested: SocketAddr,
    ) -> Result<(SocketAddr, Option<PortBinding>), LoopbackError> {
        // An accepted connection is bound already. wasmtime rejects that, and an address of the other family.
        let Some(socket) = self.open.sockets.get(&rep) else { return Ok((requested, None)) };
        let ip = requested.ip();
        if requested.is_ipv6() != socket.v6 || !(ip.is_loopback() || ip.is_unspecified()) {
            return Ok((requested, None));
        }
        let local = SocketAddr::new(localhost(socket.v6), 0);
        if socket.binding.is_some() {
            // wasmtime rejects a second bind, so no port is reserved.
            return Ok((local, None));
        }
        let unrestricted = socket.network.allows_everything();
        if unrestricted && !ip.is_unspecified() && ip != local.ip() {
            return Ok((requested, None));
        }
        // A real port is on the loopback as well, so that siblings without access to the network reach it.
        let binding = socket.network.loopback().reserve(protocol, socket.v6, requested.port())?;
        let real = if unrestricted {
            requested
        } else if protocol == Protocol::Udp && ip.is_unspecified() && socket.network.has_rule_for(protocol) {
            // The socket may send to the loopback and to the network, so it is bound to all interfaces. The check of addresses
            // filters incoming datagrams by their sender.
            unspecified(socket.v6)
        } else {
            local
        };
        Ok((real, Some(binding)))
    }

    /// Records that a socket is bound.
    fn record_bind(
        &mut self,
        rep: u32,
        requested: SocketAddr,
        real: SocketAddr,
        mut binding: PortBinding,
    ) -> Result<(), LoopbackError> {
        let port = binding.set_real(real.port())?;
        if let Some(socket) = self.open.sockets.get_mut(&rep) {
            socket.local = Some(SocketAddr::new(requested.ip(), port));
            socket.binding = Some(binding);
        }
        Ok(())
    }

    /// Records that a bound socket listens.
    fn record_listen(&self, rep: u32) {
        if let Some(binding) = self.open.sockets.get(&rep).and_then(|socket| socket.binding.as_ref()) {
            binding.set_listening();
        }
    }

    /// Decides whether an address to which a guest connects or sends belongs to the loopback.
    fn route(&self, rep: u32, protocol: Protocol, requested: SocketAddr) -> Route {
        let Some(socket) = self.open.sockets.get(&rep) else { return Route::Real };
        // wasmtime rejects the other family and port 0 as invalid.
        if requested.port() == 0 || requested.is_ipv6() != socket.v6 {
            return Route::Real;
        }
        let how = if protocol == Protocol::Udp { SocketAddrUse::UdpSend } else { SocketAddrUse::TcpConnect };
        if !requested.ip().is_loopback() {
            // Without any rule for the protocol, wasmtime is refused the port to send from, and never asks about the address.
            if !socket.network.has_rule_for(protocol) {
                socket.network.log_denial(requested, how);
            }
            return Route::Real;
        }
        // Siblings have precedence over the machine's own loopback, as they have in resolution.
        if self.real_address(rep, protocol, requested).is_err() {
            if socket.network.rules_allow(requested, how) {
                return Route::Real;
            }
            let scheme = if protocol == Protocol::Udp { "udp" } else { "tcp" };
            let why = "no sibling listens on it, and no entry of the component's `hosts` allows it";
            socket.network.log_denied(&format!("{scheme}://{requested}"), why);
        }
        Route::Loopback
    }

    /// Returns what a connection of a TCP socket waits for, if no socket of the loopback listens on the address.
    fn missing_listener(&self, rep: u32, requested: SocketAddr) -> Option<Waiting> {
        let socket = self.open.sockets.get(&rep)?;
        let is_virtual = requested.ip().is_loopback() && requested.port() != 0 && requested.is_ipv6() == socket.v6;
        let is_missing =
            is_virtual && !self.is_announced(rep) && self.real_address(rep, Protocol::Tcp, requested).is_err();
        is_missing.then(|| Waiting {
            loopback: socket.network.loopback().clone(),
            address: requested,
            owner: socket.network.id(),
            or_real: socket.network.rules_allow(requested, SocketAddrUse::TcpConnect),
        })
    }

    /// The loopback of the component that opened a socket; that of the workload for an accepted connection.
    fn loopback_of(&self, rep: u32) -> &Arc<Loopback> {
        self.open.sockets.get(&rep).map_or(self.loopback, |socket| socket.network.loopback())
    }

    /// Returns the real address for a virtual one of a socket's loopback.
    fn real_address(&self, rep: u32, protocol: Protocol, requested: SocketAddr) -> Result<SocketAddr, LoopbackError> {
        let port = self.loopback_of(rep).real_port(protocol, requested.is_ipv6(), requested.port())?;
        Ok(SocketAddr::new(localhost(requested.is_ipv6()), port))
    }

    /// Announces a connection from a socket whose real address is `local`.
    fn announce(&self, rep: u32, local: SocketAddr, to: SocketAddr) -> Result<Announcement, LoopbackError> {
        let ip = if local.ip().is_unspecified() { localhost(local.is_ipv6()) } else { local.ip() };
        self.loopback_of(rep).announce(SocketAddr::new(ip, local.port()), to)
    }

    /// Whether the connection of a socket is announced.
    fn is_announced(&self, rep: u32) -> bool {
        self.open.sockets.get(&rep).is_some_and(|socket| socket.announcement.is_some())
    }

    /// Records that a socket connects to `requested` on the loopback.
    fn record_connecting(&mut self, rep: u32, requested: SocketAddr, announcement: Announcement) {
        if let Some(socket) = self.open.sockets.get_mut(&rep) {
            socket.announcement = Some(announcement);
            socket.remote = Some(requested);
            // A connection has a specific local address, even if the socket was bound to all interfaces.
            socket.local = socket.local.map(|local| SocketAddr::new(localhost(local.is_ipv6()), local.port()));
        }
    }

    /// Records that a socket is connected.
    fn record_connected(&mut self, rep: u32) {
        let socket = self.open.sockets.get_mut(&rep);
        if let Some(announcement) = socket.and_then(|socket| socket.announcement.as_mut()) {
            announcement.set_connected();
        }
    }

    /// Connects a UDP socket to an address of the loopback, or disconnects it. Returns the previous address. The system does not
    /// know of the connection: the real port of the peer may change, and the system would release the socket's own port on a
    /// disconnect.
    fn set_peer(&mut self, rep: u32, requested: Option<SocketAddr>) -> Option<SocketAddr> {
        let socket = self.open.sockets.get_mut(&rep)?;
        std::mem::replace(&mut socket.remote, requested)
    }

    /// Returns the virtual address that a socket is connected to.
    fn peer(&self, rep: u32) -> Option<SocketAddr> {
        self.open.sockets.get(&rep)?.remote
    }

    /// Returns the real destination of a datagram.
    fn datagram_target(&self, rep: u32, requested: Option<SocketAddr>) -> Result<Option<SocketAddr>, LoopbackError> {
        if self.open.sockets.get(&rep).is_some_and(|socket| socket.connected) {
            return Ok(requested);
        }
        let requested = match (self.peer(rep), requested) {
            (Some(peer), Some(requested)) if peer != requested => return Err(LoopbackError::NotConnectedTo),
            (Some(peer), _) => return self.real_address(rep, Protocol::Udp, peer).map(Some),
            (None, None) => return Ok(None),
            (None, Some(requested)) => requested,
        };
        match self.route(rep, Protocol::Udp, requested) {
            Route::Real => Ok(Some(requested)),
            Route::Loopback => self.real_address(rep, Protocol::Udp, requested).map(Some),
        }
    }

    /// Whether a socket receives a datagram from this address: a connected socket receives those of its peer alone.
    fn is_from_peer(&self, rep: u32, visible: SocketAddr) -> bool {
        self.peer(rep).is_none_or(|peer| visible.ip().is_loopback() && visible.port() == peer.port())
    }

    /// Returns the local address of a socket as the guest sees it.
    fn visible_local(&self, rep: u32, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        let local = self.open.sockets.get(&rep).and_then(|socket| socket.local);
        let local = local.unwrap_or_else(|| self.loopback_of(rep).to_virtual(protocol, real));
        // A socket that is connected on the loopback has an address of the loopback, even if it was bound to all interfaces.
        if local.ip().is_unspecified() && self.peer(rep).is_some() {
            return SocketAddr::new(localhost(local.is_ipv6()), local.port());
        }
        local
    }

    /// Returns the remote address of a socket as the guest sees it.
    fn visible_remote(&self, rep: u32, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        self.peer(rep).unwrap_or_else(|| self.loopback_of(rep).to_virtual(protocol, real))
    }
}
