//! The beat that looks at what nobody reports: ends of the log, keys held, whether the log answers, what is to be forgotten.
//!
//! Invariant: only reads, asks a store that is away whether it is back, tells the supervisor of a topic made anew, and
//! forgets what is expired (tombstones, keys of streams with a time to live) of partitions owned here, guarded by its
//! position.
//! Not here: acting on what is seen (`supervisor`).

use super::{
    edge,
    news::{News, NewsKind},
    progress::lock,
    protocol::Sick,
    stream::Stream,
    view,
};
use crate::{
    clock,
    document::Document,
    metrics,
    ports::{EntityId, StoreError},
    record::Position,
};
use actix::Recipient;
use futures_util::FutureExt;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const BEAT: Duration = Duration::from_secs(2);
/// Keys forgotten at once, and how often in one beat of one stream.
const FORGET_MAX: usize = 1_000;
const FORGET_ROUNDS_MAX: usize = 20;
/// A call that looks at the log is given up after so long.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Runs for ever; ends with the runtime.
pub async fn run(streams: Vec<Arc<Stream>>, sick: Recipient<Sick>) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if let Some(first) = streams.first() {
            look_at_log(first).await;
            // One that does not answer is asked on the next beat.
            let _ = tokio::time::timeout(LOOK_MAX, first.probe()).await;
        }
        for stream in &streams {
            look(stream).await;
            if let Some(why) = another_topic(stream).await {
                let generation = stream.progress.generation.load(Ordering::Relaxed);
                edge::tell(&sick, Sick { stream: stream.name().clone(), generation, why });
            }
        }
    }
}

async fn look_at_log(stream: &Stream) {
    let answer = tokio::time::timeout(LOOK_MAX, stream.shared.log.ping()).await;
    stream.shared.log_health.set(match answer {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the log does not answer".into()),
    });
}

/// A topic that was deleted and made again has another identity: the next generation reads it as a new epoch.
async fn another_topic(stream: &Stream) -> Option<String> {
    let known = stream.progress.identity.load_full()?;
    let asked = tokio::time::timeout(LOOK_MAX, stream.shared.log.identity(&stream.spec.topic.name)).await;
    let Ok(Ok(Some(found))) = asked else { return None };
    (found.id != *known).then(|| format!("topic {} was made anew", stream.spec.topic.name))
}

async fn look(stream: &Arc<Stream>) {
    let topic = &stream.spec.topic.name;
    for (number, progress) in stream.progress.partitions_sorted() {
        let bounds = tokio::time::timeout(LOOK_MAX, stream.shared.log.bounds(topic, number)).await;
        if let Ok(Ok((_, end))) = bounds {
            progress.end.set(end);
        }
        publish(stream, number, &progress);
    }
    let held = stream.progress.partitions_sorted().iter().filter(|(_, p)| lock(&p.held).is_some()).count();
    metrics::PARTITIONS_HELD.set(&stream.labels(), held as f64);
    metrics::WAITERS.set(&[], stream.shared.waiters.len() as f64);
    for (shard, writer) in stream.progress.writers.load().iter().enumerate() {
        let labels = [("stream", stream.name().to_string()), ("shard", shard.to_string())];
        metrics::MAILBOX_SLICES.set(&labels, f64::from(writer.queued.load(Ordering::Relaxed)));
    }
    publish_bytes(stream);
    count_keys(stream).await;
    for _ in 0..FORGET_ROUNDS_MAX {
        match forget(stream).await {
            Ok(FORGET_MAX) => {}
            Ok(_) => break,
            Err(error) => {
                tracing::debug!(stream = %stream.name(), %error, "keys are forgotten later");
                break;
            }
        }
    }
}

fn publish(stream: &Stream, number: u32, progress: &super::progress::PartitionProgress) {
    let labels = [("stream", stream.name().to_string()), ("partition", number.to_string())];
    metrics::LAG.set(&labels, progress.lag() as f64);
    let oldest = progress.oldest_ms.load(Ordering::Relaxed);
    let age_ms = if oldest == 0 { 0 } else { clock::now_ms() - oldest };
    metrics::OLDEST_SECONDS.set(&labels, age_ms as f64 / 1000.0);
}

/// What of the stream lies in memory, as each bound counts it.
fn publish_bytes(stream: &Stream) {
    let writers = stream.progress.writers.load();
    let held = writers.iter().map(|writer| writer.cache_bytes.load(Ordering::Relaxed)).sum::<u64>();
    let board = stream.rooms.as_ref().map_or(0, |rooms| rooms.board_bytes());
    for (cache, bytes) in [("writer", held), ("view", stream.view.bytes() as u64), ("board", board as u64)] {
        let labels = [("stream", stream.name().to_string()), ("cache", cache.to_owned())];
        metrics::CACHE_BYTES.set(&labels, bytes as f64);
    }
}

/// What is owned elsewhere is told elsewhere: a gauge left behind would raise alarms for ever.
pub fn withdraw(stream: &Stream, partition: u32) {
    let labels = [("stream", stream.name().to_string()), ("partition", partition.to_string())];
    metrics::LAG.set(&labels, 0.0);
    metrics::OLDEST_SECONDS.set(&labels, 0.0);
}

async fn count_keys(stream: &Arc<Stream>) {
    let (store, name) = (stream.shared.readers.clone(), stream.collection().clone());
    let counted = stream.try_store(async move { store.count(&name).await }.boxed()).await;
    if let Ok(keys) = counted {
        stream.progress.keys.store(keys, Ordering::Relaxed);
    }
}

/// Forgets tombstones and keys whose time is over, where their partition is ours (semantics 6). Returns how many.
pub async fn forget(stream: &Arc<Stream>) -> Result<usize, StoreError> {
    let (store, name) = (stream.shared.store.clone(), stream.collection().clone());
    let now = clock::now_ms();
    let expired = async move { store.expired(&name, now, FORGET_MAX).await };
    let due: Vec<Document> = stream
        .try_store(expired.boxed())
        .await?
        .into_iter()
        .filter(|document| stream.progress.owned.has(document.position.partition))
        .collect();
    if due.is_empty() {
        return Ok(0);
    }
    let ids: Vec<(EntityId, Position)> =
        due.iter().map(|d| (EntityId { key: d.key.clone(), partial: d.partial }, d.position)).collect();
    let (store, name) = (stream.shared.store.clone(), stream.collection().clone());
    stream.try_store(async move { store.forget(&name, ids).await }.boxed()).await?;
    for document in &due {
        stream.view.forget(&document.key);
    }
    stream.shared.news.offer(due.iter().filter_map(|document| forgotten(stream, document)));
    Ok(due.len())
}

fn forgotten(stream: &Stream, document: &Document) -> Option<News> {
    Some(News {
        stream: stream.name().clone(),
        partition: document.position.partition,
        shown: view::shown(std::slice::from_ref(document))?,
        covers: 0,
        rooms: Vec::new(),
        kind: NewsKind::Forgotten,
    })
}
