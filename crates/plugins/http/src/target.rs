//! Where a request is addressed to: its authority and path, as routes are matched against them.
//!
//! Takes what the client sent; gives the host and the path that select a route, and the path as the component is handed
//! it. A request that two readers could understand as addressed to different components is rejected. Never looks at
//! routes.

use std::borrow::Cow;

/// The host of an authority, without its port: `[::1]:80` is `[::1]`. `None` when it is not `host [":" port]` (RFC 9110,
/// section 7.2): user information has no place in a request.
pub(crate) fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (&authority[..address.len() + 2], port)
    } else {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if host.is_empty() || !host.bytes().all(is_name) {
            return None;
        }
        (host, port)
    };
    let is_port = |digits: &str| digits.is_empty() || (is_digits(digits) && digits.parse::<u16>().is_ok());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(host)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// A request's path.
pub(crate) struct Path<'a> {
    /// What routes are matched against: percent-decoded, but for encoded `/`, `\` and `%`.
    pub(crate) key: Cow<'a, str>,
    /// The same path as lenient readers would take it. `None` when there is no other way to read it.
    pub(crate) lenient: Option<[String; 3]>,
    /// The normal form that a component is handed (RFC 3986, section 6.2.2.2): unreserved characters decoded. `None` when
    /// the path is in that form already.
    pub(crate) normal: Option<String>,
}

impl<'a> Path<'a> {
    pub(crate) fn new(path: &'a str) -> Self {
        // Almost every path has one reading only.
        if is_plain(path) {
            return Self { key: Cow::Borrowed(path), lenient: None, normal: None };
        }
        let normal = normalize(path);
        Self {
            key: key(path),
            lenient: Some(lenient(path)),
            normal: (normal != path.as_bytes()).then(|| String::from_utf8_lossy(&normal).into_owned()),
        }
    }
}

/// What routes are matched against for a path as it is written in a manifest.
pub(crate) fn key(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let decoded = decode(path.as_bytes(), |byte| !matches!(byte, b'/' | b'\\' | b'%'));
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn is_plain(path: &str) -> bool {
    let mut slash = false;
    path.bytes().all(|byte| {
        let odd = matches!(byte, b'%' | b'\\') || (slash && matches!(byte, b'/' | b'.'));
        slash = byte == b'/';
        !odd
    })
}

/// Decodes the percent-encoded bytes that `which` selects, and leaves the others as they are.
fn decode(path: &[u8], which: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let selected = encoded(path, at).filter(|byte| which(*byte));
        decoded.push(selected.unwrap_or(*byte));
        at += if selected.is_some() { 3 } else { 1 };
    }
    decoded
}

/// The byte that is percent-encoded at this place.
fn encoded(path: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = path.get(at..at + 3)? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

fn normalize(path: &str) -> Vec<u8> {
    decode(path.as_bytes(), |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

/// What lenient readers make of a path: decoded to the end, with backslashes as slashes; that without empty segments; and
/// that with its dot segments resolved.
fn lenient(path: &str) -> [String; 3] {
    let mut bytes = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        bytes.push(byte);
        // What is decoded may end another code, as the second of `%2525` does. Each decoding is two bytes shorter.
        while let Some(at) = bytes.len().checked_sub(3)
            && let Some(decoded) = encoded(&bytes, at)
        {
            bytes.truncate(at);
            bytes.push(decoded);
        }
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let (mut merged, mut resolved): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for segment in text.split('/').filter(|segment| !segment.is_empty()) {
        merged.push(segment);
        match segment {
            "." => {}
            ".." => {
                resolved.pop();
            }
            segment => resolved.push(segment),
        }
    }
    let joined = |segments: &[&str], ends: &[&str]| {
        let directory = ends.iter().any(|end| text.ends_with(end)) && !segments.is_empty();
        format!("/{}{}", segments.join("/"), if directory { "/" } else { "" })
    };
    let (merged, resolved) = (joined(&merged, &["/"]), joined(&resolved, &["/", "/.", "/.."]));
    [text, merged, resolved]
}

#[cfg(test)]
mod tests {
    use super::{Path, host_of, key};

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        for (authority, host) in [
            ("a", "a"),
            ("a.example:80", "a.example"),
            ("a:", "a"),
            ("127.0.0.1:8000", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
        ] {
            assert_eq!(host_of(authority), Some(host));
        }
        for bad in [
            "",
            ":80",
            "x@a",
            "user:password@a",
            "a:b",
            "a:99999",
            "a:+1",
            "a b",
            "[::1",
            "[::1]x",
            "[x]",
            "::1",
            "a/b",
            "é",
        ] {
            assert_eq!(host_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_plain_path_has_one_reading() {
        for path in ["/", "/a", "/a/b.c", "/a/b/", "*", "/a.b/c..d"] {
            let read = Path::new(path);
            assert_eq!(read.key, path);
            assert!(read.lenient.is_none() && read.normal.is_none(), "{path}");
        }
    }

    #[test]
    fn odd_paths_are_read_strictly_and_leniently() {
        for (path, key, lenient, normal) in [
            ("/%61dmin/x", "/admin/x", "/admin/x", Some("/admin/x")),
            ("//admin/x", "//admin/x", "/admin/x", None),
            ("/x/../admin/x", "/x/../admin/x", "/admin/x", None),
            ("/x/%2e%2E/admin", "/x/../admin", "/admin", Some("/x/../admin")),
            ("/x%2f..%5cadmin", "/x%2f..%5cadmin", "/admin", None),
            ("/x\\..\\admin", "/x\\..\\admin", "/admin", None),
            ("/%2561dmin", "/%2561dmin", "/admin", None),
            ("/%25%32%35%36%31dmin", "/%252561dmin", "/admin", Some("/%252561dmin")),
            ("/caf%c3%a9/%zz", "/café/%zz", "/café/%zz", None),
            ("/a/.", "/a/.", "/a/", None),
            ("/..", "/..", "/", None),
            ("/.well-known/x", "/.well-known/x", "/.well-known/x", None),
        ] {
            let read = Path::new(path);
            assert_eq!(read.key, key, "{path}");
            assert_eq!(read.lenient.as_ref().map(|[.., resolved]| &**resolved), Some(lenient), "{path}");
            assert_eq!(read.normal.as_deref(), normal, "{path}");
        }
        assert_eq!(key("/caf%C3%A9"), "/café");
        // Each decoding of this one begins another; a client chooses how often.
        let deep = format!("/%{}61", "25".repeat(30_000));
        assert_eq!(Path::new(&deep).lenient.unwrap(), ["/a", "/a", "/a"]);
        // What is between the strictest reading and the most lenient one counts, too.
        assert_eq!(Path::new("//admin%2f..").lenient.unwrap(), ["//admin/..", "/admin/..", "/"]);
    }
}
