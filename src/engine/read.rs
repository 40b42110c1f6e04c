//! How a stream is read: one key, some keys, a page of all, a room of a part, its rows.
//!
//! Invariant: a read answers from memory only what this instance owns; everything else comes from the store's primary, and a
//! store that is away is an answer, never a wait.
//! Not here: filters and cursors (`list`), what is held in memory (`view`), waiting for something newer (`handle`).

use super::{
    api::{ListPage, ListQuery, Read, ReadError},
    list::{self, Cursor, Sorted},
    stream::Stream,
};
use crate::{
    clock,
    document::{Document, Positions, Shown},
    ports::{EntityId, RowScan, Scan, StoreError, StoredRow},
    record::{Key, Position},
};
use futures_util::FutureExt;
use std::{collections::BTreeMap, sync::atomic::Ordering};

/// Entities read at once while a list is filtered or sorted.
const SCAN_PAGE: usize = 1_000;

/// What a key shows now.
pub async fn one(stream: &Stream, key: &str) -> Result<Option<Read>, ReadError> {
    if let Some(documents) = stream.view.documents(key, &stream.progress.owned) {
        return Ok(stream.shown(&documents).map(|shown| Read { age_ms: age_ms(stream, &shown), shown }));
    }
    let documents = load_all(stream, key).await?;
    Ok(stream.shown(&documents).map(|shown| Read { shown, age_ms: 0 }))
}

/// A page of a stream's keys, filtered, in key order or sorted.
pub async fn list(stream: &Stream, query: ListQuery) -> Result<ListPage, ReadError> {
    let after = query.after.as_deref().map(Cursor::decode).transpose()?;
    let scan = Scan {
        prefix: query.prefix.clone(),
        from: query.from.clone(),
        after: None,
        limit: SCAN_PAGE,
        with_removed: false,
    };
    match query.sort.clone() {
        Some(sort) => sorted(stream, scan, Sorted::new(sort, after, query.limit), &query).await,
        None => in_key_order(stream, Scan { after: after.map(|cursor| cursor.key), ..scan }, &query).await,
    }
}

/// What the store has of these keys, and nothing older.
pub async fn stored(stream: &Stream, keys: &[Key]) -> Result<Vec<Shown>, ReadError> {
    if stream.spec.by_partition {
        let mut all = Vec::new();
        for key in keys {
            all.extend(stream.shown(&load_all(stream, key).await?));
        }
        return Ok(all);
    }
    let ids: Vec<EntityId> = keys.iter().map(|key| EntityId { key: key.clone(), partial: None }).collect();
    let (store, name) = (stream.shared.readers.clone(), stream.collection().clone());
    let call = async move { store.load(&name, &ids).await };
    let documents = stream.try_store(call.boxed()).await.map_err(unreadable)?;
    for document in &documents {
        if stream.progress.owned.has(document.position.partition) {
            stream.view.take_in(document);
        }
    }
    Ok(documents.iter().map(Shown::from).collect())
}

/// A page of the rows of this name.
pub async fn rows(stream: &Stream, name: &str, scan: RowScan) -> Result<Vec<StoredRow>, ReadError> {
    let (store, of, name) = (stream.shared.readers.clone(), stream.collection().clone(), name.to_owned());
    let call = async move { store.scan_rows(&of, &name, scan).await };
    stream.try_store(call.boxed()).await.map_err(unreadable)
}

/// One row of this name.
pub async fn row(stream: &Stream, name: &str, id: &str) -> Result<Option<StoredRow>, ReadError> {
    let (store, of) = (stream.shared.readers.clone(), stream.collection().clone());
    let (name, id) = (name.to_owned(), id.to_owned());
    let call = async move { store.load_row(&of, &name, &id).await };
    stream.try_store(call.boxed()).await.map_err(unreadable)
}

/// Since when this value may be older than what the log has.
pub fn age_ms(stream: &Stream, shown: &Shown) -> u64 {
    let now = clock::now_ms();
    let away = stream.shared.gate.open_s().map_or(0, |s| s * 1000);
    let oldest = shown.positions.0.iter().filter_map(|position| {
        let progress = stream.progress.partition(position.partition)?;
        Some(progress.oldest_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0)
    });
    oldest.min().map_or(away, |ms| away.max((now - ms).max(0) as u64))
}

/// The document of a key as the store has it.
pub async fn load(stream: &Stream, key: &str) -> Result<Option<Document>, ReadError> {
    Ok(load_all(stream, key).await?.into_iter().next())
}

/// The documents of a key as the store has them; what is ours is kept in the view.
pub(super) async fn load_all(stream: &Stream, key: &str) -> Result<Vec<Document>, ReadError> {
    let (store, name, key) = (stream.shared.readers.clone(), stream.collection().clone(), Key::from(key));
    let by_partition = stream.spec.by_partition;
    let wanted = key.clone();
    let call = async move {
        if by_partition {
            return store.load_partials(&name, &wanted).await;
        }
        store.load(&name, &[EntityId { key: wanted, partial: None }]).await
    };
    let documents = stream.try_store(call.boxed()).await.map_err(unreadable)?;
    // Of partials nobody but us may add another, or what is held would not be all of them.
    let ours = match by_partition {
        true => stream.owns_all(),
        false => documents.iter().all(|d| stream.progress.owned.has(d.position.partition)),
    };
    if ours && !documents.is_empty() {
        stream.view.complete(&key, &documents);
    }
    Ok(documents)
}

fn unreadable(error: StoreError) -> ReadError {
    match error {
        StoreError::Unavailable(why) => ReadError::Unavailable(why),
        StoreError::Refused(why) | StoreError::Fatal(why) => ReadError::Internal(why),
        refused @ StoreError::RefusedDocuments(_) => ReadError::Internal(refused.to_string()),
    }
}

async fn scan(stream: &Stream, scan: Scan) -> Result<Vec<Document>, ReadError> {
    let (store, name) = (stream.shared.readers.clone(), stream.collection().clone());
    stream.try_store(async move { store.scan(&name, scan).await }.boxed()).await.map_err(unreadable)
}

/// What a room shows of the keys under its prefix, as the store has them.
pub async fn room_of_part(stream: &Stream, name: &str) -> Result<Option<Read>, ReadError> {
    let prefix = Some(stream.spec.shows.room_prefix(name));
    let from = Scan { prefix, limit: SCAN_PAGE, with_removed: true, ..Scan::default() };
    let documents = scan(stream, from).await?;
    let value = stream.spec.shows.room(name, &documents, clock::now_ms());
    // A room's position: the last change per partition, removed keys among them.
    let mut newest: BTreeMap<u32, Position> = BTreeMap::new();
    for document in &documents {
        let held = newest.entry(document.position.partition).or_insert(document.position);
        if document.position.covers(held) {
            *held = document.position;
        }
    }
    let Some(first) = documents.first() else { return Ok(None) };
    let shown = Shown {
        key: name.into(),
        version: newest.values().map(|position| position.offset + 1).sum(),
        created_ms: documents.iter().map(|d| d.created_ms).min().unwrap_or(first.created_ms),
        updated_ms: documents.iter().map(|d| d.updated_ms).max().unwrap_or(first.updated_ms),
        positions: Positions(newest.into_values().collect()),
        value,
    };
    Ok(Some(Read { shown, age_ms: 0 }))
}

async fn in_key_order(stream: &Stream, mut from: Scan, query: &ListQuery) -> Result<ListPage, ReadError> {
    let mut page = ListPage::default();
    if query.filters.is_empty() {
        from.limit = (query.limit + 1).min(SCAN_PAGE);
    }
    loop {
        let documents = scan(stream, from.clone()).await?;
        let is_last = documents.len() < from.limit;
        for shown in stream.merged(documents, is_last, &mut from.after) {
            if page.items.len() == query.limit {
                let last = page.items.last().map(|last| last.key.to_string()).unwrap_or_default();
                page.next = Some(Cursor { key: last, by: None }.encode());
                return Ok(page);
            }
            if list::passes(&shown, &query.filters) {
                page.items.push(shown);
            }
        }
        if is_last {
            return Ok(page);
        }
    }
}

async fn sorted(
    stream: &Stream,
    mut from: Scan,
    mut sorted: Sorted,
    query: &ListQuery,
) -> Result<ListPage, ReadError> {
    loop {
        let documents = scan(stream, from.clone()).await?;
        let is_last = documents.len() < from.limit;
        for shown in stream.merged(documents, is_last, &mut from.after) {
            if list::passes(&shown, &query.filters) {
                sorted.take(shown);
            }
        }
        if is_last {
            let (items, next) = sorted.finish();
            return Ok(ListPage { items, next });
        }
    }
}
