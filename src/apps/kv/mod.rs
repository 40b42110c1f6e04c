//! The live key-value store: an entity is the JSON value as it came.
//!
//! Invariant: the newest record of a key is its value; null in the record removes, JSON `null` is a value.

use crate::{
    app::{App, At, Poison, Step},
    document::Json,
    event,
    record::Record,
};

/// The stream `kv`.
#[derive(Debug, Default)]
pub struct Kv;

impl App for Kv {
    type Event = Json;
    type Entity = Json;

    fn decode(&self, record: &Record<'_>) -> Result<Json, Poison> {
        event::text(record).map(Json::from_checked)
    }

    fn step(&self, _was: Option<Json>, value: Json, _at: &At<'_>) -> Step<Json> {
        Step::keep(value)
    }

    fn size(&self, entity: &Json) -> usize {
        entity.text().len()
    }

    fn to_json(&self, entity: &Json) -> Result<Json, serde_json::Error> {
        Ok(entity.clone())
    }

    fn from_json(&self, json: &Json) -> Result<Json, serde_json::Error> {
        Ok(json.clone())
    }
}
