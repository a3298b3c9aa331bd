//! `wasi:sockets` held to a component's `hosts`: connections by the address, look-ups by the name, and what an allowed
//! name was looked up as becomes an allowed address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsCtx};
use workload::manifest::{HostPattern, HostRule, Protocol};

use super::connections::{Connections, Open};
use super::lookup::{Found, Lookups, Refusal};
use super::loopback::Loopback;

/// How many addresses of a name are given to a component.
const MAX_ADDRESSES: usize = 64;
/// How many looked-up addresses are remembered for a component.
const MAX_RESOLVED: usize = 4096;

/// A component's `hosts`, and the addresses that it looked allowed names up as.
pub(crate) struct Network {
    rules: Arc<[HostRule]>,
    /// The rules whose names were looked up as this address.
    resolved: Mutex<HashMap<IpAddr, Vec<usize>>>,
    loopback: Arc<Loopback>,
    lookups: Lookups,
}

impl Network {
    pub(crate) fn new(rules: Vec<HostRule>, loopback: Arc<Loopback>, lookups: Lookups) -> Self {
        Self { rules: rules.into(), resolved: Mutex::default(), loopback, lookups }
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

    /// The sockets of one instance, which go as far as the rules allow. Those that are made with this keep `open`.
    pub(super) fn sockets(self: &Arc<Self>, connections: &Arc<Connections>, open: Option<Arc<Open>>) -> WasiSocketsCtx {
        let mut builder = WasiCtxBuilder::new();
        self.open(&mut builder, connections, open);
        builder.build().sockets().clone()
    }

    /// Gives a context what the rules allow.
    fn open(self: &Arc<Self>, builder: &mut WasiCtxBuilder, connections: &Arc<Connections>, open: Option<Arc<Open>>) {
        builder
            // Sockets are everybody's, for the workload's loopback; the check of each address says how far they go.
            .allow_tcp(true)
            .allow_udp(true)
            .allow_ip_name_lookup(!self.rules.is_empty());
        let (network, connections) = (self.clone(), connections.clone());
        builder.socket_addr_check(move |address, how| {
            let _kept = &open;
            let allowed = network.allows(address, how);
            if !allowed {
                tracing::debug!(%address, ?how, "refused: no entry of `hosts` allows it");
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

    /// Looks a name up for the component, which may then connect to what it is given.
    ///
    /// # Errors
    /// [`Refusal`] when it may not, or the name is none.
    pub(super) fn look_up(
        self: Arc<Self>,
        name: String,
    ) -> Result<impl Future<Output = Result<Vec<IpAddr>, Refusal>> + Send + 'static, Refusal> {
        let name = ascii(name).ok_or(Refusal::Invalid)?;
        if !self.may_look_up(&name) {
            return Err(Refusal::Denied);
        }
        let literal = name.parse::<IpAddr>().ok();
        if literal.is_none() && !is_host_name(&name) {
            return Err(Refusal::Invalid);
        }
        Ok(async move {
            let found = match literal {
                Some(address) => Found { addresses: vec![address], own: Vec::new() },
                None => self.find(&name).await.map_err(|_| Refusal::Unresolvable)?,
            };
            let mut found = found;
            found.addresses.truncate(MAX_ADDRESSES);
            self.remember(&name, &found);
            Ok(found.addresses)
        })
    }

    /// What a name leads to for one protocol and port: the addresses that a rule allows, which are those to connect to.
    ///
    /// # Errors
    /// When the name does not resolve, or leads nowhere but where no rule allows: [`io::ErrorKind::PermissionDenied`].
    pub(super) async fn resolve(&self, protocol: Protocol, name: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        let mut found = self.find(name).await?;
        let rules: Vec<_> = self.rules.iter().filter(|rule| rule.allows_name(protocol, name, port)).collect();
        let is_own = |address| found.own.contains(&address);
        found.addresses.retain(|address| rules.iter().any(|rule| rule.may_lead_to(*address, is_own)));
        if found.addresses.is_empty() {
            tracing::debug!(name, "refused: it leads nowhere but where a wildcard does not");
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(found.addresses)
    }

    async fn find(&self, name: &str) -> io::Result<Found> {
        let is_wild = |rule: &HostRule| matches!(rule.host, HostPattern::Suffix(_)) && rule.names(name);
        self.lookups.find(name.to_owned(), self.rules.iter().any(is_wild)).await
    }

    /// Remembers what a name was looked up as.
    fn remember(&self, name: &str, found: &Found) {
        let is_own = |address| found.own.contains(&address);
        for address in &found.addresses {
            let named = |rule: &HostRule| {
                rule.names(name) && rule.host != HostPattern::Any && rule.may_lead_to(*address, is_own)
            };
            let rules: Vec<_> = self.rules.iter().enumerate().filter(|(_, rule)| named(rule)).map(|(i, _)| i).collect();
            if rules.is_empty() {
                continue;
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
