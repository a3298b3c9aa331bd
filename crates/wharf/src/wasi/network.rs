//! `wasi:sockets` held to a component's `hosts`: connections by the address, look-ups by the name, and what an allowed
//! name was looked up as becomes an allowed address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::component::{Access, Accessor, HasData, Resource, ResourceTable};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup as p2;
use wasmtime_wasi::p2::bindings::sockets::network as p2_network;
use wasmtime_wasi::p2::{DynPollable, SocketError};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup as p3;
use wasmtime_wasi::p3::bindings::sockets::types as p3_types;
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtx, WasiSocketsCtxView};
use workload::manifest::{HostPattern, HostRule, Protocol};

use super::loopback::Loopback;
use crate::ctx::{Scope, View};

/// How many looked-up addresses are remembered for a component.
const MAX_RESOLVED: usize = 4096;

/// A component's `hosts`, and the addresses that it looked allowed names up as.
pub(crate) struct Network {
    rules: Arc<[HostRule]>,
    /// The rules whose names were looked up as this address.
    resolved: Mutex<HashMap<IpAddr, Vec<usize>>>,
    loopback: Arc<Loopback>,
}

impl Network {
    pub(crate) fn new(rules: Vec<HostRule>, loopback: Arc<Loopback>) -> Self {
        Self { rules: rules.into(), resolved: Mutex::default(), loopback }
    }

    pub(super) fn loopback(&self) -> &Arc<Loopback> {
        &self.loopback
    }

    /// Whether everything is allowed, real listening included.
    pub(super) fn is_any(&self) -> bool {
        self.rules.contains(&HostRule::ANY)
    }

    /// Whether any rule speaks of the protocol.
    pub(super) fn speaks(&self, protocol: Protocol) -> bool {
        self.rules.iter().any(|rule| rule.protocol.is_none_or(|p| p == protocol))
    }

    pub(crate) fn rules(&self) -> &Arc<[HostRule]> {
        &self.rules
    }

    /// Gives a context what the rules allow.
    pub(super) fn open(self: &Arc<Self>, builder: &mut WasiCtxBuilder) {
        builder
            // Sockets are everybody's, for the workload's loopback; the check of each address says how far they go.
            .allow_tcp(true)
            .allow_udp(true)
            .allow_ip_name_lookup(!self.rules.is_empty());
        let network = self.clone();
        builder.socket_addr_check(move |address, how| {
            let allowed = network.allows(address, how);
            if !allowed {
                tracing::debug!(%address, ?how, "refused: no entry of `hosts` allows it");
            }
            Box::pin(async move { allowed })
        });
    }

    /// Guests never get here with an address of the loopback that they named themselves unless a rule allows it: the real
    /// port was put in its place, or it was refused.
    fn allows(&self, address: SocketAddr, how: SocketAddrUse) -> bool {
        // First, and in any case: it lets an announced connection in once.
        self.loopback.serves(address, how) || self.rules_allow(address, how)
    }

    /// Whether the rules allow a real address.
    pub(super) fn rules_allow(&self, address: SocketAddr, how: SocketAddrUse) -> bool {
        let protocol = match how {
            SocketAddrUse::TcpConnect => Protocol::Tcp,
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => Protocol::Udp,
            // A socket that connects or sends is bound first, to whatever port is free.
            SocketAddrUse::TcpBind if address.port() == 0 => return self.speaks(Protocol::Tcp),
            SocketAddrUse::UdpBind if address.port() == 0 => return self.speaks(Protocol::Udp),
            // To be reached from outside is no matter of `hosts`, but for the rule that allows everything.
            _ => return self.is_any(),
        };
        let (ip, port) = (address.ip().to_canonical(), address.port());
        self.rules.iter().any(|rule| rule.allows_address(protocol, ip, port)) || {
            let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
            resolved.get(&ip).is_some_and(|rules| rules.iter().any(|rule| self.rules[*rule].covers(protocol, port)))
        }
    }

    /// Whether a name may be looked up. An address in text may: looking it up tells nothing.
    fn may_look_up(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.names(name)) || (!self.rules.is_empty() && name.parse::<IpAddr>().is_ok())
    }

    /// Remembers what a name was looked up as.
    fn resolved(&self, name: &str, address: IpAddr) {
        let named = |rule: &HostRule| rule.names(name) && rule.host != HostPattern::Any && rule.may_lead_to(address);
        let rules: Vec<_> = self.rules.iter().enumerate().filter(|(_, rule)| named(rule)).map(|(i, _)| i).collect();
        if rules.is_empty() {
            return;
        }
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        // A guest that looks up thousands of names starts over; it looks up again what it still uses.
        if resolved.len() >= MAX_RESOLVED {
            resolved.clear();
        }
        let known = resolved.entry(address.to_canonical()).or_default();
        known.extend(rules);
        known.sort_unstable();
        known.dedup();
    }
}

/// Name look-ups of the component that calls: the engine's own, after a look at `hosts`.
pub(super) struct Lookup;

pub(super) struct HasLookup;

pub(super) struct LookupOf<'a> {
    ctx: &'a mut WasiSocketsCtx,
    names: &'a mut Names,
    table: &'a mut ResourceTable,
    network: &'a Arc<Network>,
}

/// The names that are being looked up, by the handle of the look-up.
#[derive(Default)]
struct Names(HashMap<u32, String>);

/// The two states of a look-up, side by side so that both can be borrowed at once.
#[derive(Default)]
struct LookupState {
    ctx: Option<WasiSocketsCtx>,
    names: Names,
}

impl HasData for HasLookup {
    type Data<'a> = LookupOf<'a>;
}

impl View for Lookup {
    type Of = HasLookup;
    fn view(scope: Scope<'_>) -> LookupOf<'_> {
        let wasi = scope.grants.wasi();
        let state: &mut LookupState = scope.state.get_or_insert_with(LookupState::default);
        LookupOf {
            ctx: state.ctx.get_or_insert_with(|| wasi.sockets.clone()),
            names: &mut state.names,
            table: scope.table,
            network: &wasi.network,
        }
    }
}

impl LookupOf<'_> {
    fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        WasiSocketsCtxView { ctx: self.ctx, table: self.table }
    }
}

impl p2_network::Host for LookupOf<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<p2_network::ErrorCode> {
        self.sockets().convert_error_code(error)
    }
    fn network_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<p2_network::ErrorCode>> {
        self.sockets().network_error_code(error)
    }
}

impl p2_network::HostNetwork for LookupOf<'_> {
    fn drop(&mut self, network: Resource<p2_network::Network>) -> wasmtime::Result<()> {
        p2_network::HostNetwork::drop(&mut self.sockets(), network)
    }
}

impl p2::Host for LookupOf<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<p2_network::Network>,
        name: String,
    ) -> Result<Resource<p2::ResolveAddressStream>, SocketError> {
        let Some(name) = ascii(name) else { return Err(p2_network::ErrorCode::InvalidArgument.into()) };
        if !self.network.may_look_up(&name) {
            return Err(p2_network::ErrorCode::AccessDenied.into());
        }
        let stream = self.sockets().resolve_addresses(network, name.clone())?;
        self.names.0.insert(stream.rep(), name);
        Ok(stream)
    }
}

impl p2::HostResolveAddressStream for LookupOf<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<p2::ResolveAddressStream>,
    ) -> Result<Option<p2_network::IpAddress>, SocketError> {
        let rep = stream.rep();
        let address = self.sockets().resolve_next_address(stream)?;
        if let (Some(address), Some(name)) = (address, self.names.0.get(&rep)) {
            self.network.resolved(name, from_p2(address));
        }
        Ok(address)
    }
    fn subscribe(&mut self, stream: Resource<p2::ResolveAddressStream>) -> wasmtime::Result<Resource<DynPollable>> {
        self.sockets().subscribe(stream)
    }
    fn drop(&mut self, stream: Resource<p2::ResolveAddressStream>) -> wasmtime::Result<()> {
        self.names.0.remove(&stream.rep());
        p2::HostResolveAddressStream::drop(&mut self.sockets(), stream)
    }
}

impl p3::Host for LookupOf<'_> {}

impl<U: 'static> p3::HostWithStore<U> for HasLookup {
    async fn resolve_addresses(
        store: &Accessor<U, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<p3_types::IpAddress>, p3::ErrorCode>> {
        let network = store.with(|mut access: Access<'_, U, Self>| access.get().network.clone());
        let Some(name) = ascii(name) else { return Ok(Err(p3::ErrorCode::InvalidArgument)) };
        if !network.may_look_up(&name) {
            return Ok(Err(p3::ErrorCode::AccessDenied));
        }
        let literal = name.parse::<IpAddr>();
        let found = match literal {
            Ok(address) => Ok(vec![address]),
            Err(_) if !is_host_name(&name) => return Ok(Err(p3::ErrorCode::InvalidArgument)),
            Err(_) => tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map(|all| all.map(|a| a.ip().to_canonical()).collect()),
        };
        let Ok(found) = found else { return Ok(Err(p3::ErrorCode::NameUnresolvable)) };
        found.iter().for_each(|address| network.resolved(&name, *address));
        Ok(Ok(found.into_iter().map(to_p3).collect()))
    }
}

/// A name as resolvers write it (RFC 5891): what is granted is compared with what is looked up.
fn ascii(name: String) -> Option<String> {
    if name.is_ascii() { Some(name) } else { idna::domain_to_ascii(&name).ok() }
}

/// Whether a text can be a host name at all (RFC 1123), before a resolver is asked.
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.chars().all(|c| c.is_alphanumeric() || "-_".contains(c));
    name.len() <= 253 && name.split('.').all(label)
}

fn from_p2(address: p2_network::IpAddress) -> IpAddr {
    match address {
        p2_network::IpAddress::Ipv4((a, b, c, d)) => [a, b, c, d].into(),
        p2_network::IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => [a, b, c, d, e, f, g, h].into(),
    }
}

fn to_p3(address: IpAddr) -> p3_types::IpAddress {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            p3_types::IpAddress::Ipv4((a, b, c, d))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            p3_types::IpAddress::Ipv6((a, b, c, d, e, f, g, h))
        }
    }
}
