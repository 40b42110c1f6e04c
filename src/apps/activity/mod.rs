//! User activity: events stored once under their id, and what they come to per user.
//!
//! Invariant: an event is a row under its own id, which says for ever which record brought it first; every other record
//! of the same id is refused and counts nothing. So it does not matter how often, where or after what an event comes again.
//! Totals are kept per user and partition, and merged when they are read: a producer may place events as it likes.

pub mod door;
pub mod event;
pub mod listing;
mod totals;

pub use totals::Totals;

use crate::{
    app::{App, At, EVENTS, Poison, Reason, Refused, RefusedKind, Reject, Row, Step},
    config::{Config, Stream},
    record::{Key, Record},
};
use event::{Bounds, Event, From};

/// The stream.
pub const STREAM: &str = "activity";

/// How the stream stands without being configured.
pub fn settings() -> Stream {
    Stream {
        topic: "user-activity-events".into(),
        group: "user-activity-consumer-group".into(),
        ..Stream::default()
    }
}

#[derive(Debug)]
pub struct Activity {
    bounds: Bounds,
    types_max: usize,
}

impl Activity {
    pub fn new(config: &Config) -> Self {
        Activity { bounds: bounds(config), types_max: config.activity.types_max }
    }
}

fn bounds(config: &Config) -> Bounds {
    Bounds { user_bytes_max: config.engine.key_bytes_max, type_bytes_max: config.activity.type_bytes_max }
}

/// What a record brings.
#[derive(Debug)]
pub enum Brought {
    Event(Event),
    /// A record without a value: in a topic of events it means nothing.
    Nothing,
}

impl App for Activity {
    type Event = Brought;
    type Entity = Totals;

    fn decode(&self, record: &Record<'_>) -> Result<Brought, Poison> {
        let text = std::str::from_utf8(record.value.unwrap_or_default())
            .map_err(|_| Poison::new(Reason::MalformedJson, "the value is not UTF-8"))?;
        let event = event::read(text, From::Record { time_ms: record.time_ms }, self.bounds);
        event.map(Brought::Event).map_err(|faults| event::poison(&faults))
    }

    fn decode_tombstone(&self, _record: &Record<'_>) -> Option<Brought> {
        Some(Brought::Nothing)
    }

    fn group_key(&self, brought: &Brought) -> Option<Key> {
        match brought {
            Brought::Event(event) => Some(event.user.as_str().into()),
            Brought::Nothing => None,
        }
    }

    fn row_id(&self, brought: &Brought) -> Option<String> {
        match brought {
            Brought::Event(event) => Some(event.id.to_string()),
            Brought::Nothing => None,
        }
    }

    fn check(&self, _was: Option<&Totals>, brought: &Brought, at: &At<'_>) -> Result<(), Reject> {
        match brought {
            Brought::Nothing => {
                Err(Poison::new(Reason::SchemaInvalid, "a record without a value is no event").into())
            }
            Brought::Event(_) if at.seen_before => {
                let detail = "an event of this id is stored already".to_owned();
                Err(Reject::Refused(Refused { kind: RefusedKind::Conflict, detail }))
            }
            Brought::Event(_) => Ok(()),
        }
    }

    fn step(&self, was: Option<Totals>, brought: Brought, _at: &At<'_>) -> Step<Totals> {
        let Brought::Event(event) = brought else {
            return Step { entity: was, rows: Vec::new(), emits: Vec::new() }; // refused before
        };
        let totals = Totals::with(was, &event, self.types_max);
        let Event { id, kind, time_ms, json, .. } = event;
        let row = Row { label: Some(kind), time_ms: Some(time_ms), ..Row::new(EVENTS, id, json) };
        Step { rows: vec![row], ..Step::keep(totals) }
    }

    fn adds_up(&self) -> bool {
        true
    }

    fn size(&self, totals: &Totals) -> usize {
        totals.size()
    }

    fn merge(&self, partials: Vec<Totals>, _now_ms: i64) -> Option<Totals> {
        partials.into_iter().reduce(Totals::and)
    }
}
