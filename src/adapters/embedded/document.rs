//! A document, and a row, as values of the database: a fixed head and the JSON text as it is.
//!
//! Invariant: what is decoded is what was encoded, JSON byte for byte; the head alone decides the guard, so a guarded
//! write never reads JSON.
//! Layout of a document: format (1), flags (1), version (u64), created and updated (i64 each), position (epoch u32,
//! partition u32, offset u64), time of expiry (i64, where flagged), JSON. All little endian. Where the key has taken in what
//! was emitted, the format is another one, and before the JSON stand the length of its origins (u32) and their texts.

use crate::{
    document::{Document, Json},
    origin::{Origin, Origins},
    ports::StoredRow,
    record::{Key, Position},
};

const FORMAT: u8 = 1;
const ROW_FORMAT: u8 = 2;
const FORMAT_WITH_ORIGINS: u8 = 3;
/// Between the texts of origins.
const SEPARATOR: &str = ",";
/// A row without a label has this length of it.
const NO_LABEL: u32 = u32::MAX;
const ALIVE: u8 = 1;
const EXPIRES: u8 = 2;
const HEAD_LEN: usize = 50;

/// A document without key, origins and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub version: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
    pub position: Position,
    /// It is no tombstone.
    pub alive: bool,
    pub expires_ms: Option<i64>,
}

impl Head {
    /// The document of this head; its JSON and origins are left out.
    pub fn document(&self, key: Key, partial: Option<u32>) -> Document {
        let Head { version, created_ms, updated_ms, position, .. } = *self;
        let origins = Origins::default();
        Document { key, partial, version, created_ms, updated_ms, position, value: None, origins }
    }
}

pub fn encode(document: &Document, expires_ms: Option<i64>) -> fjall::Slice {
    let json = document.value.as_ref().map_or("", Json::text);
    let origins: Vec<String> = document.origins.as_slice().iter().map(Origin::to_string).collect();
    let origins = origins.join(SEPARATOR);
    let mut bytes = Vec::with_capacity(HEAD_LEN + origins.len() + json.len());
    let alive = if document.value.is_some() { ALIVE } else { 0 };
    let format = if origins.is_empty() { FORMAT } else { FORMAT_WITH_ORIGINS };
    bytes.extend_from_slice(&[format, alive | if expires_ms.is_some() { EXPIRES } else { 0 }]);
    bytes.extend_from_slice(&document.version.to_le_bytes());
    bytes.extend_from_slice(&document.created_ms.to_le_bytes());
    bytes.extend_from_slice(&document.updated_ms.to_le_bytes());
    push_position(&mut bytes, &document.position);
    if let Some(expires_ms) = expires_ms {
        bytes.extend_from_slice(&expires_ms.to_le_bytes());
    }
    if !origins.is_empty() {
        bytes.extend_from_slice(&(origins.len() as u32).to_le_bytes());
        bytes.extend_from_slice(origins.as_bytes());
    }
    bytes.extend_from_slice(json.as_bytes());
    bytes.into()
}

/// The head and what is behind it; `None`: the value is broken.
pub fn head(bytes: &[u8]) -> Option<(Head, Rest<'_>)> {
    let ([format, flags], rest) = bytes.split_first_chunk::<2>()?;
    let has_origins = match *format {
        FORMAT => false,
        FORMAT_WITH_ORIGINS => true,
        _ => return None,
    };
    let (version, rest) = rest.split_first_chunk::<8>()?;
    let (created, rest) = rest.split_first_chunk::<8>()?;
    let (updated, rest) = rest.split_first_chunk::<8>()?;
    let (position, rest) = split_position(rest)?;
    let (expires_ms, rest) = match flags & EXPIRES {
        0 => (None, rest),
        _ => rest.split_first_chunk::<8>().map(|(at, rest)| (Some(i64::from_le_bytes(*at)), rest))?,
    };
    let head = Head {
        version: u64::from_le_bytes(*version),
        created_ms: i64::from_le_bytes(*created),
        updated_ms: i64::from_le_bytes(*updated),
        position,
        alive: flags & ALIVE != 0,
        expires_ms,
    };
    Some((head, Rest { has_origins, bytes: rest }))
}

/// What stands behind a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest<'b> {
    has_origins: bool,
    bytes: &'b [u8],
}

impl<'b> Rest<'b> {
    /// Origins, and the JSON behind them.
    fn take_apart(self) -> Option<(Origins, &'b [u8])> {
        if !self.has_origins {
            return Some((Origins::default(), self.bytes));
        }
        let (origins, json) = split_text(self.bytes)?;
        Some((Origins::parse(origins?.split(SEPARATOR))?, json))
    }
}

/// Head and whole document of a key; `None`: the value is broken.
pub fn decode(key: Key, partial: Option<u32>, bytes: &[u8]) -> Option<(Head, Document)> {
    let (head, rest) = head(bytes)?;
    let (origins, json) = rest.take_apart()?;
    let mut document = Document { origins, ..head.document(key, partial) };
    if head.alive {
        document.value = Some(Json::from_checked(std::str::from_utf8(json).ok()?));
    }
    Some((head, document))
}

fn push_position(bytes: &mut Vec<u8>, position: &Position) {
    bytes.extend_from_slice(&position.epoch.to_le_bytes());
    bytes.extend_from_slice(&position.partition.to_le_bytes());
    bytes.extend_from_slice(&position.offset.to_le_bytes());
}

fn split_position(bytes: &[u8]) -> Option<(Position, &[u8])> {
    let (epoch, rest) = bytes.split_first_chunk::<4>()?;
    let (partition, rest) = rest.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let position = Position {
        epoch: u32::from_le_bytes(*epoch),
        partition: u32::from_le_bytes(*partition),
        offset: u64::from_le_bytes(*offset),
    };
    Some((position, rest))
}

/// A row under its id: who was first, and its time. (What it says stands under its time.)
pub fn encode_row_first(row: &StoredRow) -> fjall::Slice {
    let mut bytes = vec![ROW_FORMAT];
    push_position(&mut bytes, &row.first);
    bytes.extend_from_slice(&row.time_ms.to_le_bytes());
    bytes.into()
}

pub fn decode_row_first(bytes: &[u8]) -> Option<(Position, i64)> {
    let (format, rest) = bytes.split_first()?;
    let (first, time_ms) = split_position(rest).filter(|_| *format == ROW_FORMAT)?;
    Some((first, i64::from_le_bytes(*time_ms.first_chunk()?)))
}

/// A row under its time and id: who was first, its key and label with their lengths (u32), and what it says.
pub fn encode_row(row: &StoredRow) -> fjall::Slice {
    let label = row.label.as_deref();
    let texts = row.key.len() + label.map_or(0, str::len);
    let mut bytes = Vec::with_capacity(25 + texts + row.json.text().len());
    bytes.push(ROW_FORMAT);
    push_position(&mut bytes, &row.first);
    bytes.extend_from_slice(&(row.key.len() as u32).to_le_bytes());
    bytes.extend_from_slice(row.key.as_bytes());
    bytes.extend_from_slice(&label.map_or(NO_LABEL, |label| label.len() as u32).to_le_bytes());
    bytes.extend_from_slice(label.unwrap_or_default().as_bytes());
    bytes.extend_from_slice(row.json.text().as_bytes());
    bytes.into()
}

pub fn decode_row(time_ms: i64, id: String, bytes: &[u8]) -> Option<StoredRow> {
    let (format, rest) = bytes.split_first()?;
    let (first, rest) = split_position(rest).filter(|_| *format == ROW_FORMAT)?;
    let (key, rest) = split_text(rest)?;
    let (label, json) = split_text(rest)?;
    let (key, label) = (Key::from(key?), label.map(str::to_owned));
    let json = Json::from_checked(std::str::from_utf8(json).ok()?);
    Some(StoredRow { id, key, label, first, time_ms, json })
}

/// A text behind its length, or that there is none.
fn split_text(bytes: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match u32::from_le_bytes(*length) {
        NO_LABEL => Some((None, rest)),
        length => {
            let (text, rest) = rest.split_at_checked(length as usize)?;
            Some((Some(std::str::from_utf8(text).ok()?), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn documents() -> impl Strategy<Value = Document> {
        let head = (any::<u64>(), any::<i64>(), any::<i64>(), any::<u32>(), any::<u32>(), any::<u64>());
        let origin = ("[a-z]{1,9}", any::<u32>(), any::<u64>(), 0..64_u32, any::<u32>());
        let origins = prop::collection::vec(origin, 0..3);
        (head, prop::option::of("\"[^\"\\\\]{0,9}\""), origins).prop_map(|(head, json, origins)| {
            let (version, created_ms, updated_ms, epoch, partition, offset) = head;
            let position = Position { epoch, partition, offset };
            let value = json.map(|json| Json::from_checked(&json));
            let origins = origins.into_iter().map(|(stream, partition, offset, lane, index)| {
                let position = Position { epoch, partition, offset };
                Origin { stream: stream.into(), position, lane, index }
            });
            let (key, partial, origins) = ("k".into(), Some(1), origins.collect::<Vec<_>>().into());
            Document { key, partial, version, created_ms, updated_ms, position, value, origins }
        })
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_encoded(
            document in documents(), expires: Option<i64>, key in ".{0,3}", label in prop::option::of(".{0,3}"),
        ) {
            let bytes = encode(&document, expires);
            prop_assert_eq!(head(&bytes).unwrap().0.expires_ms, expires);
            prop_assert_eq!(head(&bytes).unwrap().0.alive, document.value.is_some());
            let decoded = decode("k".into(), Some(1), &bytes).map(|(_, document)| document);
            prop_assert_eq!(decoded, Some(document.clone()));
            let (key, json) = (key.as_str().into(), Json::from_checked("{}"));
            let row = StoredRow { id: "i".into(), key, label, first: document.position, time_ms: 5, json };
            prop_assert_eq!(decode_row_first(&encode_row_first(&row)), Some((row.first, 5)));
            prop_assert_eq!(decode_row(5, "i".into(), &encode_row(&row)), Some(row));
        }

        #[test]
        fn broken_values_are_told_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (head(&bytes), decode("k".into(), None, &bytes), decode_row(0, "".into(), &bytes));
            if !matches!(bytes.first(), Some(&(FORMAT | FORMAT_WITH_ORIGINS))) {
                prop_assert_eq!(head(&bytes), None);
            }
        }
    }
}
