//! [`wasi:sockets`](https://github.com/WebAssembly/wasi-sockets) 0.2 with the workload's loopback: translates addresses, and leaves
//! the rest to wasmtime.

use std::net::SocketAddr;

use futures_util::FutureExt;
use wasmtime::StoreContextMut;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::{self, HostTcpSocket, ShutdownType, TcpSocket};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    self, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram,
    IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream, UdpSocket,
};
use wasmtime_wasi::p2::bindings::sockets::{instance_network, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, SocketError, SocketResult};
use wasmtime_wasi::sockets::WasiSocketsCtxView;
use workload::manifest::Protocol;

use super::loopback::{LoopbackError, localhost};
use super::{HasSockets, MIN_BACKLOG, Route, SocketsView, at_least};
use crate::plugin::Link;
use crate::store::StoreData;
use crate::wasi::unit;

impl From<LoopbackError> for SocketError {
    fn from(error: LoopbackError) -> Self {
        let code = match error {
            LoopbackError::InUse => ErrorCode::AddressInUse,
            LoopbackError::Full => ErrorCode::NewSocketLimit,
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

impl network::Host for SocketsView<'_> {
    delegate! { network::Host:
        fn convert_error_code(error: SocketError) -> wasmtime::Result<ErrorCode>;
        fn network_error_code(error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>>;
    }
}

impl network::HostNetwork for SocketsView<'_> {
    delegate! { network::HostNetwork: fn drop(network: Resource<Network>) -> wasmtime::Result<()>; }
}

impl instance_network::Host for SocketsView<'_> {
    delegate! { instance_network::Host: fn instance_network() -> wasmtime::Result<Resource<Network>>; }
}

impl tcp_create_socket::Host for SocketsView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        if !self.has_room_for_socket() {
            return Err(ErrorCode::NewSocketLimit.into());
        }
        let (mut ctx, guard) = self.socket_context();
        let mut engine = WasiSocketsCtxView { ctx: &mut ctx, table: self.inner.table };
        let socket = tcp_create_socket::Host::create_tcp_socket(&mut engine, family)?;
        HostTcpSocket::set_listen_backlog_size(&mut engine, Resource::new_borrow(socket.rep()), MIN_BACKLOG)?;
        self.record_socket(socket.rep(), matches!(family, IpAddressFamily::Ipv6), true, guard);
        Ok(socket)
    }
}

impl udp_create_socket::Host for SocketsView<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        if !self.has_room_for_socket() {
            return Err(ErrorCode::NewSocketLimit.into());
        }
        let (mut ctx, guard) = self.socket_context();
        let mut engine = WasiSocketsCtxView { ctx: &mut ctx, table: self.inner.table };
        let socket = udp_create_socket::Host::create_udp_socket(&mut engine, family).await?;
        self.record_socket(socket.rep(), matches!(family, IpAddressFamily::Ipv6), false, guard);
        Ok(socket)
    }
}

impl SocketsView<'_> {
    /// Returns the real local address of a socket that is about to connect on the loopback. Binds the socket first if it is not
    /// bound, because the connection is announced with this address before it is made.
    fn bind_to_connect(&mut self, rep: u32, network: &Resource<Network>) -> SocketResult<SocketAddr> {
        if let Ok(local) = HostTcpSocket::local_address(&mut self.inner, Resource::new_borrow(rep)) {
            return Ok(local.into());
        }
        let local = SocketAddr::new(localhost(self.is_v6(rep)), 0);
        let (this, network) = (Resource::new_borrow(rep), Resource::new_borrow(network.rep()));
        let bind = HostTcpSocket::start_bind(&mut self.inner, this, network, local.into());
        // The future awaits only the address check of `Network`, which is ready at once for a bind.
        bind.now_or_never().ok_or(ErrorCode::InvalidState)??;
        HostTcpSocket::finish_bind(&mut self.inner, Resource::new_borrow(rep))?;
        Ok(HostTcpSocket::local_address(&mut self.inner, Resource::new_borrow(rep))?.into())
    }
}

impl tcp::Host for SocketsView<'_> {}

/// Links `wasi:sockets/tcp` with a `start-connect` that waits for a service that is starting.
pub(in crate::wasi) fn link_tcp(link: &mut Link<'_>) -> wasmtime::Result<()> {
    type Args = (Resource<TcpSocket>, Resource<Network>, IpSocketAddress);
    tcp::add_to_linker_instance::<StoreData, HasSockets>(&mut link.instance()?, unit::workload_sockets)?;
    link.replace(|instance| {
        instance.func_wrap_async(
            "[method]tcp-socket.start-connect",
            |mut store: StoreContextMut<'_, StoreData>, (this, network, remote): Args| {
                Box::new(async move {
                    let sockets = unit::workload_sockets(store.data_mut());
                    let missing = sockets.missing_listener(this.rep(), remote.into());
                    if let Some(missing) = missing {
                        missing.wait().await;
                    }
                    let mut sockets = unit::workload_sockets(store.data_mut());
                    let started = HostTcpSocket::start_connect(&mut sockets, this, network, remote);
                    Ok((match started {
                        Ok(()) => Ok(()),
                        Err(error) => Err(network::Host::convert_error_code(&mut sockets.inner, error)?),
                    },))
                })
            },
        )
    })
}

impl HostTcpSocket for SocketsView<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let (rep, requested) = (this.rep(), SocketAddr::from(local));
        let (real, binding) = self.plan_bind(rep, Protocol::Tcp, requested)?;
        HostTcpSocket::start_bind(&mut self.inner, this, network, real.into()).await?;
        if let Some(binding) = binding {
            let real = HostTcpSocket::local_address(&mut self.inner, Resource::new_borrow(rep))?;
            self.record_bind(rep, requested, real.into(), binding)?;
        }
        Ok(())
    }

    fn accept(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        if !self.has_room_for_socket() {
            return Err(ErrorCode::NewSocketLimit.into());
        }
        HostTcpSocket::accept(&mut self.inner, this)
    }

    fn start_connect(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        let (rep, requested) = (this.rep(), SocketAddr::from(remote));
        if self.route(rep, Protocol::Tcp, requested) == Route::Real {
            return HostTcpSocket::start_connect(&mut self.inner, this, network, remote);
        }
        let real = self.real_address(rep, Protocol::Tcp, requested)?;
        let local = self.bind_to_connect(rep, &network)?;
        let announcement = self.announce(rep, local, real)?;
        HostTcpSocket::start_connect(&mut self.inner, this, network, real.into())?;
        self.record_connecting(rep, requested, announcement);
        Ok(())
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let rep = this.rep();
        let streams = HostTcpSocket::finish_connect(&mut self.inner, this)?;
        self.record_connected(rep);
        Ok(streams)
    }

    async fn start_listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let rep = this.rep();
        HostTcpSocket::start_listen(&mut self.inner, this).await?;
        self.record_listen(rep);
        Ok(())
    }

    fn local_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = this.rep();
        let real = HostTcpSocket::local_address(&mut self.inner, this)?;
        Ok(self.visible_local(rep, Protocol::Tcp, real.into()).into())
    }

    fn remote_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = this.rep();
        let real = HostTcpSocket::remote_address(&mut self.inner, this)?;
        Ok(self.visible_remote(rep, Protocol::Tcp, real.into()).into())
    }

    fn set_listen_backlog_size(&mut self, this: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        HostTcpSocket::set_listen_backlog_size(&mut self.inner, this, at_least(value))
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.forget_socket(this.rep());
        HostTcpSocket::drop(&mut self.inner, this)
    }

    delegate! { HostTcpSocket:
        fn finish_bind(this: Resource<TcpSocket>) -> SocketResult<()>;
        fn finish_listen(this: Resource<TcpSocket>) -> SocketResult<()>;
        fn is_listening(this: Resource<TcpSocket>) -> wasmtime::Result<bool>;
        fn address_family(this: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily>;
        fn keep_alive_enabled(this: Resource<TcpSocket>) -> SocketResult<bool>;
        fn set_keep_alive_enabled(this: Resource<TcpSocket>, value: bool) -> SocketResult<()>;
        fn keep_alive_idle_time(this: Resource<TcpSocket>) -> SocketResult<u64>;
        fn set_keep_alive_idle_time(this: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
        fn keep_alive_interval(this: Resource<TcpSocket>) -> SocketResult<u64>;
        fn set_keep_alive_interval(this: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
        fn keep_alive_count(this: Resource<TcpSocket>) -> SocketResult<u32>;
        fn set_keep_alive_count(this: Resource<TcpSocket>, value: u32) -> SocketResult<()>;
        fn hop_limit(this: Resource<TcpSocket>) -> SocketResult<u8>;
        fn set_hop_limit(this: Resource<TcpSocket>, value: u8) -> SocketResult<()>;
        fn receive_buffer_size(this: Resource<TcpSocket>) -> SocketResult<u64>;
        fn set_receive_buffer_size(this: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
        fn send_buffer_size(this: Resource<TcpSocket>) -> SocketResult<u64>;
        fn set_send_buffer_size(this: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
        fn subscribe(this: Resource<TcpSocket>) -> wasmtime::Result<Resource<DynPollable>>;
        fn shutdown(this: Resource<TcpSocket>, how: ShutdownType) -> SocketResult<()>;
    }
}

impl udp::Host for SocketsView<'_> {}

impl HostUdpSocket for SocketsView<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<UdpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let (rep, requested) = (this.rep(), SocketAddr::from(local));
        let (real, binding) = self.plan_bind(rep, Protocol::Udp, requested)?;
        HostUdpSocket::start_bind(&mut self.inner, this, network, real.into()).await?;
        if let Some(binding) = binding {
            let real = HostUdpSocket::local_address(&mut self.inner, Resource::new_borrow(rep))?;
            self.record_bind(rep, requested, real.into(), binding)?;
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        this: Resource<UdpSocket>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>)> {
        let rep = this.rep();
        let on_loopback = |requested: &SocketAddr| self.route(rep, Protocol::Udp, *requested) == Route::Loopback;
        let peer = remote.map(SocketAddr::from).filter(on_loopback);
        let real = if peer.is_some() { None } else { remote };
        let (incoming, outgoing) = HostUdpSocket::stream(&mut self.inner, this, real).await?;
        self.set_peer(rep, peer);
        self.record_datagram_stream(incoming.rep(), rep, real.is_some());
        self.record_datagram_stream(outgoing.rep(), rep, real.is_some());
        Ok((incoming, outgoing))
    }

    fn local_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = this.rep();
        let real = HostUdpSocket::local_address(&mut self.inner, this)?;
        Ok(self.visible_local(rep, Protocol::Udp, real.into()).into())
    }

    fn remote_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        match self.peer(this.rep()) {
            Some(peer) => Ok(peer.into()),
            None => HostUdpSocket::remote_address(&mut self.inner, this),
        }
    }

    fn drop(&mut self, this: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.forget_socket(this.rep());
        HostUdpSocket::drop(&mut self.inner, this)
    }

    delegate! { HostUdpSocket:
        fn finish_bind(this: Resource<UdpSocket>) -> SocketResult<()>;
        fn address_family(this: Resource<UdpSocket>) -> wasmtime::Result<IpAddressFamily>;
        fn unicast_hop_limit(this: Resource<UdpSocket>) -> SocketResult<u8>;
        fn set_unicast_hop_limit(this: Resource<UdpSocket>, value: u8) -> SocketResult<()>;
        fn receive_buffer_size(this: Resource<UdpSocket>) -> SocketResult<u64>;
        fn set_receive_buffer_size(this: Resource<UdpSocket>, value: u64) -> SocketResult<()>;
        fn send_buffer_size(this: Resource<UdpSocket>) -> SocketResult<u64>;
        fn set_send_buffer_size(this: Resource<UdpSocket>, value: u64) -> SocketResult<()>;
        fn subscribe(this: Resource<UdpSocket>) -> wasmtime::Result<Resource<DynPollable>>;
    }
}

impl HostIncomingDatagramStream for SocketsView<'_> {
    fn receive(&mut self, this: Resource<IncomingDatagramStream>, max: u64) -> SocketResult<Vec<IncomingDatagram>> {
        let rep = this.rep();
        let mut datagrams = HostIncomingDatagramStream::receive(&mut self.inner, this, max)?;
        for datagram in &mut datagrams {
            datagram.remote_address =
                self.loopback_of(rep).to_virtual(Protocol::Udp, datagram.remote_address.into()).into();
        }
        datagrams.retain(|datagram| self.is_from_peer(rep, datagram.remote_address.into()));
        Ok(datagrams)
    }

    fn drop(&mut self, this: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        self.forget_datagram_stream(this.rep());
        HostIncomingDatagramStream::drop(&mut self.inner, this)
    }

    delegate! { HostIncomingDatagramStream:
        fn subscribe(this: Resource<IncomingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>>;
    }
}

impl HostOutgoingDatagramStream for SocketsView<'_> {
    fn send(&mut self, this: Resource<OutgoingDatagramStream>, datagrams: Vec<OutgoingDatagram>) -> SocketResult<u64> {
        let mut sendable = Vec::new();
        for mut datagram in datagrams {
            match self.datagram_target(this.rep(), datagram.remote_address.map(SocketAddr::from)) {
                Ok(real) => {
                    datagram.remote_address = real.map(Into::into);
                    sendable.push(datagram);
                }
                // The result is the number of datagrams sent, so the guest sends the rest again and gets the error then.
                Err(_) if !sendable.is_empty() => break,
                // A datagram to a port without a socket counts as sent, and is lost.
                Err(LoopbackError::NotListening) => return Ok(1),
                Err(error) => return Err(error.into()),
            }
        }
        HostOutgoingDatagramStream::send(&mut self.inner, this, sendable)
    }

    async fn drop(&mut self, this: Resource<OutgoingDatagramStream>) -> wasmtime::Result<()> {
        self.forget_datagram_stream(this.rep());
        HostOutgoingDatagramStream::drop(&mut self.inner, this).await
    }

    delegate! { HostOutgoingDatagramStream:
        fn check_send(this: Resource<OutgoingDatagramStream>) -> SocketResult<u64>;
        fn subscribe(this: Resource<OutgoingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>>;
    }
}
