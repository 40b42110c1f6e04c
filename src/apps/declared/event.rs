//! Reads a record of a declared stream: format, schema, key, id, time, and the numbers that figures are made of.
//!
//! Invariant: pure; whatever a record lacks is decided here, so a step cannot fail. Faults name places, never contents.
//! Not here: what becomes of the event (the projections).

use super::{
    cloudevents,
    declaration::{ALL, Declaration, KeyFrom, Project},
    figures::{Named, Sample},
    pointer::Pointer,
};
use crate::{
    app::{Poison, Reason},
    clock,
    config::Format,
    document::Json,
    record::{Key, Record},
};
use serde_json::Value;

/// A record, as far as its stream's declaration asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A record without a value, where that removes nothing.
    Empty,
    Given(Box<Given>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Given {
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
    let text = std::str::from_utf8(record.value.unwrap_or_default())
        .map_err(|_| Poison::new(Reason::MalformedJson, "the value is not UTF-8"))?;
    let json = match declared.format {
        Format::Json => Json::from_checked(text),
        Format::CloudEvents => cloudevents::structured(text, record.headers)?,
    };
    let mut given =
        Given { key: None, json, id: None, time_ms: record.time_ms, samples: Vec::new(), group: Vec::new() };
    if needs_reading(declared) {
        let value: Value = serde_json::from_str(given.json.text())
            .map_err(|_| Poison::new(Reason::MalformedJson, "the value is not JSON"))?;
        look(declared, record, &value, &mut given)?;
    }
    Ok(Event::Given(Box::new(given)))
}

/// Whether anything inside the value matters: the newest value of the record's key is kept unread.
fn needs_reading(declared: &Declaration) -> bool {
    declared.format == Format::CloudEvents
        || declared.schema.is_some()
        || declared.key != KeyFrom::Record
        || !matches!(declared.projection, Project::Latest)
}

fn look(declared: &Declaration, record: &Record<'_>, value: &Value, given: &mut Given) -> Result<(), Poison> {
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
    key(declared, record, value, given)?;
    given.time_ms = time(declared, value)?.map_or(record.time_ms, |own| own.min(record.time_ms));
    match &declared.projection {
        Project::Log { id: Some(pointer) } => given.id = Some(text_at(pointer, value, "the id")?),
        Project::Log { id: None } => given.id = Some(cloudevents::id(value)),
        Project::Aggregate { figures, .. } => {
            for Named { name, figure, .. } in figures {
                let sample = figure.sample(value).map_err(|why| {
                    Poison::new(Reason::SchemaInvalid, format!("{why}, which the figure {name} needs"))
                })?;
                given.samples.push(sample);
            }
        }
        Project::Latest | Project::Recent { .. } => {}
    }
    Ok(())
}

fn key(declared: &Declaration, record: &Record<'_>, value: &Value, given: &mut Given) -> Result<(), Poison> {
    match &declared.key {
        KeyFrom::Record => {}
        KeyFrom::All => given.key = Some(ALL.into()),
        KeyFrom::Pointers(pointers) => match pointers.as_slice() {
            [one] => {
                given.key = match one.find(value) {
                    Some(found) => Some(scalar(found, one, "the key")?.into()),
                    // The record's own key is the second choice.
                    None if record.key.is_some() => None,
                    None => return Err(missing(one, "the key, and the record has none")),
                }
            }
            several => {
                let mut parts = Vec::with_capacity(several.len());
                for pointer in several {
                    let found = pointer.find(value).ok_or_else(|| missing(pointer, "a part of the key"))?;
                    parts.push(escape(&scalar(found, pointer, "a part of the key")?));
                    given.group.push((pointer.name(), found.clone()));
                }
                given.key = Some(parts.join("/").into());
            }
        },
    }
    Ok(())
}

/// As in a JSON Pointer, so that two groups never have one key.
fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

fn missing(pointer: &Pointer, what: &str) -> Poison {
    Poison::new(Reason::MissingField, format!("nothing stands at {}, which is {what}", pointer.text()))
}

fn text_at(pointer: &Pointer, value: &Value, what: &str) -> Result<String, Poison> {
    let found = pointer.find(value).ok_or_else(|| missing(pointer, what))?;
    scalar(found, pointer, what)
}

fn scalar(found: &Value, pointer: &Pointer, what: &str) -> Result<String, Poison> {
    match found {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => {
            let detail = format!("{} must be text, a number, true or false: it is {what}", pointer.text());
            Err(Poison::new(Reason::SchemaInvalid, detail))
        }
    }
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
