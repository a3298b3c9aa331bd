//! [`wasi:sockets/ip-name-lookup`](https://github.com/WebAssembly/wasi-sockets) within a component's `hosts`, and the resolver
//! for plugins that connect by name.

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

use super::denials::Denials;
use super::network::{NOT_LISTED, Network};
use crate::plugin::Link;
use crate::store::{Scope, StoreData, View};
use crate::wasi::grants::Grants;

/// Looks up names with the system's resolver. A lookup blocks a thread, so the number of concurrent lookups of a workload is
/// limited.
#[derive(Clone, Debug)]
pub(crate) struct Lookups(Arc<Semaphore>);

/// The result of a lookup.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved {
    pub(super) addresses: Vec<IpAddr>,
    /// The machine's own addresses, if they were requested.
    pub(super) own: Vec<IpAddr>,
}

impl Lookups {
    /// Allows `concurrent` lookups, at least one.
    pub(crate) fn new(concurrent: u32) -> Self {
        Self(Arc::new(Semaphore::new((concurrent.max(1) as usize).min(Semaphore::MAX_PERMITS))))
    }

    /// Looks up a name. With `own`, returns the machine's own addresses as well.
    pub(super) async fn find(&self, name: String, own: bool) -> io::Result<Resolved> {
        let permit = self.0.clone().acquire_owned().await.map_err(io::Error::other)?;
        let find = move || {
            // The thread holds the permit, because it goes on when the caller is cancelled.
            let _permit = permit;
            let addresses = (name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip().to_canonical()).collect();
            let own =
                if own { if_addrs::get_if_addrs()?.iter().map(if_addrs::Interface::ip).collect() } else { Vec::new() };
            Ok(Resolved { addresses, own })
        };
        tokio::task::spawn_blocking(find).await.map_err(io::Error::other)?
    }
}

/// Resolves host names for the connections that a plugin makes on behalf of a component, within the component's `hosts`. Cheap
/// to clone.
///
/// ```
/// use std::io;
/// use std::net::IpAddr;
///
/// use wharf::wasi::Resolver;
/// use wharf::workload::manifest::Protocol;
///
/// /// The addresses for a connection by TCP.
/// async fn addresses(resolver: &Resolver, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
///     if !resolver.hosts().iter().any(|rule| rule.allows_name(Protocol::Tcp, host, port)) {
///         return Err(io::ErrorKind::PermissionDenied.into());
///     }
///     resolver.resolve(Protocol::Tcp, host, port).await
/// }
/// ```
#[derive(Clone)]
pub struct Resolver(Arc<Network>);

impl Resolver {
    /// Creates a resolver for these `hosts` that belongs to no workload, for tests of a plugin.
    pub fn new(hosts: Vec<HostRule>) -> Self {
        Self::of(Arc::new(Network::new(hosts, Arc::default(), Lookups::new(1), Denials::default())))
    }

    pub(in crate::wasi) fn of(network: Arc<Network>) -> Self {
        Self(network)
    }

    /// Returns the component's `hosts`.
    pub fn hosts(&self) -> &[HostRule] {
        self.0.rules()
    }

    /// Logs that a request of the component was denied: `target` is an entry of `hosts` that would allow it. Each target is logged
    /// once.
    pub fn log_denied(&self, target: &str) {
        self.0.log_denied(target, NOT_LISTED);
    }

    /// Resolves a host to the addresses that the component may connect to. The caller connects to these addresses and does not
    /// resolve the name again, so that the checked address is the one that is used. The caller also checks, with
    /// [`HostRule::allows_name`], that a rule allows the name.
    ///
    /// # Errors
    /// An IO error when the name does not resolve, [`PermissionDenied`](io::ErrorKind::PermissionDenied) when it resolves only
    /// to addresses that a wildcard of `hosts` does not cover.
    pub async fn resolve(&self, protocol: Protocol, host: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        self.0.resolve(protocol, host, port).await
    }
}

/// Why a lookup of a component fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// No entry of `hosts` allows the name. Guests see what the engine gives for a denied lookup.
    Denied,
    /// The text is not a host name.
    Invalid,
    /// The resolver has no addresses for the name.
    Unresolvable,
}

/// The lookups of the calling component.
pub(in crate::wasi) struct Lookup;

pub(in crate::wasi) struct HasLookup;

/// The data of the bindings.
pub(in crate::wasi) struct LookupView<'a> {
    table: &'a mut ResourceTable,
    network: &'a Arc<Network>,
}

impl HasData for HasLookup {
    type Data<'a> = LookupView<'a>;
}

impl View for Lookup {
    type Of = HasLookup;
    fn view(scope: Scope<'_>) -> LookupView<'_> {
        LookupView { table: scope.table, network: Grants::of(scope.component).network() }
    }
}

type Addresses = Result<Vec<IpAddr>, LookupError>;

/// The size of a lookup in progress, in bytes: its task and the name.
const PENDING_SIZE: usize = 2048;

/// Returns the size of a `resolve-address-stream` beyond its handle, in bytes, and 0 for other resources.
pub(crate) fn size(resource: &(dyn Any + Send)) -> usize {
    match resource.downcast_ref() {
        Some(AddressStream::Waiting(_)) => PENDING_SIZE,
        Some(AddressStream::Ready(Ok(addresses))) => addresses.len() * size_of::<IpAddr>(),
        Some(AddressStream::Ready(Err(_))) | None => 0,
    }
}

/// A `resolve-address-stream` of WASI 0.2.
enum AddressStream {
    Waiting(AbortOnDropJoinHandle<Addresses>),
    Ready(Result<vec::IntoIter<IpAddr>, LookupError>),
}

impl AddressStream {
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
        // This call never waits: a guest that waits subscribes to the stream.
        let _ = self.poll(&mut Context::from_waker(Waker::noop()));
        match self {
            Self::Waiting(_) => Err(p2::ErrorCode::WouldBlock),
            Self::Ready(Ok(addresses)) => Ok(addresses.next().map(Into::into)),
            Self::Ready(Err(error)) => Err((*error).into()),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for AddressStream {
    async fn ready(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }
}

impl From<LookupError> for p2::ErrorCode {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Denied => Self::PermanentResolverFailure,
            LookupError::Invalid => Self::InvalidArgument,
            LookupError::Unresolvable => Self::NameUnresolvable,
        }
    }
}

impl From<LookupError> for p3::ErrorCode {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Denied => Self::PermanentResolverFailure,
            LookupError::Invalid => Self::InvalidArgument,
            LookupError::Unresolvable => Self::NameUnresolvable,
        }
    }
}

/// Links the interface of WASI 0.2 without generated bindings: these require wasmtime's stream, which only wasmtime's unlimited
/// lookups can create.
pub(in crate::wasi) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    const STREAM: &str = "[method]resolve-address-stream";
    type This = (Resource<AddressStream>,);
    type Args = (Resource<p2::Network>, String);
    let get = link.getter::<Lookup>();
    let mut instance = link.instance()?;
    let drop = |mut store: StoreContextMut<'_, StoreData>, rep| {
        store.data_mut().table().delete(Resource::<AddressStream>::new_own(rep))?;
        Ok(())
    };
    instance.resource("resolve-address-stream", ResourceType::host::<AddressStream>(), drop)?;
    instance.func_wrap(
        "resolve-addresses",
        move |mut store: StoreContextMut<'_, StoreData>, (network, name): Args| {
            let LookupView { table, network: granted } = get(store.data_mut());
            table.get(&network)?;
            let stream = match granted.clone().look_up(name) {
                Err(error) => return Ok((Err(p2::ErrorCode::from(error)),)),
                Ok(found) => AddressStream::Waiting(wasmtime_wasi::runtime::spawn(found)),
            };
            Ok((Ok(table.push(stream)?),))
        },
    )?;
    let next = |mut store: StoreContextMut<'_, StoreData>, (this,): This| {
        Ok((store.data_mut().table().get_mut(&this)?.next(),))
    };
    instance.func_wrap(&format!("{STREAM}.resolve-next-address"), next)?;
    let wait = |mut store: StoreContextMut<'_, StoreData>,
                (this,): This|
     -> wasmtime::Result<(Resource<DynPollable>,)> { Ok((subscribe(store.data_mut().table(), this)?,)) };
    instance.func_wrap(&format!("{STREAM}.subscribe"), wait)
}

impl p3::Host for LookupView<'_> {}

impl<U: 'static> p3::HostWithStore<U> for HasLookup {
    async fn resolve_addresses(
        store: &Accessor<U, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<p3_types::IpAddress>, p3::ErrorCode>> {
        let network = store.with(|mut access: Access<'_, U, Self>| access.get().network.clone());
        let found = match network.look_up(name) {
            Ok(found) => found.await,
            Err(error) => Err(error),
        };
        Ok(found.map(|addresses| addresses.into_iter().map(Into::into).collect()).map_err(Into::into))
    }
}
