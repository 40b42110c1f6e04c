//! The members of an object as they are written, in their order.
//!
//! Invariant: a value is the text it came as (`1.50` stays `1.50`), and a name that comes twice is there twice.
//! Not here: whether the text may be taken in (`check`).

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};
use std::fmt;

#[derive(Debug, Default)]
pub struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Fails where `text` is no object.
    pub fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Takes out the first member of this name.
    pub fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(of, _)| of == name)?;
        Some(self.0.remove(at).1)
    }

    /// The members as values, of which none is left as it was written.
    pub fn values(self) -> Map<String, Value> {
        let value = |(name, raw): (String, &RawValue)| Some((name, serde_json::from_str(raw.get()).ok()?));
        self.0.into_iter().filter_map(value).collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_they_were_written_and_doubled_names_are_both_there() {
        let mut members = Members::read(r#"{"a":1.50 ,"b":{"x" : 1},"a":null}"#).expect("object");
        let seen: Vec<_> = members.0.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
        assert_eq!(seen, [("a", "1.50"), ("b", "{\"x\" : 1}"), ("a", "null")]);
        assert_eq!(members.take("a").map(RawValue::get), Some("1.50"));
        assert_eq!(members.take("c").map(RawValue::get), None);
        assert_eq!(members.0.len(), 2);
        assert!(Members::read("[1]").is_err());
    }
}
