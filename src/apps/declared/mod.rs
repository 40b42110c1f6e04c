//! Streams declared by configuration alone: one app for all of them, whose step is made of a declaration.
//!
//! Invariant: as any app's step, pure: what a record lacks is decided in `decode`, a duplicate and a record without a value
//! in `check`. Not here: what settings mean (`config::declaration`), figures and windows (`aggregate`), the newest few
//! (`window`), and everything an engine does.

mod entity;
mod event;
#[cfg(test)]
mod tests;

use crate::{
    aggregate::{Aggregate, Taken},
    app::{App, At, EVENTS, Poison, Refused, RefusedKind, Reject, Row, Step},
    config::declaration::{Declaration, KeyFrom, Project},
    document::{Json, push_json_string},
    record::{Key, Record},
    window::{Newest, When},
};
use entity::{Dated, Entity, Kept, Log};
use event::Event;

/// One declared stream.
#[derive(Debug)]
pub struct Declared(pub Declaration);

impl App for Declared {
    /// `None`: a record without a value, where that removes nothing.
    type Event = Option<Box<Event>>;
    type Entity = Entity;

    fn decode(&self, record: &Record<'_>) -> Result<Self::Event, Poison> {
        event::read(&self.0, record).map(|event| Some(Box::new(event)))
    }

    /// Only the newest value of the record's own key is removed by a record without one.
    fn decode_tombstone(&self, _: &Record<'_>) -> Option<Self::Event> {
        if self.is_keyed() { None } else { Some(None) }
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
        let (stamp, event) = (at.stamp, *event);
        match &self.0.projection {
            Project::Latest if self.is_keyed() => Step::keep(Entity::Value(event.json)),
            Project::Latest => Step::keep(Entity::Dated(Dated { time_ms: stamp.time_ms, value: event.json })),
            Project::Log { .. } => log(was, event, at),
            Project::Recent(keep) => {
                let mut recent = if let Some(Entity::Recent(was)) = was { was } else { Newest::default() };
                let Event { time_ms, json: value, .. } = event;
                recent.add(Kept { time_ms, position: stamp.position, value }, *keep);
                Step::keep(Entity::Recent(recent))
            }
            Project::Aggregate(plan) => {
                let mut sum = if let Some(Entity::Aggregate(was)) = was { was } else { Aggregate::default() };
                let when = When::at(event.time_ms, stamp.position);
                let Event { samples, group, .. } = event;
                sum.take(plan, Taken { when, record_ms: stamp.time_ms, samples: &samples, group });
                Step::keep(Entity::Aggregate(sum))
            }
        }
    }

    /// A log's state has what came last, so it is none of them.
    fn adds_up(&self) -> bool {
        matches!(self.0.projection, Project::Recent(_) | Project::Aggregate(_))
    }

    fn size(&self, entity: &Entity) -> usize {
        entity.size()
    }

    fn to_json(&self, entity: &Entity) -> Result<Json, serde_json::Error> {
        match entity {
            Entity::Value(json) | Entity::Shown(json) => Ok(json.clone()),
            entity => Json::of(entity),
        }
    }

    fn from_json(&self, json: &Json) -> Result<Entity, serde_json::Error> {
        let text = json.text();
        match &self.0.projection {
            Project::Latest if self.is_keyed() => Ok(Entity::Value(json.clone())),
            Project::Latest => serde_json::from_str(text).map(Entity::Dated),
            Project::Log { .. } => serde_json::from_str(text).map(Entity::Log),
            Project::Recent(_) => serde_json::from_str(text).map(Entity::Recent),
            Project::Aggregate(_) => serde_json::from_str(text).map(Entity::Aggregate),
        }
    }

    fn merge(&self, partials: Vec<Entity>, now_ms: i64) -> Option<Entity> {
        let merged = partials.into_iter().reduce(|held, other| self.merge_two(held, other))?;
        let shown = match (merged, &self.0.projection) {
            (Entity::Dated(dated), _) => dated.value,
            (Entity::Aggregate(sum), Project::Aggregate(plan)) => Json::of(&sum.show(plan, now_ms)).ok()?,
            (merged, _) => self.to_json(&merged).ok()?,
        };
        Some(Entity::Shown(shown))
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
}

impl Declared {
    /// Whether an entity is nothing but the value its key had last.
    fn is_keyed(&self) -> bool {
        matches!(self.0.projection, Project::Latest) && self.0.key == KeyFrom::Record
    }

    fn merge_two(&self, held: Entity, other: Entity) -> Entity {
        match (held, other, &self.0.projection) {
            (Entity::Dated(held), Entity::Dated(other), _) => Entity::Dated(held.merge(other)),
            (Entity::Log(held), Entity::Log(other), _) => Entity::Log(held.merge(other)),
            (Entity::Recent(mut held), Entity::Recent(other), Project::Recent(keep)) => {
                held.merge(other, *keep);
                Entity::Recent(held)
            }
            (Entity::Aggregate(mut held), Entity::Aggregate(other), Project::Aggregate(plan)) => {
                held.merge(other, plan.span);
                Entity::Aggregate(held)
            }
            (held, _, _) => held,
        }
    }
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
