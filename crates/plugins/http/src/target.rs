//! Parses a request's target: the authority and path that routes match.
//!
//! Takes the authority and path that the client sent; gives the host and path that select a route, and the path that
//! the component receives. The server rejects a request whose path other parsers could route to another component.
//! Never reads the routes.

use std::borrow::Cow;

/// The host of an authority, without its port: `[::1]:80` is `[::1]`. `None` when it is not `host [":" port]` (RFC
/// 9110, section 7.2), for example because it contains user information.
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
    /// The path that routes match: percent-decoded, except for encoded `/`, `\` and `%`.
    pub(crate) key: Cow<'a, str>,
    /// The same path as lenient parsers read it. `None` when all parsers agree.
    pub(crate) lenient: Option<[String; 3]>,
    /// The normal form that a component receives: unreserved characters decoded (RFC 3986, section 6.2.2.2). `None`
    /// when the path is in that form already.
    pub(crate) normal: Option<String>,
}

impl<'a> Path<'a> {
    pub(crate) fn new(path: &'a str) -> Self {
        // All parsers agree on almost every path.
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

/// The key under which a path from a manifest is stored in the routes.
pub(crate) fn key(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let decoded = decode(path.as_bytes(), |byte| !matches!(byte, b'/' | b'\\' | b'%'));
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// Whether all parsers read a path alike: it contains no encoding, backslash, empty segment or segment that begins with
/// a dot.
fn is_plain(path: &str) -> bool {
    let mut after_slash = false;
    path.bytes().all(|byte| {
        let is_ambiguous = matches!(byte, b'%' | b'\\') || (after_slash && matches!(byte, b'/' | b'.'));
        after_slash = byte == b'/';
        !is_ambiguous
    })
}

/// Decodes the percent-encoded bytes that `which` selects, and leaves the others encoded.
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

/// The byte that is percent-encoded at index `at`, if any.
fn encoded(path: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = path.get(at..at + 3)? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// Decodes the unreserved characters of a path.
fn normalize(path: &str) -> Vec<u8> {
    decode(path.as_bytes(), |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

/// The readings of lenient parsers: the path decoded repeatedly, with backslashes as slashes; that without empty
/// segments; and that with its dot segments resolved.
fn lenient(path: &str) -> [String; 3] {
    let mut bytes = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        bytes.push(byte);
        // A decoded byte may complete another encoding, as in `%2541`. Each decoding removes two bytes, so this ends.
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
    fn parses_the_host_of_an_authority() {
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
    fn a_plain_path_is_unambiguous() {
        for path in ["/", "/a", "/a/b.c", "/a/b/", "*", "/a.b/c..d"] {
            let parsed = Path::new(path);
            assert_eq!(parsed.key, path);
            assert!(parsed.lenient.is_none() && parsed.normal.is_none(), "{path}");
        }
    }

    #[test]
    fn ambiguous_paths_have_strict_and_lenient_readings() {
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
            let parsed = Path::new(path);
            assert_eq!(parsed.key, key, "{path}");
            assert_eq!(parsed.lenient.as_ref().map(|[.., resolved]| &**resolved), Some(lenient), "{path}");
            assert_eq!(parsed.normal.as_deref(), normal, "{path}");
        }
        assert_eq!(key("/caf%C3%A9"), "/café");
        // A client chooses how deeply it nests encodings.
        let deep = format!("/%{}61", "25".repeat(30_000));
        assert_eq!(Path::new(&deep).lenient.unwrap(), ["/a", "/a", "/a"]);
        // The readings between the strictest and the most lenient one count, too.
        assert_eq!(Path::new("//admin%2f..").lenient.unwrap(), ["//admin/..", "/admin/..", "/"]);
    }
}
