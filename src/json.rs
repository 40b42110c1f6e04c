//! Which JSON the engine takes in: one pure pass over the text, at the door and in the writers alike.
//!
//! Invariant: what passes here can be stored and given back as it came (integers within i64, no NUL in a name, no name
//! twice in one object, depth bounded), so the store has no reason of its own to refuse it.
//! Not here: schemas, sizes, what the value means.

pub mod members;
pub mod spelled;

use crate::app::{Poison, Reason};
use rustc_hash::FxHashSet;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, fmt};

/// Reads `text` to its end. The error names the reason and, where known, the byte.
pub fn check(text: &[u8], depth_max: usize) -> Result<&str, Poison> {
    let text = std::str::from_utf8(text).map_err(|e| Poison {
        at_byte: Some(e.valid_up_to()),
        ..Poison::new(Reason::MalformedJson, "the value is not UTF-8")
    })?;
    let mut found = Found { fault: None, large_number: false };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Value { found: &mut found, depth_left: depth_max }
        .deserialize(&mut reader)
        .and_then(|()| reader.end());
    match read {
        Err(error) => Err(poison(text, &error, found.fault)),
        Ok(()) if found.large_number => large_integers(text),
        Ok(()) => Ok(text),
    }
}

struct Found {
    fault: Option<(Reason, &'static str)>,
    /// A float beyond i64 was read: perhaps it was written as an integer.
    large_number: bool,
}

/// One value at `depth_left` more levels of nesting.
struct Value<'f> {
    found: &'f mut Found,
    depth_left: usize,
}

impl Value<'_> {
    fn fault<E: serde::de::Error>(&mut self, reason: Reason, detail: &'static str) -> E {
        self.found.fault = Some((reason, detail));
        E::custom("")
    }

    fn inner(&mut self) -> Value<'_> {
        Value { found: self.found, depth_left: self.depth_left - 1 }
    }

    fn descend<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.depth_left > 0 {
            Ok(())
        } else {
            Err(self.fault(Reason::TooDeep, "the value is nested too deeply"))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(mut self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.fault(Reason::NumberRange, "an integer is beyond 64 bits with sign")),
        }
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.found.large_number |= number.abs() >= 9.2e18;
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.descend()?;
        while seq.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.descend()?;
        let mut names = Names::default();
        while let Some(name) = map.next_key_seed(Name)? {
            if name.contains('\0') {
                return Err(self.fault(Reason::MalformedJson, "a name holds the character NUL"));
            }
            if !names.insert(name) {
                return Err(self.fault(Reason::DuplicateName, "a name stands twice in one object"));
            }
            map.next_value_seed(self.inner())?;
        }
        Ok(())
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// The names of one object: a short list is searched as it is, a long one is hashed.
#[derive(Default)]
struct Names<'de> {
    few: smallvec::SmallVec<[Cow<'de, str>; 12]>,
    many: FxHashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    fn insert(&mut self, name: Cow<'de, str>) -> bool {
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < self.few.inline_size() {
            self.few.push(name);
            return true;
        }
        self.many.insert(name)
    }
}

fn poison(text: &str, error: &serde_json::Error, fault: Option<(Reason, &'static str)>) -> Poison {
    let at_byte = Some(byte_of(text, error.line(), error.column()));
    if let Some((reason, detail)) = fault {
        return Poison { at_byte, ..Poison::new(reason, detail) };
    }
    // serde_json has no public code for this one case.
    let (reason, detail) = if error.to_string().starts_with("number out of range") {
        (Reason::NumberRange, "a number is beyond what 64 bits hold".to_owned())
    } else {
        (Reason::MalformedJson, format!("the value is not JSON: {error}"))
    };
    Poison { at_byte, ..Poison::new(reason, detail) }
}

/// serde_json counts lines and columns from 1, columns in bytes.
fn byte_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

/// The slow look, taken only when a number beyond i64 was seen: one written without fraction or exponent is an integer.
fn large_integers(text: &str) -> Result<&str, Poison> {
    let bytes = text.as_bytes();
    let (mut at, mut in_string) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let number = number_at(text, at);
                if !number.contains(['.', 'e', 'E']) && number.parse::<i64>().is_err() {
                    let detail = "an integer is beyond 64 bits with sign";
                    return Err(Poison { at_byte: Some(at), ..Poison::new(Reason::NumberRange, detail) });
                }
                at += number.len() - 1;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(text)
}

fn number_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    let end =
        rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
    rest.get(..end.max(1)).unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> Option<Reason> {
        check(text.as_bytes(), 64).err().map(|p| p.reason)
    }

    #[test]
    fn json_of_every_kind_is_taken() {
        for good in [
            "null",
            "1",
            "-1.5e300",
            "\"a\\u0000b\"",
            "[]",
            "{}",
            r#"{"$a.b":{"":[1,2,{"x":null}]}}"#,
            "9223372036854775807",
            "-9223372036854775808",
            "1e19",
            "10000000000000000000.0",
            " {\"a\" : 1}\n",
            r#"{"n":"18446744073709551616","big":1e30}"#,
        ] {
            assert_eq!(reason(good), None, "{good}");
        }
    }

    #[test]
    fn what_could_not_be_given_back_is_poison() {
        for (bad, why) in [
            ("", Reason::MalformedJson),
            ("NaN", Reason::MalformedJson),
            ("{\"a\":1,}", Reason::MalformedJson),
            ("1 2", Reason::MalformedJson),
            ("{\"a\\u0000\":1}", Reason::MalformedJson),
            ("{\"a\":1,\"\\u0061\":2}", Reason::DuplicateName),
            ("[{\"x\":{\"a\":1,\"b\":{},\"a\":2}}]", Reason::DuplicateName),
            ("9223372036854775808", Reason::NumberRange),
            ("[18446744073709551616]", Reason::NumberRange),
            ("-9223372036854775809", Reason::NumberRange),
            ("{\"a\":\"\\\"1\",\"b\":99999999999999999999}", Reason::NumberRange),
            ("1e400", Reason::NumberRange),
        ] {
            assert_eq!(reason(bad), Some(why), "{bad}");
        }
        assert_eq!(
            check(b"\"\xff\"", 64).err().map(|p| (p.reason, p.at_byte)),
            Some((Reason::MalformedJson, Some(1)))
        );
    }

    #[test]
    fn a_name_twice_is_found_in_large_objects_too() {
        let mut members: Vec<String> = (0..40).map(|i| format!("\"n{i}\":{i}")).collect();
        assert_eq!(reason(&format!("{{{}}}", members.join(","))), None);
        members.push("\"n39\":0".into());
        assert_eq!(reason(&format!("{{{}}}", members.join(","))), Some(Reason::DuplicateName));
    }

    #[test]
    fn depth_is_bounded_whatever_comes() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert_eq!(reason(&nested(64)), None);
        assert_eq!(reason(&nested(65)), Some(Reason::TooDeep));
        assert_eq!(reason(&nested(100_000)), Some(Reason::TooDeep));
    }

    #[test]
    fn the_byte_of_the_fault_is_told() {
        let poison = check(b"{\"a\": 1,\n \"b\": x}", 64).expect_err("poison");
        assert_eq!(poison.at_byte, Some(15));
    }
}
