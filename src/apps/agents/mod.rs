//! What agents do, over the last day: four streams, one folder. Requests per agent, the latest actions, who hands to whom,
//! and how the router performs.
//!
//! Invariant: every entity is a partial per partition that merges with the others; nothing is counted by a clock but the
//! event's own, under the rule of `window` for late and future events. Nothing is dropped as a duplicate.
//! Not here: how partials, boards and rooms are kept (the engine).

mod actions;
mod performance;
mod routing;
#[cfg(test)]
mod tests;
mod transformations;

pub use actions::{Action, Actions, KEEP};
pub use performance::{NOTHING, Performance, RouterPerformance};
pub use routing::{AgentSummary, Routing};
pub use transformations::{Transformation, Transformations};

use crate::{
    app::{Poison, Reason},
    document::Json,
    event::{self, Fields, Names},
    record::Record,
    window::{Merge, Sliding, Window},
};
use serde::Serialize;

/// What stands before the `:` of the rooms' names.
pub const APP: &str = "agents";

/// JSON Schemas of what the topics take, by stream.
pub const SCHEMAS: [(&str, &str); 4] = [
    ("agents-routing", include_str!("schemas/routing.json")),
    ("agents-actions", include_str!("schemas/actions.json")),
    ("agents-transformations", include_str!("schemas/transformations.json")),
    ("agents-performance", include_str!("schemas/performance.json")),
];

/// When it happened, as producers say it.
const TIME: Names = ["timestamp", "timestamp"];

/// An event, field by field.
fn fields<'a>(record: &Record<'a>) -> Result<Fields<'a>, Poison> {
    let not_one = |_| Poison::new(Reason::SchemaInvalid, "an event is a JSON object");
    Fields::of(event::text(record)?).map_err(not_one)
}

/// The last day, sliding in steps of five minutes.
const DAY: Window = Window::day(5);
/// Rows of one room at most, those with the most events first.
const ROWS_MAX: usize = 1_000;

/// Rows as a room shows them: most events first, then by name.
fn rows<T: Serialize>(mut rows: Vec<(u64, T)>, name: impl Fn(&T) -> (&str, &str)) -> Option<Json> {
    rows.sort_by(|(many, a), (few, b)| few.cmp(many).then_with(|| name(a).cmp(&name(b))));
    let rows: Vec<T> = rows.into_iter().take(ROWS_MAX).map(|(_, row)| row).collect();
    Json::of(&rows).ok()
}

/// The merge of partials as of now; `None`: nothing of it is in the window.
fn merged<T: Merge + Clone + Default>(partials: Vec<Sliding<T>>, now_ms: i64) -> Option<Sliding<T>> {
    Some(Sliding::merged(partials.iter(), &DAY, now_ms)).filter(|all| !all.is_empty())
}

/// With six digits: what is shown, not what is summed.
fn shown(number: Option<f64>) -> Option<f64> {
    number.map(|number| (number * 1e6).round() / 1e6)
}

/// A share of all, where anything is known of it.
fn share(of: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| of as f64 / all as f64).and_then(|share| shown(Some(share)))
}
