//! What a user's events come to.
//!
//! Invariant: the order in which events are added, and over how many partitions they came, does not show in the sums.
//! Not here: that an event is added once (the engine's rows, asked for by `App::check`).

use super::event::Event;
use crate::{
    json::spelled::{self, is_zero},
    window::Merge,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// The entity of a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UserTotals)]
pub struct Totals {
    /// Events of this user, each counted once.
    pub total: u64,
    /// The same by type.
    pub by_type: BTreeMap<String, u64>,
    /// Events of types beyond the first `activity.types_max` of this user.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub other_types: u64,
    /// The time of the earliest event, UTC.
    #[serde(with = "spelled::time")]
    #[schema(value_type = String, format = DateTime)]
    pub first: i64,
    /// The latest event.
    pub last: Last,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LastEvent)]
pub struct Last {
    // The order of fields is the order of events.
    #[serde(with = "spelled::time")]
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: i64,
    #[serde(with = "spelled::text")]
    #[schema(value_type = String)]
    pub event_id: Uuid,
    pub event_type: String,
}

impl Totals {
    /// The totals with one more event.
    pub fn with(was: Option<Totals>, event: &Event, types_max: usize) -> Totals {
        let time = event.time_ms;
        let last = Last { timestamp: time, event_id: event.id, event_type: event.kind.clone() };
        let mut totals = was.unwrap_or_else(|| Totals {
            total: 0,
            by_type: BTreeMap::new(),
            other_types: 0,
            first: time,
            last: last.clone(),
        });
        totals.total += 1;
        if let Some(count) = totals.by_type.get_mut(&event.kind) {
            *count += 1;
        } else if totals.by_type.len() < types_max {
            totals.by_type.insert(event.kind.clone(), 1);
        } else {
            totals.other_types += 1;
        }
        totals.first = totals.first.min(time);
        totals.last = totals.last.max(last);
        totals
    }

    /// Two partitions' totals of one user together.
    pub fn and(mut self, other: Totals) -> Totals {
        self.total += other.total;
        self.other_types += other.other_types;
        Merge::merge(&mut self.by_type, &other.by_type);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self
    }

    /// About the bytes it takes as JSON.
    pub fn size(&self) -> usize {
        220 + self.by_type.keys().map(|kind| kind.len() + 24).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Json;
    use proptest::prelude::*;

    fn event(n: u128, kind: &str, time_ms: i64) -> Event {
        let json = Json::from_checked("{}");
        Event { id: Uuid::from_u128(n), user: "u".into(), kind: kind.into(), time_ms, json }
    }

    fn totals(events: &[Event]) -> Option<Totals> {
        events.iter().fold(None, |was, event| Some(Totals::with(was, event, 99)))
    }

    #[test]
    fn types_beyond_the_bound_are_counted_together() {
        let events = ["a", "b", "c", "a", "d"].map(|kind| event(1, kind, 0));
        let totals =
            events.iter().fold(None, |was, event| Some(Totals::with(was, event, 2))).expect("totals");
        assert_eq!((totals.total, totals.other_types), (5, 2));
        assert_eq!(totals.by_type, [("a".to_owned(), 2), ("b".to_owned(), 1)].into());
    }

    #[test]
    fn it_is_written_as_readers_expect_and_read_back() {
        let totals = totals(&[event(7, "click", 1_000), event(8, "view", -5)]).expect("totals");
        let text = serde_json::to_string(&totals).expect("JSON");
        assert_eq!(
            text,
            r#"{"total":2,"byType":{"click":1,"view":1},"first":"1969-12-31T23:59:59.995Z","last":{"timestamp":"1970-01-01T00:00:01.000Z","eventId":"00000000-0000-0000-0000-000000000007","eventType":"click"}}"#
        );
        assert_eq!(serde_json::from_str::<Totals>(&text).expect("totals"), totals);
        assert!(totals.size() >= text.len(), "{} for {}", totals.size(), text.len());
    }

    proptest! {
        #[test]
        fn order_and_partitions_do_not_show(
            events in prop::collection::vec((0_u128..50, "[ab]", -9_i64..9), 1..20), cut in 0_usize..20, seed: u64,
        ) {
            let mut events: Vec<_> = events.iter().map(|(n, kind, time)| event(*n, kind, *time)).collect();
            let whole = totals(&events);
            let cut = cut.min(events.len());
            let turn = seed as usize % events.len();
            events.rotate_left(turn);
            let (left, right) = events.split_at(cut);
            let merged = match (totals(left), totals(right)) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (left, right) => left.or(right),
            };
            prop_assert_eq!(merged, whole);
        }
    }
}
