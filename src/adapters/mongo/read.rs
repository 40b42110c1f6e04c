//! Queries for documents of a stream, and what they give back.
//!
//! Invariant: every query goes by `_id` or by the index of tombstones, and a document that is not one of ours is an error
//! that names it, never a guess.
//! Not here: rows (`rows`), epochs and marks (`register`).

use super::{
    call::{ALL, Find},
    json,
    statements::{Id, SCHEMA},
};
use crate::{
    document::Document,
    origin::Origins,
    ports::{EntityId, Scan, StoreError},
    record::{Key, Position},
};
use bson::{DateTime, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};
use serde::Serialize;

#[derive(Serialize)]
struct ByIds<'a> {
    _id: In<'a>,
}

#[derive(Serialize)]
struct In<'a> {
    #[serde(rename = "$in")]
    ids: Vec<Id<'a>>,
}

/// The documents of these ids.
pub fn by_ids<'a>(
    stream: &'a str,
    ids: &[EntityId],
    read_concern: &'static str,
) -> Result<Find<'a>, StoreError> {
    let filter = ByIds { _id: In { ids: ids.iter().map(|id| Id::new(&id.key, id.partial)).collect() } };
    let filter = bson::serialize_to_raw_document_buf(&filter)
        .map_err(|_| StoreError::Refused("a key cannot be written as BSON".into()))?;
    Ok(Find { collection: stream, filter, sort: None, limit: ids.len(), read_concern })
}

/// All partials of one key, or those after a partition.
pub fn partials<'a>(
    stream: &'a str,
    key: &str,
    after: Option<u32>,
    with_removed: bool,
    read_concern: &'static str,
) -> Find<'a> {
    let from = match after {
        None => rawdoc! { "$gt": { "key": key } },
        Some(partition) => rawdoc! { "$gt": { "key": key, "partition": i64::from(partition) } },
    };
    let mut range = from;
    range.append(cstr!("$lte"), rawdoc! { "key": key, "partition": i64::from(u32::MAX) });
    let mut filter = rawdoc! { "_id": range };
    leave_out_removed(&mut filter, with_removed);
    Find { collection: stream, filter, sort: Some(rawdoc! { "_id": 1 }), limit: ALL, read_concern }
}

/// One page in key order. Ids of partials are documents, others are strings; a stream has either, so both ranges are asked
/// for and each is read from the index on `_id`.
pub fn page<'a>(stream: &'a str, scan: &Scan, read_concern: &'static str) -> Find<'a> {
    let mut filter = RawDocumentBuf::new();
    if let Some(ranges) = Range::of(scan) {
        filter = rawdoc! { "$or": [{ "_id": ranges.keys() }, { "_id": ranges.partials() }] };
    }
    leave_out_removed(&mut filter, scan.with_removed);
    Find { collection: stream, filter, sort: Some(rawdoc! { "_id": 1 }), limit: scan.limit, read_concern }
}

/// Documents whose time has come, tombstones last, the oldest first, from the index of tombstones.
pub fn expired<'a>(stream: &'a str, now_ms: i64, limit: usize, read_concern: &'static str) -> Find<'a> {
    let filter = rawdoc! {
        "deleted": { "$in": [false, true] },
        "expires": { "$lte": DateTime::from_millis(now_ms) },
    };
    Find {
        collection: stream,
        filter,
        sort: Some(rawdoc! { "deleted": 1, "expires": 1 }),
        limit,
        read_concern,
    }
}

fn leave_out_removed(filter: &mut RawDocumentBuf, with_removed: bool) {
    if !with_removed {
        filter.append(cstr!("deleted"), rawdoc! { "$ne": true });
    }
}

/// The keys a page is taken from.
struct Range<'a> {
    first: &'a str,
    /// `first` itself belongs to the page before.
    exclusive: bool,
    end: Option<String>,
}

impl<'a> Range<'a> {
    /// `None`: every key.
    fn of(scan: &'a Scan) -> Option<Self> {
        let prefix = scan.prefix.as_deref().unwrap_or_default();
        let first = scan.from.as_deref().unwrap_or_default().max(prefix);
        let after = scan.after.as_deref().filter(|after| *after >= first);
        let end = after_prefix(prefix);
        let first = after.unwrap_or(first);
        (!first.is_empty() || end.is_some()).then_some(Range { first, exclusive: after.is_some(), end })
    }

    fn keys(&self) -> RawDocumentBuf {
        let from = if self.exclusive { cstr!("$gt") } else { cstr!("$gte") };
        let mut range = RawDocumentBuf::new();
        range.append(from, self.first);
        if let Some(end) = &self.end {
            range.append(cstr!("$lt"), end.as_str());
        }
        range
    }

    /// The same range over `{key, partition}`: a document without partition stands before all that have one.
    fn partials(&self) -> RawDocumentBuf {
        let mut range = if self.exclusive {
            rawdoc! { "$gt": { "key": self.first, "partition": i64::from(u32::MAX) } }
        } else {
            rawdoc! { "$gte": { "key": self.first } }
        };
        if let Some(end) = &self.end {
            range.append(cstr!("$lt"), rawdoc! { "key": end.as_str() });
        }
        range
    }
}

/// The least text above every text that starts with `prefix`, in the order of UTF-8 bytes; `None`: there is none.
pub fn after_prefix(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // Steps over the gap of surrogates, which are no characters.
        if let Some(next) = ((last as u32 + 1)..=0x0011_0000).find_map(char::from_u32) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// A document as the server holds it. `scratch` only saves allocations.
pub fn document(raw: &RawDocument, scratch: &mut Vec<u8>) -> Result<Document, StoreError> {
    let fields = Fields::read(raw).unwrap_or_default();
    let id = fields.id.as_ref().map_or("a document", |(key, _)| key).to_owned();
    fields.document(scratch).map_err(|what| {
        StoreError::Refused(format!("{id}: not a document this version of Statecast wrote: {what}"))
    })
}

#[derive(Default)]
struct Fields<'a> {
    id: Option<(&'a str, Option<u32>)>,
    deleted: bool,
    value: Option<RawBsonRef<'a>>,
    json: Option<RawBsonRef<'a>>,
    version: Option<u64>,
    created_ms: Option<i64>,
    updated_ms: Option<i64>,
    position: Option<Position>,
    origins: Option<RawBsonRef<'a>>,
    schema: Option<i64>,
}

impl<'a> Fields<'a> {
    /// `None`: the bytes are no document at all. Fields that are not ours are left alone.
    fn read(raw: &'a RawDocument) -> Option<Self> {
        let mut fields = Fields::default();
        for field in raw {
            let (name, value) = field.ok()?;
            match name.as_str() {
                "_id" => fields.id = id(value),
                "deleted" => fields.deleted = value.as_bool() == Some(true),
                "value" => fields.value = Some(value),
                "json" => fields.json = Some(value),
                "version" => fields.version = unsigned(value),
                "created" => fields.created_ms = millis(value),
                "updated" => fields.updated_ms = millis(value),
                "position" => fields.position = value.as_document().and_then(position),
                "origins" => fields.origins = Some(value),
                "schema" => fields.schema = integer(value),
                _ => {}
            }
        }
        Some(fields)
    }

    fn document(self, scratch: &mut Vec<u8>) -> Result<Document, &'static str> {
        let (key, partial) = self.id.ok_or("_id is neither a key nor {key, partition}")?;
        if self.schema != Some(i64::from(SCHEMA)) {
            return Err("its schema is another one");
        }
        let value = if self.deleted {
            None
        } else {
            Some(json::of(self.value, self.json, scratch).ok_or("it has no value that can be read")?)
        };
        Ok(Document {
            key: Key::from(key),
            partial,
            version: self.version.ok_or("it has no version")?,
            created_ms: self.created_ms.ok_or("it has no time of creation")?,
            updated_ms: self.updated_ms.ok_or("it has no time of its update")?,
            position: self.position.ok_or("it has no position")?,
            value,
            origins: origins(self.origins).ok_or("its origins cannot be read")?,
        })
    }
}

/// Their texts in a list; there is none where nothing taken in was emitted.
fn origins(value: Option<RawBsonRef<'_>>) -> Option<Origins> {
    let Some(value) = value else { return Some(Origins::default()) };
    let texts: Option<Vec<&str>> =
        value.as_array()?.into_iter().map(|text| text.ok().and_then(RawBsonRef::as_str)).collect();
    Origins::parse(texts?.into_iter())
}

fn id(value: RawBsonRef<'_>) -> Option<(&str, Option<u32>)> {
    match value {
        RawBsonRef::String(key) => Some((key, None)),
        RawBsonRef::Document(id) => {
            let key = id.get_str("key").ok()?;
            let partition = id.get("partition").ok()?.and_then(unsigned)?;
            Some((key, Some(partition.try_into().ok()?)))
        }
        _ => None,
    }
}

/// `{epoch, partition, offset}`, in whatever kind of integer.
pub fn position(raw: &RawDocument) -> Option<Position> {
    let part = |name: &str| raw.get(name).ok().flatten().and_then(unsigned);
    Some(Position {
        epoch: part("epoch")?.try_into().ok()?,
        partition: part("partition")?.try_into().ok()?,
        offset: part("offset")?,
    })
}

pub fn millis(value: RawBsonRef<'_>) -> Option<i64> {
    value.as_datetime().map(DateTime::timestamp_millis)
}

/// Numbers keep their value but not their kind when another tool has rewritten the document.
fn integer(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(number) => Some(number.into()),
        RawBsonRef::Int64(number) => Some(number),
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => Some(number as i64),
        _ => None,
    }
}

pub fn unsigned(value: RawBsonRef<'_>) -> Option<u64> {
    integer(value).and_then(|number| u64::try_from(number).ok())
}
