//! A JSON Schema, read once, and what is wrong with a value by it.
//!
//! Invariant: nothing is fetched: a reference that leaves the schema is a fault of the schema. What a fault says names
//! places, never what stands there.

use crate::app::{Poison, Reason};
use jsonschema::Validator;
use serde_json::Value;
use std::{fs, path::Path};

/// A schema is a page or two.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A schema that values are held against.
#[derive(Debug)]
pub struct Schema(Validator);

impl Schema {
    /// From the schema itself, which begins with `{`, or from its file. `Err` ends a sentence that begins with the setting.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            return Self::parse(text);
        }
        let named = |why: String| format!("names the file {text:?}, {why}");
        let length =
            fs::metadata(text).map_err(|error| named(format!("which cannot be read: {error}")))?.len();
        if length > FILE_BYTES_MAX {
            return Err(named("which is over 1 MiB".into()));
        }
        let read = fs::read_to_string(Path::new(text));
        let read = read.map_err(|error| named(format!("which cannot be read: {error}")))?;
        Self::parse(&read).map_err(|why| named(format!("which {why}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        let built = jsonschema::options().should_validate_formats(true).build(&schema);
        built.map(Schema).map_err(|error| format!("is no JSON Schema: {error}"))
    }

    /// Whether a value obeys. The first fault is told by where it is and which rule it breaks.
    pub fn check(&self, value: &Value) -> Result<(), Poison> {
        let Err(error) = self.0.validate(value) else { return Ok(()) };
        let at = match error.instance_path().to_string() {
            at if at.is_empty() => "the value".to_owned(),
            at => at,
        };
        let detail = format!("{at} breaks the rule {} of the schema", error.schema_path());
        Err(Poison::new(Reason::SchemaInvalid, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_told_where_it_breaks_which_rule_and_never_what_it_holds() {
        let text =
            r#"{"type":"object","required":["price"],"properties":{"price":{"type":"number","minimum":0}}}"#;
        let schema = Schema::read(text).expect("schema");
        assert_eq!(schema.check(&json!({"price": 1.5})), Ok(()));
        let poison = schema.check(&json!({"price": "hunter2"})).unwrap_err();
        assert_eq!(poison.reason, Reason::SchemaInvalid);
        assert_eq!(poison.detail, "/price breaks the rule /properties/price/type of the schema");
        assert_eq!(
            schema.check(&json!({})).unwrap_err().detail,
            "the value breaks the rule /required of the schema"
        );
    }

    #[test]
    fn what_is_no_schema_is_told() {
        for (text, why) in [
            ("{", "is not JSON"),
            (r#"{"type":"nombre"}"#, "is no JSON Schema"),
            (r#"{"$ref":"https://example.com/s.json"}"#, "is no JSON Schema"),
            (r#"{"$ref":"file:///etc/passwd"}"#, "is no JSON Schema"),
            ("nowhere/at-all.json", "names the file \"nowhere/at-all.json\", which cannot be read"),
        ] {
            let told = Schema::read(text).expect_err(text);
            assert!(told.starts_with(why), "{text}: {told}");
        }
    }
}
