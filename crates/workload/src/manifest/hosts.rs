//! `hosts`: the hosts that a component may connect to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::decode::{Decode, Diagnostics, parsed};
use super::reserved;
use super::tree::Node;

/// The protocol of a connection: the scheme of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `http`: requests through `wasi:http` without TLS.
    Http,
    /// `https`: requests through `wasi:http` with TLS.
    Https,
    /// `tcp`: connections through `wasi:sockets`.
    Tcp,
    /// `udp`: datagrams through `wasi:sockets`.
    Udp,
}

impl Protocol {
    const ALL: [(&'static str, Self); 4] =
        [("http", Self::Http), ("https", Self::Https), ("tcp", Self::Tcp), ("udp", Self::Udp)];

    /// The port when a rule or a URL omits it: only HTTP has one.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp | Self::Udp => None,
        }
    }
}

/// The hosts that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every host.
    Any,
    /// `example.com`: this name, and the addresses that the component resolved it to.
    Name(String),
    /// `*.example.com`: every subdomain, but not the name itself.
    Suffix(String),
    /// `10.0.0.0/8` or `127.0.0.1`: these addresses, resolved from a name or not.
    Net(IpNet),
}

/// One entry of `hosts`: `[scheme://]host[:port]`. An omitted part is unrestricted, except that the port of
/// `http` and `https` defaults to 80 and 443. The port `*` is any port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostRule {
    /// The protocol; any if `None`.
    pub protocol: Option<Protocol>,
    /// The hosts.
    pub host: HostPattern,
    /// The port; any if `None`.
    pub port: Option<u16>,
}

/// Why a string is not a [`HostRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRuleError {
    /// The scheme is unknown.
    #[error("unknown scheme `{0}`; expected `http`, `https`, `tcp` or `udp`")]
    Scheme(String),
    /// The port is not `*` or a number from 1 to 65535.
    #[error("expected a port from 1 to 65535, or `*` for any, found `{0}`")]
    Port(String),
    /// The host is not a name, wildcard, address or network.
    #[error("expected a host name, `*`, `*.suffix`, an address or a network such as `10.0.0.0/8`, found `{0}`")]
    Host(String),
    /// The rule has a path.
    #[error("a host rule has no path; try `{0}`")]
    Path(String),
    /// The rule has a user or a password, which its text is not repeated for.
    #[error("a host rule has no user and no password; write it as `[scheme://]host[:port]`")]
    User,
}

impl HostRule {
    /// The rule that allows everything.
    pub const ANY: Self = Self { protocol: None, host: HostPattern::Any, port: None };

    /// Whether the rule allows `protocol` to the named host at `port`. An address literal is matched as an address.
    pub fn allows_name(&self, protocol: Protocol, host: &str, port: u16) -> bool {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(address) => self.allows_address(protocol, address, port),
            Err(_) => self.covers(protocol, port) && self.names(host),
        }
    }

    /// Whether the rule allows `protocol` to this address at `port`, by the address alone.
    pub fn allows_address(&self, protocol: Protocol, address: IpAddr, port: u16) -> bool {
        self.covers(protocol, port)
            && match &self.host {
                HostPattern::Any => true,
                // An IPv4-mapped IPv6 address is the IPv4 address.
                HostPattern::Net(net) => net.contains(&address.to_canonical()),
                HostPattern::Name(_) | HostPattern::Suffix(_) => false,
            }
    }

    /// Whether the rule allows everything that another one allows, by its text.
    pub fn includes(&self, other: &Self) -> bool {
        let host = match (&self.host, &other.host) {
            (HostPattern::Any, _) => true,
            (HostPattern::Net(net), HostPattern::Net(other)) => net.contains(other),
            // A name in full may resolve to any address, and one below a wildcard may not.
            (HostPattern::Suffix(suffix), HostPattern::Suffix(other)) => {
                suffix == other || other.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (host, other) => host == other,
        };
        host && (self.protocol.is_none() || self.protocol == other.protocol)
            && (self.port.is_none() || self.port == other.port)
    }

    /// The port as text, unless it is what the rule has without one.
    fn shown_port(&self) -> Option<String> {
        let omitted = self.protocol.and_then(Protocol::default_port);
        (self.port != omitted).then(|| self.port.map_or_else(|| ANY_PORT.to_owned(), |port| port.to_string()))
    }

    /// Whether the rule matches this protocol and port.
    pub fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol.is_none_or(|p| p == protocol) && self.port.is_none_or(|p| p == port)
    }

    /// Whether a name that the rule matches may resolve to this address. A name that is written in full may resolve to any
    /// address. Subdomains below a wildcard are under others' control: they must not resolve to loopback, link-local and
    /// multicast addresses, to cloud platforms' services, or to the machine itself, as `is_own` reports.
    pub fn may_resolve_to(&self, address: IpAddr, is_own: impl Fn(IpAddr) -> bool) -> bool {
        !matches!(self.host, HostPattern::Suffix(_))
            || (reserved::reason(address).is_none() && !reserved::with_embedded_ipv4(address).into_iter().any(is_own))
    }

    /// Whether the rule matches this name.
    pub fn names(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        match &self.host {
            HostPattern::Any => true,
            HostPattern::Name(name) => host == *name,
            HostPattern::Suffix(suffix) => {
                host.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            HostPattern::Net(_) => false,
        }
    }
}

impl FromStr for HostRule {
    type Err = HostRuleError;
    fn from_str(text: &str) -> Result<Self, HostRuleError> {
        if text.contains('@') {
            return Err(HostRuleError::User);
        }
        let (protocol, rest) = match text.split_once("://") {
            Some((scheme, rest)) => {
                let known = Protocol::ALL.iter().find(|(name, _)| *name == scheme);
                (Some(known.ok_or_else(|| HostRuleError::Scheme(scheme.to_owned()))?.1), rest)
            }
            None => (None, text),
        };
        // Networks come first: their slash does not start a path, nor does an unbracketed IPv6 colon start a port.
        if let Some((host, port)) = rest.rsplit_once(':')
            && (host.ends_with(']') || !host.contains(':'))
            && let (Some(net), Ok(port)) = (network(host), parse_port(port))
        {
            return Ok(Self { protocol, host: HostPattern::Net(net), port });
        }
        if let Some(net) = network(rest) {
            return Ok(Self { protocol, host: HostPattern::Net(net), port: protocol.and_then(Protocol::default_port) });
        }
        if let Some((host, _)) = rest.split_once('/') {
            let end = text.len() - rest.len() + host.len();
            return Err(HostRuleError::Path(text[..end].to_owned()));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, parse_port(port)?),
            _ => (rest, protocol.and_then(Protocol::default_port)),
        };
        Ok(Self { protocol, host: pattern(host)?, port })
    }
}

/// Any port, as the text of a rule has it.
const ANY_PORT: &str = "*";

fn parse_port(text: &str) -> Result<Option<u16>, HostRuleError> {
    if text == ANY_PORT {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|port| *port != 0);
    number.map(Some).ok_or_else(|| HostRuleError::Port(text.to_owned()))
}

fn network(text: &str) -> Option<IpNet> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpNet>().ok().or_else(|| bare.parse::<IpAddr>().ok().map(|ip| IpNet::from(ip.to_canonical())))
}

fn pattern(host: &str) -> Result<HostPattern, HostRuleError> {
    if host == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(net) = network(host) {
        return Ok(HostPattern::Net(net));
    }
    let (suffix, name) = match host.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, host),
    };
    let label = |l: &str| {
        !l.is_empty() && l.len() <= 63 && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    // A last label that starts with a digit is an address in a legacy form (0x7f.1, 2130706433), never a name.
    let numeric = name.rsplit('.').next().is_some_and(|l| l.starts_with(|c: char| c.is_ascii_digit()));
    if name.len() > 253 || !name.split('.').all(label) || numeric {
        return Err(HostRuleError::Host(host.to_owned()));
    }
    let name = name.to_ascii_lowercase();
    Ok(if suffix { HostPattern::Suffix(name) } else { HostPattern::Name(name) })
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(protocol) = self.protocol {
            let name = Protocol::ALL.iter().find(|(_, p)| *p == protocol).map_or("", |(name, _)| name);
            write!(f, "{name}://")?;
        }
        match &self.host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Name(name) => f.write_str(name)?,
            HostPattern::Suffix(suffix) => write!(f, "*.{suffix}")?,
            HostPattern::Net(IpNet::V6(net)) if net.prefix_len() == 128 => write!(f, "[{}]", net.addr())?,
            HostPattern::Net(net) if net.prefix_len() == net.max_prefix_len() => write!(f, "{}", net.addr())?,
            HostPattern::Net(IpNet::V6(net)) if self.shown_port().is_some() => write!(f, "[{net}]")?,
            HostPattern::Net(net) => write!(f, "{net}")?,
        }
        self.shown_port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Serialize for HostRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for HostRule {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HostRule".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "[scheme://]host[:port]: scheme http, https, tcp or udp; host a name, *, *.suffix, an \
                            address or a network; port a number, or * for any. Such as https://api.example.com, \
                            https://example.com:*, *.example.com:443, 10.0.0.0/8."
        })
    }
}

impl Decode for HostRule {
    fn decode(node: &Node, path: &str, diagnostics: &mut Diagnostics) -> Option<Self> {
        parsed(node, path, diagnostics, str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> HostRule {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn rules_allow_exactly_what_they_state() {
        use Protocol::{Http, Https, Tcp, Udp};
        let api = rule("https://api.example.com");
        assert!(api.allows_name(Https, "API.example.com.", 443));
        assert!(!api.allows_name(Https, "api.example.com", 8443));
        assert!(!api.allows_name(Http, "api.example.com", 80));
        assert!(!api.allows_name(Https, "evil-api.example.com", 443));
        let below = rule("*.example.com:443");
        let own = |address: IpAddr| address == IpAddr::from([10, 0, 0, 7]);
        for near in ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "10.0.0.7", "64:ff9b::10.0.0.7"] {
            assert!(!below.may_resolve_to(near.parse().unwrap(), own), "{near}");
            assert!(rule("example.com").may_resolve_to(near.parse().unwrap(), own), "{near}");
        }
        assert!(below.may_resolve_to("10.0.0.1".parse().unwrap(), own));
        assert!(below.allows_name(Https, "a.b.example.com", 443));
        assert!(!below.allows_name(Https, "example.com", 443), "a wildcard excludes the name itself");
        assert!(!below.allows_name(Https, "notexample.com", 443));
        assert!(!below.allows_address(Tcp, [10, 0, 0, 1].into(), 443));
        let net = rule("tcp://10.0.0.0/8");
        assert!(net.allows_address(Tcp, [10, 9, 8, 7].into(), 5432));
        assert!(!net.allows_address(Udp, [10, 9, 8, 7].into(), 53));
        assert!(net.allows_address(Tcp, "::ffff:10.1.2.3".parse().unwrap(), 1), "mapped");
        assert!(!net.allows_name(Tcp, "ten.example.com", 1), "a name is no address");
        assert!(rule("[::1]:53").allows_name(Tcp, "[::1]", 53));
        assert!(rule("*").allows_name(Http, "anything", 1));
        let any_port = rule("http://10.0.0.1:*");
        assert!(any_port.allows_name(Http, "10.0.0.1", 80) && any_port.allows_name(Http, "10.0.0.1", 9000));
        assert!(!any_port.allows_name(Https, "10.0.0.1", 443));
        assert_eq!(rule("tcp://a.example:*"), rule("tcp://a.example"));
    }

    #[test]
    fn a_rule_includes_what_allows_less() {
        let includes = |wide: &str, narrow: &str| rule(wide).includes(&rule(narrow));
        for (wide, narrow) in [
            ("*", "https://a.example"),
            ("*.example", "*.a.example"),
            ("https://*.a.example", "https://*.b.a.example"),
            ("10.0.0.0/8", "tcp://10.1.0.0/16:80"),
            ("a.example", "https://a.example:8443"),
        ] {
            assert!(includes(wide, narrow) && includes(wide, wide), "{wide} {narrow}");
            assert!(!includes(narrow, wide), "{wide} {narrow}");
        }
        assert!(!includes("*.a.example", "b.a.example") && !includes("*.a.example", "*.ba.example"));
    }

    #[test]
    fn a_rule_prints_as_it_parses() {
        for text in [
            "*",
            "*:80",
            "example.com",
            "https://example.com",
            "https://example.com:8443",
            "*.example.com:443",
            "10.0.0.0/8",
            "tcp://127.0.0.1:5432",
            "[::1]:53",
            "fd00::/8",
            "udp://[::1]:53",
            "tcp://10.0.0.0/8:5432",
            "[fd00::/8]:53",
            "http://10.0.0.0/8",
            "https://example.com:*",
            "http://[fd00::/8]:*",
        ] {
            assert_eq!(rule(text).to_string(), text);
            assert_eq!(rule(&rule(text).to_string()), rule(text));
        }
    }

    #[test]
    fn invalid_hosts_are_rejected() {
        for text in [
            "",
            "ftp://a",
            "a:0",
            "a:70000",
            "a:x",
            "a b",
            "*.",
            "a..b",
            "2130706433",
            "0x7f.1",
            "127.1",
            "a/b",
            "https://a/b/c",
            "*.*.a",
            "a*",
            "http://",
        ] {
            assert!(text.parse::<HostRule>().is_err(), "{text}");
        }
        let error = "https://a.example/path/x".parse::<HostRule>().unwrap_err();
        assert_eq!(error, HostRuleError::Path("https://a.example".into()));
    }
}
