//! Who hands requests to whom: how often, with what success, how long it took.

use super::{DAY, TIME, rows, share, shown};
use crate::{
    app::{App, At, Poison, Step},
    clock,
    document::Json,
    record::{Key, Record},
    window::{Latest, Merge, Numbers, Sliding, merges},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The stream `agents-transformations`: one entity per pair, under `["FROM","TO"]`.
pub struct Transformations;

/// A request that went from one agent to another.
pub struct Handover {
    from: String,
    to: String,
    duration_ms: Option<f64>,
    success: Option<bool>,
    confidence: Option<f64>,
    time_ms: Option<i64>,
}

/// Handovers of one slot. As JSON `[COUNT, SUCCEEDED, FAILED, DURATION_MS, CONFIDENCE, LAST_MS]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Handovers(u64, u64, u64, Numbers, Numbers, Latest);

merges!(Handovers: 0, 1, 2, 3, 4, 5);

/// Handovers from one agent to another over the last 24 hours, as the room `agents:transformations` shows them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transformation {
    source_agent: String,
    target_agent: String,
    count: u64,
    success_rate: Option<f64>,
    avg_duration: Option<f64>,
    avg_confidence: Option<f64>,
    last_seen: String,
}

impl App for Transformations {
    type Event = Handover;
    type Entity = Sliding<Handovers>;

    fn decode(&self, record: &Record<'_>) -> Result<Handover, Poison> {
        let mut fields = super::fields(record)?;
        let handover = Handover {
            from: fields.name(["source_agent", "sourceAgent"]),
            to: fields.name(["target_agent", "targetAgent"]),
            duration_ms: fields.number(["transformation_duration_ms", "transformationDurationMs"]),
            success: fields.flag(["success", "success"]),
            confidence: fields.number(["confidence_score", "confidenceScore"]),
            time_ms: fields.time(TIME),
        };
        fields.finish()?;
        Ok(handover)
    }

    fn group_key(&self, event: &Handover) -> Option<Key> {
        // As JSON no two pairs have one key, whatever their names hold.
        serde_json::to_string(&[&event.from, &event.to]).ok().map(Key::from)
    }

    fn step(&self, was: Option<Self::Entity>, event: Handover, at: &At<'_>) -> Step<Self::Entity> {
        let mut slots = was.unwrap_or_default();
        if let Some(time_ms) = DAY.event_ms(event.time_ms, at.stamp.time_ms)
            && let Some(Handovers(count, succeeded, failed, duration, confidence, last)) =
                slots.at(&DAY, time_ms)
        {
            *count += 1;
            *succeeded += u64::from(event.success == Some(true));
            *failed += u64::from(event.success == Some(false));
            event.duration_ms.into_iter().for_each(|ms| duration.add(ms));
            event.confidence.into_iter().for_each(|score| confidence.add(score));
            last.merge(&Latest(time_ms));
        }
        Step::keep(slots)
    }

    fn adds_up(&self) -> bool {
        true
    }

    fn size(&self, entity: &Self::Entity) -> usize {
        entity.len() * 200
    }

    fn merge(&self, partials: Vec<Self::Entity>, now_ms: i64) -> Option<Self::Entity> {
        super::merged(partials, now_ms)
    }

    fn room(&self, _name: &str, pairs: Vec<(Key, Self::Entity)>, now_ms: i64) -> Option<Json> {
        let row = |(key, slots): (Key, Self::Entity)| {
            let [source_agent, target_agent]: [String; 2] = serde_json::from_str(&key).ok()?;
            let Handovers(count, succeeded, failed, duration, confidence, last) = slots.sum(&DAY, now_ms);
            let row = Transformation {
                source_agent,
                target_agent,
                count,
                success_rate: share(succeeded, succeeded + failed),
                avg_duration: shown(duration.mean()),
                avg_confidence: shown(confidence.mean()),
                last_seen: clock::iso(last.0),
            };
            (count > 0).then_some((count, row))
        };
        rows(pairs.into_iter().filter_map(row).collect(), |row| (&row.source_agent, &row.target_agent))
    }
}
