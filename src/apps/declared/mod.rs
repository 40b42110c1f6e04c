//! Streams declared by configuration alone: one app for all of them, whose step is made of a declaration.
//!
//! Invariant: as any app's step, pure: what a record lacks is decided in `decode`, a duplicate and a record without a value
//! in `check`. Not here: names, topics and groups of streams (`config`), and everything an engine does.

mod aggregate;
pub mod declaration;
mod event;
mod figures;
mod recent;
#[cfg(test)]
mod tests;

use crate::{
    app::{App, At, EVENTS, Poison, Refused, RefusedKind, Reject, Row, Step},
    clock,
    document::{Json, push_json_string},
    record::{Key, Position, Record},
};
use aggregate::{Aggregate, Taken};
use declaration::{Declaration, KeyFrom, Project};
use event::Event;
use figures::When;
use recent::{Item, Recent};
use serde::{Deserialize, Serialize};

/// One declared stream.
#[derive(Debug)]
pub struct Declared(pub Declaration);

/// What a key of a declared stream owns.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Entity {
    /// `latest` by the record's key: the value as it came.
    Value(Json),
    /// `latest` by something else: one partition's newest.
    Dated(Dated),
    Log(Log),
    Recent(Recent),
    Aggregate(Aggregate),
    /// What is shown of partials; never stored.
    Shown(Json),
}

/// A value with its record's time: of several partitions' the newest is shown (semantics 12).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dated {
    time_ms: i64,
    value: Json,
}

/// How many events a key has in its log, and which came last; the events are rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    count: u64,
    last_id: String,
    /// The record's time.
    last_time_ms: i64,
    last: Json,
}

impl App for Declared {
    /// `None`: a record without a value, where that removes nothing.
    type Event = Option<Box<Event>>;
    type Entity = Entity;

    fn decode(&self, record: &Record<'_>) -> Result<Self::Event, Poison> {
        event::read(&self.0, record).map(|event| Some(Box::new(event)))
    }

    /// Only the newest value of the record's own key is removed by a record without one.
    fn decode_tombstone(&self, _: &Record<'_>) -> Option<Self::Event> {
        let removes = matches!(self.0.projection, Project::Latest) && self.0.key == KeyFrom::Record;
        (!removes).then_some(None)
    }

    fn group_key(&self, event: &Self::Event) -> Option<Key> {
        event.as_ref()?.key.clone()
    }

    fn row_id(&self, event: &Self::Event) -> Option<String> {
        event.as_ref()?.id.clone()
    }

    fn check(&self, _: Option<&Entity>, event: &Self::Event, at: &At<'_>) -> Result<(), Reject> {
        let refused = |kind, detail: &str| Err(Reject::Refused(Refused { kind, detail: detail.into() }));
        match event {
            None => refused(RefusedKind::Rule, "a record without a value removes nothing in this stream"),
            Some(_) if at.seen_before => {
                refused(RefusedKind::Conflict, "an event of this id is in the log already")
            }
            Some(_) => Ok(()),
        }
    }

    fn step(&self, was: Option<Entity>, event: Self::Event, at: &At<'_>) -> Step<Entity> {
        // `check` has refused the others.
        let Some(event) = event else {
            return Step { entity: was, rows: Vec::new(), emits: Vec::new() };
        };
        match &self.0.projection {
            Project::Latest if self.0.key == KeyFrom::Record => Step::keep(Entity::Value(event.json)),
            Project::Latest => {
                Step::keep(Entity::Dated(Dated { time_ms: at.stamp.time_ms, value: event.json }))
            }
            Project::Log { .. } => log(was, *event, at),
            Project::Recent { events_max, bytes_max } => {
                let mut recent =
                    if let Some(Entity::Recent(recent)) = was { recent } else { Recent::default() };
                let Event { time_ms, json, .. } = *event;
                recent.take(
                    Item { time_ms, position: at.stamp.position, value: json },
                    *events_max,
                    *bytes_max,
                );
                Step::keep(Entity::Recent(recent))
            }
            Project::Aggregate { figures, span } => {
                let mut aggregate = if let Some(Entity::Aggregate(aggregate)) = was {
                    aggregate
                } else {
                    Aggregate::default()
                };
                let when = when(event.time_ms, at.stamp.position);
                let Event { samples, group, .. } = *event;
                let taken = Taken { when, record_ms: at.stamp.time_ms, samples: &samples, group };
                aggregate.take(figures, *span, taken);
                Step::keep(Entity::Aggregate(aggregate))
            }
        }
    }

    /// A log's state has what came last, so it is none of them.
    fn adds_up(&self) -> bool {
        matches!(self.0.projection, Project::Recent { .. } | Project::Aggregate { .. })
    }

    fn to_json(&self, entity: &Entity) -> Result<Json, serde_json::Error> {
        match entity {
            Entity::Value(json) | Entity::Shown(json) => Ok(json.clone()),
            Entity::Log(log) => Ok(log.json()),
            Entity::Dated(dated) => Json::of(dated),
            Entity::Recent(recent) => Json::of(recent),
            Entity::Aggregate(aggregate) => Json::of(aggregate),
        }
    }

    fn from_json(&self, json: &Json) -> Result<Entity, serde_json::Error> {
        let text = json.text();
        match &self.0.projection {
            Project::Latest if self.0.key == KeyFrom::Record => Ok(Entity::Value(json.clone())),
            Project::Latest => serde_json::from_str(text).map(Entity::Dated),
            Project::Log { .. } => Log::parse(text).map(Entity::Log),
            Project::Recent { .. } => serde_json::from_str(text).map(Entity::Recent),
            Project::Aggregate { .. } => serde_json::from_str(text).map(Entity::Aggregate),
        }
    }

    fn size(&self, entity: &Entity) -> usize {
        const AROUND: usize = 100;
        match entity {
            Entity::Value(json) | Entity::Shown(json) => json.text().len(),
            Entity::Dated(dated) => AROUND + dated.value.text().len(),
            Entity::Log(log) => AROUND + log.last_id.len() + log.last.text().len(),
            // Asked before each record, so it is summed up rather than written out.
            Entity::Recent(recent) => AROUND + recent.size(),
            Entity::Aggregate(aggregate) => aggregate.size(),
        }
    }

    fn rooms(&self, key: &str) -> Vec<String> {
        self.0.rooms.iter().filter(|(_, of)| of == key).map(|(room, _)| room.clone()).collect()
    }

    /// A room shows one key.
    fn room_prefix(&self, name: &str) -> String {
        self.0.rooms.iter().find(|(room, _)| room == name).map(|(_, key)| key.clone()).unwrap_or_default()
    }

    fn room(&self, name: &str, entities: Vec<(Key, Entity)>, _now_ms: i64) -> Option<Json> {
        let key = self.room_prefix(name);
        let (_, entity) = entities.iter().find(|(of, _)| **of == *key)?;
        self.to_json(entity).ok()
    }

    fn merge(&self, partials: Vec<Entity>, now_ms: i64) -> Option<Entity> {
        let merged = partials.into_iter().reduce(|held, other| self.merge_two(held, other))?;
        let shown = match (merged, &self.0.projection) {
            (Entity::Dated(dated), _) => dated.value,
            (Entity::Aggregate(aggregate), Project::Aggregate { figures, span }) => {
                Json::of(&aggregate.show(figures, *span, now_ms)).ok()?
            }
            (merged, _) => self.to_json(&merged).ok()?,
        };
        Some(Entity::Shown(shown))
    }
}

impl Declared {
    fn merge_two(&self, held: Entity, other: Entity) -> Entity {
        match (held, other, &self.0.projection) {
            (Entity::Dated(held), Entity::Dated(other), _) => {
                Entity::Dated(if held.time_ms < other.time_ms { other } else { held })
            }
            (Entity::Log(held), Entity::Log(other), _) => Entity::Log(held.merge(other)),
            (Entity::Recent(mut held), Entity::Recent(other), Project::Recent { events_max, bytes_max }) => {
                held.merge(other, *events_max, *bytes_max);
                Entity::Recent(held)
            }
            (Entity::Aggregate(mut held), Entity::Aggregate(other), Project::Aggregate { span, .. }) => {
                held.merge(other, *span);
                Entity::Aggregate(held)
            }
            (held, _, _) => held,
        }
    }
}

fn when(time_ms: i64, position: Position) -> When {
    let Position { epoch, partition, offset } = position;
    When { time_ms, partition, epoch, offset }
}

fn log(was: Option<Entity>, event: Event, at: &At<'_>) -> Step<Entity> {
    let count = if let Some(Entity::Log(log)) = &was { log.count } else { 0 };
    let id = event.id.unwrap_or_default();
    let mut row = String::with_capacity(event.json.text().len() + 100);
    row.push_str("{\"key\":");
    push_json_string(&mut row, at.stamp.key);
    row.push_str(",\"value\":");
    row.push_str(event.json.text());
    row.push('}');
    let row = Row::new(EVENTS, id.clone(), Json::from_checked(&row));
    let log = Log { count: count + 1, last_id: id, last_time_ms: at.stamp.time_ms, last: event.json };
    Step { entity: Some(Entity::Log(log)), rows: vec![row], emits: Vec::new() }
}

impl Log {
    /// Of two partitions' parts.
    fn merge(self, other: Log) -> Log {
        let count = self.count + other.count;
        let newest = if self.last_time_ms < other.last_time_ms { other } else { self };
        Log { count, ..newest }
    }

    /// `{"count":3,"last_id":"...","last_time":"...","last":{...}}`, shown and stored alike.
    fn json(&self) -> Json {
        let mut out = format!("{{\"count\":{},\"last_id\":", self.count);
        push_json_string(&mut out, &self.last_id);
        out.push_str(",\"last_time\":");
        push_json_string(&mut out, &clock::iso(self.last_time_ms));
        out.push_str(",\"last\":");
        out.push_str(self.last.text());
        out.push('}');
        Json::from_checked(&out)
    }

    fn parse(text: &str) -> Result<Log, serde_json::Error> {
        #[derive(Deserialize)]
        struct Stored {
            count: u64,
            last_id: String,
            last_time: String,
            last: Json,
        }
        let Stored { count, last_id, last_time, last } = serde_json::from_str(text)?;
        let last_time_ms = clock::parse(&last_time).unwrap_or_default();
        Ok(Log { count, last_id, last_time_ms, last })
    }
}
