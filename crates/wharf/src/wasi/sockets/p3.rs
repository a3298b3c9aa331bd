//! [`wasi:sockets`](https://github.com/WebAssembly/wasi-sockets) 0.3 with the workload's loopback: translates addresses, and leaves
//! the rest to wasmtime.

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

use super::loopback::{LoopbackError, localhost};
use super::{HasSockets, MIN_BACKLOG, Route, SocketsView, at_least, unspecified};
use crate::store::StoreData;
use crate::wasi::hold::hold_until_done;
use crate::wasi::unit;

impl From<LoopbackError> for SocketError {
    fn from(error: LoopbackError) -> Self {
        let code = match error {
            LoopbackError::InUse => ErrorCode::AddressInUse,
            LoopbackError::Full => ErrorCode::OutOfMemory,
            LoopbackError::NotListening => ErrorCode::ConnectionRefused,
            LoopbackError::NotConnectedTo => ErrorCode::InvalidArgument,
        };
        code.into()
    }
}

/// Methods that call wasmtime's implementation unchanged.
macro_rules! delegate {
    ($of:path: $(fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        $(fn $name(&mut self, $($arg: $ty),*) -> $out {
            <_ as $of>::$name(&mut self.inner, $($arg),*)
        })*
    };
}

/// Returns the output of a future that awaits only the address check of `Network`, which is ready at once for a bind.
fn ready_output<T>(future: impl Future<Output = SocketResult<T>>) -> SocketResult<T> {
    future.now_or_never().ok_or(ErrorCode::InvalidState)?
}

/// wasmtime's own view of the store. It is used for handles alone, so it needs no component: each socket has the `hosts` of the
/// component that opened it.
fn wasmtime_view<'a>(store: &'a mut Access<'_, StoreData, HasSockets>) -> Access<'a, StoreData, WasiSockets> {
    Access::<'_, StoreData, WasiSockets>::new(store.as_context_mut(), unit::sockets)
}

impl types::Host for SocketsView<'_> {
    delegate! { types::Host: fn convert_error_code(error: SocketError) -> wasmtime::Result<ErrorCode>; }
}

impl SocketsView<'_> {
    /// Prepares a socket to connect to `requested`. Returns the real address.
    fn prepare_connect(&mut self, rep: u32, requested: SocketAddr) -> SocketResult<SocketAddr> {
        if self.route(rep, Protocol::Tcp, requested) == Route::Real {
            return Ok(requested);
        }
        let real = self.real_address(rep, Protocol::Tcp, requested)?;
        // wasmtime rejects a second connect, and the addresses of the first one stay.
        if self.is_announced(rep) {
            return Ok(real);
        }
        let bound = HostTcpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep));
        let local = if let Ok(local) = bound {
            local
        } else {
            // The connection is announced with the socket's address before it is made, so the socket is bound first.
            let local = SocketAddr::new(localhost(self.is_v6(rep)), 0);
            ready_output(HostTcpSocket::bind(&mut self.inner, Resource::new_borrow(rep), local.into()))?;
            HostTcpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep))?
        };
        let announcement = self.announce(rep, local.into(), real)?;
        self.record_connecting(rep, requested, announcement);
        Ok(real)
    }

    /// Binds a TCP socket that listens without being bound. wasmtime would bind it without a virtual port.
    fn bind_to_listen(&mut self, rep: u32) -> SocketResult<()> {
        if HostTcpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep)).is_ok() {
            return Ok(());
        }
        let local = unspecified(self.is_v6(rep));
        ready_output(HostTcpSocket::bind(self, Resource::new_borrow(rep), local.into()))
    }

    /// Binds a UDP socket that sends without being bound. wasmtime would bind it without a virtual port, and siblings receive
    /// datagrams from virtual ports alone.
    fn bind_to_send(&mut self, rep: u32) -> SocketResult<()> {
        if HostUdpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep)).is_ok() {
            return Ok(());
        }
        let local = unspecified(self.is_v6(rep));
        ready_output(HostUdpSocket::bind(self, Resource::new_borrow(rep), local.into()))
    }

    /// Prepares a socket to send. Returns the real destination.
    fn prepare_send(
        &mut self,
        rep: u32,
        requested: Option<SocketAddr>,
    ) -> SocketResult<Result<Option<SocketAddr>, LoopbackError>> {
        // wasmtime rejects other destinations of a socket that the system has connected.
        if HostUdpSocket::get_remote_address(&mut self.inner, Resource::new_borrow(rep)).is_ok() {
            return Ok(Ok(requested));
        }
        // A datagram without a destination is rejected, and the socket stays unbound.
        if requested.is_some() || self.peer(rep).is_some() {
            self.bind_to_send(rep)?;
        }
        Ok(self.datagram_target(rep, requested))
    }

    /// Returns the source of a datagram as the guest sees it, or `None` when the socket does not receive the datagram.
    fn source(&self, rep: u32, real: SocketAddr) -> Option<SocketAddr> {
        let visible = self.loopback_of(rep).to_virtual(Protocol::Udp, real);
        self.is_from_peer(rep, visible).then_some(visible)
    }
}

// For `StoreData` alone, because wasmtime's view of the store is created from it without a component's scope.
impl HostTcpSocketWithStore<StoreData> for HasSockets {
    async fn connect(
        store: &Accessor<StoreData, Self>,
        socket: Resource<TcpSocket>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        let rep = socket.rep();
        if let Some(missing) = store.with(|mut access| access.get().missing_listener(rep, remote.into())) {
            missing.wait().await;
        }
        let real = store.with(|mut access| access.get().prepare_connect(rep, remote.into()))?;
        let view = store.with_getter::<WasiSockets>(unit::sockets);
        <WasiSockets as HostTcpSocketWithStore<StoreData>>::connect(&view, socket, real.into()).await?;
        store.with(|mut access| access.get().record_connected(rep));
        Ok(())
    }

    async fn listen(
        mut store: Access<'_, StoreData, Self>,
        socket: Resource<TcpSocket>,
    ) -> SocketResult<StreamReader<Resource<TcpSocket>>> {
        let rep = socket.rep();
        store.get().bind_to_listen(rep)?;
        let stream =
            <WasiSockets as HostTcpSocketWithStore<StoreData>>::listen(wasmtime_view(&mut store), socket).await?;
        store.get().record_listen(rep);
        Ok(stream)
    }

    fn send(
        mut store: Access<'_, StoreData, Self>,
        socket: Resource<TcpSocket>,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Result<(), ErrorCode>>> {
        let guard = store.get().stream_guard(socket.rep());
        let done = <WasiSockets as HostTcpSocketWithStore<StoreData>>::send(wasmtime_view(&mut store), socket, data)?;
        hold_until_done(&mut store.as_context_mut(), done, guard)
    }

    fn receive(
        mut store: Access<'_, StoreData, Self>,
        socket: Resource<TcpSocket>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), ErrorCode>>)> {
        let guard = store.get().stream_guard(socket.rep());
        let (stream, done) =
            <WasiSockets as HostTcpSocketWithStore<StoreData>>::receive(wasmtime_view(&mut store), socket)?;
        Ok((stream, hold_until_done(&mut store.as_context_mut(), done, guard)?))
    }
}

impl HostTcpSocket for SocketsView<'_> {
    async fn bind(&mut self, socket: Resource<TcpSocket>, local: IpSocketAddress) -> SocketResult<()> {
        let (rep, requested) = (socket.rep(), SocketAddr::from(local));
        let (real, binding) = self.plan_bind(rep, Protocol::Tcp, requested)?;
        HostTcpSocket::bind(&mut self.inner, socket, real.into()).await?;
        if let Some(binding) = binding {
            let real = HostTcpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep))?;
            self.record_bind(rep, requested, real.into(), binding)?;
        }
        Ok(())
    }

    fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        if !self.has_room_for_socket() {
            return Err(ErrorCode::Other(Some(
                "limit reached: connections; close a socket, or raise the limit".to_owned(),
            ))
            .into());
        }
        let (mut ctx, guard) = self.socket_context();
        let mut engine = WasiSocketsCtxView { ctx: &mut ctx, table: self.inner.table };
        let socket = HostTcpSocket::create(&mut engine, family)?;
        HostTcpSocket::set_listen_backlog_size(&mut engine, Resource::new_borrow(socket.rep()), MIN_BACKLOG)?;
        self.record_socket(socket.rep(), matches!(family, IpAddressFamily::Ipv6), true, guard);
        Ok(socket)
    }

    fn get_local_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = socket.rep();
        let real = HostTcpSocket::get_local_address(&mut self.inner, socket)?;
        Ok(self.visible_local(rep, Protocol::Tcp, real.into()).into())
    }

    fn get_remote_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = socket.rep();
        let real = HostTcpSocket::get_remote_address(&mut self.inner, socket)?;
        Ok(self.visible_remote(rep, Protocol::Tcp, real.into()).into())
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        HostTcpSocket::set_listen_backlog_size(&mut self.inner, socket, at_least(value))
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.forget_socket(socket.rep());
        HostTcpSocket::drop(&mut self.inner, socket)
    }

    delegate! { HostTcpSocket:
        fn get_is_listening(socket: Resource<TcpSocket>) -> wasmtime::Result<bool>;
        fn get_address_family(socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily>;
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

impl HostUdpSocketWithStore<StoreData> for HasSockets {
    async fn send(
        store: &Accessor<StoreData, Self>,
        socket: Resource<UdpSocket>,
        data: Vec<u8>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<()> {
        let (rep, requested) = (socket.rep(), remote.map(SocketAddr::from));
        let real = match store.with(|mut access| access.get().prepare_send(rep, requested))? {
            Ok(real) => real.map(Into::into),
            // A datagram to a port without a socket counts as sent, and is lost.
            Err(LoopbackError::NotListening) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let view = store.with_getter::<WasiSockets>(unit::sockets);
        <WasiSockets as HostUdpSocketWithStore<StoreData>>::send(&view, socket, data, real).await
    }

    async fn receive(
        store: &Accessor<StoreData, Self>,
        socket: Resource<UdpSocket>,
    ) -> SocketResult<(Vec<u8>, IpSocketAddress)> {
        let rep = socket.rep();
        // Each waiting call holds a buffer for the largest datagram.
        let Some(_receiving) = store.with(|mut access| access.get().start_receive()) else {
            return Err(ErrorCode::Other(Some(
                "limit reached: memory; too many calls of `receive` are waiting".to_owned(),
            ))
            .into());
        };
        let view = store.with_getter::<WasiSockets>(unit::sockets);
        loop {
            let this = Resource::new_borrow(rep);
            let (data, from) = <WasiSockets as HostUdpSocketWithStore<StoreData>>::receive(&view, this).await?;
            if let Some(source) = store.with(|mut access| access.get().source(rep, from.into())) {
                return Ok((data, source.into()));
            }
        }
    }
}

impl HostUdpSocket for SocketsView<'_> {
    async fn bind(&mut self, socket: Resource<UdpSocket>, local: IpSocketAddress) -> SocketResult<()> {
        let (rep, requested) = (socket.rep(), SocketAddr::from(local));
        let (real, binding) = self.plan_bind(rep, Protocol::Udp, requested)?;
        HostUdpSocket::bind(&mut self.inner, socket, real.into()).await?;
        if let Some(binding) = binding {
            let real = HostUdpSocket::get_local_address(&mut self.inner, Resource::new_borrow(rep))?;
            self.record_bind(rep, requested, real.into(), binding)?;
        }
        Ok(())
    }

    async fn connect(&mut self, socket: Resource<UdpSocket>, remote: IpSocketAddress) -> SocketResult<()> {
        let (rep, requested) = (socket.rep(), SocketAddr::from(remote));
        if self.route(rep, Protocol::Udp, requested) == Route::Real {
            HostUdpSocket::connect(&mut self.inner, socket, remote).await?;
            self.set_peer(rep, None);
            return Ok(());
        }
        self.bind_to_send(rep)?;
        if HostUdpSocket::get_remote_address(&mut self.inner, Resource::new_borrow(rep)).is_ok() {
            HostUdpSocket::disconnect(&mut self.inner, socket)?;
        }
        self.set_peer(rep, Some(requested));
        Ok(())
    }

    async fn create(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        if !self.has_room_for_socket() {
            return Err(ErrorCode::Other(Some(
                "limit reached: connections; close a socket, or raise the limit".to_owned(),
            ))
            .into());
        }
        let (mut ctx, guard) = self.socket_context();
        let mut engine = WasiSocketsCtxView { ctx: &mut ctx, table: self.inner.table };
        let socket = HostUdpSocket::create(&mut engine, family).await?;
        self.record_socket(socket.rep(), matches!(family, IpAddressFamily::Ipv6), false, guard);
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
        Ok(self.visible_local(rep, Protocol::Udp, real.into()).into())
    }

    fn get_remote_address(&mut self, socket: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        match self.peer(socket.rep()) {
            Some(peer) => Ok(peer.into()),
            None => HostUdpSocket::get_remote_address(&mut self.inner, socket),
        }
    }

    fn drop(&mut self, socket: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.forget_socket(socket.rep());
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
