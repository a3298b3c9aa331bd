//! The names of objects as keys of S3.
//!
//! Takes any name of an object; gives a key that `object_store`, XML and a URL carry unchanged. Ordinary names are
//! their own keys; `!` and two hexadecimal digits stand for a byte that some part on the way would change or reject.
//!
//! A key that would be too long becomes `!~` and the name's SHA-256, and the object's metadata has the name.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use object_store::path::Path;
use object_store::{Attribute, Attributes};
use sha2::{Digest as _, Sha256};

use crate::backend::{Error, MAX_NAME};

/// The longest key that S3 takes, in bytes.
const MAX_KEY: usize = 1024;
/// The longest prefix, in bytes: a hashed name fits behind it.
const MAX_PREFIX: usize = 512;
/// Begins the keys that are hashes. A `!` of an encoded name has two hexadecimal digits behind it.
const HASHED: &str = "!~";
/// The metadata that holds the name of an object whose key is a hash, in base64.
const NAME: Attribute = Attribute::Metadata(Cow::Borrowed("wharf-name"));

/// The keys of one store.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: Path,
}

/// The key of an object.
pub(super) struct Key {
    pub(super) path: Path,
    /// Holds the name if the key is a hash.
    pub(super) attributes: Attributes,
}

/// What a key says about its object.
pub(super) enum Listed {
    /// The object's name.
    Name(String),
    /// The object's metadata has its name.
    InMetadata(Path),
    /// The key is no object of this store.
    Foreign,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Result<Self, Error> {
        let invalid = || {
            let hint = "use up to 512 bytes without empty, `.` or `..` segments";
            Error::InvalidArgument(format!("the prefix `{prefix}` cannot begin a key: {hint}"))
        };
        let prefix = Path::parse(prefix).ok().filter(|path| path.as_ref().len() <= MAX_PREFIX);
        Ok(Self { prefix: prefix.ok_or_else(invalid)? })
    }

    pub(super) fn prefix(&self) -> Option<&Path> {
        (!self.prefix.is_root()).then_some(&self.prefix)
    }

    /// What every key begins with.
    pub(super) fn start(&self) -> String {
        if self.prefix.is_root() { String::new() } else { format!("{}/", self.prefix) }
    }

    pub(super) fn of(&self, name: &str) -> Result<Key, Error> {
        let start = self.start();
        let (mut key, mut attributes) = (start.clone() + &encode(name), Attributes::new());
        if key.len() > MAX_KEY {
            key = start + HASHED;
            for byte in Sha256::digest(name) {
                let _ = write!(key, "{byte:02x}");
            }
            attributes.insert(NAME, URL_SAFE_NO_PAD.encode(name).into());
        }
        let path = Path::parse(&key).map_err(|_| Error::InvalidArgument("the name cannot be a key".to_owned()))?;
        Ok(Key { path, attributes })
    }

    pub(super) fn listed(&self, path: Path) -> Listed {
        let start = self.start();
        let Some(key) = path.as_ref().strip_prefix(&start) else { return Listed::Foreign };
        if key.starts_with(HASHED) {
            return Listed::InMetadata(path);
        }
        // A key that this encoding does not give is not an object's, because a read would not find it.
        match decode(key).filter(|name| self.of(name).is_ok_and(|key| key.path == path)) {
            Some(name) => Listed::Name(name),
            None => Listed::Foreign,
        }
    }

    /// The name in an object's metadata, if the key is the one that it gives.
    pub(super) fn in_metadata(&self, path: &Path, attributes: &Attributes) -> Option<String> {
        let name = URL_SAFE_NO_PAD.decode(attributes.get(&NAME)?.as_ref()).ok()?;
        let name = String::from_utf8(name).ok()?;
        (self.of(&name).ok()?.path == *path).then_some(name)
    }
}

fn encode(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    let segments: Vec<_> = name.split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            // A slash at an end or behind another would make an empty segment, which paths do not have.
            let joins = !segment.is_empty() && !segments[index - 1].is_empty();
            key.push_str(if joins { "/" } else { "!2f" });
        }
        let is_relative = matches!(*segment, "." | "..");
        for (place, letter) in segment.char_indices() {
            // XML parsers drop white space at the ends of a key, and no document may hold some characters.
            let is_outer = place == 0 || place + letter.len_utf8() == segment.len();
            let is_escaped = letter == '!'
                || letter.is_control()
                || matches!(letter, '\u{fffe}' | '\u{ffff}' | '\u{2028}')
                || (letter == '.' && is_relative)
                || (letter.is_whitespace() && is_outer);
            if is_escaped {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(key, "!{byte:02x}");
                }
            } else {
                key.push(letter);
            }
        }
    }
    key
}

fn decode(key: &str) -> Option<String> {
    let (mut name, mut rest) = (Vec::with_capacity(key.len()), key.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = if first == b'!' {
            let (digits, after) = after.split_at_checked(2)?;
            name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            after
        } else {
            name.push(first);
            after
        };
    }
    String::from_utf8(name).ok().filter(|name| (1..=MAX_NAME).contains(&name.len()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use object_store::path::Path;

    use super::{Keys, Listed, MAX_KEY};
    use crate::backend::conformance::difficult_names;

    #[test]
    fn ordinary_names_are_their_own_keys() {
        let keys = Keys::new("tenant/store/").unwrap();
        for (name, key) in [
            ("photos/cat.jpg", "tenant/store/photos/cat.jpg"),
            ("日本語", "tenant/store/日本語"),
            ("..", "tenant/store/!2e!2e"),
            ("/a//b/", "tenant/store/!2fa!2f!2fb!2f"),
            ("wow!", "tenant/store/wow!21"),
        ] {
            assert_eq!(keys.of(name).unwrap().path.as_ref(), key);
        }
    }

    #[test]
    fn keys_are_valid_distinct_and_reversible() {
        for prefix in ["", "tenant/store", &"x".repeat(512)] {
            let (keys, mut seen) = (Keys::new(prefix).unwrap(), BTreeSet::new());
            for name in difficult_names() {
                let key = keys.of(&name).unwrap();
                assert!(key.path.as_ref().len() <= MAX_KEY, "{name:?}");
                let listed = match keys.listed(key.path.clone()) {
                    Listed::Name(listed) => Some(listed),
                    Listed::InMetadata(path) => keys.in_metadata(&path, &key.attributes),
                    Listed::Foreign => None,
                };
                assert_eq!(listed.as_ref(), Some(&name));
                assert!(seen.insert(key.path), "{name:?} has another's key");
            }
        }
    }

    #[test]
    fn other_keys_are_foreign() {
        let keys = Keys::new("store").unwrap();
        for key in ["store/!", "store/!61", "store/!2F", "store/!zz", "other/x", "storefront"] {
            assert!(matches!(keys.listed(Path::parse(key).unwrap()), Listed::Foreign), "{key}");
        }
        for prefix in ["a//b", "../up", "a/./b", "nul\0", &"x".repeat(513)] {
            assert!(Keys::new(prefix).is_err(), "{prefix:?}");
        }
    }
}
