//! `wasi:sockets` 0.2 with the workload's loopback: addresses are translated, and the engine does the rest.

use std::net::SocketAddr;

use futures_util::FutureExt;
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

use super::loopback::{Refusal, localhost};
use super::sockets::{Route, SocketsOf};

impl From<Refusal> for SocketError {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::InUse => ErrorCode::AddressInUse,
            Refusal::Full => ErrorCode::NewSocketLimit,
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

impl network::Host for SocketsOf<'_> {
    delegate! { network::Host:
        fn convert_error_code(error: SocketError) -> wasmtime::Result<ErrorCode>;
        fn network_error_code(error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>>;
    }
}

impl network::HostNetwork for SocketsOf<'_> {
    delegate! { network::HostNetwork: fn drop(network: Resource<Network>) -> wasmtime::Result<()>; }
}

impl instance_network::Host for SocketsOf<'_> {
    delegate! { instance_network::Host: fn instance_network() -> wasmtime::Result<Resource<Network>>; }
}

impl tcp_create_socket::Host for SocketsOf<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        if !self.may_open() {
            return Err(ErrorCode::NewSocketLimit.into());
        }
        let (mut ctx, open) = self.opening();
        let mut engine = WasiSocketsCtxView { ctx: &mut ctx, table: self.inner.table };
        let socket = tcp_create_socket::Host::create_tcp_socket(&mut engine, family)?;
        self.opened(socket.rep(), matches!(family, IpAddressFamily::Ipv6), true, open);
        Ok(socket)
    }
}

impl udp_create_socket::Host for SocketsOf<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        if !self.may_open() {
            return Err(ErrorCode::NewSocketLimit.into());
        }
        let (mut ctx, open) = self.opening();
        let mut engine = WasiSocketsCtxView { ctx: &mut ctx, table: self.inner.table };
        let socket = udp_create_socket::Host::create_udp_socket(&mut engine, family).await?;
        self.opened(socket.rep(), matches!(family, IpAddressFamily::Ipv6), false, open);
        Ok(socket)
    }
}

impl SocketsOf<'_> {
    /// The real local address of a socket that is about to connect on the loopback. It is bound first if it was not: it
    /// has to be announced before the connection comes.
    fn bound_tcp(&mut self, rep: u32, network: &Resource<Network>) -> SocketResult<SocketAddr> {
        if let Ok(local) = HostTcpSocket::local_address(&mut self.inner, Resource::new_borrow(rep)) {
            return Ok(local.into());
        }
        let local = SocketAddr::new(localhost(self.is_v6(rep)), 0);
        let (this, network) = (Resource::new_borrow(rep), Resource::new_borrow(network.rep()));
        let bind = HostTcpSocket::start_bind(&mut self.inner, this, network, local.into());
        // It waits for nothing but the check of the address, which is `Network`'s and ready at once.
        bind.now_or_never().ok_or(ErrorCode::InvalidState)??;
        HostTcpSocket::finish_bind(&mut self.inner, Resource::new_borrow(rep))?;
        Ok(HostTcpSocket::local_address(&mut self.inner, Resource::new_borrow(rep))?.into())
    }
}

impl tcp::Host for SocketsOf<'_> {}

impl HostTcpSocket for SocketsOf<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let (rep, named) = (this.rep(), SocketAddr::from(local));
        let (real, bound) = self.binding(rep, Protocol::Tcp, named)?;
        HostTcpSocket::start_bind(&mut self.inner, this, network, real.into()).await?;
        if let Some(bound) = bound {
            let real = HostTcpSocket::local_address(&mut self.inner, Resource::new_borrow(rep))?;
            self.bound(rep, named, real.into(), bound)?;
        }
        Ok(())
    }

    fn accept(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        if !self.may_open() {
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
        let (rep, named) = (this.rep(), SocketAddr::from(remote));
        if self.route(rep, Protocol::Tcp, named) == Route::Real {
            return HostTcpSocket::start_connect(&mut self.inner, this, network, remote);
        }
        let real = self.real(Protocol::Tcp, named)?;
        let local = self.bound_tcp(rep, &network)?;
        let peer = self.announce(local, real)?;
        HostTcpSocket::start_connect(&mut self.inner, this, network, real.into())?;
        self.connecting(rep, named, peer);
        Ok(())
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let rep = this.rep();
        let streams = HostTcpSocket::finish_connect(&mut self.inner, this)?;
        self.connected(rep);
        Ok(streams)
    }

    async fn start_listen(&mut self, this: Resource<TcpSocket>) -> SocketResult<()> {
        let rep = this.rep();
        HostTcpSocket::start_listen(&mut self.inner, this).await?;
        self.listening(rep);
        Ok(())
    }

    fn local_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = this.rep();
        let real = HostTcpSocket::local_address(&mut self.inner, this)?;
        Ok(self.local(rep, Protocol::Tcp, real.into()).into())
    }

    fn remote_address(&mut self, this: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = this.rep();
        let real = HostTcpSocket::remote_address(&mut self.inner, this)?;
        Ok(self.remote(rep, Protocol::Tcp, real.into()).into())
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.closed(this.rep());
        HostTcpSocket::drop(&mut self.inner, this)
    }

    delegate! { HostTcpSocket:
        fn finish_bind(this: Resource<TcpSocket>) -> SocketResult<()>;
        fn finish_listen(this: Resource<TcpSocket>) -> SocketResult<()>;
        fn is_listening(this: Resource<TcpSocket>) -> wasmtime::Result<bool>;
        fn address_family(this: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily>;
        fn set_listen_backlog_size(this: Resource<TcpSocket>, value: u64) -> SocketResult<()>;
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

impl udp::Host for SocketsOf<'_> {}

impl HostUdpSocket for SocketsOf<'_> {
    async fn start_bind(
        &mut self,
        this: Resource<UdpSocket>,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let (rep, named) = (this.rep(), SocketAddr::from(local));
        let (real, bound) = self.binding(rep, Protocol::Udp, named)?;
        HostUdpSocket::start_bind(&mut self.inner, this, network, real.into()).await?;
        if let Some(bound) = bound {
            let real = HostUdpSocket::local_address(&mut self.inner, Resource::new_borrow(rep))?;
            self.bound(rep, named, real.into(), bound)?;
        }
        Ok(())
    }

    async fn stream(
        &mut self,
        this: Resource<UdpSocket>,
        remote: Option<IpSocketAddress>,
    ) -> SocketResult<(Resource<IncomingDatagramStream>, Resource<OutgoingDatagramStream>)> {
        let rep = this.rep();
        let on_loopback = |named: &SocketAddr| self.route(rep, Protocol::Udp, *named) == Route::Loopback;
        let peer = remote.map(SocketAddr::from).filter(on_loopback);
        let really = if peer.is_some() { None } else { remote };
        let (incoming, outgoing) = HostUdpSocket::stream(&mut self.inner, this, really).await?;
        self.set_peer(rep, peer);
        self.opened_stream(incoming.rep(), rep, really.is_some());
        self.opened_stream(outgoing.rep(), rep, really.is_some());
        Ok((incoming, outgoing))
    }

    fn local_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        let rep = this.rep();
        let real = HostUdpSocket::local_address(&mut self.inner, this)?;
        Ok(self.local(rep, Protocol::Udp, real.into()).into())
    }

    fn remote_address(&mut self, this: Resource<UdpSocket>) -> SocketResult<IpSocketAddress> {
        match self.peer(this.rep()) {
            Some(peer) => Ok(peer.into()),
            None => HostUdpSocket::remote_address(&mut self.inner, this),
        }
    }

    fn drop(&mut self, this: Resource<UdpSocket>) -> wasmtime::Result<()> {
        self.closed(this.rep());
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

impl HostIncomingDatagramStream for SocketsOf<'_> {
    fn receive(&mut self, this: Resource<IncomingDatagramStream>, max: u64) -> SocketResult<Vec<IncomingDatagram>> {
        let rep = this.rep();
        let mut datagrams = HostIncomingDatagramStream::receive(&mut self.inner, this, max)?;
        for datagram in &mut datagrams {
            datagram.remote_address = self.loopback.shown(Protocol::Udp, datagram.remote_address.into()).into();
        }
        datagrams.retain(|datagram| self.is_from_peer(rep, datagram.remote_address.into()));
        Ok(datagrams)
    }

    fn drop(&mut self, this: Resource<IncomingDatagramStream>) -> wasmtime::Result<()> {
        self.forget(this.rep());
        HostIncomingDatagramStream::drop(&mut self.inner, this)
    }

    delegate! { HostIncomingDatagramStream:
        fn subscribe(this: Resource<IncomingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>>;
    }
}

impl HostOutgoingDatagramStream for SocketsOf<'_> {
    fn send(&mut self, this: Resource<OutgoingDatagramStream>, datagrams: Vec<OutgoingDatagram>) -> SocketResult<u64> {
        let mut known = Vec::new();
        for mut datagram in datagrams {
            match self.target(this.rep(), datagram.remote_address.map(SocketAddr::from)) {
                Ok(real) => {
                    datagram.remote_address = real.map(Into::into);
                    known.push(datagram);
                }
                // The guest is told how many were sent, and comes again with the rest.
                Err(_) if !known.is_empty() => break,
                // A datagram to nobody is sent, and lost.
                Err(Refusal::Nobody) => return Ok(1),
                Err(refusal) => return Err(refusal.into()),
            }
        }
        HostOutgoingDatagramStream::send(&mut self.inner, this, known)
    }

    async fn drop(&mut self, this: Resource<OutgoingDatagramStream>) -> wasmtime::Result<()> {
        self.forget(this.rep());
        HostOutgoingDatagramStream::drop(&mut self.inner, this).await
    }

    delegate! { HostOutgoingDatagramStream:
        fn check_send(this: Resource<OutgoingDatagramStream>) -> SocketResult<u64>;
        fn subscribe(this: Resource<OutgoingDatagramStream>) -> wasmtime::Result<Resource<DynPollable>>;
    }
}
