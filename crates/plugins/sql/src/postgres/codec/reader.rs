//! Reads the parts of a binary value.
//!
//! Takes bytes of the server; gives numbers, strings and slices, or an error where they end too early. It never panics.

use super::Reason;

/// What is left of a value.
#[derive(Clone, Copy)]
pub(in super::super) struct Reader<'a>(pub(in super::super) &'a [u8]);

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        $(pub(in super::super) fn $name(&mut self) -> Result<$type, Reason> {
            self.array().map(<$type>::from_be_bytes)
        })*
    };
}

impl<'a> Reader<'a> {
    numbers! { u8: u8, u16: u16, i16: i16, u32: u32, i32: i32, u64: u64, i64: i64, f32: f32, f64: f64 }

    pub(in super::super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let (head, tail) = self.0.split_first_chunk().ok_or_else(malformed)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(in super::super) fn take(&mut self, length: usize) -> Result<&'a [u8], Reason> {
        let (head, tail) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = tail;
        Ok(head)
    }

    /// A number of items that follow, each of at least `size` bytes.
    pub(in super::super) fn count(&mut self, size: usize) -> Result<usize, Reason> {
        let count = usize::try_from(self.i32()?).map_err(|_| malformed())?;
        if count > self.0.len() / size.max(1) { Err(malformed()) } else { Ok(count) }
    }

    /// A field with its length before it, or none if it is NULL.
    pub(in super::super) fn field(&mut self) -> Result<Option<&'a [u8]>, Reason> {
        match self.i32()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| malformed())?).map(Some),
        }
    }

    /// A string that a zero byte ends.
    pub(in super::super) fn c_str(&mut self) -> Result<&'a str, Reason> {
        let length = self.0.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
        let bytes = self.take(length)?;
        self.take(1)?;
        text(bytes)
    }

    pub(in super::super) fn end(self) -> Result<(), Reason> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

/// The number that is the whole of a value, or another value of fixed form.
pub(in super::super) fn whole<'a, T>(
    raw: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Reason>,
) -> Result<T, Reason> {
    let mut reader = Reader(raw);
    let value = read(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Bytes as text.
pub(in super::super) fn text(bytes: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// The reason for bytes that are not what the type's format says.
pub(in super::super) fn malformed() -> Reason {
    "its binary form is unknown".to_owned()
}
