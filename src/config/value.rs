//! One value, as TOML or as text, taken in by the shape of its setting.
//!
//! Invariant: what is refused is described by its kind; only a wrong choice is quoted, never text that may be secret.

use super::setting::Shape;
use std::borrow::Cow;
use toml::{Value, de::DeValue};

/// A value of a file. `Err` says what it must be and what it is.
pub fn of_toml(shape: &Shape, value: &DeValue<'_>) -> Result<Value, String> {
    let taken = match (shape, value) {
        (Shape::Number { min, max }, DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
            let number = number.filter(|number| (min..=max).contains(&number));
            return number.map(Value::Integer).ok_or_else(|| format!("must be {}", wanted(shape)));
        }
        (Shape::Switch, DeValue::Boolean(value)) => Some(Value::Boolean(*value)),
        (Shape::Text | Shape::Secret, DeValue::String(text)) => Some(Value::String(text.to_string())),
        (Shape::Choice(choices), DeValue::String(text)) => return choice(choices, text),
        (Shape::List, DeValue::Array(items)) => texts(items.iter().map(|item| item.get_ref())),
        _ => None,
    };
    taken.ok_or_else(|| format!("must be {}, not {}", wanted(shape), found(value)))
}

/// A value of a variable or a flag.
pub fn of_text(shape: &Shape, text: &str) -> Result<Value, String> {
    let taken = match shape {
        Shape::Number { min, max } => {
            let number = text.trim().parse().ok().filter(|number| (min..=max).contains(&number));
            number.map(Value::Integer)
        }
        Shape::Switch => text.trim().parse().ok().map(Value::Boolean),
        Shape::Text | Shape::Secret => Some(Value::String(text.into())),
        Shape::Choice(choices) => return choice(choices, text),
        Shape::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.into())).collect()))
        }
        Shape::Section(_) | Shape::Named(_) => None,
    };
    taken.ok_or_else(|| format!("must be {}", wanted(shape)))
}

/// A value the user named freely (a property of librdkafka): numbers and switches are text there.
pub fn as_text<'a>(value: &'a DeValue<'a>) -> Option<Cow<'a, str>> {
    match value {
        DeValue::String(text) => Some(Cow::Borrowed(text)),
        DeValue::Integer(number) => Some(Cow::Owned(number.to_string())),
        DeValue::Float(number) => Some(Cow::Borrowed(number.as_str())),
        DeValue::Boolean(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        _ => None,
    }
}

fn texts<'a>(items: impl Iterator<Item = &'a DeValue<'a>>) -> Option<Value> {
    let text = |item: &DeValue<'_>| match item {
        DeValue::String(text) => Some(Value::String(text.to_string())),
        _ => None,
    };
    items.map(text).collect::<Option<Vec<_>>>().map(Value::Array)
}

fn choice(choices: &[String], text: &str) -> Result<Value, String> {
    if choices.iter().any(|known| known == text) {
        return Ok(Value::String(text.into()));
    }
    let mut why = format!("must be {}, not {text:?}", one_of(choices));
    if let Some(near) = nearest(choices, text) {
        why.push_str(&format!("; did you mean {near}?"));
    }
    Err(why)
}

/// The one of these names that `text` is a misspelling of.
pub fn nearest<'a, S: AsRef<str>>(names: &'a [S], text: &str) -> Option<&'a str> {
    let text = text.to_lowercase();
    let near = names.iter().map(AsRef::as_ref).map(|name| {
        let distance = strsim::damerau_levenshtein(&name.to_lowercase(), &text);
        (distance, name)
    });
    let (distance, name) = near.min()?;
    (distance <= (text.len() / 3).max(1)).then_some(name)
}

/// `one of a, b, c`.
pub fn one_of<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    format!("one of {}", names.join(", "))
}

fn wanted(shape: &Shape) -> String {
    match shape {
        Shape::Number { min, max: i64::MAX } => format!("a whole number of {min} or more"),
        Shape::Number { min, max } => format!("a whole number from {min} to {max}"),
        Shape::Switch => "true or false".into(),
        Shape::Text | Shape::Secret => "text".into(),
        Shape::Choice(choices) => one_of(choices),
        Shape::List => "a list of texts".into(),
        Shape::Section(_) | Shape::Named(_) => "a section".into(),
    }
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
