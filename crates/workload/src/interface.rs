//! Interface names, and the version compatibility that the component model defines.

use std::fmt;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A parsed interface name: `wasi:http/types@0.2.3` is namespace `wasi`, package `http`, interface `types` and
/// a version. (Component model, `Explainer.md`, "Import and Export Definitions".)
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName {
    /// The namespace, such as `wasi`. Nested namespaces are kept verbatim.
    pub namespace: String,
    /// The package, such as `http`.
    pub package: String,
    /// The interface, such as `types`.
    pub interface: String,
    /// The package's version, if it has one.
    pub version: Option<Version>,
}

impl InterfaceName {
    /// Parses `namespace:package/interface[@version]`; returns `None` for anything else, such as a plain name.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(Version::parse(version).ok()?)),
            None => (text, None),
        };
        let (package, interface) = path.split_once('/')?;
        let (namespace, package) = package.rsplit_once(':')?;
        let parts = [namespace, package, interface];
        if parts.iter().any(|p| p.is_empty()) {
            return None;
        }
        let [namespace, package, interface] = parts.map(str::to_owned);
        Some(Self { namespace, package, interface, version })
    }

    /// The name without its version: `wasi:http/types`.
    pub fn unversioned(&self) -> String {
        format!("{}:{}/{}", self.namespace, self.package, self.interface)
    }

    /// Whether `text` is the name, with or without the version, as the `import` of a link is.
    pub fn is_named(&self, text: &str) -> bool {
        self.unversioned() == text || self.to_string() == text
    }

    /// Whether both name the same interface, ignoring versions.
    pub fn same_interface(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.package == other.package && self.interface == other.interface
    }

    /// Whether `self` may serve an import of `wanted`: the same interface, and versions on one compatibility track.
    /// Either version may be the later one: the subtype check decides whether an earlier version
    /// has everything that the import needs.
    pub fn may_serve(&self, wanted: &Self) -> bool {
        self.same_interface(wanted) && compatible(self.version.as_ref(), wanted.version.as_ref())
    }
}

/// Whether two versions are on one compatibility track: the same first non-zero number, and no pre-release unless equal.
fn compatible(a: Option<&Version>, b: Option<&Version>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) if a == b => true,
        (Some(a), Some(b)) if !a.pre.is_empty() || !b.pre.is_empty() => false,
        (Some(a), Some(b)) if a.major != 0 || b.major != 0 => a.major == b.major,
        (Some(a), Some(b)) => a.minor != 0 && a.minor == b.minor,
        _ => false,
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.namespace, self.package, self.interface)?;
        self.version.as_ref().map_or(Ok(()), |v| write!(f, "@{v}"))
    }
}

impl Serialize for InterfaceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InterfaceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "an interface name such as `wasi:http/types@0.2.3`";
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("expected {expected}, found `{text}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        InterfaceName::parse(text).unwrap()
    }

    #[test]
    fn a_name_survives_parsing() {
        for text in ["wasi:http/types@0.2.3", "a:b/c", "wasi:config/store@0.2.0-rc.1"] {
            assert_eq!(name(text).to_string(), text);
        }
        for plain in ["log", "a:b", "a/b", ":b/c", "a:b/c@x"] {
            assert_eq!(InterfaceName::parse(plain), None, "{plain}");
        }
    }

    #[test]
    fn versions_serve_along_their_track() {
        let serves = |a: &str, b: &str| name(&format!("a:b/c@{a}")).may_serve(&name(&format!("a:b/c@{b}")));
        assert!(serves("0.2.1", "0.2.0"));
        assert!(serves("1.4.0", "1.2.0"));
        assert!(serves("0.2.0", "0.2.1"), "the subtype check decides");
        assert!(!serves("0.3.0", "0.2.0"));
        assert!(!serves("2.0.0", "1.0.0"));
        assert!(!serves("0.0.2", "0.0.1"));
        assert!(!serves("0.2.0", "0.2.0-rc.1"));
        assert!(serves("0.2.0-rc.1", "0.2.0-rc.1"));
        assert!(!name("a:b/c").may_serve(&name("a:b/c@1.0.0")));
    }
}
