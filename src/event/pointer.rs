//! JSON Pointers (RFC 6901), and what stands at them.
//!
//! Invariant: a pointer that was made here is well-formed, so finding nothing means that the value has nothing there.

use crate::app::{Poison, Reason};
use serde_json::Value;

/// A pointer into a value. Never empty: the whole value is no key, no time and no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(String);

impl Pointer {
    /// `Err` ends a sentence that begins with the setting.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            let remedy = format!("/{}", text.trim_start_matches(['$', '.']).replace('.', "/"));
            return Err(format!("must be a JSON Pointer, not {text:?}; did you mean {remedy:?}?"));
        }
        let escapes_well = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if !escapes_well {
            return Err(format!("must be a JSON Pointer, in which ~ is written ~0: {text:?} is none"));
        }
        Ok(Pointer(text.to_owned()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// The last name in it, as a member is called.
    pub fn name(&self) -> String {
        self.0.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~")
    }

    /// What stands there; `null` counts as nothing.
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.pointer(&self.0).filter(|found| !found.is_null())
    }

    /// What has to stand there. `what` it is ends a sentence about the pointer.
    pub fn needed<'v>(&self, value: &'v Value, what: &str) -> Result<&'v Value, Poison> {
        let missing = || format!("nothing stands at {}, which is {what}", self.0);
        self.find(value).ok_or_else(|| Poison::new(Reason::MissingField, missing()))
    }

    /// What was found there, as text; an object and an array are none.
    pub fn text_of(&self, found: &Value, what: &str) -> Result<String, Poison> {
        match found {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(value) => Ok(value.to_string()),
            _ => {
                let detail = format!("{} must be text, a number, true or false: it is {what}", self.0);
                Err(Poison::new(Reason::SchemaInvalid, detail))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pointer_is_well_formed_or_says_what_was_meant() {
        for good in ["/a", "/a/0/b", "/a~1b~0c", "/"] {
            assert_eq!(Pointer::parse(good).expect(good).text(), good);
        }
        assert!(Pointer::parse("user.id").unwrap_err().ends_with("did you mean \"/user/id\"?"));
        assert!(Pointer::parse("$.user").unwrap_err().ends_with("did you mean \"/user\"?"));
        assert!(Pointer::parse("/a~2").is_err() && Pointer::parse("/a~").is_err());
    }

    #[test]
    fn null_is_nothing() {
        let value = json!({"a": {"b/c": [1, null]}});
        let find = |text: &str| Pointer::parse(text).expect(text).find(&value).cloned();
        assert_eq!(find("/a/b~1c/0"), Some(json!(1)));
        assert_eq!((find("/a/b~1c/1"), find("/x")), (None, None));
        assert_eq!(Pointer::parse("/a/b~1c").expect("pointer").name(), "b/c");
    }
}
