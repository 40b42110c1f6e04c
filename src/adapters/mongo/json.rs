//! JSON text to BSON and back, each in one pass with no tree in between.
//!
//! Invariant: what `json::check` lets in comes back equal: integers stay integers (int64 whatever their size, so that a
//! field keeps one type), numbers with a fraction or exponent stay doubles, any name stays as it is.
//! Not here: what may be stored at all (`json::check`).

use crate::document::Json;
use bson::raw::RawBsonRef;
use serde::{Serialize, Serializer};

/// JSON text that serialises as the value it spells.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a>(pub &'a str);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = serde_json::Deserializer::from_str(self.0);
        let done = serde_transcode::transcode(&mut text, to)?;
        text.end().map_err(serde::ser::Error::custom)?;
        Ok(done)
    }
}

/// The JSON that `value` or `json` of a document holds (`pack::Form`).
pub fn of(
    value: Option<RawBsonRef<'_>>,
    json: Option<RawBsonRef<'_>>,
    scratch: &mut Vec<u8>,
) -> Option<Json> {
    match (value, json) {
        (Some(value), _) => text(value, scratch).ok(),
        (None, Some(RawBsonRef::String(json))) => Json::parse(json).ok(),
        _ => None,
    }
}

/// The JSON text of a stored value; `scratch` only saves an allocation.
fn text(value: RawBsonRef<'_>, scratch: &mut Vec<u8>) -> Result<Json, serde_json::Error> {
    scratch.clear();
    serde_json::to_writer(&mut *scratch, &value)?;
    let text = std::str::from_utf8(scratch).map_err(serde::ser::Error::custom)?;
    Ok(Json::from_checked(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::RawDocumentBuf;
    use proptest::prelude::*;

    #[derive(Serialize)]
    struct Holder<'a> {
        value: Text<'a>,
    }

    fn stored(json: &str) -> Result<RawDocumentBuf, bson::error::Error> {
        bson::serialize_to_raw_document_buf(&Holder { value: Text(json) })
    }

    fn back(json: &str) -> String {
        let stored = stored(json).expect("BSON");
        let value = stored.get("value").expect("readable").expect("value");
        text(value, &mut Vec::new()).expect("JSON").text().to_owned()
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_was() {
        for json in [
            "null",
            "true",
            "\"\"",
            "\"$a.b \\u0000\"",
            "[]",
            "{}",
            "0",
            "-1",
            "1.0",
            "0.1",
            "1e+300",
            "9223372036854775807",
            "-9223372036854775808",
            "[1,[2.5,null],{}]",
            r#"{"":{"":0},"$set":{"a.b":1},"$date":"x","$numberLong":"5","$oid":7,"b":1,"a":2}"#,
        ] {
            assert_eq!(back(json), json);
        }
    }

    #[test]
    fn what_cannot_be_stored_is_an_error() {
        for json in ["{\"a\\u0000\":1}", "9223372036854775808", "{\"a\":1", "1 2", ""] {
            assert!(stored(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn every_double_comes_back(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let json = serde_json::to_string(&number).expect("JSON");
            prop_assert_eq!(back(&json), json);
        }

        #[test]
        fn every_integer_and_every_text_comes_back(number in any::<i64>(), text in ".*") {
            let json = serde_json::to_string(&serde_json::json!([number, text])).expect("JSON");
            prop_assert_eq!(back(&json), json);
        }
    }
}
