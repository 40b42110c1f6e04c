//! One batch on its way into the store: load, fold, effects in their order, and what is told afterwards.
//!
//! The order is the promise: dead letters, rows and emits first, under ids made from the stamp; then one upsert per key,
//! guarded. Children first, guard last: whatever moment the process dies, the replay repeats nothing and skips nothing.
//! Emits of one lane are appended one after the other, so that who reads them knows a repeat (`origin`).
//! Not here: when to cut (`batch`), who is told that records are finished (`shard_writer`).

use super::{
    api::Newest,
    dead_letter,
    fold::{Change, Confirmed, Effects, Letter, ShardFold},
    news::{News, NewsKind},
    progress::{WriterProgress, lock},
    seeded,
    stream::Stream,
    view,
};
use crate::{
    app::Emit,
    clock,
    document::Document,
    metrics,
    origin::Origin,
    ports::{EntityId, LogError, Store, StoreError, StoredRow, Upsert},
    record::{NewRecord, Position},
};
use futures_util::{FutureExt, StreamExt, stream};
use rustc_hash::FxHashMap;
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Appends in flight for one batch's dead letters or emits.
const APPENDS_MAX: usize = 64;
/// How long an append that failed waits before it is made again.
const APPEND_WAIT: Duration = Duration::from_millis(500);
/// Changes of one batch whose times are measured, and those of them that the summary of streams shows.
const TIMED_MAX: usize = 64;
const SAMPLED_MAX: usize = 4;

/// Takes the gathered batch through; returns what is confirmed. An error ends the generation.
pub async fn run(
    fold: &mut dyn ShardFold,
    stream: &Stream,
    writer: &WriterProgress,
) -> Result<Confirmed, String> {
    load(fold, stream).await?;
    let mut effects = fold.fold().map_err(|fault| fault.to_string())?;
    loop {
        if let Some(lost) = claim(&mut effects, stream).await? {
            let stored = load_ids(stream, fold.round()).await?;
            effects = fold.again(lost, stored).map_err(|fault| fault.to_string())?;
            continue;
        }
        children(&mut effects, stream, writer).await?;
        if effects.upserts.is_empty() {
            break;
        }
        let ids: Vec<EntityId> = effects.upserts.iter().map(id_of).collect();
        let wanted = effects.upserts.len();
        let further = match upsert(stream, std::mem::take(&mut effects.upserts)).await {
            Ok(taken) if taken >= wanted => fold.go_on(),
            Ok(_) => fold.settle(load_ids(stream, ids).await?, Vec::new()),
            Err(StoreError::RefusedDocuments(refused)) => fold.settle(load_ids(stream, ids).await?, refused),
            Err(error) => return Err(fault(error)),
        };
        effects = further.map_err(|fault| fault.to_string())?;
    }
    Ok(fold.confirm())
}

fn id_of(upsert: &Upsert) -> EntityId {
    EntityId { key: upsert.document.key.clone(), partial: upsert.document.partial }
}

fn fault(error: StoreError) -> String {
    error.to_string()
}

async fn load(fold: &mut dyn ShardFold, stream: &Stream) -> Result<(), String> {
    let missing = fold.missing();
    if !missing.is_empty() {
        stream.meters.loaded.increment(missing.len() as u64);
        let documents = load_ids(stream, missing).await?;
        fold.admit(documents).map_err(|fault| fault.to_string())?;
    }
    let row_ids = fold.row_ids();
    if let Some(rows) = stream.spec.rows.first().filter(|_| !row_ids.is_empty()).cloned() {
        fold.admit_firsts(firsts(stream, rows, row_ids).await?);
    }
    Ok(())
}

async fn firsts(
    stream: &Stream,
    rows: String,
    row_ids: Vec<String>,
) -> Result<Vec<(String, Position)>, String> {
    let (name, row_ids) = (stream.collection().clone(), Arc::new(row_ids));
    let call = move |store: Arc<dyn Store>| {
        let (name, rows, row_ids) = (name.clone(), rows.clone(), row_ids.clone());
        async move { store.row_firsts(&name, &rows, &row_ids).await }.boxed()
    };
    stream.store(call).await.map_err(fault)
}

/// Inserts the rows whose id is the event's own. The same event may come by two partitions at once, and only one of the
/// two rows stays: the ids that were lost to another record are returned with who has them, and nothing else was done.
async fn claim(effects: &mut Effects, stream: &Stream) -> Result<Option<Vec<(String, Position)>>, String> {
    let Some(name) = stream.spec.rows.first().filter(|_| stream.spec.has_row_ids) else { return Ok(None) };
    let own = |(of, _): &mut (&'static str, StoredRow)| *of == name;
    let rows: Vec<_> = effects.rows.extract_if(.., own).collect();
    let Some((name, _)) = rows.first() else { return Ok(None) };
    let name = *name;
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let ours: Vec<_> = rows.iter().map(|row| (row.id.clone(), row.first)).collect();
    if insert_rows(stream, name, rows).await? == ours.len() {
        return Ok(None);
    }
    // Some were there before: our own, from before a crash or of the fold before this one, or another record's.
    let ids = ours.iter().map(|(id, _)| id.clone()).collect();
    let stored: FxHashMap<_, _> = firsts(stream, name.to_owned(), ids).await?.into_iter().collect();
    let lost = ours.into_iter().filter_map(|(id, first)| {
        let held = *stored.get(&id)?;
        (held != first).then_some((id, held))
    });
    Ok(Some(lost.collect()).filter(|lost: &Vec<_>| !lost.is_empty()))
}

async fn load_ids(stream: &Stream, ids: Vec<EntityId>) -> Result<Vec<Document>, String> {
    let (name, ids) = (stream.collection().clone(), Arc::new(ids));
    let call = move |store: Arc<dyn Store>| {
        let (name, ids) = (name.clone(), ids.clone());
        async move { store.load(&name, &ids).await }.boxed()
    };
    stream.store(call).await.map_err(fault)
}

async fn upsert(stream: &Stream, mut upserts: Vec<Upsert>) -> Result<usize, StoreError> {
    keep_tombstones(stream, &mut upserts);
    let (name, upserts) = (stream.collection().clone(), Arc::new(upserts));
    let call = move |store: Arc<dyn Store>| {
        let (name, upserts) = (name.clone(), upserts.clone());
        async move { store.write(&name, upserts.to_vec()).await }.boxed()
    };
    stream.store(call).await
}

/// A tombstone is kept from when it is stored, however old its record is, as when a topic is read again: what is older
/// than it and still on its way has to find it, or would put back what was removed (semantics 6).
fn keep_tombstones(stream: &Stream, upserts: &mut [Upsert]) {
    let keep_ms = (stream.shared.settings.tombstone_keep_s * 1_000) as i64;
    let until_ms = clock::now_ms().saturating_add(keep_ms);
    for upsert in upserts.iter_mut().filter(|upsert| upsert.document.value.is_none()) {
        upsert.expires_ms = upsert.expires_ms.max(Some(until_ms));
    }
}

/// Everything that goes before the guard.
async fn children(effects: &mut Effects, stream: &Stream, writer: &WriterProgress) -> Result<(), String> {
    let letters = std::mem::take(&mut effects.letters);
    if !letters.is_empty() {
        let topic = dead_letter::topic_of(&stream.spec.topic.name);
        let records = letters.iter().filter_map(|letter| letter_record(letter, stream)).collect();
        append_all(stream, writer, topic, records).await;
    }
    for (name, rows) in by_name(std::mem::take(&mut effects.rows)) {
        insert_rows(stream, name, rows).await?;
    }
    append_emits(stream, writer, std::mem::take(&mut effects.emits)).await;
    Ok(())
}

fn letter_record(letter: &Letter, stream: &Stream) -> Option<NewRecord> {
    let record = letter.flight.slice.get(letter.index as usize)?;
    let poison = &letter.poison;
    tracing::warn!(
        stream = %stream.name(),
        position = %record.position,
        reason = poison.reason.code(),
        "record goes to the dead letters"
    );
    Some(dead_letter::letter(&record, &stream.spec.topic.name, stream.name(), poison))
}

fn by_name(rows: Vec<(&'static str, StoredRow)>) -> BTreeMap<&'static str, Vec<StoredRow>> {
    let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, row) in rows {
        by_name.entry(name).or_default().push(row);
    }
    by_name
}

/// What has to reach its topic in this order.
type InOrder = Vec<NewRecord>;

/// By topic, and within it by the partition and the lane of what they come from.
fn by_lane(emits: Vec<(Emit, Origin)>) -> BTreeMap<(String, u32, u32), InOrder> {
    let mut by_lane: BTreeMap<_, InOrder> = BTreeMap::new();
    for (emit, origin) in emits {
        let headers = vec![origin.header(&emit.topic)];
        let record = NewRecord { key: emit.key, value: emit.value, headers, ..NewRecord::default() };
        by_lane.entry((emit.topic, origin.position.partition, origin.lane)).or_default().push(record);
    }
    by_lane
}

async fn insert_rows(stream: &Stream, name: &'static str, rows: Vec<StoredRow>) -> Result<usize, String> {
    let (collection, rows) = (stream.collection().clone(), Arc::new(rows));
    let call = move |store: Arc<dyn Store>| {
        let (collection, rows) = (collection.clone(), rows.clone());
        async move { store.insert_rows(&collection, name, rows.to_vec()).await }.boxed()
    };
    stream.store(call).await.map_err(fault)
}

/// Appends until the log has acknowledged every record; nothing past them is finished before.
async fn append_all(stream: &Stream, writer: &WriterProgress, topic: String, records: Vec<NewRecord>) {
    let topic = topic.as_str();
    stream::iter(records)
        .for_each_concurrent(APPENDS_MAX, |record| append_one(stream, writer, topic, record))
        .await;
    *lock(&writer.stuck) = None;
}

/// Appends emits, lane by lane: the next of a lane only when the log has acknowledged the one before, since one that was
/// overtaken would be taken for a repeat.
async fn append_emits(stream: &Stream, writer: &WriterProgress, emits: Vec<(Emit, Origin)>) {
    if emits.is_empty() {
        return;
    }
    let in_order = async |((topic, ..), records): ((String, u32, u32), InOrder)| {
        for record in records {
            append_one(stream, writer, &topic, record).await;
        }
    };
    stream::iter(by_lane(emits)).for_each_concurrent(APPENDS_MAX, in_order).await;
    *lock(&writer.stuck) = None;
}

async fn append_one(stream: &Stream, writer: &WriterProgress, topic: &str, record: NewRecord) {
    loop {
        let (log, to, copy) = (stream.shared.log.clone(), topic.to_owned(), record.clone());
        let call = stream.shared.outside.spawn(async move { log.append(&to, copy).await });
        if seeded::forgets_letters() {
            return;
        }
        let error = match call.await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error,
            Err(error) => LogError::Unknown(error.to_string()),
        };
        // Not even a record that the log refuses may be dropped: it holds its partition until somebody acts.
        stick(stream, writer, topic, &error);
        tokio::time::sleep(APPEND_WAIT).await;
    }
}

fn stick(stream: &Stream, writer: &WriterProgress, topic: &str, error: &LogError) {
    let mut stuck = lock(&writer.stuck);
    if stuck.is_none() {
        tracing::error!(stream = %stream.name(), topic, %error, "records cannot be appended, their partitions wait");
        *stuck = Some(format!("{topic} cannot be written: {error}"));
    }
}

/// Counts, view, outcomes, news: everything that hears of a confirmed batch, in memory and without waiting.
pub fn tell(stream: &Stream, confirmed: Confirmed, records_were: u64) {
    count(stream, &confirmed, records_were);
    time(stream, &confirmed.changes);
    let (interest, mut news) = (&stream.shared.news.interest, Vec::new());
    let (mut laid, mut is_gapped) = (Vec::new(), false);
    for change in &confirmed.changes {
        if change.covers > 0 {
            advanced(stream, &change.document);
        }
        // First the view, then the question: who opens a room in between reads the change there.
        if take_in(stream, change) {
            match change.is_fenced {
                // As with the view: what the store holds now is to be asked for, not guessed.
                true => is_gapped = true,
                false if stream.rooms.is_some() => laid.push(&change.document),
                false => {}
            }
            if interest.wants(stream.name(), &change.document.key, stream.has_part_rooms()) {
                news.extend(news_of(stream, change));
            }
        }
        stream.watchers.changed(&change.document.key);
    }
    if let Some(rooms) = &stream.rooms {
        rooms.lay(&laid, is_gapped);
    }
    if let Some(change) = confirmed.changes.iter().rfind(|change| change.covers > 0) {
        *lock(&stream.progress.newest) = Some(newest(&change.document));
    }
    for (name, waited) in confirmed.outcomes {
        stream.shared.waiters.tell(stream.name(), &name, waited);
    }
    if !news.is_empty() {
        stream.shared.news.offer(news);
    }
}

/// Into what readers are answered from. `false`: something newer is already there.
fn take_in(stream: &Stream, change: &Change) -> bool {
    if change.is_fenced {
        // Under another assignment the view was begun anew, and this may be older than what it did not see since.
        stream.view.forget(&change.document.key);
        return true;
    }
    stream.view.take_in(&change.document)
}

/// From the records' times to now, of changes spread evenly over the batch: a system that is behind would spend more on
/// timing each of thousands than on storing them.
fn time(stream: &Stream, changes: &[Change]) {
    let now_ms = clock::now_ms();
    let every = changes.len().div_ceil(TIMED_MAX).max(1);
    for (at, change) in changes.iter().step_by(every).filter(|change| change.covers > 0).enumerate() {
        let ms = (now_ms - change.document.updated_ms).max(0) as f64;
        stream.meters.store_seconds.record(ms / 1000.0);
        if at < SAMPLED_MAX {
            stream.progress.sample_store_ms(ms);
        }
    }
}

/// The furthest change of its partition.
fn advanced(stream: &Stream, document: &Document) {
    if let Some(progress) = stream.progress.partition(document.position.partition) {
        let further = progress.changed.get().is_none_or(|offset| offset < document.position.offset);
        if further {
            progress.changed.set(document.position.offset);
        }
    }
}

fn newest(document: &Document) -> Newest {
    Newest {
        key: document.key.to_string(),
        version: document.version,
        position: document.position.to_string(),
        updated: clock::iso(document.updated_ms),
    }
}

fn news_of(stream: &Stream, change: &Change) -> Option<News> {
    let shown = view::shown(std::slice::from_ref(&change.document))?;
    let kind = match change.covers {
        _ if stream.spec.by_partition => NewsKind::Partial,
        0 => NewsKind::Read,
        _ => NewsKind::Change,
    };
    let rooms = if stream.has_part_rooms() { stream.spec.shows.rooms_of(&shown.key) } else { Vec::new() };
    Some(News {
        stream: stream.name().clone(),
        partition: change.document.position.partition,
        shown,
        covers: change.covers,
        rooms,
        kind,
    })
}

fn count(stream: &Stream, confirmed: &Confirmed, records_were: u64) {
    let (counts, meters) = (&confirmed.counts, &stream.meters);
    stream.progress.stored_total.fetch_add(records_were, Ordering::Relaxed);
    meters.stored.increment(counts.stored);
    meters.seen.increment(counts.seen);
    meters.moved.increment(counts.moved);
    meters.conflicts.increment(counts.conflicts);
    meters.stale.increment(counts.stale);
    meters.evicted.increment(confirmed.evicted);
    let name = || ("stream", stream.name().to_string());
    for (kind, n) in &counts.refused {
        metrics::RECORDS_REFUSED.add(&[name(), ("kind", (*kind).into())], *n);
    }
    for (reason, n) in &counts.poisoned {
        metrics::DEAD_LETTERS.add(&[name(), ("reason", reason.code().into())], *n);
    }
    if counts.moved > 0 {
        tracing::warn!(stream = %stream.name(), records = counts.moved, "keys arrive from another partition than before");
    }
}
