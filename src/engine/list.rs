//! Filter, sort and pages of a list: pure, over entities that come in key order.
//!
//! Invariant: a page is exact for what was read; memory is bounded by the page, not by the stream.
//! Not here: the grammar of the query (`http::query`), and reading the store (`read`).

use super::api::{Filter, Op, ReadError, Sort, What};
use crate::document::Shown;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// Whether an entity passes every filter. What is not there passes only `ne`.
pub fn passes(shown: &Shown, filters: &[Filter]) -> bool {
    if filters.is_empty() {
        return true;
    }
    let value = parsed(shown);
    filters.iter().all(|filter| match field(shown, &value, &filter.what) {
        Some(found) => compare_to(&found, &filter.value, filter.op),
        None => filter.op == Op::Ne,
    })
}

fn parsed(shown: &Shown) -> Value {
    shown.value.as_ref().and_then(|json| serde_json::from_str(json.text()).ok()).unwrap_or(Value::Null)
}

fn field(shown: &Shown, value: &Value, what: &What) -> Option<Value> {
    match what {
        What::Version => Some(shown.version.into()),
        What::Updated => Some(crate::clock::iso(shown.updated_ms).into()),
        What::Pointer(pointer) => value.pointer(pointer).cloned(),
    }
}

fn compare_to(found: &Value, wanted: &str, op: Op) -> bool {
    let order = match found {
        Value::String(text) if op == Op::Prefix => return text.starts_with(wanted),
        Value::String(text) => Some(text.as_str().cmp(wanted)),
        Value::Number(number) => {
            let wanted: Option<f64> = wanted.parse().ok();
            number.as_f64().zip(wanted).and_then(|(a, b)| a.partial_cmp(&b))
        }
        Value::Bool(flag) => wanted.parse().ok().map(|wanted: bool| flag.cmp(&wanted)),
        Value::Null => (wanted == "null").then_some(Ordering::Equal),
        Value::Array(_) | Value::Object(_) => None,
    };
    match (op, order) {
        (Op::Ne, order) => order != Some(Ordering::Equal),
        (Op::Eq, Some(order)) => order.is_eq(),
        (Op::Lt, Some(order)) => order.is_lt(),
        (Op::Le, Some(order)) => order.is_le(),
        (Op::Gt, Some(order)) => order.is_gt(),
        (Op::Ge, Some(order)) => order.is_ge(),
        (Op::Prefix, _) | (_, None) => false,
    }
}

/// Where a page ended: the key, and what it was sorted by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Value>,
}

impl Cursor {
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub fn decode(text: &str) -> Result<Self, ReadError> {
        let bad = || ReadError::Query { field: "after", detail: "this is no cursor a list has given".into() };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        serde_json::from_slice(&bytes).map_err(|_| bad())
    }
}

/// Keeps the first `limit` entities of a sorted order that come after a cursor, whatever comes in.
pub struct Sorted {
    sort: Sort,
    after: Option<Cursor>,
    limit: usize,
    page: Vec<(Value, Shown)>,
    more: bool,
}

impl Sorted {
    pub fn new(sort: Sort, after: Option<Cursor>, limit: usize) -> Self {
        Sorted { sort, after, limit, page: Vec::new(), more: false }
    }

    pub fn take(&mut self, shown: Shown) {
        let by = field(&shown, &parsed(&shown), &self.sort.what).unwrap_or(Value::Null);
        if let Some(after) = &self.after {
            let cursor = after.by.clone().unwrap_or(Value::Null);
            if self.order((&by, &shown.key), (&cursor, &after.key)).is_le() {
                return;
            }
        }
        let at = self
            .page
            .partition_point(|(held, other)| self.order((held, &other.key), (&by, &shown.key)).is_lt());
        if at >= self.limit {
            self.more = true;
            return;
        }
        self.page.insert(at, (by, shown));
        if self.page.len() > self.limit {
            self.page.pop();
            self.more = true;
        }
    }

    fn order(&self, a: (&Value, &str), b: (&Value, &str)) -> Ordering {
        let by = order_of(a.0, b.0);
        let by = if self.sort.descending { by.reverse() } else { by };
        by.then_with(|| a.1.cmp(b.1))
    }

    pub fn finish(self) -> (Vec<Shown>, Option<String>) {
        let last = self.page.last().filter(|_| self.more);
        let next =
            last.map(|(by, shown)| Cursor { key: shown.key.to_string(), by: Some(by.clone()) }.encode());
        (self.page.into_iter().map(|(_, shown)| shown).collect(), next)
    }
}

/// Absent and null first, then booleans, numbers, strings, the rest: a total order over JSON.
fn order_of(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0))
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{document::Json, record::Position};

    fn shown(key: &str, value: &str) -> Shown {
        Shown {
            key: key.into(),
            version: 3,
            created_ms: 0,
            updated_ms: 0,
            positions: Position { epoch: 0, partition: 0, offset: 0 }.into(),
            value: Some(Json::from_checked(value)),
        }
    }

    fn filter(pointer: &str, op: Op, value: &str) -> Filter {
        Filter { what: What::Pointer(pointer.into()), op, value: value.into() }
    }

    #[test]
    fn filters_compare_like_with_like() {
        let one = shown("a", r#"{"n":10,"s":"heating","b":true,"o":{"p":null}}"#);
        for (pointer, op, value, expected) in [
            ("/n", Op::Eq, "10", true),
            ("/n", Op::Gt, "9", true),
            ("/n", Op::Lt, "9.5", false),
            ("/n", Op::Eq, "ten", false),
            ("/s", Op::Prefix, "heat", true),
            ("/s", Op::Ge, "a", true),
            ("/b", Op::Eq, "true", true),
            ("/o/p", Op::Eq, "null", true),
            ("/none", Op::Eq, "1", false),
            ("/none", Op::Ne, "1", true),
        ] {
            assert_eq!(passes(&one, &[filter(pointer, op, value)]), expected, "{pointer} {op:?} {value}");
        }
        let version = Filter { what: What::Version, op: Op::Ge, value: "3".into() };
        assert!(passes(&one, &[version, filter("/n", Op::Eq, "10")]));
    }

    #[test]
    fn sorted_pages_together_are_the_whole_order() {
        let all: Vec<Shown> =
            (0..97).map(|i| shown(&format!("{i:02}"), &format!("{{\"n\":{}}}", (i * 31) % 20))).collect();
        for descending in [false, true] {
            let sort = Sort { what: What::Pointer("/n".into()), descending };
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let mut page = Sorted::new(sort.clone(), after.take(), 10);
                all.iter().cloned().for_each(|one| page.take(one));
                let (items, next) = page.finish();
                seen.extend(items.into_iter().map(|one| one.key));
                match next {
                    Some(next) => after = Some(Cursor::decode(&next).expect("cursor")),
                    None => break,
                }
            }
            let mut expected = all.clone();
            expected.sort_by_key(|one| {
                let n = parsed(one)["n"].as_i64().expect("n");
                (if descending { -n } else { n }, one.key.clone())
            });
            assert_eq!(seen, expected.into_iter().map(|one| one.key).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        assert!(matches!(Cursor::decode("nonsense"), Err(ReadError::Query { field: "after", .. })));
    }
}
