//! An app that counts events once by their own id, keeps a row of each, and emits the sum after it.

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
        let (key, value) = (at.stamp.key.as_bytes().to_vec(), sum.to_string().into_bytes());
        Step {
            entity: Some(sum),
            rows: vec![Row::new(ROWS, id, Json::from_checked(&n.to_string()))],
            emits: vec![Emit { topic: EMITS.into(), key: Some(key), value: Some(value) }],
        }
    }
}
