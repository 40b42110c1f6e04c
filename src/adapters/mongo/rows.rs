//! Rows: append-only documents in `STREAM.NAME`, each under its id for ever.
//!
//! Invariant: an id that is there stays as it is; what its first insert said is what every later reader finds.
//! Not here: what a row means, and building the inserts (`statements::rows`).

use super::{call::Find, json, read};
use crate::{
    ports::{StoreError, StoredRow},
    record::Position,
};
use bson::{DateTime, RawArrayBuf, RawDocument, rawdoc};

/// The collection of a stream's rows.
pub fn collection(stream: &str, name: &str) -> String {
    format!("{stream}.{name}")
}

/// The rows of these ids, without what they say.
pub fn by_ids<'a>(collection: &'a str, ids: &[String], read_concern: &'static str) -> Find<'a> {
    let mut wanted = RawArrayBuf::new();
    for id in ids {
        wanted.push(id.as_str());
    }
    let filter = rawdoc! { "_id": { "$in": wanted } };
    Find { collection, filter, sort: None, limit: ids.len(), read_concern }
}

/// A page in the order of time and id.
pub fn page<'a>(
    collection: &'a str,
    after: Option<&(i64, String)>,
    limit: usize,
    read_concern: &'static str,
) -> Find<'a> {
    let filter = after.map_or_else(bson::RawDocumentBuf::new, |(time_ms, id)| {
        let time = DateTime::from_millis(*time_ms);
        let later = rawdoc! { "time": { "$gt": time } };
        let beside = rawdoc! { "time": time, "_id": { "$gt": id.as_str() } };
        rawdoc! { "time": { "$gte": time }, "$or": [later, beside] }
    });
    Find { collection, filter, sort: Some(rawdoc! { "time": 1, "_id": 1 }), limit, read_concern }
}

pub fn row(raw: &RawDocument, scratch: &mut Vec<u8>) -> Result<StoredRow, StoreError> {
    let (id, first) = first(raw)?;
    let field = |name| raw.get(name).ok().flatten();
    let time_ms = field("time").and_then(read::millis);
    let json = json::of(field("value"), field("json"), scratch);
    match (time_ms, json) {
        (Some(time_ms), Some(json)) => Ok(StoredRow { id, first, time_ms, json }),
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
