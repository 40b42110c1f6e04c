//! The latest actions of all agents, newest first.

use super::TIME;
use crate::{
    app::{App, At, Poison, Step},
    clock,
    document::Json,
    record::{Key, Position, Record},
    window::{AHEAD_MS, Item, Keep, Newest, When, believed_ms},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The stream `agents-actions`: one entity, with the latest of all agents.
pub struct Actions;

/// So many are kept; each is bounded by what its record may have.
pub const KEEP: Keep = Keep { items: 100, bytes: usize::MAX };
const KEY: &str = "recent";
/// Further fields of an action are kept up to so many bytes of JSON, all or none.
const FURTHER_BYTES_MAX: usize = 4 << 10;

/// An action as it is kept and shown; further fields of the event stand beside these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecentAction)]
pub struct Action {
    /// The producer's, or the position where it gave none.
    id: String,
    correlation_id: Option<String>,
    agent_name: String,
    action_type: String,
    action_name: Option<String>,
    duration_ms: Option<f64>,
    #[serde(default)]
    created_at: String,
    #[serde(flatten)]
    further: Map<String, Value>,
}

/// An action that is kept, by its time and the partition, epoch and offset of its record. As JSON an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept(i64, (u32, u32, u64), Action);

impl Item for Kept {
    fn when(&self) -> When {
        let Kept(time_ms, (partition, epoch, offset), _) = *self;
        When { time_ms, partition, epoch, offset }
    }

    fn bytes(&self) -> usize {
        let Kept(_, _, action) = self;
        let texts = [Some(&action.id), Some(&action.agent_name), Some(&action.action_type)];
        let texts = texts.into_iter().chain([action.correlation_id.as_ref(), action.action_name.as_ref()]);
        let further = if action.further.is_empty() { 0 } else { FURTHER_BYTES_MAX };
        256 + texts.flatten().map(String::len).sum::<usize>() + further
    }
}

/// An action with the time it claims.
pub struct Event {
    action: Action,
    time_ms: Option<i64>,
}

impl App for Actions {
    type Event = Event;
    type Entity = Newest<Kept>;

    fn decode(&self, record: &Record<'_>) -> Result<Event, Poison> {
        let mut fields = super::fields(record)?;
        let mut action = Action {
            id: fields.text(["id", "id"]).unwrap_or_default(),
            correlation_id: fields.text(["correlation_id", "correlationId"]),
            agent_name: fields.name(["agent_name", "agentName"]),
            action_type: fields.name(["action_type", "actionType"]),
            action_name: fields.text(["action_name", "actionName"]),
            duration_ms: fields.number(["duration_ms", "durationMs"]),
            created_at: String::new(),
            further: Map::new(),
        };
        let time_ms = fields.time(TIME);
        action.further = fields.finish()?.values();
        // Ours, whatever a producer calls so.
        action.further.remove("createdAt");
        if serde_json::to_string(&action.further).map_or(usize::MAX, |json| json.len()) > FURTHER_BYTES_MAX {
            action.further.clear();
        }
        if action.id.is_empty() {
            action.id = record.position.to_string();
        }
        Ok(Event { action, time_ms })
    }

    fn group_key(&self, _event: &Event) -> Option<Key> {
        Some(KEY.into())
    }

    fn step(&self, was: Option<Self::Entity>, mut event: Event, at: &At<'_>) -> Step<Self::Entity> {
        let mut newest = was.unwrap_or_default();
        let time_ms = believed_ms(event.time_ms, at.stamp.time_ms, AHEAD_MS);
        event.action.created_at = clock::iso(time_ms);
        let Position { epoch, partition, offset } = at.stamp.position;
        newest.add(Kept(time_ms, (partition, epoch, offset), event.action), KEEP);
        Step::keep(newest)
    }

    fn adds_up(&self) -> bool {
        true
    }

    fn size(&self, entity: &Self::Entity) -> usize {
        entity.bytes()
    }

    fn merge(&self, partials: Vec<Self::Entity>, _now_ms: i64) -> Option<Self::Entity> {
        partials.into_iter().reduce(|mut held, other| {
            held.merge(other, KEEP);
            held
        })
    }

    fn room(&self, _name: &str, entities: Vec<(Key, Self::Entity)>, _now_ms: i64) -> Option<Json> {
        let actions = entities.iter().flat_map(|(_, newest)| newest.iter().map(|Kept(_, _, action)| action));
        Json::of(&actions.collect::<Vec<_>>()).ok()
    }
}
