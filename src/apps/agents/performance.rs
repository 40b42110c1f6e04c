//! How the router performs: rates, cache hits, strategies, and the quantiles of its latency.

use super::{DAY, TIME, share, shown};
use crate::{
    app::{App, At, Poison, Step},
    clock,
    document::Json,
    event::Names,
    record::{Key, Record},
    window::{Latest, Merge, Numbers, Sketch, Sliding, Window, merges},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The stream `agents-performance`: one entity, the router.
pub struct RouterPerformance;

const KEY: &str = "router";
const DURATION: Names = ["routing_duration_ms", "routingDurationMs"];
/// What is shown before the first measurement.
pub const NOTHING: &str = r#"{"requests":0,"requestsPerMin":0.0,"cacheHitRate":null,"avgCandidates":null,"avgRoutingTime":null,"maxRoutingTime":null,"quantiles":{"p50":null,"p90":null,"p95":null,"p99":null},"strategies":[],"lastSeen":null}"#;
/// A sketch takes more room than a sum, so its slots are longer: quantiles slide in steps of half an hour.
const SKETCHES: Window = Window::day(30);
/// Strategies told apart in one slot; what comes beyond counts as `other`.
const STRATEGIES_MAX: usize = 32;
const STRATEGY_BYTES_MAX: usize = 64;
const OTHER: &str = "other";
const MINUTE_MS: i64 = 60_000;

/// One measurement of the router.
pub struct Measurement {
    duration_ms: f64,
    cache_hit: Option<bool>,
    candidates: Option<f64>,
    strategy: Option<String>,
    time_ms: Option<i64>,
}

/// Routings of one slot. As JSON `[COUNT, HITS, MISSES, CANDIDATES, DURATION_MS, {STRATEGY: COUNT}, LAST_MS]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Routings(u64, u64, u64, Numbers, Numbers, BTreeMap<String, u64>, Latest);

merges!(Routings: 0, 1, 2, 3, 4, 5, 6);

/// What is kept of the router.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Router {
    routings: Sliding<Routings>,
    durations: Sliding<Sketch>,
}

/// The router as the room `agents:performance` shows it. Times in milliseconds.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Performance {
    requests: u64,
    /// Over the last five to ten minutes.
    requests_per_min: f64,
    cache_hit_rate: Option<f64>,
    avg_candidates: Option<f64>,
    avg_routing_time: Option<f64>,
    max_routing_time: Option<f64>,
    quantiles: Quantiles,
    strategies: Vec<Strategy>,
    last_seen: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Quantiles {
    p50: Option<f64>,
    p90: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct Strategy {
    strategy: String,
    count: u64,
}

impl App for RouterPerformance {
    type Event = Measurement;
    type Entity = Router;

    fn decode(&self, record: &Record<'_>) -> Result<Measurement, Poison> {
        let mut fields = super::fields(record)?;
        let duration_ms = fields.number(DURATION);
        let measurement = Measurement {
            duration_ms: fields.needed(DURATION, duration_ms).unwrap_or_default(),
            cache_hit: fields.flag(["cache_hit", "cacheHit"]),
            candidates: fields.number(["candidates_evaluated", "candidatesEvaluated"]),
            strategy: fields
                .text(["trigger_match_strategy", "triggerMatchStrategy"])
                .filter(|strategy| !strategy.is_empty()),
            time_ms: fields.time(TIME),
        };
        fields.finish()?;
        Ok(measurement)
    }

    fn group_key(&self, _event: &Measurement) -> Option<Key> {
        Some(KEY.into())
    }

    fn step(&self, was: Option<Router>, event: Measurement, at: &At<'_>) -> Step<Router> {
        let mut router = was.unwrap_or_default();
        let Some(time_ms) = DAY.event_ms(event.time_ms, at.stamp.time_ms) else { return Step::keep(router) };
        if let Some(slot) = router.routings.at(&DAY, time_ms) {
            let Routings(count, hits, misses, candidates, durations, strategies, last) = slot;
            *count += 1;
            *hits += u64::from(event.cache_hit == Some(true));
            *misses += u64::from(event.cache_hit == Some(false));
            event.candidates.into_iter().for_each(|number| candidates.add(number));
            durations.add(event.duration_ms);
            if let Some(strategy) = event.strategy {
                let room = strategies.len() < STRATEGIES_MAX && strategy.len() <= STRATEGY_BYTES_MAX;
                let known = room || strategies.contains_key(&strategy);
                *strategies.entry(if known { strategy } else { OTHER.to_owned() }).or_default() += 1;
            }
            last.merge(&Latest(time_ms));
        }
        router.durations.at(&SKETCHES, time_ms).into_iter().for_each(|slot| slot.add(event.duration_ms));
        Step::keep(router)
    }

    fn adds_up(&self) -> bool {
        true
    }

    fn size(&self, entity: &Router) -> usize {
        entity.routings.len() * 512 + entity.durations.len() * 4_096
    }

    fn merge(&self, partials: Vec<Router>, now_ms: i64) -> Option<Router> {
        let routings = partials.iter().map(|partial| &partial.routings);
        let durations = partials.iter().map(|partial| &partial.durations);
        Some(Router {
            routings: Sliding::merged(routings, &DAY, now_ms),
            durations: Sliding::merged(durations, &SKETCHES, now_ms),
        })
    }

    fn room(&self, _name: &str, entities: Vec<(Key, Router)>, now_ms: i64) -> Option<Json> {
        let router = entities.into_iter().next().map(|(_, router)| router).unwrap_or_default();
        let Routings(requests, hits, misses, candidates, durations, strategies, last) =
            router.routings.sum(&DAY, now_ms);
        let sketch = router.durations.sum(&SKETCHES, now_ms);
        let quantile = |share| shown(sketch.quantile(share));
        let mut strategies: Vec<Strategy> =
            strategies.into_iter().map(|(strategy, count)| Strategy { strategy, count }).collect();
        strategies.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.strategy.cmp(&b.strategy)));
        Json::of(&Performance {
            requests,
            requests_per_min: per_minute(&router.routings, now_ms),
            cache_hit_rate: share(hits, hits + misses),
            avg_candidates: shown(candidates.mean()),
            avg_routing_time: shown(durations.mean()),
            max_routing_time: durations.max(),
            quantiles: Quantiles {
                p50: quantile(0.5),
                p90: quantile(0.9),
                p95: quantile(0.95),
                p99: quantile(0.99),
            },
            strategies,
            last_seen: (requests > 0).then(|| clock::iso(last.0)),
        })
        .ok()
    }
}

/// The slot that has begun and the one before it, over the time they have taken.
fn per_minute(routings: &Sliding<Routings>, now_ms: i64) -> f64 {
    let from = DAY.slot(now_ms) - 1;
    let recent = routings.within(&DAY, now_ms).filter(|(slot, _)| *slot >= from);
    let count: u64 = recent.map(|(_, routings)| routings.0).sum();
    let minutes = (now_ms - DAY.begins_ms(from)) as f64 / MINUTE_MS as f64;
    (count as f64 / minutes * 100.0).round() / 100.0
}
