//! CloudEvents 1.0 over Kafka: both content modes become the structured form.
//!
//! Invariant: what stands at a pointer does not depend on the mode a producer chose. Data is JSON: what is not has no
//! state to be shown.
//! Not here: batches of events, which one record cannot be.

use crate::{
    app::{Poison, Reason},
    document::{Json, push_json_string},
    record::Headers,
};
use serde_json::{Value, value::RawValue};

/// Attributes are headers of this prefix in binary mode.
const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";
const SPEC_VERSION: &str = "1.0";
/// What every event has beside its version.
const REQUIRED: [&str; 3] = ["id", "source", "type"];

/// The event in structured form. `text` is the record's value, which has been read as JSON.
pub fn structured(text: &str, headers: Headers<'_>) -> Result<Json, Poison> {
    let is_binary = headers.iter().any(|(name, _)| name == b"ce_specversion");
    if is_binary { binary(text, headers) } else { Ok(Json::from_checked(text)) }
}

fn binary(text: &str, headers: Headers<'_>) -> Result<Json, Poison> {
    let mut out = String::with_capacity(text.len() + 200);
    let mut seen = Vec::new();
    let mut member = |name: &str, value: &[u8]| -> Result<(), Poison> {
        let value = std::str::from_utf8(value)
            .map_err(|_| Poison::new(Reason::SchemaInvalid, format!("the header of {name} is not UTF-8")))?;
        if seen.iter().any(|known| known == name) || name == "data" {
            return Err(Poison::new(Reason::DuplicateName, format!("the attribute {name} stands twice")));
        }
        out.push(if seen.is_empty() { '{' } else { ',' });
        push_json_string(&mut out, name);
        out.push(':');
        push_json_string(&mut out, value);
        seen.push(name.to_owned());
        Ok(())
    };
    for (name, value) in headers.iter() {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        match (name.strip_prefix(PREFIX), value) {
            (Some(attribute), Some(value)) if !attribute.is_empty() => member(attribute, value)?,
            (None, Some(value)) if name.eq_ignore_ascii_case(CONTENT_TYPE) => {
                member("datacontenttype", value)?
            }
            _ => {}
        }
    }
    // Raw, so that numbers stay as they were written.
    let data: &RawValue = serde_json::from_str(text)
        .map_err(|_| Poison::new(Reason::MalformedJson, "the event's data is not JSON"))?;
    out.push_str(",\"data\":");
    out.push_str(data.get());
    out.push('}');
    Ok(Json::from_checked(&out))
}

/// Whether it is an event of the version that is known.
pub fn check(event: &Value) -> Result<(), Poison> {
    let missing = |name: &str| Poison::new(Reason::MissingField, format!("the event has no {name}"));
    if !event.is_object() {
        let detail = "the value is no CloudEvent: neither an object, nor are there ce_ headers";
        return Err(Poison::new(Reason::SchemaInvalid, detail));
    }
    match event.get("specversion").and_then(Value::as_str) {
        Some(SPEC_VERSION) => {}
        Some(_) => {
            return Err(Poison::new(Reason::UnknownVersion, "specversion must be 1.0"));
        }
        None => return Err(missing("specversion")),
    }
    for name in REQUIRED {
        if event.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(missing(name));
        }
    }
    if event.get("data_base64").is_some() {
        return Err(Poison::new(Reason::SchemaInvalid, "data_base64 is no JSON: data must be"));
    }
    Ok(())
}

/// Source and id together are what makes an event one; joined so that no two pairs become one text.
pub fn id(event: &Value) -> String {
    let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    format!("{}#{}", text("source").replace('%', "%25").replace('#', "%23"), text("id"))
}
