//! Figures over windows of event time: a partial per partition, and what is shown of all of them.
//!
//! The rule for time: an event counts in the window of its own time, if that was still kept when its record was made; else it
//! is *late*, counted as such and left out. Every record is judged by its own time alone, so that one wrong clock makes no
//! other event late; more stretches than are shown are never kept, the oldest go first. Invariant: the same records make the
//! same partial on every instance, and figures do not depend on how records lie over partitions; what is shown depends on
//! `now_ms` too, so that a window slides without a record.
//! Not here: the figures themselves (`figures`).

use super::{
    declaration::Span,
    figures::{Cell, Named, Sample, When},
};
use crate::clock;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Names that an aggregate shows beside its figures.
pub const TAKEN: [&str; 5] = ["from", "to", "late", "group", "windows"];

/// Stretches kept beside those that are shown: so many wrong clocks cost nothing of a window.
const SPARE: usize = 8;

/// What one partition brought to one group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Aggregate {
    /// Events whose window was no longer kept.
    #[serde(default, skip_serializing_if = "is_zero")]
    late: u64,
    /// What makes the group, by name, where it is made of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    group: Vec<(String, Value)>,
    /// By the begin of their stretch, the oldest first; the one of `Span::All` begins at 0.
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bucket {
    from_ms: i64,
    cells: BTreeMap<String, Cell>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn is_zero(n: &u64) -> bool {
    *n == 0
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

impl Span {
    /// The begin of the stretch that a time belongs to.
    fn begin(self, time_ms: i64) -> i64 {
        self.step_ms().map_or(0, |step| time_ms.div_euclid(step) * step)
    }

    fn step_ms(self) -> Option<i64> {
        match self {
            Span::All => None,
            Span::Tumbling { window_ms, .. } => Some(window_ms),
            Span::Sliding { slide_ms, .. } => Some(slide_ms),
        }
    }

    /// The begin of the oldest stretch that is kept at `now_ms`.
    fn oldest(self, now_ms: i64) -> i64 {
        match self {
            Span::All => 0,
            Span::Tumbling { window_ms, windows_max } => {
                let before = window_ms.saturating_mul(windows_max as i64 - 1);
                self.begin(now_ms).saturating_sub(before)
            }
            // The stretch under way, and those before it that make a whole window.
            Span::Sliding { window_ms, slide_ms } => self.begin(now_ms) - window_ms + slide_ms,
        }
    }

    /// How many stretches are kept.
    fn buckets_max(self) -> usize {
        match self {
            Span::All => 1,
            Span::Tumbling { windows_max, .. } => windows_max + SPARE,
            Span::Sliding { window_ms, slide_ms } => (window_ms / slide_ms.max(1)) as usize + SPARE,
        }
    }
}

impl Aggregate {
    /// Takes one event in.
    pub fn take(&mut self, figures: &[Named], span: Span, taken: Taken<'_>) {
        let Taken { when, record_ms, samples, group } = taken;
        if self.group.is_empty() {
            self.group = group;
        }
        let from_ms = span.begin(when.time_ms);
        if from_ms < span.oldest(record_ms) {
            self.late += 1;
            return;
        }
        count(self.cells(from_ms), figures, samples, when);
        let over = self.buckets.len().saturating_sub(span.buckets_max());
        self.buckets.drain(..over);
    }

    /// About how many bytes it takes where it is stored.
    pub fn size(&self) -> usize {
        const AROUND: usize = 100;
        let cells = self.buckets.iter().flat_map(|bucket| &bucket.cells);
        AROUND
            + self.buckets.len() * AROUND
            + cells.map(|(name, cell)| name.len() + cell.size()).sum::<usize>()
    }

    fn cells(&mut self, from_ms: i64) -> &mut BTreeMap<String, Cell> {
        let at = self.buckets.partition_point(|bucket| bucket.from_ms < from_ms);
        if self.buckets.get(at).is_none_or(|bucket| bucket.from_ms != from_ms) {
            self.buckets.insert(at, Bucket { from_ms, cells: BTreeMap::new() });
        }
        #[allow(clippy::indexing_slicing)] // found or inserted just above
        &mut self.buckets[at].cells
    }

    /// Takes in another partition's part.
    pub fn merge(&mut self, other: Aggregate) {
        self.late += other.late;
        if self.group.is_empty() {
            self.group = other.group;
        }
        for Bucket { from_ms, cells } in other.buckets {
            let ours = self.cells(from_ms);
            cells.into_iter().for_each(|(name, cell)| add(ours, name, cell));
        }
    }

    /// What is shown at `now_ms`.
    pub fn show(&self, figures: &[Named], span: Span, now_ms: i64) -> Value {
        let mut shown = Map::new();
        if !self.group.is_empty() {
            shown.insert("group".into(), Value::Object(self.group.iter().cloned().collect()));
        }
        match span {
            Span::All => shown.extend(self.stretch(figures, i64::MIN, i64::MAX)),
            Span::Sliding { window_ms, slide_ms } => {
                let to = span.begin(now_ms) + slide_ms;
                shown.extend(between(to - window_ms, to));
                shown.extend(self.stretch(figures, to - window_ms, to));
            }
            Span::Tumbling { window_ms, windows_max } => {
                let current = span.begin(now_ms);
                let window = |back: usize| {
                    let from = current - window_ms.saturating_mul(back as i64);
                    let mut window: Map<_, _> = between(from, from + window_ms).into_iter().collect();
                    window.extend(self.stretch(figures, from, from + window_ms));
                    window
                };
                shown.extend(window(0));
                let is_kept = |back: &usize| {
                    let from = current - window_ms.saturating_mul(*back as i64);
                    self.buckets.iter().any(|bucket| bucket.from_ms == from)
                };
                let past = (1..windows_max).filter(is_kept).map(|back| Value::Object(window(back)));
                shown.insert("windows".into(), Value::Array(past.collect()));
            }
        }
        if span != Span::All {
            shown.insert("late".into(), json!(self.late));
        }
        Value::Object(shown)
    }

    /// The figures over the buckets that begin in `from..to`.
    fn stretch(&self, figures: &[Named], from: i64, to: i64) -> Vec<(String, Value)> {
        let mut cells = BTreeMap::new();
        for bucket in self.buckets.iter().filter(|bucket| (from..to).contains(&bucket.from_ms)) {
            bucket.cells.iter().for_each(|(name, cell)| add(&mut cells, name.clone(), cell.clone()));
        }
        let show = |named: &Named| (named.name.clone(), named.figure.show(cells.get(&named.cell)));
        figures.iter().map(show).collect()
    }
}

/// Each figure's sample into its cell.
fn count(cells: &mut BTreeMap<String, Cell>, figures: &[Named], samples: &[Option<Sample>], when: When) {
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

fn add(cells: &mut BTreeMap<String, Cell>, name: String, cell: Cell) {
    match cells.get_mut(&name) {
        Some(held) => held.merge(cell),
        None => drop(cells.insert(name, cell)),
    }
}

fn between(from_ms: i64, to_ms: i64) -> [(String, Value); 2] {
    [("from".to_owned(), json!(clock::iso(from_ms))), ("to".to_owned(), json!(clock::iso(to_ms)))]
}

#[cfg(test)]
mod tests {
    use super::{super::figures::Figure, *};
    use proptest::prelude::*;

    fn figures() -> Vec<Named> {
        let parse = |text: &str| Named::new(text, Figure::parse(text).expect(text));
        ["count", "sum /n", "mean /n", "max /n", "last /n"].map(parse).into()
    }

    /// An event as its record says it: own time, record's time, number.
    type Said = (i64, i64, i64);

    /// Takes an event in as `Declared` does, with its place in the log.
    fn take(aggregate: &mut Aggregate, span: Span, (partition, offset): (u32, u64), said: Said) {
        let (figures, (time_ms, record_ms, n)) = (figures(), said);
        let event = json!({ "n": n });
        let samples: Vec<_> = figures.iter().map(|f| f.figure.sample(&event).expect("sample")).collect();
        let when = When { time_ms: time_ms.min(record_ms), partition, epoch: 0, offset };
        let taken = Taken { when, record_ms, samples: &samples, group: Vec::new() };
        aggregate.take(&figures, span, taken);
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
        let at = |now_ms| aggregate.show(&figures(), SLIDING, now_ms);
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
        let shown = aggregate.show(&figures(), TUMBLING, 130_001);
        assert_eq!((&shown["sum /n"], &shown["windows"][0]["sum /n"]), (&json!(9), &json!(3)));
        assert_eq!((&shown["windows"][1]["sum /n"], &shown["windows"][2]), (&json!(3), &Value::Null));
    }

    #[test]
    fn what_is_late_is_counted_and_what_is_from_the_future_counts_at_its_record() {
        let events =
            [(100_000, 100_000, 1), (30_000, 100_000, 2), (70_000, 100_000, 4), (900_000, 100_000, 8)];
        let shown = over(SLIDING, 0, &events).show(&figures(), SLIDING, 100_000);
        assert_eq!((&shown["late"], &shown["sum /n"]), (&json!(1), &json!(13)));
    }

    #[test]
    fn a_record_of_a_wrong_clock_makes_nothing_after_it_late() {
        const FAR: i64 = 4_000_000_000_000;
        for span in [SLIDING, TUMBLING] {
            let mut events = vec![(5_000, 5_000, 1), (FAR, FAR, 100)];
            events.extend((1..=6).map(|i| (i * 10_000 - 1, i * 10_000 - 1, 1)));
            let aggregate = over(span, 0, &events);
            let shown = aggregate.show(&figures(), span, 59_999);
            assert_eq!((&shown["late"], &shown["sum /n"]), (&json!(0), &json!(7)), "{span:?}");
            assert_eq!(aggregate.show(&figures(), span, FAR)["sum /n"], 100);
        }
    }

    #[test]
    fn no_clocks_make_it_grow() {
        let events: Vec<Said> = (0..2_000).map(|i| (i * 70_000, i * 70_000, 1)).collect();
        for (span, most) in [(Span::All, 1), (SLIDING, 6 + SPARE), (TUMBLING, 3 + SPARE)] {
            let aggregate = over(span, 0, &events);
            assert_eq!(aggregate.buckets.len(), most);
            assert_eq!(aggregate.show(&figures(), span, 1_999 * 70_000)["last /n"], 1);
        }
    }

    #[test]
    fn a_figure_that_is_declared_later_begins_then() {
        let mut aggregate = over(Span::All, 0, &[(1, 1, 5)]);
        let more = vec![Named::new("least", Figure::parse("min /n").expect("figure"))];
        assert_eq!(aggregate.show(&more, Span::All, 0)["least"], Value::Null);
        let samples = [Some(Sample::Number(3.0))];
        let when = When { time_ms: 2, partition: 0, epoch: 0, offset: 1 };
        aggregate.take(&more, Span::All, Taken { when, record_ms: 2, samples: &samples, group: Vec::new() });
        assert_eq!(aggregate.show(&more, Span::All, 0)["least"], 3);
    }

    #[test]
    fn its_size_is_about_what_is_written() {
        let figures: Vec<Named> = ["count", "last /n", "distinct /n", "quantile 0.5 /n"]
            .map(|text| Named::new(text, Figure::parse(text).expect(text)))
            .into();
        let mut aggregate = Aggregate::default();
        for i in 0..5_000_u64 {
            let event = json!({ "n": i * 7 });
            let samples: Vec<_> = figures.iter().map(|f| f.figure.sample(&event).expect("sample")).collect();
            let when = When { time_ms: i as i64, partition: 0, epoch: 0, offset: i };
            let taken = Taken { when, record_ms: i as i64, samples: &samples, group: Vec::new() };
            aggregate.take(&figures, Span::All, taken);
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
        fn however_records_lie_over_partitions_the_merge_is_what_one_partition_would_show(
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
                let merged = parts.into_iter().reduce(|mut held, other| { held.merge(other); held });
                let merged = merged.expect("eight");
                for now_ms in [99_999, 130_000, 160_000] {
                    let found = merged.show(&figures(), span, now_ms);
                    prop_assert_eq!(&found, &whole.show(&figures(), span, now_ms));
                    prop_assert!(found["last /n"].is_null() || found["count"] != 0);
                }
            }
        }
    }
}
