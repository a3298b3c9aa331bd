//! `wasi:sockets/ip-name-lookup`, held to a component's `hosts`, and the look-ups of everything that connects by name.

use std::any::Any;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::vec;

use tokio::sync::Semaphore;
use wasmtime::StoreContextMut;
use wasmtime::component::{Access, Accessor, HasData, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network as p2;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup as p3;
use wasmtime_wasi::p3::bindings::sockets::types as p3_types;
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use workload::manifest::{HostRule, Protocol};

use super::network::Network;
use crate::ctx::{Ctx, Scope, View};
use crate::plugin::Link;

/// Looks names up by the system's resolver, which takes a thread for as long as it takes, and no more at once than a
/// workload may.
#[derive(Clone, Debug)]
pub(crate) struct Lookups(Arc<Semaphore>);

/// What a name was looked up as.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// The addresses of this machine, if they were asked for.
    pub(super) own: Vec<IpAddr>,
}

impl Lookups {
    pub(crate) fn new(at_once: u32) -> Self {
        Self(Arc::new(Semaphore::new((at_once.max(1) as usize).min(Semaphore::MAX_PERMITS))))
    }

    /// Looks a name up, and this machine's own addresses with it.
    pub(super) async fn find(&self, name: String, own: bool) -> io::Result<Found> {
        let permit = self.0.clone().acquire_owned().await.map_err(io::Error::other)?;
        let find = move || {
            // Held by the thread: a call that gives up does not stop it.
            let _permit = permit;
            let addresses = (name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip().to_canonical()).collect();
            let own =
                if own { if_addrs::get_if_addrs()?.iter().map(if_addrs::Interface::ip).collect() } else { Vec::new() };
            Ok(Found { addresses, own })
        };
        tokio::task::spawn_blocking(find).await.map_err(io::Error::other)?
    }
}

/// Looks up hosts for the connections of one component: what a plugin connects by. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Arc<Network>);

impl Resolver {
    /// A resolver for these `hosts`, apart from any workload: for tests of what connects by it.
    pub fn new(hosts: Vec<HostRule>) -> Self {
        Self::of(Arc::new(Network::new(hosts, Arc::default(), Lookups::new(1))))
    }

    pub(super) fn of(network: Arc<Network>) -> Self {
        Self(network)
    }

    /// The component's `hosts`.
    pub fn hosts(&self) -> &[HostRule] {
        self.0.rules()
    }

    /// The addresses that a host has and the component may connect to: these and no others, so that what is checked is
    /// what is connected to. Whether a rule speaks of the host at all is the caller's to ask ([`HostRule::allows_name`]).
    ///
    /// # Errors
    /// When the name does not resolve; [`PermissionDenied`](io::ErrorKind::PermissionDenied) when it leads nowhere but
    /// where a wildcard of `hosts` does not.
    pub async fn resolve(&self, protocol: Protocol, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        self.0.resolve(protocol, host, port).await
    }
}

/// Why a component is not given the addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No entry of `hosts` speaks of the name.
    Denied,
    /// It is no name.
    Invalid,
    /// The resolver does not know it.
    Unresolvable,
}

/// Name look-ups of the component that calls.
pub(super) struct Lookup;

pub(super) struct HasLookup;

pub(super) struct LookupOf<'a> {
    table: &'a mut ResourceTable,
    network: &'a Arc<Network>,
}

impl HasData for HasLookup {
    type Data<'a> = LookupOf<'a>;
}

impl View for Lookup {
    type Of = HasLookup;
    fn view(scope: Scope<'_>) -> LookupOf<'_> {
        LookupOf { table: scope.table, network: scope.grants.wasi().network() }
    }
}

type Addresses = Result<Vec<IpAddr>, Refusal>;

/// What a look-up holds besides its addresses, in bytes: its task, and the name.
const LOOKUP: usize = 2048;

/// The size of a `resolve-address-stream`, beyond its handle.
pub(crate) fn size(resource: &(dyn Any + Send)) -> usize {
    match resource.downcast_ref() {
        Some(Stream::Waiting(_)) => LOOKUP,
        Some(Stream::Ready(Ok(addresses))) => addresses.len() * size_of::<IpAddr>(),
        Some(Stream::Ready(Err(_))) | None => 0,
    }
}

/// A `resolve-address-stream` of WASI 0.2.
enum Stream {
    Waiting(AbortOnDropJoinHandle<Addresses>),
    Ready(Result<vec::IntoIter<IpAddr>, Refusal>),
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Waiting(task) = self {
            match Pin::new(task).poll(cx) {
                Poll::Ready(found) => *self = Self::Ready(found.map(Vec::into_iter)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    fn next(&mut self) -> Result<Option<p2::IpAddress>, p2::ErrorCode> {
        // Only asked for: who wants to wait subscribes.
        let _ = self.poll(&mut Context::from_waker(Waker::noop()));
        match self {
            Self::Waiting(_) => Err(p2::ErrorCode::WouldBlock),
            Self::Ready(Ok(addresses)) => Ok(addresses.next().map(Into::into)),
            Self::Ready(Err(refusal)) => Err((*refusal).into()),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

impl From<Refusal> for p2::ErrorCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied => Self::AccessDenied,
            Refusal::Invalid => Self::InvalidArgument,
            Refusal::Unresolvable => Self::NameUnresolvable,
        }
    }
}

impl From<Refusal> for p3::ErrorCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied => Self::AccessDenied,
            Refusal::Invalid => Self::InvalidArgument,
            Refusal::Unresolvable => Self::NameUnresolvable,
        }
    }
}

/// Links the interface by hand: the engine's own stream can be made by nothing but its own look-ups, which no limit holds.
pub(super) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    const STREAM: &str = "[method]resolve-address-stream";
    type This = (Resource<Stream>,);
    type Args = (Resource<p2::Network>, String);
    let get = link.getter::<Lookup>();
    let mut instance = link.instance()?;
    let drop = |mut store: StoreContextMut<'_, Ctx>, rep| {
        store.data_mut().table().delete(Resource::<Stream>::new_own(rep))?;
        Ok(())
    };
    instance.resource("resolve-address-stream", ResourceType::host::<Stream>(), drop)?;
    instance.func_wrap("resolve-addresses", move |mut store: StoreContextMut<'_, Ctx>, (network, name): Args| {
        let LookupOf { table, network: granted } = get(store.data_mut());
        table.get(&network)?;
        let stream = match granted.clone().look_up(name) {
            Err(refusal) => return Ok((Err(p2::ErrorCode::from(refusal)),)),
            Ok(found) => Stream::Waiting(wasmtime_wasi::runtime::spawn(found)),
        };
        Ok((Ok(table.push(stream)?),))
    })?;
    let next =
        |mut store: StoreContextMut<'_, Ctx>, (this,): This| Ok((store.data_mut().table().get_mut(&this)?.next(),));
    instance.func_wrap(&format!("{STREAM}.resolve-next-address"), next)?;
    let wait = |mut store: StoreContextMut<'_, Ctx>, (this,): This| -> wasmtime::Result<(Resource<DynPollable>,)> {
        Ok((subscribe(store.data_mut().table(), this)?,))
    };
    instance.func_wrap(&format!("{STREAM}.subscribe"), wait)
}

impl p3::Host for LookupOf<'_> {}

impl<U: 'static> p3::HostWithStore<U> for HasLookup {
    async fn resolve_addresses(
        store: &Accessor<U, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<p3_types::IpAddress>, p3::ErrorCode>> {
        let network = store.with(|mut access: Access<'_, U, Self>| access.get().network.clone());
        let found = match network.look_up(name) {
            Ok(found) => found.await,
            Err(refusal) => Err(refusal),
        };
        Ok(found.map(|addresses| addresses.into_iter().map(Into::into).collect()).map_err(Into::into))
    }
}
