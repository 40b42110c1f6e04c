//! User activity: events stored once under their id, and what they come to per user.
//!
//! Invariant: an event is a row under its own id, which says for ever which record brought it first; every other record
//! of the same id is refused and counts nothing. So it does not matter how often, where or after what an event comes again.
//! Totals are kept per user and partition, and merged when they are read: a producer may place events as it likes.

pub mod event;
mod totals;

pub use totals::Totals;

use crate::{
    app::{App, At, EVENTS, Poison, Reason, Refused, RefusedKind, Reject, Row, Step},
    config::{Config, Stream},
    record::{Key, Record},
};
use event::{Event, From};

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

/// The app, with what its events and totals may have.
#[derive(Debug)]
pub struct Activity {
    user_bytes_max: usize,
    type_bytes_max: usize,
    types_max: usize,
}

impl Activity {
    pub fn new(config: &Config) -> Self {
        Activity {
            user_bytes_max: config.engine.key_bytes_max,
            type_bytes_max: config.activity.type_bytes_max,
            types_max: config.activity.types_max,
        }
    }
}

impl App for Activity {
    /// `None`: a record without a value, which in a topic of events means nothing.
    type Event = Option<Event>;
    type Entity = Totals;

    fn decode(&self, record: &Record<'_>) -> Result<Self::Event, Poison> {
        let from = From::Record { time_ms: record.time_ms };
        Ok(Some(event::read(crate::event::text(record)?, from, self)?))
    }

    fn decode_tombstone(&self, _record: &Record<'_>) -> Option<Self::Event> {
        Some(None)
    }

    fn group_key(&self, event: &Self::Event) -> Option<Key> {
        Some(event.as_ref()?.user.as_str().into())
    }

    fn row_id(&self, event: &Self::Event) -> Option<String> {
        Some(event.as_ref()?.id.to_string())
    }

    fn check(&self, _was: Option<&Totals>, event: &Self::Event, at: &At<'_>) -> Result<(), Reject> {
        if event.is_none() {
            return Err(Poison::new(Reason::SchemaInvalid, "a record without a value is no event").into());
        }
        if at.seen_before {
            let detail = "an event of this id is stored already".to_owned();
            return Err(Reject::Refused(Refused { kind: RefusedKind::Conflict, detail }));
        }
        Ok(())
    }

    fn step(&self, was: Option<Totals>, event: Self::Event, _at: &At<'_>) -> Step<Totals> {
        let Some(event) = event else {
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
