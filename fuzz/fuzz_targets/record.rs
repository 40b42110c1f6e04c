//! The value of a record: whatever is let in is JSON, and comes back from BSON as what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use statecast::{adapters::mongo::json, json::check};

const DEPTH_MAX: usize = 64;

#[derive(Serialize)]
struct Holder<'a> {
    value: json::Text<'a>,
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = check(bytes, DEPTH_MAX) else { return };
    let spelled: serde_json::Value = serde_json::from_str(text).expect("what was let in is JSON");
    let stored =
        bson::serialize_to_raw_document_buf(&Holder { value: json::Text(text) }).expect("it is stored");
    let value = stored.get("value").expect("well formed");
    let back = json::of(value, None, &mut Vec::new()).expect("it is read");
    let back: serde_json::Value = serde_json::from_str(back.text()).expect("what is read is JSON");
    assert!(same(&spelled, &back), "{text} came back as {back}");
});

/// Equal as values: -0 and 0, 1e2 and 100.0 are one number.
fn same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        (Number(a), Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Object(a), Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}
