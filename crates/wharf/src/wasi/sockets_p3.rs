//! `wasi:sockets` 0.3 with the workload's loopback: addresses are translated, and the engine does the rest.

use std::net::SocketAddr;

use futures_util::FutureExt;
use wasmtime::AsContextMut;
use wasmtime::component::{Access, Accessor, FutureReader, Resource, StreamReader};
use wasmtime_wasi::p3::bindings::sockets::types::{
    self, ErrorCode, HostTcpSocket, HostTcpSocketWithStore, HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily,
    IpSocketAddress, TcpSocket, UdpSocket,
};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView};
use workload::manifest::Protocol;

use super::loopback::{Refusal, localhost};
use super::sockets::{HasSockets, Route, SocketsOf, unspecified};
use super::until::hold_until_done;
use crate::ctx::Ctx;

impl From<Refusal> for SocketError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::InUse => ErrorCode::AddressInUse,
            Refusal::Full => ErrorCode::OutOfMemory,
            Refusal::Nobody => ErrorCode::ConnectionRefused,
            Refusal::NotConnectedTo => ErrorCode::InvalidArgument,
        };
        code.into()
    }
}

/// Methods that the engine's own sockets are asked for as they are.
macro_rules! delegate {
    ($of:path: $(fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        $(fn $name(&mut self, $($arg: $ty),*) -> $out {
            <_ as $of>::$name(&mut self.inner, $($arg),*)
        })*
    };
}

/// What comes of a future that waits for nothing but the check of an address, which is `Network`'s and ready at once.
fn at_once<T>(future: impl Future<Output = SocketResult<T>>) -> SocketResult<T> {
    future.now_or_never().ok_or(ErrorCode::InvalidState)?
}

/// The engine's own view of the same store. It works on handles here, so whose `hosts` it has is no matter: each socket
/// has those of its own.
fn engines<'a>(store: &'a mut Access<'_, Ctx, HasSockets>) -> Access<'a, Ctx, WasiSockets> {
    Access::<'_, Ctx, WasiSockets>::new(store.as_context_mut(), Ctx::sockets)
}

impl types::Host for SocketsOf<'_> {
    delegate! { types::Host: fn convert_error_code(error: SocketError) -> wasmtime::Result<ErrorCode>; }
}

impl SocketsOf<'_> {
    /// Readies a socket to connect to `named`, and gives the real address.
    fn prepare_connect(&mut self, rep: u32, named: SocketAddr) -> SocketResult<SocketAddr> {
        if self.route(rep, Protocol::Tcp, named) == Route::Real {
            return Ok(named);
        }
        let real = self.real(Protocol::Tcp, named)?;
        // A second time, which the engine refuses; the first one's addresses stay.
        if self.is_announced(rep) {
            return Ok(real);
        }
        let bound = HostTcpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep));
        let local = if let Ok(local) = bound {
            local
        } else {
            // It has to be announced before the connection comes, so it is bound before.
            let local = SocketAddr::new(localhost(self.is_v6(rep)), 0);
            at_once(HostTcpSocket::bind(&mut self.inner, Resource::new_borrow(rep), local.into()))?;
            HostTcpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep))?
        };
        let peer = self.announce(local.into(), real)?;
        self.connecting(rep, named, peer);
        Ok(real)
    }

    /// Binds a TCP socket that listens without having been bound, as the engine would, but to a virtual port.
    fn bound_to_listen(&mut self, rep: u32) -> SocketResult<()> {
        if HostTcpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep)).is_ok() {
            return Ok(());
        }
        let local = unspecified(self.is_v6(rep));
        at_once(HostTcpSocket::bind(self, Resource::new_borrow(rep), local.into()))
    }

    /// Binds a UDP socket that sends without having been bound, as the engine would: siblings take datagrams from
    /// registered sockets alone.
    fn bound_to_send(&mut self, rep: u32) -> SocketResult<()> {
        if HostUdpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep)).is_ok() {
            return Ok(());
        }
        let local = unspecified(self.is_v6(rep));
        at_once(HostUdpSocket::bind(self, Resource::new_borrow(rep), local.into()))
    }

    /// Readies a socket to send, and gives the real address.
    fn prepare_send(
        &mut self,
        rep: u32,
        named: Option<SocketAddr>,
    ) -> SocketResult<Result<Option<SocketAddr>, Refusal>> {
        // The engine knows whom a socket is connected to really, and refuses all others.
        if HostUdpSocket::get_remote_address(&mut self.inner, Resource::new_borrow(rep)).is_ok() {
            return Ok(Ok(named));
        }
        // One that nobody gave an address is refused before it is bound.
        if named.is_some() || self.peer(rep).is_some() {
            self.bound_to_send(rep)?;
        }
        Ok(self.target(rep, named))
    }

    /// The source of a datagram as the guest sees it, if the datagram is for it.
    fn source(&self, rep: u32, real: SocketAddr) -> Option<SocketAddr> {
        let shown = self.loopback.shown(Protocol::Udp, real);
        self.is_from_peer(rep, shown).then_some(shown)
    }
}

// For `Ctx` alone: the engine's view of the store is found without a component's scope.
impl HostTcpSocketWithStore<Ctx> for HasSockets {
    async fn connect(
        store: &Accessor<Ctx, Self>,
        socket: Resource<TcpSocket>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        let rep = socket.rep();
        let real = store.with(|mut access| access.get().prepare_connect(rep, remote.into()))?;
        let engines = store.with_getter::<WasiSockets>(Ctx::sockets);
        <WasiSockets as HostTcpSocketWithStore<Ctx>>::connect(&engines, socket, real.into()).await?;
        store.with(|mut access| access.get().connected(rep));
        Ok(())
    }

    async fn listen(
        mut store: Access<'_, Ctx, Self>,
        socket: Resource<TcpSocket>,
    ) -> SocketResult<StreamReader<Resource<TcpSocket>>> {
        let rep = socket.rep();
        store.get().bound_to_listen(rep)?;
        let stream = <WasiSockets as HostTcpSocketWithStore<Ctx>>::listen(engines(&mut store), socket).await?;
        store.get().listening(rep);
        Ok(stream)
    }

    fn send(
        mut store: Access<'_, Ctx, Self>,
        socket: Resource<TcpSocket>,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
        let open = store.get().stream_of(socket.rep());
        let done = <WasiSockets as HostTcpSocketWithStore<Ctx>>::send(engines(&mut store), socket, data)?;
        hold_until_done(&mut store.as_context_mut(), done, open)
    }

    fn receive(
        mut store: Access<'_, Ctx, Self>,
        socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), ErrorCode>>)> {
        let open = store.get().stream_of(socket.rep());
        let (stream, done) = <WasiSockets as HostTcpSocketWithStore<Ctx>>::receive(engines(&mut store), socket)?;
        Ok((stream, hold_until_done(&mut store.as_context_mut(), done, open)?))
    }
}

impl HostTcpSocket for SocketsOf<'_> {
    async fn bind(&mut self, socket: Resource<TcpSocket>, local: IpSocketAddress) -> SocketResult<()> {
        let (rep, named) = (socket.rep(), SocketAddr::from(local));
        let (real, bound) = self.binding(rep, Protocol::Tcp, named)?;
        HostTcpSocket::bind(&mut self.inner, socket, real.into()).await?;
        if let Some(bound) = bound {
            let real = HostTcpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep))?;
            self.bound(rep, named, real.into(), bound)?;
        }
        Ok(())
    }

    fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        if !self.may_open() {
            return Err(ErrorCode::Other(Some("too many sockets; see the limit `connections`".to_owned())).into());
        }
        let (mut ctx, open) = self.opening();
        let socket = HostTcpSocket::create(&mut WasiSocketsCtxView { ctx: &mut ctx, table: self.inner.table }, family)?;
        self.opened(socket.rep(), matches!(family, IpAddressFamily::Ipv6), true, open);
        Ok(socket)
    }

    fn get_local_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = socket.rep();
        let real = HostTcpSocket::get_local_address(&mut self.inner, socket)?;
        Ok(self.local(rep, Protocol::Tcp, real.into()).into())
    }

    fn get_remote_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = socket.rep();
        let real = HostTcpSocket::get_remote_address(&mut self.inner, socket)?;
        Ok(self.remote(rep, Protocol::Tcp, real.into()).into())
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.closed(socket.rep());
        HostTcpSocket::drop(&mut self.inner, socket)
    }

    delegate! { HostTcpSocket:
        fn get_is_listening(socket: Resource<TcpSocket>) -> wasmtime::Result<bool>;
        fn get_address_family(socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily>;
        fn set_listen_backlog_size(socket: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
        fn get_keep_alive_enabled(socket: Resource<TcpSocket>) -> SocketResult<bool>;
        fn set_keep_alive_enabled(socket: Resource<TcpSocket>, value: bool) -> SocketResult<()>;
        fn get_keep_alive_idle_time(socket: Resource<TcpSocket>) -> SocketResult<u64>;
        fn set_keep_alive_idle_time(socket: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
        fn get_keep_alive_interval(socket: Resource<TcpSocket>) -> SocketResult<u64>;
        fn set_keep_alive_interval(socket: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
        fn get_keep_alive_count(socket: Resource<TcpSocket>) -> SocketResult<u32>;
        fn set_keep_alive_count(socket: Resource<TcpSocket>, value: u32) -> SocketResult<()>;
        fn get_hop_limit(socket: Resource<TcpSocket>) -> SocketResult<u8>;
        fn set_hop_limit(socket: Resource<TcpSocket>, value: u8) -> SocketResult<()>;
        fn get_receive_buffer_size(socket: Resource<TcpSocket>) -> SocketResult<u64>;
        fn set_receive_buffer_size(socket: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
        fn get_send_buffer_size(socket: Resource<TcpSocket>) -> SocketResult<u64>;
        fn set_send_buffer_size(socket: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
    }
}

impl HostUdpSocketWithStore<Ctx> for HasSockets {
    async fn send(
        store: &Accessor<Ctx, Self>,
        socket: Resource<UdpSocket>,
        data: Vec<u8>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<()> {
        let (rep, named) = (socket.rep(), remote.map(SocketAddr::from));
        let real = match store.with(|mut access| access.get().prepare_send(rep, named))? {
            Ok(real) => real.map(Into::into),
            // A datagram to nobody is sent, and lost.
            Err(Refusal::Nobody) => return Ok(()),
            Err(refusal) => return Err(refusal.into()),
        };
        let engines = store.with_getter::<WasiSockets>(Ctx::sockets);
        <WasiSockets as HostUdpSocketWithStore<Ctx>>::send(&engines, socket, data, real).await
    }

    async fn receive(
        store: &Accessor<Ctx, Self>,
        socket: Resource<UdpSocket>,
    ) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let rep = socket.rep();
        // Each that waits holds room for the largest datagram.
        let Some(_receiving) = store.with(|mut access| access.get().may_receive()) else {
            return Err(ErrorCode::Other(Some("too many calls of `receive`; see the limit `memory`".to_owned())).into());
        };
        let engines = store.with_getter::<WasiSockets>(Ctx::sockets);
        loop {
            let this = Resource::new_borrow(rep);
            let (data, from) = <WasiSockets as HostUdpSocketWithStore<Ctx>>::receive(&engines, this).await?;
            if let Some(source) = store.with(|mut access| access.get().source(rep, from.into())) {
                return Ok((data, source.into()));
            }
        }
    }
}

impl HostUdpSocket for SocketsOf<'_> {
    async fn bind(&mut self, socket: Resource<UdpSocket>, local: IpSocketAddress) -> SocketResult<()> {
        let (rep, named) = (socket.rep(), SocketAddr::from(local));
        let (real, bound) = self.binding(rep, Protocol::Udp, named)?;
        HostUdpSocket::bind(&mut self.inner, socket, real.into()).await?;
        if let Some(bound) = bound {
            let real = HostUdpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep))?;
            self.bound(rep, named, real.into(), bound)?;
        }
        Ok(())
    }

    async fn connect(&mut self, socket: Resource<UdpSocket>, remote: IpSocketAddress) -> SocketResult<()> {
        let (rep, named) = (socket.rep(), SocketAddr::from(remote));
        if self.route(rep, Protocol::Udp, named) == Route::Real {
            HostUdpSocket::connect(&mut self.inner, socket, remote).await?;
            self.set_peer(rep, None);
            return Ok(());
        }
        self.bound_to_send(rep)?;
        if HostUdpSocket::get_remote_address(&mut self.inner, Resource::new_borrow(rep)).is_ok() {
            HostUdpSocket::disconnect(&mut self.inner, socket)?;
        }
        self.set_peer(rep, Some(named));
        Ok(())
    }

    async fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        if !self.may_open() {
            return Err(ErrorCode::Other(Some("too many sockets; see the limit `connections`".to_owned())).into());
        }
        let (mut ctx, open) = self.opening();
        let mut engine = WasiSocketsCtxView { ctx: &mut ctx, table: self.inner.table };
        let socket = HostUdpSocket::create(&mut engine, family).await?;
        self.opened(socket.rep(), matches!(family, IpAddressFamily::Ipv6), false, open);
        Ok(socket)
    }

    fn disconnect(&mut self, socket: Resource<UdpSocket>) -> SocketResult<()> {
        match self.set_peer(socket.rep(), None) {
            Some(_) => Ok(()),
            None => HostUdpSocket::disconnect(&mut self.inner, socket),
        }
    }

    fn get_local_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = socket.rep();
        let real = HostUdpSocket::get_local_address(&mut self.inner, socket)?;
        Ok(self.local(rep, Protocol::Udp, real.into()).into())
    }

    fn get_remote_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        match self.peer(socket.rep()) {
            Some(peer) => Ok(peer.into()),
            None => HostUdpSocket::get_remote_address(&mut self.inner, socket),
        }
    }

    fn drop(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.closed(socket.rep());
        HostUdpSocket::drop(&mut self.inner, socket)
    }

    delegate! { HostUdpSocket:
        fn get_address_family(socket: Resource<UdpSocket>) -> wasmtime::Result<IpAddressFamily>;
        fn get_unicast_hop_limit(socket: Resource<UdpSocket>) -> SocketResult<u8>;
        fn set_unicast_hop_limit(socket: Resource<UdpSocket>, value: u8) -> SocketResult<()>;
        fn get_receive_buffer_size(socket: Resource<UdpSocket>) -> SocketResult<u64>;
        fn set_receive_buffer_size(socket: Resource<UdpSocket>, value: u64) -> SocketResult<()>;
        fn get_send_buffer_size(socket: Resource<UdpSocket>) -> SocketResult<u64>;
        fn set_send_buffer_size(socket: Resource<UdpSocket>, value: u64) -> SocketResult<()>;
    }
}
