//! Reads a record of a declared stream: format, schema, key, id, time, and the numbers that figures are made of.
//!
//! Invariant: pure; whatever a record lacks is decided here, so a step cannot fail. Faults name places, never contents.
//! Not here: what becomes of the event (the projections).

use crate::{
    aggregate::{Named, Sample},
    app::{Poison, Reason},
    clock,
    config::{
        Format,
        declaration::{ALL, Declaration, KeyFrom, Project},
    },
    document::Json,
    event::{self, cloudevents},
    record::{Key, Record},
};
use serde_json::Value;

/// A record that has a value, as far as its stream's declaration asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `None`: the record's own.
    pub key: Option<Key>,
    /// The value as it came; a CloudEvent in structured form.
    pub json: Json,
    /// By which a log knows it again.
    pub id: Option<String>,
    /// The event's own time, in ms since 1970 UTC. A future is not believed: it is never after the record's.
    pub time_ms: i64,
    /// What the figures of an aggregate take in, in their order; `None`: nothing of it is here.
    pub samples: Vec<Option<Sample>>,
    /// The parts of the key by name, where it is made of several.
    pub group: Vec<(String, Value)>,
}

/// Reads a record that has a value, whose JSON obeys the engine's limits.
pub fn read(declared: &Declaration, record: &Record<'_>) -> Result<Event, Poison> {
    let text = event::text(record)?;
    let json = match declared.format {
        Format::Json => Json::from_checked(text),
        Format::CloudEvents => cloudevents::structured(text, record.headers)?,
    };
    let mut event =
        Event { key: None, json, id: None, time_ms: record.time_ms, samples: Vec::new(), group: Vec::new() };
    if needs_reading(declared) {
        let value: Value = serde_json::from_str(event.json.text())
            .map_err(|_| Poison::new(Reason::MalformedJson, "the value is not JSON"))?;
        look(declared, record, &value, &mut event)?;
    }
    Ok(event)
}

/// Whether anything inside the value matters: the newest value of the record's key is kept unread.
fn needs_reading(declared: &Declaration) -> bool {
    declared.format == Format::CloudEvents
        || declared.schema.is_some()
        || declared.key != KeyFrom::Record
        || !matches!(declared.projection, Project::Latest)
}

fn look(declared: &Declaration, record: &Record<'_>, value: &Value, event: &mut Event) -> Result<(), Poison> {
    if declared.format == Format::CloudEvents {
        cloudevents::check(value)?;
    }
    if let Some(schema) = &declared.schema {
        let described = match declared.format {
            Format::Json => Some(value),
            Format::CloudEvents => value.get("data"),
        };
        schema.check(described.unwrap_or(&Value::Null))?;
    }
    key(declared, record, value, event)?;
    event.time_ms = time(declared, value)?.map_or(record.time_ms, |own| own.min(record.time_ms));
    match &declared.projection {
        Project::Log { id: Some(pointer) } => {
            event.id = Some(pointer.text_of(pointer.needed(value, "the id")?, "the id")?);
        }
        Project::Log { id: None } => event.id = Some(cloudevents::id(value)),
        Project::Aggregate(plan) => {
            for Named { name, figure, .. } in &plan.figures {
                let sample = figure.sample(value).map_err(|why| {
                    Poison::new(Reason::SchemaInvalid, format!("{why}, which the figure {name} needs"))
                })?;
                event.samples.push(sample);
            }
        }
        Project::Latest | Project::Recent(_) => {}
    }
    Ok(())
}

fn key(declared: &Declaration, record: &Record<'_>, value: &Value, event: &mut Event) -> Result<(), Poison> {
    let pointers = match &declared.key {
        KeyFrom::Record => return Ok(()),
        KeyFrom::All => {
            event.key = Some(ALL.into());
            return Ok(());
        }
        KeyFrom::Pointers(pointers) => pointers,
    };
    if let [one] = pointers.as_slice() {
        // The record's own key is the second choice.
        if record.key.is_none() || one.find(value).is_some() {
            let found = one.needed(value, "the key, and the record has none")?;
            event.key = Some(one.text_of(found, "the key")?.into());
        }
        return Ok(());
    }
    let mut parts = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        let found = pointer.needed(value, "a part of the key")?;
        parts.push(escape(&pointer.text_of(found, "a part of the key")?));
        event.group.push((pointer.name(), found.clone()));
    }
    event.key = Some(parts.join("/").into());
    Ok(())
}

/// As in a JSON Pointer, so that two groups never have one key.
fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// `None`: the event has no time of its own.
fn time(declared: &Declaration, value: &Value) -> Result<Option<i64>, Poison> {
    let (found, at) = match (&declared.time, declared.format) {
        (Some(pointer), _) => (pointer.find(value), pointer.text()),
        (None, Format::CloudEvents) => (value.get("time").filter(|time| !time.is_null()), "/time"),
        (None, Format::Json) => return Ok(None),
    };
    let Some(found) = found else { return Ok(None) };
    let ms = match found {
        Value::String(text) => clock::parse(text),
        Value::Number(number) => number.as_f64().and_then(clock::of_number),
        _ => None,
    };
    let detail =
        || format!("what stands at {at} is no time: ISO 8601, or seconds or milliseconds since 1970");
    ms.map(Some).ok_or_else(|| Poison::new(Reason::SchemaInvalid, detail()))
}
