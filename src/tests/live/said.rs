//! What answers and packets say, in short.

use super::stage::Got;
use serde_json::Value;

/// The one room of an answer.
pub fn one(ack: &Value) -> &Value {
    assert_eq!(ack["ok"], true, "{ack}");
    &ack["rooms"][0]
}

/// The versions told, with what was skipped, of everything that came.
pub fn versions(got: &[Got]) -> Vec<(String, u64, u64)> {
    let items =
        got.iter().filter_map(|got| if let Got::Changes(items, _) = got { items.as_array() } else { None });
    let told = |item: &Value| {
        let number = |name: &str| item[name].as_u64().expect("number");
        (item["key"].as_str().expect("key").to_owned(), number("version"), number("skipped"))
    };
    items.flatten().map(told).collect()
}
