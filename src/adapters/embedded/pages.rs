//! Reading documents and rows, by name and by range.
//!
//! Invariant: nothing here writes or waits for writes; every function may wait for the disk and is called on a thread
//! for that.

use super::{
    document,
    folder::Spaces,
    keys, registry,
    stripes::{Seen, Stripes},
    write::broken,
};
use crate::{
    document::{Document, Json},
    ports::{EntityId, RowScan, Scan, StoredRow},
    record::{Key, Position},
};

/// What is held of these ids. Their heads are remembered, present or not, for the guard of the write that follows.
pub fn load(
    spaces: &Spaces,
    stream: u32,
    ids: &[EntityId],
    stripes: &Stripes,
    hash: impl Fn(&[u8]) -> u64,
) -> fjall::Result<Vec<Document>> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let name = keys::document(stream, &id.key, id.partial);
        let hash = hash(&name);
        let stripe = stripes.now(hash);
        let mut head = None;
        if let Some(value) = spaces.documents.get(&name)? {
            let whole = document::decode(id.key.clone(), id.partial, &value);
            let (held, document) = whole.ok_or_else(|| broken(&name))?;
            head = Some(held);
            found.push(document);
        }
        stripes.remember(hash, name, Seen::new(head, stripe));
    }
    Ok(found)
}

pub fn load_partials(spaces: &Spaces, stream: u32, key: &str) -> fjall::Result<Vec<Document>> {
    spaces.documents.range(keys::partials(stream, key)).map(|entry| parse(entry.into_inner()?)).collect()
}

pub fn scan(spaces: &Spaces, stream: u32, scan: &Scan) -> fjall::Result<Vec<Document>> {
    let within = keys::documents_from(stream, scan.prefix.as_deref().unwrap_or_default());
    let from = keys::documents_from(stream, scan.from.as_deref().unwrap_or_default());
    let after = scan.after.as_deref().map(|after| keys::documents_after(stream, after));
    let first = within.clone().max(from).max(after.unwrap_or_default());
    let last = keys::all_of(stream).end;
    let mut page: Vec<Document> = Vec::new();
    if first >= last {
        return Ok(page);
    }
    for entry in spaces.documents.range(first..last) {
        let entry = entry.into_inner()?;
        if !entry.0.starts_with(&within) {
            break;
        }
        let document = parse(entry)?;
        let same_key = page.last().is_some_and(|last| last.key == document.key);
        if page.len() >= scan.limit && !same_key {
            break;
        }
        if scan.with_removed || document.value.is_some() {
            page.push(document);
        }
    }
    Ok(page)
}

fn parse((name, value): (fjall::Slice, fjall::Slice)) -> fjall::Result<Document> {
    let id = name.get(4..).and_then(keys::parse_document);
    let document = id.and_then(|(key, partial)| document::decode(Key::from(key), partial, &value));
    document.map(|(_, document)| document).ok_or_else(|| broken(&name))
}

pub fn expired(spaces: &Spaces, stream: u32, now_ms: i64, limit: usize) -> fjall::Result<Vec<Document>> {
    let mut found = Vec::new();
    for entry in spaces.rows.range(keys::expired(stream, now_ms)).take(limit) {
        let tombstone = entry.key()?;
        let name = keys::parse_tombstone(&tombstone).ok_or_else(|| broken(&tombstone))?;
        // Gone between the two reads: forgotten just now.
        if let Some(value) = spaces.documents.get(&name)? {
            found.push(parse((name.into(), value))?);
        }
    }
    Ok(found)
}

pub fn row_firsts(spaces: &Spaces, rows: u32, ids: &[String]) -> fjall::Result<Vec<(String, Position)>> {
    let mut firsts = Vec::with_capacity(ids.len());
    for id in ids {
        let name = keys::row_by_id(rows, id);
        if let Some(value) = spaces.rows.get(&name)? {
            let (first, _) = document::decode_row_first(&value).ok_or_else(|| broken(&name))?;
            firsts.push((id.clone(), first));
        }
    }
    Ok(firsts)
}

pub fn load_row(spaces: &Spaces, rows: u32, id: &str) -> fjall::Result<Option<StoredRow>> {
    let name = keys::row_by_id(rows, id);
    let Some(value) = spaces.rows.get(&name)? else { return Ok(None) };
    let (_, time_ms) = document::decode_row_first(&value).ok_or_else(|| broken(&name))?;
    row_at(spaces, rows, time_ms, id.to_owned()).map(Some)
}

/// The row of this time and id, which must be there.
fn row_at(spaces: &Spaces, rows: u32, time_ms: i64, id: String) -> fjall::Result<StoredRow> {
    let name = keys::RowOrder::by_time(rows).name(time_ms, &id);
    let value = spaces.rows.get(&name)?;
    let row = value.and_then(|value| document::decode_row(time_ms, id, &value));
    row.ok_or_else(|| broken(&name))
}

/// Goes through the rows of the key, or of the label, or through all; whatever else is asked for is looked at row by row.
pub fn scan_rows(spaces: &Spaces, rows: u32, scan: &RowScan) -> fjall::Result<Vec<StoredRow>> {
    let order = match (&scan.key, &scan.label) {
        (Some(key), _) => keys::RowOrder::by_key(rows, key),
        (None, Some(label)) => keys::RowOrder::by_label(rows, label),
        (None, None) => keys::RowOrder::by_time(rows),
    };
    let mut range = order.between(scan.from_ms, scan.until_ms);
    if let Some((time_ms, id)) = &scan.after {
        let last = order.name(*time_ms, id);
        if scan.newest_first {
            range.end = range.end.min(last);
        } else {
            range.start = range.start.max([last.as_slice(), &[0]].concat()); // the name after that one
        }
    }
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let mut entries = spaces.rows.range(range);
    let mut page = Vec::new();
    while page.len() < scan.limit {
        let entry = if scan.newest_first { entries.next_back() } else { entries.next() };
        let Some(entry) = entry else { break };
        let (name, value) = entry.into_inner()?;
        let (time_ms, id) = order.parse(&name).ok_or_else(|| broken(&name))?;
        let row = match value.is_empty() {
            true => row_at(spaces, rows, time_ms, id)?,
            false => document::decode_row(time_ms, id, &value).ok_or_else(|| broken(&name))?,
        };
        if scan.wants(&row) {
            page.push(row);
        }
    }
    Ok(page)
}

pub fn marks(spaces: &Spaces, prefix: &str) -> fjall::Result<Vec<(String, Json)>> {
    let stored = format!("{}{prefix}", registry::MARK);
    let mark = |entry: fjall::Result<(String, fjall::Slice)>| {
        let (rest, value) = entry?;
        let json = std::str::from_utf8(&value).map_err(|_| broken(stored.as_bytes()))?;
        Ok((format!("{prefix}{rest}"), Json::from_checked(json)))
    };
    registry::small_values(spaces, &stored).map(mark).collect()
}
