//! The check of `wasi:sockets` against a component's `hosts`. A connection is checked by its address and a lookup by its name;
//! an address to which an allowed name resolves becomes an allowed address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtx};
use workload::manifest::{HostPattern, HostRule, Protocol};

use super::connections::{Connections, OpenGuard};
use super::denials::Denials;
use super::lookup::{LookupError, Lookups, Resolved};
use super::loopback::Loopback;

/// The most addresses that a lookup returns to a component.
const MAX_ADDRESSES: usize = 64;
/// The most resolved addresses that are remembered for a component.
const MAX_RESOLVED: usize = 4096;

pub(super) const NOT_LISTED: &str = "no entry of the component's `hosts` allows it";

/// The `hosts` of a component, and the addresses to which it has resolved allowed names.
pub(crate) struct Network {
    rules: Arc<[HostRule]>,
    /// The addresses to which allowed names resolved, with the indexes of the rules that allow the names.
    resolved: Mutex<HashMap<IpAddr, Vec<usize>>>,
    loopback: Arc<Loopback>,
    lookups: Lookups,
    denials: Denials,
}

impl Network {
    pub(in crate::wasi) fn new(
        rules: Vec<HostRule>,
        loopback: Arc<Loopback>,
        lookups: Lookups,
        denials: Denials,
    ) -> Self {
        Self { rules: rules.into(), resolved: Mutex::default(), loopback, lookups, denials }
    }

    /// Logs that a use of an address was denied. What others send to the component is not logged.
    pub(super) fn log_denial(&self, address: SocketAddr, how: SocketAddrUse) {
        match how {
            SocketAddrUse::TcpConnect => self.log_denied(&format!("tcp://{address}"), NOT_LISTED),
            SocketAddrUse::UdpSend => self.log_denied(&format!("udp://{address}"), NOT_LISTED),
            SocketAddrUse::TcpListen | SocketAddrUse::TcpBind | SocketAddrUse::UdpBind => {
                tracing::debug!(%address, ?how, "address refused: only `hosts = [\"*\"]` allows it");
            }
            SocketAddrUse::TcpAccept | SocketAddrUse::UdpReceive => {
                tracing::debug!(%address, ?how, "address refused: no entry of `hosts` allows it");
            }
        }
    }

    /// Logs that a target was denied, in the form of an entry of `hosts` that would allow it, and why.
    pub(super) fn log_denied(&self, target: &str, why: &str) {
        self.denials.log(target, why);
    }

    pub(in crate::wasi) fn loopback(&self) -> &Arc<Loopback> {
        &self.loopback
    }

    /// Identifies the component.
    pub(in crate::wasi) fn id(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    /// Whether a rule allows everything, including ports of the machine that other machines can reach.
    pub(super) fn allows_everything(&self) -> bool {
        self.rules.contains(&HostRule::ANY)
    }

    /// Whether a rule applies to the protocol.
    pub(super) fn has_rule_for(&self, protocol: Protocol) -> bool {
        self.rules.iter().any(|rule| rule.protocol.is_none_or(|p| p == protocol))
    }

    pub(crate) fn rules(&self) -> &Arc<[HostRule]> {
        &self.rules
    }

    /// Creates the context for the sockets of an instance. Each socket that wasmtime creates with it keeps `guard`.
    pub(super) fn sockets(
        self: &Arc<Self>,
        connections: &Arc<Connections>,
        guard: Option<Arc<OpenGuard>>,
    ) -> WasiSocketsCtx {
        let mut builder = WasiCtxBuilder::new();
        self.configure(&mut builder, connections, guard);
        builder.build().sockets().clone()
    }

    /// Configures a context to allow what the rules allow.
    fn configure(
        self: &Arc<Self>,
        builder: &mut WasiCtxBuilder,
        connections: &Arc<Connections>,
        guard: Option<Arc<OpenGuard>>,
    ) {
        builder
            // Every component may create sockets, for the workload's loopback. The address check decides what they reach.
            .allow_tcp(true)
            .allow_udp(true)
            .allow_ip_name_lookup(!self.rules.is_empty());
        let (network, connections) = (self.clone(), connections.clone());
        builder.socket_addr_check(move |address, how| {
            let _guard = &guard;
            let allowed = network.allows(address, how);
            if !allowed {
                network.log_denial(address, how);
            }
            let accepted = (allowed && matches!(how, SocketAddrUse::TcpAccept)).then(|| connections.clone());
            Box::pin(async move {
                if let Some(connections) = accepted {
                    connections.accept().await;
                }
                allowed
            })
        });
    }

    /// Whether a socket may use a real address. A loopback address that a guest names does not arrive here unless a rule allows
    /// it: the view of the sockets has replaced it by a real port, or refused it.
    fn allows(&self, address: SocketAddr, how: SocketAddrUse) -> bool {
        // The loopback first, whatever the rules allow: the call removes the announcement of an accepted connection.
        self.loopback.permits(address, how) || self.rules_allow(address, how)
    }

    /// Whether the rules allow a real address.
    pub(super) fn rules_allow(&self, address: SocketAddr, how: SocketAddrUse) -> bool {
        let protocol = match how {
            SocketAddrUse::TcpConnect => Protocol::Tcp,
            SocketAddrUse::UdpSend | SocketAddrUse::UdpReceive => Protocol::Udp,
            // A socket that connects or sends is bound to a free port first.
            SocketAddrUse::TcpBind if address.port() == 0 => return self.has_rule_for(Protocol::Tcp),
            SocketAddrUse::UdpBind if address.port() == 0 => return self.has_rule_for(Protocol::Udp),
            // `hosts` is about outgoing traffic. Only the rule that allows everything covers incoming connections.
            _ => return self.allows_everything(),
        };
        let (ip, port) = (address.ip().to_canonical(), address.port());
        self.rules.iter().any(|rule| rule.allows_address(protocol, ip, port)) || {
            let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
            resolved.get(&ip).is_some_and(|rules| rules.iter().any(|rule| self.rules[*rule].covers(protocol, port)))
        }
    }

    /// Whether a name may be looked up. The text of an address may be, because no resolver is asked for it.
    fn may_look_up(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.names(name)) || (!self.rules.is_empty() && name.parse::<IpAddr>().is_ok())
    }

    /// Starts a lookup for the component, which may connect to the resulting addresses afterwards.
    ///
    /// # Errors
    /// [`LookupError`] when the name is not valid or not allowed. The future fails when the name does not resolve.
    pub(super) fn look_up(
        self: Arc<Self>,
        name: String,
    ) -> Result<impl Future<Output = Result<Vec<IpAddr>, LookupError>> + Send + 'static, LookupError> {
        let name = ascii(name).ok_or(LookupError::Invalid)?;
        if !self.may_look_up(&name) {
            self.log_denied(&name, NOT_LISTED);
            return Err(LookupError::Denied);
        }
        let literal = name.parse::<IpAddr>().ok();
        if literal.is_none() && !is_host_name(&name) {
            return Err(LookupError::Invalid);
        }
        Ok(async move {
            let mut found = match literal {
                Some(address) => Resolved { addresses: vec![address], own: Vec::new() },
                None => self.find(&name).await.map_err(|_| LookupError::Unresolvable)?,
            };
            found.addresses.truncate(MAX_ADDRESSES);
            self.remember(&name, &found);
            Ok(found.addresses)
        })
    }

    /// Resolves a name for a protocol and port, to the addresses that a rule allows. The caller connects to these alone.
    ///
    /// # Errors
    /// An IO error when the name does not resolve, [`io::ErrorKind::PermissionDenied`] when no rule allows its addresses.
    pub(super) async fn resolve(&self, protocol: Protocol, name: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        let mut found = self.find(name).await?;
        let rules: Vec<_> = self.rules.iter().filter(|rule| rule.allows_name(protocol, name, port)).collect();
        let is_own = |address| found.own.contains(&address);
        found.addresses.retain(|address| rules.iter().any(|rule| rule.may_resolve_to(*address, is_own)));
        if found.addresses.is_empty() {
            self.log_denied(
                name,
                "it resolves only to addresses that a wildcard does not cover; list the name in full",
            );
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(found.addresses)
    }

    /// Asks the system's resolver, and for the machine's own addresses when a wildcard rule has to exclude them.
    async fn find(&self, name: &str) -> io::Result<Resolved> {
        let is_wild = |rule: &HostRule| matches!(rule.host, HostPattern::Suffix(_)) && rule.names(name);
        self.lookups.find(name.to_owned(), self.rules.iter().any(is_wild)).await
    }

    /// Remembers the addresses of a name that the rules allow, so that the component may connect to them.
    fn remember(&self, name: &str, found: &Resolved) {
        let is_own = |address| found.own.contains(&address);
        for address in &found.addresses {
            let named = |rule: &HostRule| {
                rule.names(name) && rule.host != HostPattern::Any && rule.may_resolve_to(*address, is_own)
            };
            let rules: Vec<_> = self.rules.iter().enumerate().filter(|(_, rule)| named(rule)).map(|(i, _)| i).collect();
            if rules.is_empty() {
                continue;
            }
            let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
            // Bounds the memory. A guest that resolves thousands of names has to look up again those that it still uses.
            if resolved.len() >= MAX_RESOLVED {
                resolved.clear();
            }
            let known = resolved.entry(address.to_canonical()).or_default();
            known.extend(rules);
            known.sort_unstable();
            known.dedup();
        }
    }
}

/// Converts a name to the ASCII form that resolvers use (RFC 5891), so that the rules are compared with the name that is
/// looked up.
fn ascii(name: String) -> Option<String> {
    if name.is_ascii() { Some(name) } else { idna::domain_to_ascii(&name).ok() }
}

/// Whether a text is a valid host name (RFC 1123).
fn is_host_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.chars().all(|c| c.is_alphanumeric() || "-_".contains(c));
    name.len() <= 253 && name.split('.').all(label)
}
