//! From a record's bytes to something an app understands: its text, its fields under either spelling, what stands at a JSON
//! Pointer, what obeys a JSON Schema, and CloudEvents.
//!
//! Invariant: pure; what cannot be read is poison that names places and never what stands there.
//! Not here: whether the bytes are JSON that may be taken in (`json`), and what an event means (the apps).

pub mod cloudevents;
mod fields;
mod pointer;
mod schema;

pub use fields::{Fault, Faults, Fields, Names, string};
pub use pointer::Pointer;
pub use schema::Schema;

use crate::{
    app::{Poison, Reason},
    record::Record,
};

/// A record's value as the text it is.
pub fn text<'a>(record: &Record<'a>) -> Result<&'a str, Poison> {
    let not_text = |_| Poison::new(Reason::MalformedJson, "the value is not UTF-8");
    std::str::from_utf8(record.value.unwrap_or_default()).map_err(not_text)
}
