//! An app that counts events once by their own id, keeps a row of each, and emits each twice: under its key, and under one
//! that gets those of all keys.

use crate::{
    app::{App, At, Emit, Poison, Reason, Row, Step},
    document::Json,
    record::Record,
};
use serde_json::Value;

#[derive(Debug)]
pub struct Tally;

pub const ROWS: &str = "events";
pub const EMITS: &str = "sums";
/// The key of what is emitted of all keys.
pub const OF_ALL: &str = "all";

/// What is emitted of an event, after which its key had this sum.
pub fn emitted(id: &str, sum: i64) -> Vec<u8> {
    format!("{{\"id\":\"{id}\",\"sum\":{sum}}}").into_bytes()
}

impl App for Tally {
    type Event = (String, i64);
    type Entity = i64;

    fn decode(&self, record: &Record<'_>) -> Result<(String, i64), Poison> {
        let value: Value = serde_json::from_slice(record.value.unwrap_or_default()).unwrap_or_default();
        let missing = || Poison::new(Reason::MissingField, "an event has id and n");
        let id = value.get("id").and_then(Value::as_str).ok_or_else(missing)?;
        Ok((id.to_owned(), value.get("n").and_then(Value::as_i64).ok_or_else(missing)?))
    }

    fn row_id(&self, event: &(String, i64)) -> Option<String> {
        Some(event.0.clone())
    }

    fn step(&self, was: Option<i64>, (id, n): (String, i64), at: &At<'_>) -> Step<i64> {
        if at.seen_before {
            return Step::keep(was.unwrap_or_default());
        }
        let sum = was.unwrap_or_default() + n;
        let emit = |key: &str| {
            let (key, value) = (Some(key.as_bytes().to_vec()), Some(emitted(&id, sum)));
            Emit { topic: EMITS.into(), key, value }
        };
        let emits = vec![emit(at.stamp.key), emit(OF_ALL)];
        Step { entity: Some(sum), rows: vec![Row::new(ROWS, id, Json::from_checked(&n.to_string()))], emits }
    }
}
