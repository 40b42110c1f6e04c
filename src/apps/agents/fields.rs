//! The fields of an event as producers really write them: snake_case or camelCase, numbers as strings, times with or
//! without a zone.
//!
//! Invariant: what cannot be read is refused with a message that names the field and never its content; `null` is absent.
//! The JSON Schemas in `schemas/` say the same, and a test holds the two together.
//! Not here: which fields there are.

use crate::{
    app::{Poison, Reason},
    clock,
    record::Record,
};
use serde_json::{Map, Value};

/// Numbers of events are no larger.
const NUMBER_MAX: f64 = 1e12;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 200;
/// Bytes of any text.
const TEXT_BYTES_MAX: usize = 1_000;
/// A time that is written as a number is no later, in ms since 1970.
const TIME_MAX_MS: i64 = 10_000_000_000_000;

/// What is left of an event's members.
pub struct Fields(Map<String, Value>);

impl Fields {
    pub fn of(record: &Record<'_>) -> Result<Self, Poison> {
        let object = serde_json::from_slice(record.value.unwrap_or_default());
        object.map(Fields).map_err(|_| Poison::new(Reason::SchemaInvalid, "an event is a JSON object"))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let camel = self.0.remove(&camel(name));
        self.0.remove(name).filter(|value| !value.is_null()).or(camel).filter(|value| !value.is_null())
    }

    /// Text that has to be there, and is not empty.
    pub fn name(&mut self, name: &str) -> Result<String, Poison> {
        let missing = || Poison::new(Reason::MissingField, format!("{name} is missing"));
        let text = self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(missing)?;
        if text.len() > NAME_BYTES_MAX {
            return Err(wrong(name, &format!("has more than {NAME_BYTES_MAX} bytes")));
        }
        Ok(text)
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Poison> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() > TEXT_BYTES_MAX => {
                Err(wrong(name, &format!("has more than {TEXT_BYTES_MAX} bytes")))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(wrong(name, "is no text")),
        }
    }

    pub fn number(&mut self, name: &str) -> Result<Option<f64>, Poison> {
        let number = match self.take(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        match number {
            Some(number) if (0.0..=NUMBER_MAX).contains(&number) => Ok(Some(number)),
            Some(number) if number.is_finite() => {
                Err(Poison::new(Reason::NumberRange, format!("{name} is not between 0 and {NUMBER_MAX:e}")))
            }
            _ => Err(wrong(name, "is no number")),
        }
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Poison> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(Value::String(text)) => text
                .trim()
                .to_ascii_lowercase()
                .parse()
                .map(Some)
                .map_err(|_| wrong(name, "is not true or false")),
            Some(_) => Err(wrong(name, "is not true or false")),
        }
    }

    /// The event's own time, in ms since 1970.
    pub fn time(&mut self) -> Result<Option<i64>, Poison> {
        let name = "timestamp";
        let time = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) => parse_time(text.trim()),
            Some(Value::Number(number)) => number.as_f64().and_then(epoch_ms),
            Some(_) => None,
        };
        time.map(Some)
            .ok_or_else(|| wrong(name, "is no time: ISO 8601, or seconds or milliseconds since 1970"))
    }

    /// Members that nobody took.
    pub fn rest(self) -> Map<String, Value> {
        self.0
    }
}

fn wrong(name: &str, what: &str) -> Poison {
    Poison::new(Reason::SchemaInvalid, format!("{name} {what}"))
}

/// `routing_time_ms` as `routingTimeMs`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

fn epoch_ms(number: f64) -> Option<i64> {
    clock::of_number(number).filter(|ms| (0..=TIME_MAX_MS).contains(ms))
}

/// ISO 8601, or a number in a string.
fn parse_time(text: &str) -> Option<i64> {
    clock::parse(text).or_else(|| epoch_ms(text.parse().ok()?))
}
