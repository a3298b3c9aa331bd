//! wasi:sockets/ip-name-lookup and instance-network.

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::{ResolveAddressStream, resolve_addresses};
use wasip2::sockets::network::{ErrorCode, IpAddress};

use crate::Test;
use crate::conform::Check;

pub const TESTS: &[Test] = &[
    Test::new(
        "lookup-addresses",
        addresses,
        &[
            "wasi:sockets/instance-network#instance-network",
            "wasi:sockets/ip-name-lookup#resolve-addresses",
            "wasi:sockets/ip-name-lookup#[method]resolve-address-stream.resolve-next-address",
            "wasi:sockets/ip-name-lookup#[method]resolve-address-stream.subscribe",
        ],
    ),
    Test::new("lookup-localhost", localhost, &["wasi:sockets/ip-name-lookup#resolve-addresses"]),
    Test::new("lookup-invalid", invalid, &["wasi:sockets/ip-name-lookup#resolve-addresses"]),
];

fn next(stream: &ResolveAddressStream) -> Result<Option<IpAddress>, ErrorCode> {
    loop {
        match stream.resolve_next_address() {
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            other => return other,
        }
    }
}

fn resolve(name: &str) -> Result<Vec<IpAddress>, ErrorCode> {
    // The network may go before what was made with it.
    let stream = resolve_addresses(&instance_network(), name)?;
    let mut all = Vec::new();
    while let Some(address) = next(&stream)? {
        all.push(address);
    }
    assert!(matches!(next(&stream), Ok(None)));
    Ok(all)
}

/// An address is its own answer.
fn addresses() -> Check {
    let found = ok!(resolve("127.0.0.1"));
    ensure!(matches!(found[..], [IpAddress::Ipv4((127, 0, 0, 1))]));
    let found = ok!(resolve("::1"));
    ensure!(matches!(found[..], [IpAddress::Ipv6((0, 0, 0, 0, 0, 0, 0, 1))]));
    let found = ok!(resolve("192.0.2.1"));
    ensure!(matches!(found[..], [IpAddress::Ipv4((192, 0, 2, 1))]));
    let stream = ok!(resolve_addresses(&instance_network(), "127.0.0.1"));
    stream.subscribe().block();
    ensure!(stream.subscribe().ready());
    ensure!(matches!(stream.resolve_next_address(), Ok(Some(_))));
    Ok(())
}

fn localhost() -> Check {
    let found = ok!(resolve("localhost"));
    ensure!(!found.is_empty());
    for address in found {
        match address {
            IpAddress::Ipv4((first, ..)) => equal!(first, 127),
            // Never one that stands for an IPv4 address.
            IpAddress::Ipv6(address) => equal!(address, (0, 0, 0, 0, 0, 0, 0, 1)),
        }
    }
    Ok(())
}

fn invalid() -> Check {
    for name in ["", "two words", "127.0.0.1:80", "[::1]:80", "http://localhost", "a..b/c", "\0"] {
        match resolve(name) {
            Err(ErrorCode::InvalidArgument) => {}
            other => return Err(format!("{name:?} gave {other:?}")),
        }
    }
    Ok(())
}
