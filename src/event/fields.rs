//! The fields of an event as producers really write them: under either of two spellings, numbers as text, times with or
//! without a zone.
//!
//! Invariant: all that is wrong is told at once, by field and never by what stands there. A field that is wrong reads as
//! one that is not there, so `finish` has to be asked before anything is made of the event.
//! The JSON Schemas of the agents' topics say the same as `text`, `name`, `number`, `flag` and `time`; a test holds them together.
//! Not here: which fields there are.

use crate::{
    app::{Poison, Reason},
    clock,
    json::members::Members,
};
use serde_json::{Number, value::RawValue};
use std::borrow::Cow;

/// Numbers of events are no larger.
const NUMBER_MAX: f64 = 1e12;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 200;
/// Bytes of any text.
const TEXT_BYTES_MAX: usize = 1_000;
/// A time that is written as a number is no later, in ms since 1970.
const TIME_MAX_MS: i64 = 10_000_000_000_000;

/// A field as it is told of, and its other spelling.
pub type Names = [&'static str; 2];

/// One thing wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub field: &'static str,
    /// Ends a sentence that begins with the field.
    pub detail: String,
    reason: Reason,
}

/// All that is wrong with an event; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// Of several reasons the first stands, but that a field is missing only where nothing else is wrong.
impl From<Faults> for Poison {
    fn from(Faults(faults): Faults) -> Poison {
        let other = faults.iter().map(|fault| fault.reason).find(|reason| *reason != Reason::MissingField);
        let all: Vec<_> = faults.iter().map(|fault| format!("{} {}", fault.field, fault.detail)).collect();
        Poison::new(other.unwrap_or(Reason::MissingField), all.join(", "))
    }
}

/// The members of an event that were not taken yet, and what was wrong with those that were.
#[derive(Debug)]
pub struct Fields<'a> {
    members: Members<'a>,
    faults: Vec<Fault>,
}

impl<'a> Fields<'a> {
    pub fn of(text: &'a str) -> Result<Self, Faults> {
        let not_one = |_| {
            let detail = "is no object".to_owned();
            Faults(vec![Fault { field: "body", detail, reason: Reason::SchemaInvalid }])
        };
        Members::read(text).map(|members| Fields { members, faults: Vec::new() }).map_err(not_one)
    }

    /// The end: the members that nobody took, as they were written, unless anything was wrong.
    pub fn finish(self) -> Result<Members<'a>, Faults> {
        if self.faults.is_empty() { Ok(self.members) } else { Err(Faults(self.faults)) }
    }

    /// A field as it is written.
    pub fn take(&mut self, [name, other]: Names) -> Option<&'a RawValue> {
        self.members.take(name).or_else(|| self.members.take(other))
    }

    /// Likewise, where it has to be there.
    pub fn required(&mut self, names: Names) -> Option<&'a RawValue> {
        let raw = self.take(names);
        self.needed(names, raw)
    }

    /// What was read has to be there: where it is not, and nothing else is wrong with it, it is missing.
    pub fn needed<T>(&mut self, names: Names, read: Option<T>) -> Option<T> {
        let [field, _] = names;
        if read.is_none() && self.faults.iter().all(|fault| fault.field != field) {
            self.fault(names, (Reason::MissingField, "is missing".into()));
        }
        read
    }

    /// Says that a field is wrong; `detail` ends a sentence that begins with it.
    pub fn wrong(&mut self, names: Names, detail: impl Into<String>) {
        self.fault(names, (Reason::SchemaInvalid, detail.into()));
    }

    fn fault(&mut self, [field, _]: Names, (reason, detail): Wrong) {
        self.faults.push(Fault { field, detail, reason });
    }

    /// A text that has to be there, and nothing else that might be written for one.
    pub fn string(&mut self, names: Names) -> Option<Cow<'a, str>> {
        let text = string(self.required(names)?);
        if text.is_none() {
            self.wrong(names, "is no text");
        }
        text
    }

    /// A text that has to be there, or a number for it; empty where it is not.
    pub fn name(&mut self, names: Names) -> String {
        let name = self.read(names, |value| bounded(text(value)?, NAME_BYTES_MAX));
        self.needed(names, name.filter(|name| !name.is_empty())).unwrap_or_default()
    }

    /// A text, or a number for it.
    pub fn text(&mut self, names: Names) -> Option<String> {
        self.read(names, text)
    }

    /// A number from 0 on, perhaps written as a text.
    pub fn number(&mut self, names: Names) -> Option<f64> {
        self.read(names, number)
    }

    /// True or false, perhaps written as a text.
    pub fn flag(&mut self, names: Names) -> Option<bool> {
        self.read(names, flag)
    }

    /// A time, in ms since 1970.
    pub fn time(&mut self, names: Names) -> Option<i64> {
        self.read(names, time)
    }

    /// A field in whichever spelling it has a value; `null` is none.
    fn read<T>(&mut self, names: Names, read: fn(Value<'a>) -> Result<T, Wrong>) -> Option<T> {
        let [one, other] = names.map(|name| self.members.take(name).filter(|raw| raw.get() != "null"));
        read(Value::of(one.or(other)?)).map_err(|wrong| self.fault(names, wrong)).ok()
    }
}

/// Why a field cannot be read.
type Wrong = (Reason, String);

/// What a field holds.
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(Number),
    Flag(bool),
    /// An object, or an array.
    Other,
}

impl<'a> Value<'a> {
    fn of(raw: &'a RawValue) -> Self {
        match raw.get() {
            "true" => Value::Flag(true),
            "false" => Value::Flag(false),
            text if text.starts_with(['{', '[']) => Value::Other,
            text if text.starts_with('"') => string(raw).map_or(Value::Other, Value::Text),
            text => serde_json::from_str(text).map_or(Value::Other, Value::Number),
        }
    }
}

/// The text that a member is, where it is one.
pub fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    // An escape makes it another text than the one that is written.
    match raw.get().strip_prefix('"')?.strip_suffix('"')? {
        plain if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str(raw.get()).ok().map(Cow::Owned),
    }
}

fn wrong<T>(detail: impl Into<String>) -> Result<T, Wrong> {
    Err((Reason::SchemaInvalid, detail.into()))
}

fn bounded(text: String, bytes_max: usize) -> Result<String, Wrong> {
    if text.len() > bytes_max { wrong(format!("has more than {bytes_max} bytes")) } else { Ok(text) }
}

fn text(value: Value<'_>) -> Result<String, Wrong> {
    match value {
        Value::Text(text) => bounded(text.into_owned(), TEXT_BYTES_MAX),
        Value::Number(number) => Ok(number.to_string()),
        Value::Flag(_) | Value::Other => wrong("is no text"),
    }
}

fn number(value: Value<'_>) -> Result<f64, Wrong> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::Text(text) => text.trim().parse().ok(),
        Value::Flag(_) | Value::Other => None,
    };
    match number {
        Some(number) if (0.0..=NUMBER_MAX).contains(&number) => Ok(number),
        Some(number) if number.is_finite() => {
            Err((Reason::NumberRange, format!("is not between 0 and {NUMBER_MAX:e}")))
        }
        _ => wrong("is no number"),
    }
}

fn flag(value: Value<'_>) -> Result<bool, Wrong> {
    let flag = match value {
        Value::Flag(flag) => Some(flag),
        Value::Text(text) => text.trim().to_ascii_lowercase().parse().ok(),
        Value::Number(_) | Value::Other => None,
    };
    flag.map_or_else(|| wrong("is not true or false"), Ok)
}

fn time(value: Value<'_>) -> Result<i64, Wrong> {
    let of_number = |number| clock::of_number(number).filter(|ms| (0..=TIME_MAX_MS).contains(ms));
    let time = match value {
        Value::Text(text) => clock::parse(&text).or_else(|| of_number(text.trim().parse().ok()?)),
        Value::Number(number) => number.as_f64().and_then(of_number),
        Value::Flag(_) | Value::Other => None,
    };
    time.map_or_else(|| wrong("is no time: ISO 8601, or seconds or milliseconds since 1970"), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Names = ["the_field", "theField"];

    fn one<T>(text: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> (T, Option<Poison>) {
        let mut fields = Fields::of(text).expect("object");
        let found = read(&mut fields);
        (found, fields.finish().err().map(Poison::from))
    }

    #[test]
    fn a_field_is_read_under_either_name_and_null_is_nothing() {
        for text in [r#"{"the_field":5}"#, r#"{"theField":"5"}"#, r#"{"the_field":null,"theField":5.0}"#] {
            assert_eq!(one(text, |fields| fields.number(A)), (Some(5.0), None), "{text}");
        }
        assert_eq!(one(r#"{"theField":null}"#, |fields| fields.number(A)), (None, None));
        assert_eq!(one(r#"{"TheField":1}"#, |fields| fields.number(A)), (None, None), "a third spelling");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_and_no_value() {
        let mut fields = Fields::of(r#"{"a":"secret","b":["secret"],"c":1e13,"further":1}"#).expect("object");
        let names = |name| [name, name];
        fields.number(names("a"));
        fields.text(names("b"));
        fields.number(names("c"));
        fields.name(names("d"));
        let poison = Poison::from(fields.finish().expect_err("faults"));
        assert_eq!(poison.detail, "a is no number, b is no text, c is not between 0 and 1e12, d is missing");
        assert_eq!(poison.reason, Reason::SchemaInvalid);
    }
}
