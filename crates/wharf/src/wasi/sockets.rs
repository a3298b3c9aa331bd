//! What sockets of WASI 0.2 and 0.3 share: which of their addresses are the workload's own loopback.
//!
//! It takes the addresses that guests name and gives those that the engine's own sockets are to use. It makes no system
//! call; `sockets_p2` and `sockets_p3` hand everything to the engine.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};

use wasmtime::component::HasData;
use wasmtime_wasi::p2;
use wasmtime_wasi::sockets::{SocketAddrUse, TcpSocket, WasiSocketsCtx, WasiSocketsCtxView};
use workload::manifest::Protocol;

use super::connections::{Connections, Open};
use super::loopback::{Bound, Loopback, Peer, Refusal, localhost};
use super::network::Network;
use crate::ctx::{Scope, View};
use crate::limits::{Guard, Limit};

/// The sockets of one instance, by their handles: the engine's own sockets have no room for what is kept of them here.
/// Dropped with the store, so that an instance that ends gives its ports back.
#[derive(Default)]
pub(crate) struct Held {
    sockets: HashMap<u32, Socket>,
    streams: Streams,
    connections: Option<Arc<Connections>>,
    /// As many calls wait for a datagram as there are clones of it, but for this one.
    receiving: Arc<()>,
}

/// Accepted connections that have streams of WASI 0.3, which keep them open once their handles are dropped.
#[derive(Default)]
struct Streams {
    of: HashMap<u32, Arc<Open>>,
    orphans: Vec<Weak<Open>>,
}

impl Held {
    fn connections(&mut self, guard: &Arc<Guard>) -> &Arc<Connections> {
        self.connections.get_or_insert_with(|| Connections::new(guard))
    }
}

/// A socket, or a stream of one.
struct Socket {
    /// That of the component that opened it: a handle that was passed on keeps its grants.
    network: Arc<Network>,
    v6: bool,
    is_tcp: bool,
    /// What counts it, if the component made it: a stream of datagrams belongs to its socket.
    open: Option<Arc<Open>>,
    bound: Option<Bound>,
    peer: Option<Peer>,
    /// Whether the system knows whom a stream of datagrams is connected to; the engine refuses all others.
    connected: bool,
    /// The addresses on the loopback, as the guest sees them.
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

/// Where a guest's address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To the address itself; the engine asks `hosts` whether it may.
    Real,
    /// To the loopback of the workload.
    Loopback,
}

/// The data of the bindings of every socket interface.
pub(crate) struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = SocketsOf<'a>;
}

/// The engine's sockets, with the workload's loopback in front of them.
pub(crate) struct SocketsOf<'a> {
    pub(super) inner: WasiSocketsCtxView<'a>,
    pub(super) loopback: &'a Arc<Loopback>,
    held: &'a mut Held,
    /// Of the component that calls; none where handles alone are worked on.
    opener: Option<&'a Arc<Network>>,
    guard: &'a Arc<Guard>,
}

/// The sockets of the component that calls.
pub(super) struct Sockets;

impl View for Sockets {
    type Of = HasSockets;
    fn view(scope: Scope<'_>) -> SocketsOf<'_> {
        let wasi = scope.grants.wasi();
        let connections = scope.held.connections(scope.guard);
        let ctx = scope.state.get_or_insert_with(|| wasi.network.sockets(connections, None));
        let inner = WasiSocketsCtxView { ctx, table: scope.table };
        SocketsOf {
            inner,
            loopback: wasi.loopback(),
            held: scope.held,
            opener: Some(&wasi.network),
            guard: scope.guard,
        }
    }
}

pub(super) fn unspecified(v6: bool) -> SocketAddr {
    let ip: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, 0)
}

impl<'a> SocketsOf<'a> {
    /// For operations on sockets that some component opened by its own grant.
    pub(crate) fn of_handles(
        inner: WasiSocketsCtxView<'a>,
        loopback: &'a Arc<Loopback>,
        held: &'a mut Held,
        guard: &'a Arc<Guard>,
    ) -> Self {
        Self { inner, loopback, held, opener: None, guard }
    }

    fn connections(&mut self) -> &Arc<Connections> {
        self.held.connections(self.guard)
    }

    /// Whether the component may open one more socket.
    pub(super) fn may_open(&mut self) -> bool {
        let full = self.is_full();
        if full {
            self.connections().refuse();
        }
        !full
    }

    /// Whether there are as many sockets as there may be. Those that were accepted are counted again: one may have failed, or
    /// gone with its listener.
    fn is_full(&mut self) -> bool {
        let Self { inner, held, .. } = self;
        let (made, orphans) = (&held.sockets, &mut held.streams.orphans);
        let is_socket = |entry: &(dyn Any + Send)| entry.is::<p2::TcpSocket>() || entry.is::<TcpSocket>();
        let sockets = inner.table.iter_mut().filter(|entry| is_socket(&**entry)).count();
        let made = made.values().filter(|socket| socket.open.is_some() && socket.is_tcp).count();
        orphans.retain(|stream| stream.strong_count() > 0);
        let accepted = sockets.saturating_sub(made) + orphans.len();
        self.connections().found(accepted);
        self.connections().is_full()
    }

    /// Whether one more call may wait for a datagram, which it does until what this returns is dropped.
    pub(super) fn may_receive(&mut self) -> Option<Arc<()>> {
        let waiting = Arc::strong_count(&self.held.receiving) as u64 - 1;
        if waiting < self.guard.limits().by_memory(u32::MAX) {
            return Some(self.held.receiving.clone());
        }
        self.guard.refuse(Limit::Memory);
        None
    }

    /// What the engine is to make a socket with, and what counts it until the last of it is closed: the socket, its listener,
    /// its streams.
    pub(super) fn opening(&mut self) -> (WasiSocketsCtx, Option<Arc<Open>>) {
        let Some(opener) = self.opener else { return (self.inner.ctx.clone(), None) };
        let connections = self.connections().clone();
        let open = connections.make();
        (opener.sockets(&connections, Some(open.clone())), Some(open))
    }

    /// What a stream of a socket keeps as long as it is open.
    pub(super) fn stream_of(&mut self, rep: u32) -> Arc<Open> {
        if let Some(open) = self.held.sockets.get(&rep).and_then(|socket| socket.open.clone()) {
            return open;
        }
        let connections = self.connections().clone();
        self.held.streams.of.entry(rep).or_insert_with(|| connections.keep_accepted()).clone()
    }

    /// Remembers who opened a socket.
    pub(super) fn opened(&mut self, rep: u32, v6: bool, is_tcp: bool, open: Option<Arc<Open>>) {
        let Some(network) = self.opener.cloned() else { return };
        let socket =
            Socket { network, v6, is_tcp, open, bound: None, peer: None, connected: false, local: None, remote: None };
        self.held.sockets.insert(rep, socket);
    }

    /// Remembers a stream of a socket, and whether it is connected really.
    pub(super) fn opened_stream(&mut self, rep: u32, of: u32, connected: bool) {
        let Some(Socket { network, v6, remote, .. }) = self.held.sockets.get(&of) else { return };
        let (network, v6, remote) = (network.clone(), *v6, *remote);
        let socket =
            Socket { network, v6, is_tcp: false, open: None, bound: None, peer: None, connected, local: None, remote };
        self.held.sockets.insert(rep, socket);
    }

    /// Forgets a socket, before the engine closes it: its real port may be another's right after.
    pub(super) fn closed(&mut self, rep: u32) {
        self.is_full();
        if self.held.sockets.remove(&rep).is_some_and(|socket| socket.open.is_some()) {
            return;
        }
        match self.held.streams.of.remove(&rep) {
            Some(stream) => self.held.streams.orphans.push(Arc::downgrade(&stream)),
            None => self.connections().one_accepted_less(),
        }
    }

    /// Forgets a socket's stream of datagrams.
    pub(super) fn forget(&mut self, rep: u32) {
        self.held.sockets.remove(&rep);
    }

    pub(super) fn is_v6(&self, rep: u32) -> bool {
        self.held.sockets.get(&rep).is_some_and(|socket| socket.v6)
    }

    /// What to bind to really when a guest binds to `named`, and the virtual port that was taken for it.
    pub(super) fn binding(
        &self,
        rep: u32,
        protocol: Protocol,
        named: SocketAddr,
    ) -> Result<(SocketAddr, Option<Bound>), Refusal> {
        // What was accepted is bound; the engine refuses it, as it does an address of the other family.
        let Some(socket) = self.held.sockets.get(&rep) else { return Ok((named, None)) };
        let ip = named.ip();
        if named.is_ipv6() != socket.v6 || !(ip.is_loopback() || ip.is_unspecified()) {
            return Ok((named, None));
        }
        let local = SocketAddr::new(localhost(socket.v6), 0);
        if socket.bound.is_some() {
            // A second time, which the engine refuses as it should; the port is not asked for.
            return Ok((local, None));
        }
        let any = socket.network.is_any();
        if any && !ip.is_unspecified() && ip != local.ip() {
            return Ok((named, None));
        }
        // A real port is one of the loopback too: siblings that may use only that one reach it.
        let bound = self.loopback.reserve(protocol, socket.v6, named.port())?;
        let real = if any {
            named
        } else if protocol == Protocol::Udp && ip.is_unspecified() && socket.network.speaks(protocol) {
            // One socket may send to both, so it has to be bound to both; what comes in is checked by its sender.
            unspecified(socket.v6)
        } else {
            local
        };
        Ok((real, Some(bound)))
    }

    /// A bind was done.
    pub(super) fn bound(
        &mut self,
        rep: u32,
        named: SocketAddr,
        real: SocketAddr,
        mut bound: Bound,
    ) -> Result<(), Refusal> {
        let port = bound.settle(real.port())?;
        if let Some(socket) = self.held.sockets.get_mut(&rep) {
            socket.local = Some(SocketAddr::new(named.ip(), port));
            socket.bound = Some(bound);
        }
        Ok(())
    }

    /// A bound socket listens.
    pub(super) fn listening(&self, rep: u32) {
        if let Some(bound) = self.held.sockets.get(&rep).and_then(|socket| socket.bound.as_ref()) {
            bound.listening();
        }
    }

    /// Where an address leads that a guest connects or sends to.
    pub(super) fn route(&self, rep: u32, protocol: Protocol, named: SocketAddr) -> Route {
        let Some(socket) = self.held.sockets.get(&rep) else { return Route::Real };
        // The engine refuses the other family and port 0 as invalid, whatever they would lead to.
        if !named.ip().is_loopback() || named.port() == 0 || named.is_ipv6() != socket.v6 {
            return Route::Real;
        }
        let how = if protocol == Protocol::Udp { SocketAddrUse::UdpSend } else { SocketAddrUse::TcpConnect };
        // Siblings go before the world, here as everywhere.
        if self.real(protocol, named).is_err() {
            if socket.network.rules_allow(named, how) {
                return Route::Real;
            }
            tracing::debug!(address = %named, "no sibling listens there, and no entry of `hosts` allows the machine's own");
        }
        Route::Loopback
    }

    /// The real address for one of the loopback.
    pub(super) fn real(&self, protocol: Protocol, named: SocketAddr) -> Result<SocketAddr, Refusal> {
        let port = self.loopback.find(protocol, named.is_ipv6(), named.port())?;
        Ok(SocketAddr::new(localhost(named.is_ipv6()), port))
    }

    /// Announces the connection of a socket that is bound to `local` really.
    pub(super) fn announce(&self, local: SocketAddr, to: SocketAddr) -> Result<Peer, Refusal> {
        let ip = if local.ip().is_unspecified() { localhost(local.is_ipv6()) } else { local.ip() };
        self.loopback.announce(SocketAddr::new(ip, local.port()), to)
    }

    /// Whether a connection of this socket was announced already.
    pub(super) fn is_announced(&self, rep: u32) -> bool {
        self.held.sockets.get(&rep).is_some_and(|socket| socket.peer.is_some())
    }

    /// A socket connects to `named` on the loopback.
    pub(super) fn connecting(&mut self, rep: u32, named: SocketAddr, peer: Peer) {
        if let Some(socket) = self.held.sockets.get_mut(&rep) {
            socket.peer = Some(peer);
            socket.remote = Some(named);
            // A connection has an address, whatever its socket was bound to.
            socket.local = socket.local.map(|local| SocketAddr::new(localhost(local.is_ipv6()), local.port()));
        }
    }

    /// A socket has connected.
    pub(super) fn connected(&mut self, rep: u32) {
        if let Some(peer) = self.held.sockets.get_mut(&rep).and_then(|socket| socket.peer.as_mut()) {
            peer.connected();
        }
    }

    /// Connects a UDP socket to an address of the loopback, in name only: which real port that is may change, and the
    /// system would take the socket's own port away when the real connection is undone.
    pub(super) fn set_peer(&mut self, rep: u32, named: Option<SocketAddr>) -> Option<SocketAddr> {
        let socket = self.held.sockets.get_mut(&rep)?;
        std::mem::replace(&mut socket.remote, named)
    }

    /// The address on the loopback that a socket is connected to.
    pub(super) fn peer(&self, rep: u32) -> Option<SocketAddr> {
        self.held.sockets.get(&rep)?.remote
    }

    /// The real address for a datagram.
    pub(super) fn target(&self, rep: u32, named: Option<SocketAddr>) -> Result<Option<SocketAddr>, Refusal> {
        if self.held.sockets.get(&rep).is_some_and(|socket| socket.connected) {
            return Ok(named);
        }
        let named = match (self.peer(rep), named) {
            (Some(peer), Some(named)) if peer != named => return Err(Refusal::NotConnectedTo),
            (Some(peer), _) => return self.real(Protocol::Udp, peer).map(Some),
            (None, None) => return Ok(None),
            (None, Some(named)) => named,
        };
        match self.route(rep, Protocol::Udp, named) {
            Route::Real => Ok(Some(named)),
            Route::Loopback => self.real(Protocol::Udp, named).map(Some),
        }
    }

    /// Whether a datagram is for a guest: a socket that is connected gets those of its peer.
    pub(super) fn is_from_peer(&self, rep: u32, shown: SocketAddr) -> bool {
        self.peer(rep).is_none_or(|peer| shown.ip().is_loopback() && shown.port() == peer.port())
    }

    /// A socket's local address, as the guest sees it.
    pub(super) fn local(&self, rep: u32, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        let local = self.held.sockets.get(&rep).and_then(|socket| socket.local);
        let local = local.unwrap_or_else(|| self.loopback.shown(protocol, real));
        // Who speaks to the loopback does so from an address of it, whatever its socket was bound to.
        if local.ip().is_unspecified() && self.peer(rep).is_some() {
            return SocketAddr::new(localhost(local.is_ipv6()), local.port());
        }
        local
    }

    /// A socket's remote address, as the guest sees it.
    pub(super) fn remote(&self, rep: u32, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        self.peer(rep).unwrap_or_else(|| self.loopback.shown(protocol, real))
    }
}
