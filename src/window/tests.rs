//! What has to hold for any input: order and split change nothing, memory is bounded, nothing outside the window counts.

use super::*;
use proptest::prelude::*;
use sketches_ddsketch::{Config, DDSketch};

const MINUTES: Window = Window::sliding(60 * MINUTE_MS, MINUTE_MS);

fn event() -> impl Strategy<Value = (i64, u32)> {
    (0..4 * 60 * MINUTE_MS, 0..1_000_u32)
}

/// Sums of whole numbers, so that rounding does not depend on the order.
fn fold(events: &[(i64, u32)]) -> Sliding<Numbers> {
    let mut sliding = Sliding::default();
    for (time_ms, number) in events {
        if let Some(part) = sliding.at(&MINUTES, *time_ms) {
            Numbers::add(part, f64::from(*number));
        }
    }
    sliding
}

/// Something of a hundred bytes.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Happened(When);

impl Item for Happened {
    fn when(&self) -> When {
        self.0
    }

    fn bytes(&self) -> usize {
        100
    }
}

const TEN: Keep = Keep { items: 10, bytes: usize::MAX };

fn json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).expect("JSON")).expect("back")
}

proptest! {
    #[test]
    fn slots_merge_in_any_order_and_any_grouping(
        parts in prop::collection::vec(prop::collection::vec(event(), 0..40), 3)
    ) {
        let [a, b, c] = [0, 1, 2].map(|part| fold(&parts[part]));
        let merged = |one: &Sliding<Numbers>, other: &Sliding<Numbers>| {
            let mut sum = one.clone();
            sum.merge(other, &MINUTES);
            sum
        };
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(json(&a), a);
    }

    #[test]
    fn a_split_by_partition_shows_what_one_fold_of_all_shows(
        mut events in prop::collection::vec((event(), 0..4_usize), 0..200), now in 60..240_i64
    ) {
        let now_ms = now * MINUTE_MS;
        // As they come: each of a time the window holds when its record is written.
        events.retain(|((time_ms, _), _)| MINUTES.range(now_ms).contains(&MINUTES.slot(*time_ms)));
        let all: Vec<_> = events.iter().map(|(event, _)| *event).collect();
        let mut merged = Sliding::default();
        for partition in 0..4 {
            let part: Vec<_> = events.iter().filter(|(_, p)| *p == partition).map(|(e, _)| *e).collect();
            merged.merge(&fold(&part), &MINUTES);
        }
        let sum = merged.sum(&MINUTES, now_ms);
        prop_assert_eq!(sum, fold(&all).sum(&MINUTES, now_ms));
        prop_assert!(sum.count() <= all.len() as u64);
    }

    #[test]
    fn no_times_make_it_grow_and_the_newest_stay(times in prop::collection::vec(any::<i64>(), 0..300)) {
        let events: Vec<_> = times.iter().map(|time_ms| (*time_ms, 1)).collect();
        let sliding = fold(&events);
        prop_assert!(sliding.len() <= MINUTES.slots_max());
        let mut slots: Vec<i64> = times.iter().map(|time_ms| MINUTES.slot(*time_ms)).collect();
        slots.sort_unstable();
        slots.dedup();
        let newest = slots.iter().rev().take(MINUTES.slots_max()).rev().copied().collect::<Vec<_>>();
        let held: Vec<i64> = sliding.slots().collect();
        prop_assert_eq!(held, newest);
    }

    #[test]
    fn quantiles_are_near_and_merge_in_any_order(
        numbers in prop::collection::vec(0.01..100_000.0_f64, 1..200), cut in 0..200_usize
    ) {
        let sketch = |numbers: &[f64]| {
            let mut sketch = Sketch::default();
            numbers.iter().for_each(|number| sketch.add(*number));
            sketch
        };
        let (left, right) = numbers.split_at(cut.min(numbers.len()));
        let (mut a, mut b) = (sketch(left), sketch(right));
        let (left, right) = (a.clone(), b.clone());
        a.merge(&right);
        b.merge(&left);
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(&json(&a), &a);
        let mut sorted = numbers.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        for share in [0.0, 0.5, 0.9, 0.99, 1.0] {
            let exact = sorted[(share * (sorted.len() - 1) as f64) as usize];
            let near = a.quantile(share).expect("some");
            prop_assert!((near - exact).abs() <= exact * 0.0101, "{near} for {exact}");
        }
    }

    #[test]
    fn the_newest_few_are_the_same_however_they_come(
        mut items in prop::collection::vec((0..50_i64, 0..4_u32, 0..1_000_u64), 0..100), seed in any::<u64>()
    ) {
        items.sort_unstable();
        items.dedup();
        let expected: Vec<_> = items.iter().rev().take(10).map(|item| (item.0, item.2)).collect();
        let mut shuffled = items.clone();
        shuffled.sort_by_key(|item| (item.2 ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut parts = [Newest::default(), Newest::default()];
        for (time_ms, partition, offset) in shuffled {
            parts[partition as usize % 2].add(Happened(When { time_ms, partition, epoch: 0, offset }), TEN);
        }
        let [mut a, b] = parts;
        a.merge(b, TEN);
        prop_assert_eq!(a.bytes(), 100 * a.len());
        prop_assert_eq!(a.iter().map(|item| (item.0.time_ms, item.0.offset)).collect::<Vec<_>>(), expected);
        prop_assert_eq!(json(&a), a);
    }
}

#[test]
fn late_and_future_events_follow_the_rule() {
    let now = 1_000 * 60 * MINUTE_MS;
    assert_eq!(MINUTES.event_ms(None, now), Some(now), "no time of its own: its record's");
    assert_eq!(MINUTES.event_ms(Some(now - 1), now), Some(now - 1));
    assert_eq!(MINUTES.event_ms(Some(now - 60 * MINUTE_MS), now), Some(now - 60 * MINUTE_MS));
    assert_eq!(MINUTES.event_ms(Some(now - 61 * MINUTE_MS), now), None, "late");
    assert_eq!(MINUTES.event_ms(Some(now + AHEAD_MS), now), Some(now + AHEAD_MS), "clocks differ");
    assert_eq!(MINUTES.event_ms(Some(now + AHEAD_MS + 1), now), Some(now), "a future is not believed");
}

#[test]
fn the_window_slides_without_an_event() {
    let sliding = fold(&[(0, 1), (30 * MINUTE_MS, 2), (60 * MINUTE_MS, 4)]);
    let sum = |minute: i64| sliding.sum(&MINUTES, minute * MINUTE_MS).sum();
    assert_eq!((sum(60), sum(61), sum(91), sum(121)), (7.0, 6.0, 4.0, 0.0));
    let mut slid = sliding.clone();
    slid.slide(&MINUTES, 91 * MINUTE_MS);
    assert_eq!(slid.len(), 1);
}

#[test]
fn a_wrong_clock_costs_a_slot_and_not_the_window() {
    let mut events: Vec<_> = (0..60).map(|minute| (minute * MINUTE_MS, 1)).collect();
    events.push((1_000_000 * MINUTE_MS, 1));
    assert_eq!(fold(&events).sum(&MINUTES, 59 * MINUTE_MS).count(), 60);
}

#[test]
fn nothing_makes_a_sum_that_json_cannot_hold() {
    let mut numbers = Numbers::default();
    for number in [f64::MAX, f64::MAX, f64::INFINITY, f64::NAN, -1.0] {
        numbers.add(number);
    }
    assert_eq!(json(&numbers), numbers);
    assert_eq!((numbers.count(), numbers.mean().map(f64::is_finite)), (2, Some(true)));
    let mut sketch = Sketch::default();
    sketch.add(f64::NAN);
    assert_eq!((sketch.count(), json(&sketch).quantile(0.5)), (0, None));
    sketch.add(0.0);
    assert_eq!(sketch.quantile(0.5), Some(0.0));
}

#[test]
fn a_sketch_of_another_accuracy_is_not_read_back() {
    let text = |accuracy| {
        let mut sketch = DDSketch::new(Config::new(accuracy, 2_100, 1e-6));
        sketch.add(7.0);
        serde_json::to_string(&serde_json::to_string(&sketch).expect("JSON")).expect("JSON")
    };
    let ours: Sketch = serde_json::from_str(&text(0.01)).expect("ours");
    assert_eq!(ours.count(), 1);
    let error = serde_json::from_str::<Sketch>(&text(0.02)).expect_err("not ours").to_string();
    assert!(error.contains("another accuracy"), "{error}");
}
