//! Tests of `wasi:sockets`: names.

use wasip3::sockets::ip_name_lookup::{ErrorCode, resolve_addresses};
use wasip3::sockets::types::IpAddress;

use crate::conform::{Good, Outcome, Test};
use crate::net::{LOCAL4, LOCAL6};

const RESOLVE: &str = "wasi:sockets/ip-name-lookup#resolve-addresses";

pub const TESTS: &[Test] = &[
    test!("lookup-localhost", localhost, [RESOLVE]),
    test!("lookup-idna", idna, [RESOLVE]),
    test!("lookup-literals", literals, [RESOLVE]),
    test!("lookup-invalid", invalid, [RESOLVE]),
    test!("lookup-unresolvable", unresolvable, [RESOLVE]),
];

async fn localhost() -> Outcome {
    is_local("localhost").await?;
    is_local("LOCALHOST").await
}

/// A name of other than ASCII letters becomes one of ASCII: these are wide letters, which mean the same.
async fn idna() -> Outcome {
    is_local("\u{ff4c}\u{ff4f}\u{ff43}\u{ff41}\u{ff4c}\u{ff48}\u{ff4f}\u{ff53}\u{ff54}").await
}

async fn is_local(name: &str) -> Outcome {
    let found = resolve_addresses(name.to_owned()).await.good()?;
    ensure!(!found.is_empty());
    for address in found {
        let local = match address {
            IpAddress::Ipv4((first, ..)) => first == 127,
            IpAddress::Ipv6(address) => address == LOCAL6,
        };
        ensure!(local, "{name} is at {address:?}");
    }
    Ok(())
}

async fn literals() -> Outcome {
    same!(resolve_addresses("127.0.0.1".into()).await.good()?, [IpAddress::Ipv4(LOCAL4)]);
    same!(resolve_addresses("192.0.2.7".into()).await.good()?, [IpAddress::Ipv4((192, 0, 2, 7))]);
    same!(resolve_addresses("::1".into()).await.good()?, [IpAddress::Ipv6(LOCAL6)]);
    let address = (0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
    same!(resolve_addresses("2001:db8::7".into()).await.good()?, [IpAddress::Ipv6(address)]);
    Ok(())
}

async fn invalid() -> Outcome {
    for name in ["", "not a name", "a.b<&>", "[::1", "host:80"] {
        let found = resolve_addresses(name.to_owned()).await;
        ensure!(matches!(found, Err(ErrorCode::InvalidArgument)), "{name:?} gave {found:?}");
    }
    Ok(())
}

async fn unresolvable() -> Outcome {
    // The name is reserved: it never exists. Without a resolver the host may only say that it failed.
    fails!(
        resolve_addresses("nowhere.invalid".into()).await,
        ErrorCode::NameUnresolvable | ErrorCode::TemporaryResolverFailure
    );
    Ok(())
}
