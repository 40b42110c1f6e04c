//! What the settings of a declared stream come to: text becomes pointers, a schema, figures and a projection, or faults.
//!
//! Invariant: every fault is told at once, each with the setting it is about; what is made here needs no further check.
//! Not here: names, topics and groups, which every stream has (`config::validate`), and what a declared stream makes of a
//! record (`apps::declared`).

mod figure;
mod read;

pub use figure::figure;

use super::{Format, Stream};
use crate::{
    aggregate::Plan,
    event::{Pointer, Schema},
    window::Keep,
};

/// The key under which all records make one state.
pub const ALL: &str = "all";
/// Settings that mean something in a declaration alone.
const SETTINGS: [&str; 15] = [
    "projection",
    "format",
    "key",
    "group_by",
    "id",
    "time",
    "schema",
    "recent_max",
    "recent_bytes_max",
    "window",
    "window_s",
    "slide_s",
    "windows_max",
    "aggregates",
    "rooms",
];

/// A declared stream, understood.
#[derive(Debug)]
pub struct Declaration {
    pub format: Format,
    pub key: KeyFrom,
    /// Of CloudEvents, where none is said: their own.
    pub time: Option<Pointer>,
    pub schema: Option<Schema>,
    pub projection: Project,
    /// Room → the key it shows.
    pub rooms: Vec<(String, String)>,
}

/// Whose state a record belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFrom {
    Record,
    /// Joined by `/` where they are several.
    Pointers(Vec<Pointer>),
    /// All records make one state.
    All,
}

/// What becomes of records.
#[derive(Debug)]
pub enum Project {
    Latest,
    /// `id`: of CloudEvents, where none is said, source and id.
    Log {
        id: Option<Pointer>,
    },
    Recent(Keep),
    Aggregate(Plan),
}

/// A fault of one setting: `field` as it stands under `[streams.NAME]`, and a sentence that begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub field: String,
    pub why: String,
}

impl Declaration {
    /// Reads what a stream declares. A schema's file is read here.
    pub fn read(stream: &Stream) -> Result<Self, Vec<Wrong>> {
        read::read(stream)
    }

    /// Whether one key's records may lie in several partitions, or its state changes with the time alone: then it is kept
    /// as partials, one per partition.
    pub fn by_partition(&self) -> bool {
        self.key != KeyFrom::Record || matches!(self.projection, Project::Aggregate(_))
    }
}

/// The settings of a declaration that differ from their defaults.
pub fn set(stream: &Stream) -> Vec<&'static str> {
    let [set, default] =
        [stream, &Stream::default()].map(|stream| serde_json::to_value(stream).unwrap_or_default());
    SETTINGS.into_iter().filter(|setting| set.get(setting) != default.get(setting)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_a_declaration_is_one_of_a_stream() {
        let stream = serde_json::to_value(Stream::default()).expect("JSON");
        let unknown: Vec<_> = SETTINGS.iter().filter(|setting| stream.get(setting).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        let general = ["enabled", "topic", "group", "partitions", "retention_s", "ttl_s", "collection"];
        assert_eq!(stream.as_object().map(|all| all.len()), Some(SETTINGS.len() + general.len()));
    }

    #[test]
    fn what_differs_from_its_default_is_set() {
        let stream = Stream { slide_s: 7, id: "/id".into(), ttl_s: 9, ..Stream::default() };
        assert_eq!(set(&stream), ["id", "slide_s"]);
    }
}
