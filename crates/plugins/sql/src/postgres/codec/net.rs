//! Network addresses.
//!
//! Takes `inet` and `cidr` in binary; gives their text. The server reads the text of parameters.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Reason;
use super::reader::{malformed, whole};

/// The text of an `inet`, or of a `cidr`, which always names the length of its prefix.
pub(in super::super) fn decode(raw: &[u8], is_cidr: bool) -> Result<String, Reason> {
    whole(raw, |reader| {
        let (_family, bits, _flag, length) = (reader.u8()?, reader.u8()?, reader.u8()?, reader.u8()?);
        let (address, all) = match length {
            4 => (Ipv4Addr::from(reader.array::<4>()?).to_string(), 32),
            16 => (Ipv6Addr::from(reader.array::<16>()?).to_string(), 128),
            _ => return Err(malformed()),
        };
        Ok(if bits == all && !is_cidr { address } else { format!("{address}/{bits}") })
    })
}
