//! Addresses that a wildcard in `hosts` never resolves to: one table, each row with its reason.
//!
//! The owner of a domain decides what its subdomains resolve to, so a wildcard must not reach these addresses; a name or
//! an address that is written in full does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::IpNet;

const TABLE: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this host on this network (RFC 1122)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("169.254.0.0/16", "link-local (RFC 3927), where clouds serve metadata and credentials"),
    ("100.100.100.200/32", "the metadata service of Alibaba Cloud"),
    ("168.63.129.16/32", "the platform services of Azure"),
    ("192.0.0.192/32", "the metadata service of Oracle Cloud"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("255.255.255.255/32", "broadcast (RFC 919)"),
    ("::/128", "unspecified (RFC 4291)"),
    ("::1/128", "loopback (RFC 4291)"),
    ("fe80::/10", "link-local (RFC 4291)"),
    ("ff00::/8", "multicast (RFC 4291)"),
    ("fd00:ec2::/32", "the instance services of AWS: metadata, name servers, credentials of pods"),
    ("fd20:ce::/64", "the metadata service of Google Cloud"),
    ("fd00:c1::/64", "the metadata service of Oracle Cloud"),
];

/// Why a wildcard must not resolve to this address, if so. An IPv6 address that embeds an IPv4 address counts as both.
pub(super) fn reason(address: IpAddr) -> Option<&'static str> {
    static NETWORKS: LazyLock<Vec<(IpNet, &str)>> =
        LazyLock::new(|| TABLE.iter().filter_map(|(net, reason)| Some((net.parse().ok()?, *reason))).collect());
    let listed = |address: &IpAddr| NETWORKS.iter().find(|(net, _)| net.contains(address)).map(|(_, reason)| *reason);
    with_embedded_ipv4(address).iter().find_map(listed)
}

/// An address, and the IPv4 addresses that the network may translate it to.
pub(super) fn with_embedded_ipv4(address: IpAddr) -> Vec<IpAddr> {
    let mut addresses = vec![address];
    if let IpAddr::V6(v6) = address {
        addresses.extend(embedded_ipv4(v6).into_iter().map(IpAddr::V4));
    }
    addresses
}

/// The IPv4 addresses that an IPv6 address embeds.
fn embedded_ipv4(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = address.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = at([12, 13, 14, 15]);
    match address.segments() {
        // Mapped and compatible (RFC 4291), translated (RFC 2765), the well-known prefix of NAT64 (RFC 6052), and ISATAP
        // below any prefix (RFC 5214).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [.., 0 | 0x200, 0x5efe, _, _] => vec![last],
        // The prefix of NAT64 for local use (RFC 8215), in each of the lengths that RFC 6052 has below it.
        [0x64, 0xff9b, 1, ..] => vec![at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), last],
        // 6to4 (RFC 3056).
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        // Teredo (RFC 4380): the server's, and the client's with its bits inverted.
        [0x2001, 0, ..] => vec![at([4, 5, 6, 7]), Ipv4Addr::from(last.octets().map(|octet| !octet))],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{TABLE, reason};
    use ipnet::IpNet;

    #[test]
    fn the_table_is_networks() {
        for (net, reason) in TABLE {
            assert_eq!(net.parse::<IpNet>().unwrap().trunc().to_string(), *net, "{reason}");
        }
    }

    #[test]
    fn an_address_is_reserved_in_every_form() {
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "127.1.2.3",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            // IPv4 link-local: mapped, compatible, translated, NAT64, 6to4, Teredo and ISATAP.
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2001:0:102:304::5601:5601",
            "2001:0:a9fe:a9fe::",
            "2001:db8::5efe:169.254.169.254",
            "2001:db8::200:5efe:7f00:1",
            "2002:7f00:1::",
            "64:ff9b::127.0.0.1",
        ] {
            assert!(reason(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in [
            "10.0.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "8.8.8.8",
            "2001:db8::1",
            "fd00::1",
            "2002:808:808::1",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(reason(address.parse().unwrap()), None, "{address}");
        }
    }
}
