//! Arrays.
//!
//! Takes the items of an array, already encoded, and arrays in binary; gives an array in one of PostgreSQL's two forms,
//! and items. Results of several dimensions keep their dimensions.

use tokio_postgres::types::Type;

use super::reader::{Reader, malformed, whole};
use super::{Encoded, Reason};

/// The most dimensions of an array in PostgreSQL.
const MAX_DIMENSIONS: usize = 6;

/// An array of one dimension.
pub(in super::super) fn encode(items: Vec<Encoded>, element: &Type) -> Result<Encoded, Reason> {
    if items.iter().any(|item| matches!(item, Encoded::Text(_))) {
        return text(items);
    }
    let count = i32::try_from(items.len()).map_err(|_| "it has too many items".to_owned())?;
    let has_null = items.iter().any(|item| matches!(item, Encoded::Null));
    let mut bytes = Vec::new();
    bytes.extend(i32::from(count > 0).to_be_bytes());
    bytes.extend(i32::from(has_null).to_be_bytes());
    bytes.extend(element.oid().to_be_bytes());
    if count > 0 {
        bytes.extend(count.to_be_bytes());
        // The first index.
        bytes.extend(1i32.to_be_bytes());
    }
    for item in items {
        if let Encoded::Binary(item) = item {
            let length = i32::try_from(item.len()).map_err(|_| "an item is too long".to_owned())?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(item);
        } else {
            bytes.extend((-1i32).to_be_bytes());
        }
    }
    Ok(Encoded::Binary(bytes))
}

fn text(items: Vec<Encoded>) -> Result<Encoded, Reason> {
    let mut text = "{".to_owned();
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        match item {
            Encoded::Null => text.push_str("NULL"),
            Encoded::Text(item) => quote(&item, &mut text),
            Encoded::Binary(_) => return Err("its items have two forms".to_owned()),
        }
    }
    text.push('}');
    Ok(Encoded::Text(text))
}

/// Writes an item in quotes.
pub(in super::super) fn quote(item: &str, text: &mut String) {
    text.push('"');
    for char in item.chars() {
        if matches!(char, '"' | '\\') {
            text.push('\\');
        }
        text.push(char);
    }
    text.push('"');
}

/// The items of an array, with the lengths of its dimensions.
pub(in super::super) struct Items<'a> {
    pub(in super::super) dimensions: Vec<usize>,
    pub(in super::super) items: Vec<Option<&'a [u8]>>,
}

impl<'a> Items<'a> {
    /// The items, if there is one dimension at most and no NULL.
    pub(in super::super) fn plain(&self) -> Option<Vec<&'a [u8]>> {
        if self.dimensions.len() > 1 { None } else { self.items.iter().copied().collect() }
    }
}

pub(in super::super) fn decode(raw: &[u8]) -> Result<Items<'_>, Reason> {
    whole(raw, |reader: &mut Reader<'_>| {
        let dimensions = usize::try_from(reader.i32()?).map_err(|_| malformed())?;
        let (_flags, _element) = (reader.i32()?, reader.u32()?);
        if dimensions > MAX_DIMENSIONS {
            return Err(malformed());
        }
        let mut lengths = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            lengths.push(usize::try_from(reader.i32()?).map_err(|_| malformed())?);
            reader.i32()?;
        }
        let count = lengths.iter().try_fold(1usize, |product, length| product.checked_mul(*length));
        let count = if dimensions == 0 { 0 } else { count.ok_or_else(malformed)? };
        // Each item has a length of four bytes before it.
        if count > reader.0.len() / 4 {
            return Err(malformed());
        }
        let items = (0..count).map(|_| reader.field()).collect::<Result<_, _>>()?;
        Ok(Items { dimensions: lengths, items })
    })
}
