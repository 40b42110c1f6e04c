//! The room `streams:summary`: every stream with its rates, as an entity of its own.
//!
//! Invariant: rates are differences over the time between two looks, so a look that comes late is no burst.
//! Not here: who is in the room.

use crate::{
    clock,
    document::{Json, Shown},
    engine::api::{Held, Kind, Latency, Newest, State, StreamStatus},
    record::Position,
};
use rustc_hash::FxHashMap;
use serde::Serialize;
use tokio::time::Instant;

pub const STREAM: &str = "streams";
pub const NAME: &str = "summary";

#[derive(Debug, Default)]
pub struct Summary {
    version: u64,
    created_ms: i64,
    looked: Option<Instant>,
    counters: FxHashMap<String, (u64, u64)>,
}

#[derive(Serialize)]
struct Value<'a> {
    at: String,
    streams: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    kind: Kind,
    keys: Option<u64>,
    records_per_s: f64,
    stored_per_s: f64,
    lag: &'a [u64],
    newest: Option<&'a Newest>,
    state: State,
    held: Option<&'a Held>,
    latency_ms: Latency,
}

impl Summary {
    /// The room's next state.
    pub fn next(&mut self, streams: &[StreamStatus], now: Instant) -> Result<Shown, serde_json::Error> {
        let at_ms = clock::now_ms();
        let seconds = self.looked.map(|looked| now.saturating_duration_since(looked).as_secs_f64());
        let lines = streams.iter().map(|stream| self.line(stream, seconds)).collect();
        let value = Json::of(&Value { at: clock::iso(at_ms), streams: lines })?;
        self.looked = Some(now);
        self.counters =
            streams.iter().map(|s| (s.stream.to_string(), (s.received_total, s.stored_total))).collect();
        self.version += 1;
        if self.version == 1 {
            self.created_ms = at_ms;
        }
        Ok(Shown {
            key: NAME.into(),
            version: self.version,
            created_ms: self.created_ms,
            updated_ms: at_ms,
            positions: Position { epoch: 0, partition: 0, offset: self.version }.into(),
            value: Some(value),
        })
    }

    fn line<'a>(&self, status: &'a StreamStatus, seconds: Option<f64>) -> Line<'a> {
        let before = self.counters.get(&*status.stream).copied();
        let rate = |now: u64, before: Option<u64>| match (seconds, before) {
            (Some(seconds), Some(before)) if seconds > 0.0 => per_second(now.saturating_sub(before), seconds),
            _ => 0.0,
        };
        Line {
            stream: &status.stream,
            kind: status.kind,
            keys: status.keys,
            records_per_s: rate(status.received_total, before.map(|b| b.0)),
            stored_per_s: rate(status.stored_total, before.map(|b| b.1)),
            lag: &status.lag,
            newest: status.newest.as_ref(),
            state: status.state,
            held: status.held.as_ref(),
            latency_ms: status.latency_ms,
        }
    }
}

/// With one decimal: what is shown, not what is counted.
fn per_second(records: u64, seconds: f64) -> f64 {
    (records as f64 / seconds * 10.0).round() / 10.0
}
