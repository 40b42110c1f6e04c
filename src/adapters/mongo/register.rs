//! What the engine keeps for itself: the epoch of each stream's log, and small marks by name.
//!
//! Invariant: an epoch only rises, one at a time, and two instances that meet a new log agree on its number: each step is
//! a compare-and-swap over a read that no deposed primary can answer.
//! Not here: when an identity is asked for, and what a changed one means.

use super::{
    MongoStore, call,
    call::{ALL, Find},
    json::{self, Text},
    pack::{Command, Verb, update},
    read,
};
use crate::{document::Json, ports::StoreError};
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use serde::Serialize;

pub const STREAMS: &str = "streams";
pub const MARKS: &str = "marks";

pub(super) struct Registered {
    identity: String,
    pub(super) epoch: u32,
}

impl MongoStore {
    pub(super) async fn register(
        &self,
        stream: &str,
        identity: &str,
        last: Option<u32>,
    ) -> Result<Option<(u32, bool)>, StoreError> {
        let held = self.registered(stream).await?;
        match held {
            Some(held) if held.identity == identity => Ok(Some((held.epoch, false))),
            held if held.as_ref().map(|held| held.epoch) != last => Ok(None),
            Some(held) => {
                let replace = update(&self.terms, STREAMS, replace(stream, &held, identity));
                let is_done = self.writers.write(vec![replace]).await? == 1;
                Ok(is_done.then_some((held.epoch.saturating_add(1), true)))
            }
            None => Ok(self.insert_registered(stream, identity).await?.then_some((0, false))),
        }
    }

    pub(super) async fn registered(&self, stream: &str) -> Result<Option<Registered>, StoreError> {
        let find = Find {
            collection: STREAMS,
            filter: rawdoc! { "_id": stream },
            sort: None,
            limit: 1,
            read_concern: self.newest,
        };
        let batches = self.writers.find(find.command(&self.terms)).await?;
        let mut found = call::each(&batches, |raw| {
            let identity = raw.get_str("identity").ok().map(str::to_owned);
            let epoch = raw.get("epoch").ok().flatten().and_then(read::unsigned);
            match (identity, epoch.and_then(|epoch| epoch.try_into().ok())) {
                (Some(identity), Some(epoch)) => Ok(Registered { identity, epoch }),
                _ => Err(StoreError::Refused(format!("{stream}: its epoch in {STREAMS} cannot be read"))),
            }
        })?;
        Ok(found.pop())
    }

    /// `false`: another instance was first.
    async fn insert_registered(&self, stream: &str, identity: &str) -> Result<bool, StoreError> {
        let first = rawdoc! { "_id": stream, "identity": identity, "epoch": 0_i64 };
        let body = rawdoc! {
            "insert": STREAMS,
            "documents": [first],
            "writeConcern": self.terms.write_concern.clone(),
            "maxTimeMS": self.terms.time_max_ms,
        };
        Ok(self.writers.write(vec![Command { verb: Verb::Insert, body, of: Vec::new() }]).await? == 1)
    }

    pub(super) async fn keep_mark(&self, name: &str, json: &Json) -> Result<(), StoreError> {
        let statement = bson::serialize_to_raw_document_buf(&PutMark {
            q: ById { _id: name },
            u: Mark { _id: name, value: Text(json.text()) },
            upsert: true,
        })
        .map_err(|_| StoreError::Refused("a mark cannot be written as BSON".into()))?;
        // What it counts tells nothing here: the same mark again modifies nothing.
        self.readers.write(vec![update(&self.terms, MARKS, statement)]).await.map(|_| ())
    }

    pub(super) async fn marks_of(&self, prefix: &str) -> Result<Vec<(String, Json)>, StoreError> {
        let mut range = rawdoc! { "$gte": prefix };
        if let Some(end) = read::after_prefix(prefix) {
            range.append(bson::raw::cstr!("$lt"), end);
        }
        let find = Find {
            collection: MARKS,
            filter: rawdoc! { "_id": range },
            sort: Some(rawdoc! { "_id": 1 }),
            limit: ALL,
            read_concern: self.confirmed,
        };
        let batches = self.readers.find(find.command(&self.terms)).await?;
        let mut scratch = Vec::new();
        call::each(&batches, |raw| mark(raw, &mut scratch))
    }
}

fn replace(stream: &str, held: &Registered, identity: &str) -> RawDocumentBuf {
    let epoch = i64::from(held.epoch);
    rawdoc! {
        "q": { "_id": stream, "identity": held.identity.as_str(), "epoch": epoch },
        "u": { "$set": { "identity": identity, "epoch": epoch + 1 } },
    }
}

#[derive(Serialize)]
struct PutMark<'a> {
    q: ById<'a>,
    u: Mark<'a>,
    upsert: bool,
}

#[derive(Serialize)]
struct ById<'a> {
    _id: &'a str,
}

#[derive(Serialize)]
struct Mark<'a> {
    _id: &'a str,
    value: Text<'a>,
}

fn mark(raw: &RawDocument, scratch: &mut Vec<u8>) -> Result<(String, Json), StoreError> {
    let name = raw.get_str("_id").map_err(|_| StoreError::Refused("a mark whose name is no text".into()))?;
    let value = json::of(raw.get("value").ok().flatten(), None, scratch);
    let value = value.ok_or_else(|| StoreError::Refused(format!("the mark {name} cannot be read")))?;
    Ok((name.to_owned(), value))
}
