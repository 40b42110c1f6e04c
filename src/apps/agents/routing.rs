//! Requests per agent: how many, how long routing took, how sure it was, and when the last one came.

use super::{DAY, TIME, rows, shown};
use crate::{
    app::{App, At, Poison, Step},
    clock,
    document::Json,
    record::{Key, Record},
    window::{Latest, Merge, Numbers, Sliding, merges},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The stream `agents-routing`: one entity per agent.
pub struct Routing;

/// A decision to give a request to an agent.
pub struct Decision {
    agent: String,
    routing_ms: Option<f64>,
    confidence: Option<f64>,
    time_ms: Option<i64>,
}

/// Requests of one slot. As JSON `[COUNT, ROUTING_MS, CONFIDENCE, LAST_MS]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests(u64, Numbers, Numbers, Latest);

merges!(Requests: 0, 1, 2, 3);

/// An agent over the last 24 hours, as the room `agents:summary` shows it. Times in milliseconds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    #[schema(value_type = String)]
    agent: Key,
    total_requests: u64,
    avg_routing_time: Option<f64>,
    avg_confidence: Option<f64>,
    last_seen: String,
    /// Oldest first; the last one has only begun.
    #[schema(value_type = Vec<u64>)]
    requests_per_hour: [u64; HOURS],
}

const HOURS: usize = 24;
const HOUR_MS: i64 = 3_600_000;

impl App for Routing {
    type Event = Decision;
    type Entity = Sliding<Requests>;

    fn decode(&self, record: &Record<'_>) -> Result<Decision, Poison> {
        let mut fields = super::fields(record)?;
        let decision = Decision {
            agent: fields.name(["selected_agent", "selectedAgent"]),
            routing_ms: fields.number(["routing_time_ms", "routingTimeMs"]),
            confidence: fields.number(["confidence_score", "confidenceScore"]),
            time_ms: fields.time(TIME),
        };
        fields.finish()?;
        Ok(decision)
    }

    fn group_key(&self, event: &Decision) -> Option<Key> {
        Some(event.agent.as_str().into())
    }

    fn step(&self, was: Option<Self::Entity>, event: Decision, at: &At<'_>) -> Step<Self::Entity> {
        let mut slots = was.unwrap_or_default();
        if let Some(time_ms) = DAY.event_ms(event.time_ms, at.stamp.time_ms)
            && let Some(Requests(count, routing, confidence, last)) = slots.at(&DAY, time_ms)
        {
            *count += 1;
            event.routing_ms.into_iter().for_each(|ms| routing.add(ms));
            event.confidence.into_iter().for_each(|score| confidence.add(score));
            last.merge(&Latest(time_ms));
        }
        Step::keep(slots)
    }

    fn adds_up(&self) -> bool {
        true
    }

    fn size(&self, entity: &Self::Entity) -> usize {
        entity.len() * 160
    }

    fn merge(&self, partials: Vec<Self::Entity>, now_ms: i64) -> Option<Self::Entity> {
        super::merged(partials, now_ms)
    }

    fn room(&self, _name: &str, agents: Vec<(Key, Self::Entity)>, now_ms: i64) -> Option<Json> {
        let row = |(agent, slots): (Key, Self::Entity)| {
            let Requests(count, routing, confidence, last) = slots.sum(&DAY, now_ms);
            let row = AgentSummary {
                agent,
                total_requests: count,
                avg_routing_time: shown(routing.mean()),
                avg_confidence: shown(confidence.mean()),
                last_seen: clock::iso(last.0),
                requests_per_hour: per_hour(&slots, now_ms),
            };
            (count > 0).then_some((count, row))
        };
        rows(agents.into_iter().filter_map(row).collect(), |row| (&row.agent, ""))
    }
}

/// The last hours, the one that has begun among them.
fn per_hour(slots: &Sliding<Requests>, now_ms: i64) -> [u64; HOURS] {
    let mut hours = [0; HOURS];
    for (slot, requests) in slots.within(&DAY, now_ms) {
        let ago = (now_ms.div_euclid(HOUR_MS) - DAY.begins_ms(slot).div_euclid(HOUR_MS)).max(0) as usize;
        if let Some(hour) = HOURS.checked_sub(ago + 1).and_then(|place| hours.get_mut(place)) {
            *hour += requests.0;
        }
    }
    hours
}
