//! Figures over windows of event time: a partial per partition, and what is shown of all of them.
//!
//! The rule for time: an event counts in the window of its own time, if that was still kept when its record was made; else it
//! is *late*, counted as such and left out. Every record is judged by its own time alone, so that one wrong clock makes no
//! other event late; more stretches than are shown are never kept, the oldest go first. Invariant: the same records make the
//! same partial on every instance, and figures do not depend on how records lie over partitions; what is shown depends on
//! `now_ms` too, so that a window slides without a record.
//! Not here: the figures themselves (`figures`), slots and what is late (`window`).

mod figures;
mod span;

pub use figures::{Cell, Figure, Named, Sample};
pub use span::Span;

use crate::{
    clock,
    json::spelled::is_zero,
    window::{Merge, Sliding, When},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// Names that an aggregate shows beside its figures.
pub const TAKEN: [&str; 5] = ["from", "to", "late", "group", "windows"];

/// What one partition brought to one group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Aggregate {
    /// Events whose window was no longer kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    late: u64,
    /// What makes the group, by name, where it is made of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    group: Vec<(String, Value)>,
    slots: Sliding<Cells>,
}

/// What the figures have taken in of one slot, by the cell's name.
type Cells = BTreeMap<String, Cell>;

/// What an aggregate shows of which stretch of event time.
#[derive(Debug)]
pub struct Plan {
    pub figures: Vec<Named>,
    pub span: Span,
}

/// One event on its way into an aggregate.
#[derive(Debug)]
pub struct Taken<'a> {
    /// The event's time, not after its record's, and where that stands.
    pub when: When,
    /// The record's time.
    pub record_ms: i64,
    pub samples: &'a [Option<Sample>],
    pub group: Vec<(String, Value)>,
}

impl Aggregate {
    /// Takes one event in.
    pub fn take(&mut self, Plan { figures, span }: &Plan, taken: Taken<'_>) {
        let Taken { when, record_ms, samples, group } = taken;
        if self.group.is_empty() {
            self.group = group;
        }
        let window = span.window();
        let time_ms = match span {
            Span::All => Some(0),
            _ => window.event_ms(Some(when.time_ms), record_ms),
        };
        // Nor has an event a place where every slot that may be kept is of a later time.
        match time_ms.and_then(|time_ms| self.slots.at(&window, time_ms)) {
            None => self.late += 1,
            Some(cells) => count(cells, figures, samples, when),
        }
    }

    /// About how many bytes it takes where it is stored.
    pub fn size(&self) -> usize {
        const AROUND: usize = 100;
        let cells = self.slots.iter().flat_map(|(_, cells)| cells);
        AROUND + self.slots.len() * AROUND + cells.map(|(name, cell)| name.len() + cell.size()).sum::<usize>()
    }

    /// Takes in another partition's part.
    pub fn merge(&mut self, other: Aggregate, span: Span) {
        self.late += other.late;
        if self.group.is_empty() {
            self.group = other.group;
        }
        self.slots.merge(&other.slots, &span.window());
    }

    /// What is shown at `now_ms`.
    pub fn show(&self, Plan { figures, span }: &Plan, now_ms: i64) -> Value {
        let mut shown = Map::new();
        if !self.group.is_empty() {
            shown.insert("group".into(), Value::Object(self.group.iter().cloned().collect()));
        }
        let window = span.window();
        let (current, before) = (window.slot(now_ms), window.slots as i64);
        let stretch = |slots: RangeInclusive<i64>| {
            let (from, to) = (window.begins_ms(*slots.start()), window.begins_ms(*slots.end() + 1));
            let mut stretch: Map<_, _> = between(from, to).into_iter().collect();
            stretch.extend(self.figures(figures, slots));
            stretch
        };
        match span {
            Span::All => shown.extend(self.figures(figures, 0..=0)),
            Span::Sliding { .. } => shown.extend(stretch(current - before..=current)),
            Span::Tumbling { .. } => {
                shown.extend(stretch(current..=current));
                let is_kept = |slot: &i64| self.slots.slots().any(|kept| kept == *slot);
                let past = (current - before..current).rev().filter(is_kept);
                let past = past.map(|slot| Value::Object(stretch(slot..=slot)));
                shown.insert("windows".into(), Value::Array(past.collect()));
            }
        }
        if *span != Span::All {
            shown.insert("late".into(), json!(self.late));
        }
        Value::Object(shown)
    }

    /// The figures over these slots.
    fn figures(&self, figures: &[Named], slots: RangeInclusive<i64>) -> Vec<(String, Value)> {
        let mut sum = Cells::default();
        let within = self.slots.iter().filter(|(slot, _)| slots.contains(slot));
        within.for_each(|(_, cells)| Merge::merge(&mut sum, cells));
        let show = |named: &Named| (named.name.clone(), named.figure.show(sum.get(&named.cell)));
        figures.iter().map(show).collect()
    }
}

/// Each figure's sample into its cell.
fn count(cells: &mut Cells, figures: &[Named], samples: &[Option<Sample>], when: When) {
    let mut done: Vec<&str> = Vec::with_capacity(figures.len());
    for (named, sample) in figures.iter().zip(samples) {
        // Figures of one cell bring the same sample: it counts once.
        let Some(sample) = sample.as_ref().filter(|_| !done.contains(&named.cell.as_str())) else {
            continue;
        };
        done.push(&named.cell);
        match cells.get_mut(&named.cell) {
            Some(cell) => cell.take(sample, when),
            None => {
                let begun = named.figure.begin(sample, when);
                cells.extend(begun.map(|cell| (named.cell.clone(), cell)));
            }
        }
    }
}

fn between(from_ms: i64, to_ms: i64) -> [(String, Value); 2] {
    [("from".to_owned(), json!(clock::iso(from_ms))), ("to".to_owned(), json!(clock::iso(to_ms)))]
}

#[cfg(test)]
mod tests {
    use super::{span::SPARE, *};
    use crate::config::declaration::figure;
    use proptest::prelude::*;

    fn plan_of(figures: &[&str], span: Span) -> Plan {
        let named = |text: &&str| Named::new(text, figure(text).expect(text));
        Plan { figures: figures.iter().map(named).collect(), span }
    }

    fn plan(span: Span) -> Plan {
        plan_of(&["count", "sum /n", "mean /n", "max /n", "last /n"], span)
    }

    /// An event as its record says it: own time, record's time, number.
    type Said = (i64, i64, i64);

    /// Takes an event in as `Declared` does, with its place in the log.
    fn take(aggregate: &mut Aggregate, span: Span, (partition, offset): (u32, u64), said: Said) {
        let (plan, (time_ms, record_ms, n)) = (plan(span), said);
        let event = json!({ "n": n });
        let sample = |named: &Named| named.figure.sample(&event).expect("sample");
        let samples: Vec<_> = plan.figures.iter().map(sample).collect();
        let when = When { time_ms: time_ms.min(record_ms), partition, epoch: 0, offset };
        let taken = Taken { when, record_ms, samples: &samples, group: Vec::new() };
        aggregate.take(&plan, taken);
    }

    fn over(span: Span, partition: u32, events: &[Said]) -> Aggregate {
        let mut aggregate = Aggregate::default();
        for (offset, said) in (0..).zip(events) {
            take(&mut aggregate, span, (partition, offset), *said);
        }
        aggregate
    }

    const SLIDING: Span = Span::Sliding { window_ms: 60_000, slide_ms: 10_000 };
    const TUMBLING: Span = Span::Tumbling { window_ms: 60_000, windows_max: 3 };

    #[test]
    fn a_window_slides_without_a_record() {
        let aggregate = over(SLIDING, 0, &[(5_000, 5_000, 1), (31_000, 31_000, 2), (59_000, 59_000, 4)]);
        let at = |now_ms| aggregate.show(&plan(SLIDING), now_ms);
        assert_eq!(at(59_999)["sum /n"], 7);
        let later = at(60_000);
        assert_eq!((&later["sum /n"], &later["count"], &later["last /n"]), (&json!(6), &json!(2), &json!(4)));
        assert_eq!(later["from"], "1970-01-01T00:00:10.000Z");
        assert_eq!((&at(200_000)["count"], &at(200_000)["mean /n"]), (&json!(0), &Value::Null));
    }

    #[test]
    fn tumbling_windows_follow_each_other_and_keep_their_past() {
        let aggregate =
            over(TUMBLING, 0, &[(1, 1, 1), (59_999, 59_999, 2), (60_000, 60_000, 3), (130_000, 130_000, 9)]);
        let shown = aggregate.show(&plan(TUMBLING), 130_001);
        assert_eq!((&shown["sum /n"], &shown["windows"][0]["sum /n"]), (&json!(9), &json!(3)));
        assert_eq!((&shown["windows"][1]["sum /n"], &shown["windows"][2]), (&json!(3), &Value::Null));
    }

    #[test]
    fn what_is_late_is_counted_and_what_is_from_the_future_counts_at_its_record() {
        let events =
            [(100_000, 100_000, 1), (30_000, 100_000, 2), (70_000, 100_000, 4), (900_000, 100_000, 8)];
        let shown = over(SLIDING, 0, &events).show(&plan(SLIDING), 100_000);
        assert_eq!((&shown["late"], &shown["sum /n"]), (&json!(1), &json!(13)));
    }

    #[test]
    fn a_record_of_a_wrong_clock_makes_nothing_after_it_late() {
        const FAR: i64 = 4_000_000_000_000;
        for span in [SLIDING, TUMBLING] {
            let mut events = vec![(5_000, 5_000, 1), (FAR, FAR, 100)];
            events.extend((1..=6).map(|i| (i * 10_000 - 1, i * 10_000 - 1, 1)));
            let aggregate = over(span, 0, &events);
            let shown = aggregate.show(&plan(span), 59_999);
            assert_eq!((&shown["late"], &shown["sum /n"]), (&json!(0), &json!(7)), "{span:?}");
            assert_eq!(aggregate.show(&plan(span), FAR)["sum /n"], 100);
        }
    }

    #[test]
    fn an_event_without_a_place_behind_many_wrong_clocks_is_counted_as_late() {
        const FAR: i64 = 4_000_000_000_000;
        let wrong = (0..40).map(|i| (FAR + i * 60_000, FAR + i * 60_000, 1));
        let events: Vec<Said> = wrong.chain([(5_000, 5_000, 1)]).collect();
        assert_eq!(over(TUMBLING, 0, &events).show(&plan(TUMBLING), 5_000)["late"], 1);
    }

    #[test]
    fn no_clocks_make_it_grow() {
        let events: Vec<Said> = (0..2_000).map(|i| (i * 70_000, i * 70_000, 1)).collect();
        for (span, most) in [(Span::All, 1), (SLIDING, 6 + SPARE as usize), (TUMBLING, 3 + SPARE as usize)] {
            let aggregate = over(span, 0, &events);
            assert_eq!(aggregate.slots.len(), most);
            assert_eq!(aggregate.show(&plan(span), 1_999 * 70_000)["last /n"], 1);
        }
    }

    #[test]
    fn a_figure_that_is_declared_later_begins_then() {
        let mut aggregate = over(Span::All, 0, &[(1, 1, 5)]);
        let more = plan_of(&["min /n"], Span::All);
        assert_eq!(aggregate.show(&more, 0)["min /n"], Value::Null);
        let samples = [Some(Sample::Number(3.0))];
        let when = When { time_ms: 2, partition: 0, epoch: 0, offset: 1 };
        aggregate.take(&more, Taken { when, record_ms: 2, samples: &samples, group: Vec::new() });
        assert_eq!(aggregate.show(&more, 0)["min /n"], 3);
    }

    #[test]
    fn its_size_is_about_what_is_written() {
        let plan = plan_of(&["count", "last /n", "distinct /n", "quantile 0.5 /n"], Span::All);
        let mut aggregate = Aggregate::default();
        for i in 0..5_000_u64 {
            let event = json!({ "n": i * 7 });
            let sample = |named: &Named| named.figure.sample(&event).expect("sample");
            let samples: Vec<_> = plan.figures.iter().map(sample).collect();
            let when = When { time_ms: i as i64, partition: 0, epoch: 0, offset: i };
            let taken = Taken { when, record_ms: i as i64, samples: &samples, group: Vec::new() };
            aggregate.take(&plan, taken);
            if [0, 10, 4_999].contains(&i) {
                let written = serde_json::to_string(&aggregate).expect("written").len();
                let size = aggregate.size();
                assert!(size * 3 > written && written * 3 > size, "{size}, written {written}, after {i}");
            }
        }
    }

    proptest! {
        /// Records of any times, in any order, with events that are late and events that claim to be from the future.
        #[test]
        fn rule_12_however_records_lie_over_partitions_the_merge_is_what_one_partition_would_show(
            events in prop::collection::vec(
                (0_i64..100_000, -70_000_i64..400_000_000, 0_i64..1000, 0_u32..8), 1..60),
        ) {
            for span in [Span::All, SLIDING, TUMBLING] {
                let (mut parts, mut whole) = (vec![Aggregate::default(); 8], Aggregate::default());
                for (offset, (record_ms, ahead_ms, n, partition)) in (0..).zip(&events) {
                    let said = (record_ms + ahead_ms, *record_ms, *n);
                    take(&mut parts[*partition as usize], span, (*partition, offset), said);
                    take(&mut whole, span, (*partition, offset), said);
                }
                let merged = parts.into_iter().reduce(|mut held, other| { held.merge(other, span); held });
                let merged = merged.expect("eight");
                for now_ms in [99_999, 130_000, 160_000] {
                    let found = merged.show(&plan(span), now_ms);
                    prop_assert_eq!(&found, &whole.show(&plan(span), now_ms));
                    prop_assert!(found["last /n"].is_null() || found["count"] != 0);
                }
            }
        }
    }
}
