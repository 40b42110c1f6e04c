//! Dead letters of the engine in memory: one record, one held partition.
//!
//! Invariant: an order that was carried out is not carried out again.

use crate::{
    app::Reason,
    engine::api::{DeadLetterFilter, DeadLetters, ReadError, Replay},
    record::Position,
};
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicBool, Ordering};

/// One dead letter at `0.1.7` of `kv`, superseded; partition 2 is held.
#[derive(Default)]
pub struct Letters {
    discarded: AtomicBool,
}

fn there(position: Position) -> bool {
    position == Position { epoch: 0, partition: 1, offset: 7 }
}

impl DeadLetters for Letters {
    fn summary(&self) -> BoxFuture<'_, Result<serde_json::Value, ReadError>> {
        Box::pin(async { Ok(serde_json::json!({"streams": [{"stream": "kv", "malformed_json": 1}]})) })
    }

    fn list<'a>(
        &'a self,
        _stream: &'a str,
        filter: DeadLetterFilter,
    ) -> BoxFuture<'a, Result<serde_json::Value, ReadError>> {
        Box::pin(async move {
            let reason = filter.reason.map(Reason::code);
            Ok(
                serde_json::json!({"items": [], "reason": reason, "partition": filter.partition, "limit": filter.limit}),
            )
        })
    }

    fn show<'a>(
        &'a self,
        _stream: &'a str,
        position: Position,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, ReadError>> {
        Box::pin(async move { Ok(there(position).then(|| serde_json::json!({"value": "e30="}))) })
    }

    fn replay<'a>(
        &'a self,
        _stream: &'a str,
        position: Position,
        force: bool,
    ) -> BoxFuture<'a, Result<Replay, ReadError>> {
        Box::pin(async move {
            Ok(match (there(position), force) {
                (false, _) => Replay::NotThere,
                (true, false) => Replay::Superseded,
                (true, true) => Replay::Appended(Position { offset: 8, ..position }),
            })
        })
    }

    fn replay_all<'a>(
        &'a self,
        _stream: &'a str,
        filter: DeadLetterFilter,
        force: bool,
    ) -> BoxFuture<'a, Result<serde_json::Value, ReadError>> {
        Box::pin(async move { Ok(serde_json::json!({"appended": filter.limit.min(1), "force": force})) })
    }

    fn discard<'a>(&'a self, _stream: &'a str, position: Position) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(async move { Ok(there(position) && !self.discarded.swap(true, Ordering::Relaxed)) })
    }

    fn release(&self, _stream: &str, partition: u32) -> bool {
        partition == 2
    }
}
