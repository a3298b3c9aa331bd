//! The names of objects as names of files.
//!
//! Takes any name of an object; gives a file name that is one component, fits every common file system and never equals
//! another object's, on a file system that ignores case either. Ordinary names stay recognisable: `photos/cat.jpg` is
//! `photos%2Fcat.jpg`, `README` is `^r^e^a^d^m^e`.
//!
//! A name whose encoding is too long for a file name becomes `%~` and its SHA-256. Its file then begins with a header
//! that holds the name, so that a listing can give it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::backend::MAX_NAME;

/// The longest file name that Linux file systems take, in bytes.
const NAME_MAX: usize = 255;
/// Begins the file names that are hashes. A `%` of an encoded name has two hexadecimal digits behind it.
const HASHED: &str = "%~";

/// The file name of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    /// The name in the folder.
    pub(super) file: String,
    /// What the file holds before the object's bytes: nothing unless `file` is a hash.
    pub(super) header: Vec<u8>,
}

/// What the name of a file says about its object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// The object's name.
    Name(String),
    /// The file's header has the object's name.
    InHeader,
    /// The file is no object.
    Foreign,
}

impl FileName {
    pub(super) fn of(name: &str) -> Self {
        match encode(name) {
            Some(file) => Self { file, header: Vec::new() },
            None => Self { file: hashed(name), header: header(name) },
        }
    }
}

pub(super) fn listed(file: &str) -> Listed {
    if file.starts_with(HASHED) {
        return Listed::InHeader;
    }
    // A file that this encoding does not give is not an object's, because a read would not find it.
    match decode(file).filter(|name| encode(name).as_deref() == Some(file)) {
        Some(name) => Listed::Name(name),
        None => Listed::Foreign,
    }
}

/// The header of a name: its length in two bytes, and the name.
pub(super) fn header(name: &str) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
    [&length.to_le_bytes(), name.as_bytes()].concat()
}

/// The name in the header with which `bytes` begin, if the file name is the one that it gives.
pub(super) fn read_header(file: &str, bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk()?;
    let name = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
    let name = std::str::from_utf8(name).ok().filter(|name| name.len() <= MAX_NAME)?;
    (FileName::of(name).file == file).then(|| name.to_owned())
}

fn hashed(name: &str) -> String {
    let mut file = HASHED.to_owned();
    for byte in Sha256::digest(name) {
        let _ = write!(file, "{byte:02x}");
    }
    file
}

/// Whether a byte stands for itself. The others are those that some file system or shell gives a meaning, those beyond
/// ASCII (some file systems normalise them) and the two that the encoding uses.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b" -_.=,+@()!&$~#'[]{};".contains(&byte)
}

fn encode(name: &str) -> Option<String> {
    let mut file = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        // A leading dot would hide the file, or make it `.` or `..`.
        if is_plain(byte) && !(index == 0 && byte == b'.') {
            file.push(byte.into());
        } else if byte.is_ascii_uppercase() {
            file.push('^');
            file.push(byte.to_ascii_lowercase().into());
        } else {
            let _ = write!(file, "%{byte:02X}");
        }
        if file.len() > NAME_MAX {
            return None;
        }
    }
    Some(file)
}

fn decode(file: &str) -> Option<String> {
    let (mut name, mut rest) = (Vec::with_capacity(file.len()), file.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = match first {
            b'%' => {
                let (digits, after) = after.split_at_checked(2)?;
                name.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                after
            }
            b'^' => {
                let (letter, after) = after.split_first()?;
                name.push(letter.to_ascii_uppercase());
                after
            }
            byte => {
                name.push(byte);
                after
            }
        };
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{FileName, Listed, NAME_MAX, listed, read_header};
    use crate::backend::conformance::difficult_names;

    #[test]
    fn ordinary_names_stay_recognisable() {
        for (name, file) in [
            ("photos/cat.jpg", "photos%2Fcat.jpg"),
            ("README.md", "^r^e^a^d^m^e.md"),
            ("..", "%2E."),
            (".hidden", "%2Ehidden"),
            ("50%", "50%25"),
            ("a^b", "a%5Eb"),
            ("é", "%C3%A9"),
            ("a\0b", "a%00b"),
        ] {
            assert_eq!(FileName::of(name), FileName { file: file.to_owned(), header: Vec::new() });
            assert_eq!(listed(file), Listed::Name(name.to_owned()));
        }
    }

    #[test]
    fn file_names_are_safe_distinct_and_reversible() {
        let mut seen = BTreeSet::new();
        for name in difficult_names() {
            let FileName { file, header } = FileName::of(&name);
            assert!(file.len() <= NAME_MAX && !file.starts_with('.') && file.is_ascii(), "{name:?}: {file}");
            assert!(!file.bytes().any(|byte| byte == b'/' || byte.is_ascii_control()), "{name:?}: {file}");
            match listed(&file) {
                Listed::Name(decoded) => assert!(decoded == name && header.is_empty(), "{name:?}: {decoded:?}"),
                Listed::InHeader => assert_eq!(read_header(&file, &header).as_ref(), Some(&name)),
                Listed::Foreign => panic!("{name:?}: {file}"),
            }
            assert!(seen.insert(file.to_ascii_lowercase()), "{name:?}: {file} is another's");
        }
    }

    #[test]
    fn files_that_no_object_has_are_foreign() {
        for file in [".", "..", ".x", "A", "%", "%2", "%2f", "%61", "^", "^1", "^A", "é", "a:b", "%FF", "%G0", "%+1"] {
            assert_eq!(listed(file), Listed::Foreign, "{file}");
        }
        assert_eq!(read_header("%~00", b"\x01\x00x"), None);
        assert_eq!(read_header("%~00", b"\xff\xffx"), None);
        assert_eq!(read_header("%~00", b"\x01"), None);
    }
}
