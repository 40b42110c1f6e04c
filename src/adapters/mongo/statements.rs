//! The statements that change documents, and the documents in them.
//!
//! Invariant: each statement carries its whole guard to the server, so it may be sent twice, late, or by an instance that
//! has been fenced out, and does what `Upsert::applies_to` says. There are no upserts: what was folded from nothing is an
//! insert (anything stored makes it a no-op, and the server takes inserts at a sixth of an upsert's cost), what was folded
//! from a version is a change of what is there (an absent document stays absent).
//! Not here: the statement around changes and its guard (`guard`), packing into commands (`pack`), sending (`call`), reading
//! what came of it (`reply`).

use super::{
    json::Text,
    pack::{Command, Form, Pack, Shape, Terms, Unfit, Verb},
    reply::Refusal,
};
use crate::{
    app::{Poison, Reason},
    document::{Document, Json},
    origin::Origin,
    ports::{EntityId, StoreError, StoredRow, Upsert},
    record::Position,
};
use bson::DateTime;
use serde::Serialize;

/// What a document of ours is written as; a reader refuses another one.
pub const SCHEMA: i32 = 1;

/// `_id`: the key, or key and partition where the entity is a partial.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Id<'a> {
    Key(&'a str),
    Partial { key: &'a str, partition: u32 },
}

impl<'a> Id<'a> {
    pub fn new(key: &'a str, partial: Option<u32>) -> Self {
        partial.map_or(Id::Key(key), |partition| Id::Partial { key, partition })
    }

    /// About what it takes in a command.
    pub fn bytes_len(&self) -> usize {
        match self {
            Id::Key(key) => key.len() + 16,
            Id::Partial { key, .. } => key.len() + 64,
        }
    }
}

/// Field order matters: the server compares positions as whole documents (`guard`).
#[derive(Debug, Clone, Copy, Serialize)]
struct At {
    epoch: u32,
    partition: u32,
    offset: u64,
}

impl From<Position> for At {
    fn from(position: Position) -> Self {
        At { epoch: position.epoch, partition: position.partition, offset: position.offset }
    }
}

#[derive(Serialize)]
struct Stored<'a> {
    _id: Id<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a str>,
    version: u64,
    created: DateTime,
    updated: DateTime,
    /// The record's time; what decides between two partitions.
    time: DateTime,
    position: At,
    /// As texts; there where the key has taken in what was emitted.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    origins: &'a [Origin],
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<DateTime>,
    schema: i32,
}

impl<'a> Stored<'a> {
    fn new(upsert: &'a Upsert, form: Form) -> Self {
        let Document { key, partial, version, created_ms, updated_ms, position, value, origins } =
            &upsert.document;
        let time = DateTime::from_millis(*updated_ms);
        Stored {
            _id: Id::new(key, *partial),
            // What is forgotten after a while says so either way: it is found by this and `expires`.
            deleted: (value.is_none() || upsert.expires_ms.is_some()).then_some(value.is_none()),
            value: value.as_ref().filter(|_| form == Form::Value).map(|json| Text(json.text())),
            json: value.as_ref().filter(|_| form == Form::Text).map(Json::text),
            version: *version,
            created: DateTime::from_millis(*created_ms),
            updated: time,
            time,
            position: (*position).into(),
            origins: origins.as_slice(),
            expires: upsert.expires_ms.map(DateTime::from_millis),
            schema: SCHEMA,
        }
    }
}

/// What takes the place of a version.
#[derive(Serialize)]
struct Change<'a> {
    from: u64,
    to: Stored<'a>,
}

#[derive(Serialize)]
struct Row<'a> {
    _id: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    first: At,
    time: DateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a str>,
    schema: i32,
}

impl<'a> Row<'a> {
    fn new(row: &'a StoredRow, form: Form) -> Self {
        let text = row.json.text();
        Row {
            _id: &row.id,
            key: &row.key,
            label: row.label.as_deref(),
            first: row.first.into(),
            time: DateTime::from_millis(row.time_ms),
            value: (form == Form::Value).then_some(Text(text)),
            json: (form == Form::Text).then_some(text),
            schema: SCHEMA,
        }
    }
}

#[derive(Serialize)]
struct Delete<'a> {
    q: ByIdAt<'a>,
    limit: i32,
}

#[derive(Serialize)]
struct ByIdAt<'a> {
    _id: Id<'a>,
    position: At,
}

/// Guarded upserts, what is new and what replaces a version; and those that are too large to be sent at all.
pub fn upserts(
    terms: &Terms,
    collection: &str,
    upserts: &[Upsert],
    shape: Shape,
) -> Result<(Vec<Command>, Vec<Refusal>), StoreError> {
    let mut inserts = Pack::new(terms, Verb::Insert, collection);
    let mut updates = Pack::of_changes(terms, collection, shape);
    let mut refused = Vec::new();
    for (at, upsert) in upserts.iter().enumerate() {
        let pushed = if upsert.from_version == 0 {
            inserts.push(at, |form| Stored::new(upsert, form))
        } else {
            let id = Id::new(&upsert.document.key, upsert.document.partial);
            updates.change(at, id, |form| Change { from: upsert.from_version, to: Stored::new(upsert, form) })
        };
        match pushed {
            Ok(()) => {}
            Err(Unfit::TooLarge(bytes)) => {
                refused.push((at, Poison::new(Reason::TooLarge, Unfit::too_large(bytes))));
            }
            Err(unfit) => return Err(unfit.into()),
        }
    }
    let mut commands = inserts.finish();
    commands.append(&mut updates.finish());
    Ok((commands, refused))
}

/// Rows, each unless its id is there.
pub fn rows(terms: &Terms, collection: &str, rows: &[StoredRow]) -> Result<Vec<Command>, StoreError> {
    let mut inserts = Pack::new(terms, Verb::Insert, collection);
    for (at, row) in rows.iter().enumerate() {
        inserts.push(at, |form| Row::new(row, form))?;
    }
    Ok(inserts.finish())
}

/// Deletes, each only at its position.
pub fn deletes(
    terms: &Terms,
    collection: &str,
    ids: &[(EntityId, Position)],
) -> Result<Vec<Command>, StoreError> {
    let mut deletes = Pack::new(terms, Verb::Delete, collection);
    for (at, (id, position)) in ids.iter().enumerate() {
        let q = || ByIdAt { _id: Id::new(&id.key, id.partial), position: (*position).into() };
        deletes.push(at, |_| Delete { q: q(), limit: 1 })?;
    }
    Ok(deletes.finish())
}
