//! The state of everything inside, as JSON for the pipeline page and as health.
//!
//! Invariant: reads what the actors say of themselves (`progress`); asks nobody and waits for nothing.

use super::{
    api::{Dependency, Health, Held, State, StreamInfo, StreamStatus},
    progress::lock,
    stream::Stream,
};
use crate::{clock, document::Shown, record::Position};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};

pub fn info(stream: &Stream) -> StreamInfo {
    let spec = &stream.spec;
    StreamInfo {
        name: spec.name.clone(),
        kind: spec.kind,
        topic: spec.topic.name.clone(),
        partitions: spec.topic.partitions,
        partials: spec.by_partition,
        write_hint: spec.write_hint.clone(),
        app_rooms: if spec.rooms_under.is_some() { Vec::new() } else { spec.rooms.clone() },
    }
}

pub fn stream(stream: &Stream) -> StreamStatus {
    let progress = &stream.progress;
    let held = held(stream);
    let state = match *lock(&progress.state) {
        State::Running if held.is_some() => State::Held,
        state => state,
    };
    let positions = progress.positions().0.iter().map(Position::to_string).collect();
    StreamStatus {
        stream: stream.name().clone(),
        kind: stream.spec.kind,
        writable: stream.spec.kind.is_writable(stream.spec.by_partition),
        app: stream.spec.app.clone(),
        declared: stream.spec.app.is_none(),
        topics: vec![stream.spec.topic.name.clone()],
        keys: Some(progress.keys.load(Ordering::Relaxed)).filter(|keys| *keys != u64::MAX),
        positions,
        lag: progress.partitions_sorted().iter().map(|(_, p)| p.lag()).collect(),
        state,
        held,
        received_total: progress.received_total.load(Ordering::Relaxed),
        stored_total: progress.stored_total.load(Ordering::Relaxed),
        newest: lock(&progress.newest).clone(),
        latency_ms: progress.latency(),
    }
}

/// Why a stream stands still: the store is away, a partition is held, or a writer is stuck.
fn held(stream: &Stream) -> Option<Held> {
    let away = stream.shared.gate.open_s().map(|s| Held {
        since: clock::iso(clock::now_ms() - (s * 1000) as i64),
        r#where: "store".into(),
        why: "the store does not answer".into(),
    });
    away.or_else(|| stream.progress.held())
}

pub fn pipeline(streams: &[Arc<Stream>]) -> Value {
    let store = streams.first().map(|stream| stream.shared.gate.status());
    json!({
        "at": clock::iso(clock::now_ms()),
        "streams": streams.iter().map(|stream| one(stream)).collect::<Vec<_>>(),
        "store": store,
    })
}

fn one(stream: &Stream) -> Value {
    let progress = &stream.progress;
    let status = self::stream(stream);
    let past: Vec<_> = lock(&progress.past).iter().rev().cloned().collect();
    json!({
        "stream": stream.name(),
        "generation": progress.generation.load(Ordering::Relaxed),
        "started": clock::iso(progress.started_ms.load(Ordering::Relaxed)),
        "past": past,
        "state": status.state,
        "held": status.held,
        "partitions": partitions(stream),
        "writers": writers(stream),
    })
}

fn partitions(stream: &Stream) -> Vec<Value> {
    let now = clock::now_ms();
    let one = |(number, p): &(u32, Arc<super::progress::PartitionProgress>)| {
        let oldest = p.oldest_ms.load(Ordering::Relaxed);
        let held = lock(&p.held).clone();
        json!({
            "partition": number,
            "committed": p.committed.get(),
            "confirmed": p.confirmed.get(),
            "received": p.received.get(),
            "end": p.end.get(),
            "oldest_ms": (oldest != 0).then(|| now - oldest),
            "held_since": held.as_ref().map(|held| &held.since),
            "held_why": held.as_ref().map(|held| &held.why),
            "waiting_ms": Some(p.waiting_since_ms.load(Ordering::Relaxed)).filter(|ms| *ms != 0).map(|ms| now - ms),
            "poison_used": f64::from(p.poison_used.load(Ordering::Relaxed)) / 1000.0,
        })
    };
    stream.progress.partitions_sorted().iter().map(one).collect()
}

fn writers(stream: &Stream) -> Vec<Value> {
    let mailbox_max = stream.shared.settings.mailbox_slices_max;
    let now = clock::now_ms();
    let one = |(shard, w): (usize, &Arc<super::progress::WriterProgress>)| {
        let since = w.since_ms.load(Ordering::Relaxed);
        json!({
            "shard": shard,
            "mailbox_used": w.queued.load(Ordering::Relaxed),
            "mailbox_max": mailbox_max,
            "batch_records": w.batch_records.load(Ordering::Relaxed),
            "batch_keys": w.batch_keys.load(Ordering::Relaxed),
            "cut": *lock(&w.cut),
            "since_ms": (since != 0).then(|| now - since),
            "stuck": lock(&w.stuck).clone(),
        })
    };
    stream.progress.writers.load().iter().enumerate().map(one).collect()
}

/// Where the record at a position is now.
pub fn locate(stream: &Stream, position: Position, key: Option<&str>) -> Value {
    let answer = |stage: &str, detail: String| json!({ "position": position.to_string(), "key": key, "stage": stage, "detail": detail });
    let Some(progress) = stream.progress.partition(position.partition) else {
        return answer(
            "unknown",
            format!("partition {} is not assigned to this instance", position.partition),
        );
    };
    let below = |offset: Option<u64>| offset.is_some_and(|next| position.offset < next);
    if position.epoch != progress.epoch {
        answer("unknown", format!("the topic is at epoch {}", progress.epoch))
    } else if below(progress.committed.get()) {
        answer("committed", "finished, and its offset is committed".into())
    } else if below(progress.confirmed.get()) {
        answer("confirmed", "finished; its offset is committed on the next beat".into())
    } else if below(progress.received.get()) {
        answer("writer", "received; it waits for its writer or for the store".into())
    } else if below(progress.end.get()) {
        answer("kafka", "in the log, not received yet".into())
    } else {
        answer("unknown", "the log has no such record yet".into())
    }
}

pub fn locate_key(stream: &Stream, key: &str, shown: &Shown) -> Value {
    let Some(position) = shown.positions.0.first() else { return nowhere(key, "it has no position") };
    let mut located = locate(stream, *position, Some(key));
    if let Some(detail) = located.get_mut("detail") {
        *detail = json!(format!("stored as version {} at this position", shown.version));
    }
    if let Some(stage) = located.get_mut("stage") {
        *stage = json!("stored");
    }
    located
}

pub fn nowhere(key: &str, detail: &str) -> Value {
    json!({ "position": null, "key": key, "stage": "unknown", "detail": detail })
}

pub fn health(streams: &[Arc<Stream>]) -> Health {
    let mut dependencies = Vec::new();
    if let Some(shared) = streams.first().map(|stream| &stream.shared) {
        let away_s = shared.gate.open_s();
        dependencies.push(Dependency {
            name: "store".into(),
            state: if away_s.is_some() { "down" } else { "up" },
            detail: away_s.map(|s| format!("it has not answered for {s} s; reads go on from memory")),
            age_ms: Some(away_s.unwrap_or(0) * 1000),
        });
        let (log_age_ms, log_error) = shared.log_health.get();
        dependencies.push(Dependency {
            name: "log".into(),
            state: if log_error.is_some() { "down" } else { "up" },
            detail: log_error,
            age_ms: Some(log_age_ms),
        });
    }
    for stream in streams {
        let status = self::stream(stream);
        let (state, detail) = match (status.state, status.held) {
            (State::Held, Some(held)) => ("held", Some(format!("{}: {}", held.r#where, held.why))),
            (State::Starting, _) => ("starting", None),
            (State::Stopped, _) => ("down", Some("the process stops".to_owned())),
            _ => ("up", None),
        };
        dependencies.push(Dependency {
            name: format!("stream {}", stream.name()),
            state,
            detail,
            age_ms: None,
        });
    }
    Health { ready: dependencies.iter().all(|d| d.state == "up"), dependencies }
}
