//! Keys as NATS allows them.
//!
//! Takes any text; gives a key of a bucket, and the text again. A byte that NATS does not allow in a key, or not there,
//! is `=` and two hexadecimal digits; so is `=` itself. The empty key is `=`. Every other key stays as it is. Does no
//! IO.

/// The key of a bucket for a key.
pub(super) fn escape(key: &str) -> String {
    if key.is_empty() {
        return "=".to_owned();
    }
    let (mut escaped, mut dot) = (String::with_capacity(key.len()), true);
    for (at, byte) in key.bytes().enumerate() {
        let allowed = match byte {
            // A dot separates tokens, of which none may be empty.
            b'.' => !dot && at + 1 < key.len(),
            b'-' | b'/' | b'_' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        if allowed {
            escaped.push(char::from(byte));
        } else {
            escaped.push('=');
            escaped.push(digit(byte >> 4));
            escaped.push(digit(byte & 15));
        }
        dot = allowed && byte == b'.';
    }
    escaped
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

/// The key for a bucket's key. `None` for one that [`escape`] gives for no key.
pub(super) fn unescape(name: &str) -> Option<String> {
    if name == "=" {
        return Some(String::new());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(name.len()), name.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'=' {
            let (digits, tail) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    let key = String::from_utf8(bytes).ok()?;
    // Each key has one name; others are no keys of this store.
    (escape(&key) == name).then_some(key)
}

/// The names that keys with a prefix have: the tokens that they start with, for the server to select by. Keys without
/// the prefix may have them too; of the keys with it, only the prefix itself may not.
pub(super) fn tokens(prefix: &str) -> Option<String> {
    let (tokens, _) = prefix.rsplit_once('.')?;
    (!tokens.split('.').any(str::is_empty)).then(|| escape(tokens))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{escape, tokens, unescape};

    fn allowed(name: &str) -> bool {
        let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_=.".contains(&byte);
        !name.is_empty() && name.bytes().all(byte) && name.split('.').all(|token| !token.is_empty())
    }

    #[test]
    fn escapes_what_nats_does_not_allow() {
        let cases = [
            ("", "="),
            ("=", "=3D"),
            (".", "=2E"),
            ("..", "=2E=2E"),
            ("a.b", "a.b"),
            ("a..b", "a.=2Eb"),
            (".a.", "=2Ea=2E"),
            ("a b", "a=20b"),
            ("a*>", "a=2A=3E"),
            ("\u{e4}", "=C3=A4"),
            ("users/1_2-3", "users/1_2-3"),
        ];
        for (key, name) in cases {
            assert_eq!(escape(key), name);
            assert_eq!(unescape(name).as_deref(), Some(key));
        }
        for name in ["a=b", "==", "=4", "=41", "=3d", "=C3", "=FF", "a=2Eb", "=+1", "a=", "\u{e4}"] {
            assert_eq!(unescape(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn is_reversible(key in any::<String>()) {
            let name = escape(&key);
            prop_assert!(allowed(&name), "{name}");
            prop_assert_eq!(unescape(&name), Some(key));
        }

        #[test]
        fn is_reversible_near_the_rules(key in "[.=a0-2A-F/ _-]{0,12}") {
            let name = escape(&key);
            prop_assert!(allowed(&name), "{name}");
            prop_assert_eq!(unescape(&name), Some(key));
        }

        #[test]
        fn keeps_what_is_allowed(key in "[-/_a-zA-Z0-9]{1,5}(\\.[-/_a-zA-Z0-9]{1,5}){0,3}") {
            prop_assert_eq!(escape(&key), key);
        }

        #[test]
        fn unescapes_only_what_it_escapes(name in "[.=a0-2A-F]{0,12}") {
            if let Some(key) = unescape(&name) {
                prop_assert_eq!(escape(&key), name);
            }
        }

        #[test]
        fn tokens_select_all_keys_with_a_prefix(prefix in "[.a= ]{0,8}", rest in "[.a= ]{1,6}") {
            if let Some(tokens) = tokens(&prefix) {
                let name = escape(&format!("{prefix}{rest}"));
                prop_assert!(name.starts_with(&format!("{tokens}.")), "{name} {tokens}");
            }
        }
    }
}
