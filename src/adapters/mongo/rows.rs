//! Rows: append-only documents in `STREAM.NAME`, each under its id for ever.
//!
//! Invariant: an id that is there stays as it is; what its first insert said is what every later reader finds.
//! Not here: what a row means, and building the inserts (`statements::rows`).

use super::{call::Find, json, read};
use crate::{
    ports::{RowScan, StoreError, StoredRow},
    record::{Key, Position},
};
use bson::{
    DateTime, RawArrayBuf, RawDocument, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

/// The collection of a stream's rows.
pub fn collection(stream: &str, name: &str) -> String {
    format!("{stream}.{name}")
}

/// The indexes of a collection of rows, by name: one for each way to ask for a page.
pub fn indexes() -> [(&'static str, RawDocumentBuf); 3] {
    [
        ("time", rawdoc! { "time": 1, "_id": 1 }),
        ("key", rawdoc! { "key": 1, "time": 1, "_id": 1 }),
        ("label", rawdoc! { "label": 1, "time": 1, "_id": 1 }),
    ]
}

/// The rows of these ids.
pub fn by_ids<'a>(collection: &'a str, ids: &[String], read_concern: &'static str) -> Find<'a> {
    let mut wanted = RawArrayBuf::new();
    for id in ids {
        wanted.push(id.as_str());
    }
    let filter = rawdoc! { "_id": { "$in": wanted } };
    Find { collection, filter, sort: None, limit: ids.len(), read_concern }
}

/// A page in the order of time and id, or the other way round.
pub fn page<'a>(collection: &'a str, scan: &RowScan, read_concern: &'static str) -> Find<'a> {
    let (beyond, order) = if scan.newest_first { (cstr!("$lt"), -1) } else { (cstr!("$gt"), 1) };
    let mut filter = RawDocumentBuf::new();
    if let Some(key) = &scan.key {
        filter.append(cstr!("key"), key.as_str());
    }
    if let Some(label) = &scan.label {
        filter.append(cstr!("label"), label.as_str());
    }
    if let Some(times) = times(scan) {
        filter.append(cstr!("time"), times);
    }
    if let Some((time_ms, id)) = &scan.after {
        let time = DateTime::from_millis(*time_ms);
        let further = rawdoc! { "time": one(beyond, time) };
        let beside = rawdoc! { "time": time, "_id": one(beyond, id.as_str()) };
        filter.append(cstr!("$or"), bson::rawbson!([further, beside]));
    }
    let sort = Some(rawdoc! { "time": order, "_id": order });
    Find { collection, filter, sort, limit: scan.limit, read_concern }
}

/// The times a page may hold. What the cursor says of them is repeated here, so that the index is entered there.
fn times(scan: &RowScan) -> Option<RawDocumentBuf> {
    let after = scan.after.as_ref().map(|(time_ms, _)| *time_ms);
    let (from_after, until_after) = if scan.newest_first { (None, after) } else { (after, None) };
    let mut times = RawDocumentBuf::new();
    if let Some(from) = scan.from_ms.max(from_after) {
        times.append(cstr!("$gte"), DateTime::from_millis(from));
    }
    match (scan.until_ms, until_after) {
        (Some(until), after) if after.is_none_or(|after| until <= after) => {
            times.append(cstr!("$lt"), DateTime::from_millis(until));
        }
        (_, Some(after)) => times.append(cstr!("$lte"), DateTime::from_millis(after)),
        _ => {}
    }
    (!times.is_empty()).then_some(times)
}

fn one(name: &CStr, value: impl Into<bson::RawBson>) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(name, value.into());
    document
}

pub fn row(raw: &RawDocument, scratch: &mut Vec<u8>) -> Result<StoredRow, StoreError> {
    let (id, first) = first(raw)?;
    let field = |name| raw.get(name).ok().flatten();
    let time_ms = field("time").and_then(read::millis);
    let json = json::of(field("value"), field("json"), scratch);
    let key = raw.get_str("key").ok().map(Key::from);
    let label = raw.get_str("label").ok().map(str::to_owned);
    match (key, time_ms, json) {
        (Some(key), Some(time_ms), Some(json)) => Ok(StoredRow { id, key, label, first, time_ms, json }),
        _ => Err(StoreError::Refused(format!("{id}: not a row this version of Statecast wrote"))),
    }
}

/// Its id, and the position that first inserted it.
pub fn first(raw: &RawDocument) -> Result<(String, Position), StoreError> {
    let id = raw.get_str("_id").map_err(|_| StoreError::Refused("a row whose id is no text".into()))?;
    let first = raw.get_document("first").ok().and_then(read::position);
    let first = first
        .ok_or_else(|| StoreError::Refused(format!("{id}: a row without the position that inserted it")))?;
    Ok((id.to_owned(), first))
}
