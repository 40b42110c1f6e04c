//! The live key-value store: an entity is the JSON value as it came.
//!
//! Invariant: the newest record of a key is its value; null in the record removes, JSON `null` is a value.

use crate::{
    app::{App, At, Poison, Reason, Step},
    document::Json,
    record::Record,
};

/// The stream `kv`, and every declared stream of projection `latest`.
#[derive(Debug, Default)]
pub struct Kv;

impl App for Kv {
    type Event = Json;
    type Entity = Json;

    fn decode(&self, record: &Record<'_>) -> Result<Json, Poison> {
        let text = std::str::from_utf8(record.value.unwrap_or_default())
            .map_err(|_| Poison::new(Reason::MalformedJson, "the value is not UTF-8"))?;
        Ok(Json::from_checked(text))
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
