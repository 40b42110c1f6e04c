//! Whether a stored document is what the log says, and the first place where it is not.
//!
//! Invariant: numbers are compared as numbers, since a store may write `1.0` as `1`; sums to nine digits.
//! Not here: which two documents belong together.

use crate::{document::Document, engine::stream::StreamSpec};
use serde_json::Value;

/// Of two numbers that are the same but for rounding.
const ROUNDING: f64 = 1e-9;
/// Characters of a value that are told.
const TOLD_MAX: usize = 120;

/// What differs, if anything. Of a log that was cut, and of partials, what is shown now is compared: a window has slid past
/// what is gone.
pub fn difference(
    spec: &StreamSpec,
    stored: &Document,
    expected: &Document,
    is_cut: bool,
    now_ms: i64,
) -> Option<String> {
    if !is_cut && stored.version != expected.version {
        return Some(format!("store has version {}, log says {}", stored.version, expected.version));
    }
    let value = |document: &Document| {
        let shown = spec.shows.key(std::slice::from_ref(document), now_ms)?.value?;
        serde_json::from_str::<Value>(shown.text()).ok()
    };
    let (stored, expected) = (value(stored), value(expected));
    match (&stored, &expected) {
        (Some(stored), Some(expected)) => {
            let (at, stored, expected) = first_difference(stored, expected, String::new())?;
            let at = if at.is_empty() { "value".to_owned() } else { at };
            Some(format!("{at}: store has {}, log says {}", told(Some(stored)), told(Some(expected))))
        }
        (None, None) => None,
        (stored, expected) => {
            Some(format!("store has {}, log says {}", told(stored.as_ref()), told(expected.as_ref())))
        }
    }
}

type Place<'v> = (String, &'v Value, &'v Value);

fn first_difference<'v>(stored: &'v Value, expected: &'v Value, at: String) -> Option<Place<'v>> {
    match (stored, expected) {
        (Value::Object(one), Value::Object(other))
            if one.len() == other.len() && one.keys().all(|key| other.contains_key(key)) =>
        {
            one.iter()
                .find_map(|(key, value)| first_difference(value, other.get(key)?, format!("{at}/{key}")))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(index, (one, other))| first_difference(one, other, format!("{at}/{index}")))
        }
        (Value::Number(one), Value::Number(other)) if is_same(one, other) => None,
        (one, other) if one == other => None,
        (one, other) => Some((at, one, other)),
    }
}

fn is_same(one: &serde_json::Number, other: &serde_json::Number) -> bool {
    if let (Some(one), Some(other)) = (one.as_i64(), other.as_i64()) {
        return one == other;
    }
    let (Some(one), Some(other)) = (one.as_f64(), other.as_f64()) else { return one == other };
    one == other || (one - other).abs() <= ROUNDING * one.abs().max(other.abs())
}

fn told(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".into() };
    let text = value.to_string();
    match text.char_indices().nth(TOLD_MAX) {
        Some((cut, _)) => format!("{}...", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}
