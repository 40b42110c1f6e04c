//! What the four streams read, count and show, and that their schemas say the same as their readers.

use super::*;
use crate::{
    app::{App, At, Reason},
    record::{Headers, Key, Position, Record, Slice, Stamp},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: i64 = 1_792_576_800_000;
const HOUR: i64 = 3_600_000;

fn slice(value: &Value, time_ms: i64, partition: u32, offset: u64) -> Slice {
    let mut slice = Slice::new(0, partition);
    let bytes = serde_json::to_vec(value).expect("JSON");
    slice.push(offset, time_ms, None, Some(&bytes), std::iter::empty());
    slice
}

fn with<T>(value: &Value, read: impl FnOnce(&Record<'_>) -> T) -> T {
    read(&slice(value, NOW, 1, 7).get(0).expect("record"))
}

/// Folds events, by partition, as writers do: through JSON after each.
struct Partials<'a, A: App> {
    app: &'a A,
    entities: std::collections::BTreeMap<(Key, u32), A::Entity>,
    offset: u64,
}

impl<'a, A: App> Partials<'a, A> {
    fn new(app: &'a A) -> Self {
        Partials { app, entities: Default::default(), offset: 0 }
    }

    fn take(&mut self, value: &Value, record_ms: i64, partition: u32) {
        let slice = slice(value, record_ms, partition, self.offset);
        self.offset += 1;
        let record = slice.get(0).expect("record");
        let event = self.app.decode(&record).expect("an event");
        let key = self.app.group_key(&event).expect("a key");
        let position = record.position;
        let stamp = Stamp { position, time_ms: record_ms, key: &key, headers: Headers::default() };
        let at = At { stamp, seen_before: false };
        let was = self.entities.remove(&(key.clone(), partition));
        let is = self.app.step(was, event, &at).entity.expect("an entity");
        let json = self.app.to_json(&is).expect("JSON");
        assert!(json.text().len() <= self.app.size(&is) + 64, "the estimate is no less than what is stored");
        self.entities.insert((key.clone(), partition), self.app.from_json(&json).expect("back"));
    }

    fn room(&self, now_ms: i64) -> Value {
        let mut of_key: std::collections::BTreeMap<Key, Vec<A::Entity>> = Default::default();
        for ((key, _), entity) in &self.entities {
            of_key.entry(key.clone()).or_default().push(entity.clone());
        }
        let merge = |(key, partials)| Some((key, self.app.merge(partials, now_ms)?));
        let shown = self.app.room("", of_key.into_iter().filter_map(merge).collect(), now_ms);
        serde_json::from_str(shown.expect("a value").text()).expect("JSON")
    }
}

fn iso(ms: i64) -> String {
    crate::clock::iso(ms)
}

#[test]
fn agents_are_summed_over_partitions_and_the_last_day() {
    let mut partials = Partials::new(&Routing);
    let snake = json!({"selected_agent": "a", "routing_time_ms": 10, "confidence_score": 0.5, "timestamp": iso(NOW - HOUR)});
    let camel = json!({"selectedAgent": "a", "routingTimeMs": "20.0", "confidenceScore": null});
    partials.take(&snake, NOW - HOUR, 0);
    partials.take(&camel, NOW, 3);
    partials.take(&json!({"selected_agent": "b"}), NOW - 2 * HOUR, 1);
    let all = partials.room(NOW);
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    let a = &all[0];
    assert_eq!(
        (&a["agent"], &a["totalRequests"], &a["avgRoutingTime"]),
        (&json!("a"), &json!(2), &json!(15.0))
    );
    assert_eq!((&a["avgConfidence"], &a["lastSeen"]), (&json!(0.5), &json!(iso(NOW))));
    let hours: Vec<u64> = serde_json::from_value(a["requestsPerHour"].clone()).expect("hours");
    assert_eq!((hours.len(), &hours[22..]), (24, &[1, 1][..]));
    assert_eq!((&all[1]["agent"], &all[1]["avgRoutingTime"]), (&json!("b"), &Value::Null));
    let later = partials.room(NOW + 23 * HOUR);
    assert_eq!((&later[0]["totalRequests"], later.as_array().map(Vec::len)), (&json!(2), Some(1)));
    assert_eq!(partials.room(NOW + 25 * HOUR), json!([]), "the day is over without another record");
}

#[test]
fn late_events_are_not_counted_and_futures_not_believed() {
    let mut partials = Partials::new(&Routing);
    let at = |time: Value| json!({"selected_agent": "a", "timestamp": time});
    partials.take(&at(json!(iso(NOW - 25 * HOUR))), NOW, 0);
    assert_eq!(partials.room(NOW), json!([]));
    partials.take(&at(json!("2099-01-01T00:00:00")), NOW, 0);
    partials.take(&at(json!(NOW / 1000 + 60)), NOW, 0);
    partials.take(&at(json!((NOW - 1).to_string())), NOW, 0);
    let agents = partials.room(NOW);
    assert_eq!((&agents[0]["totalRequests"], &agents[0]["lastSeen"]), (&json!(3), &json!(iso(NOW + 60_000))));
}

#[test]
fn the_latest_hundred_actions_come_newest_first() {
    let mut partials = Partials::new(&Actions);
    let action = |n: i64| {
        json!({"correlationId": format!("c{n}"), "agent_name": "a", "action_type": "tool_call", "action_name": "search",
               "duration_ms": n, "timestamp": NOW + n, "model": "m"})
    };
    for n in (0..150).rev() {
        partials.take(&action(n), NOW, (n % 4) as u32);
    }
    let all = partials.room(NOW);
    let all = all.as_array().expect("an array");
    assert_eq!(all.len(), 100);
    let durations: Vec<i64> = all.iter().map(|a| a["durationMs"].as_f64().expect("number") as i64).collect();
    assert_eq!(durations, (50..150).rev().collect::<Vec<_>>());
    let newest = &all[0];
    assert_eq!(newest["id"], "0.1.0", "the position where the producer gave none");
    assert_eq!((&newest["correlationId"], &newest["model"]), (&json!("c149"), &json!("m")));
    assert_eq!(newest["createdAt"], iso(NOW + 149));
    let mut large = action(200);
    large["payload"] = json!("x".repeat(5_000));
    large["id"] = json!(42);
    partials.take(&large, NOW, 0);
    let newest = &partials.room(NOW)[0];
    assert_eq!((&newest["id"], newest.get("payload"), newest.get("model")), (&json!("42"), None, None));
}

#[test]
fn pairs_are_told_apart_whatever_their_names() {
    let mut partials = Partials::new(&Transformations);
    let pair = |from: &str, to: &str, success: Value| json!({"source_agent": from, "targetAgent": to, "transformation_duration_ms": 4, "success": success});
    for (partition, success) in [(0, json!(true)), (1, json!("false")), (2, json!(true)), (3, Value::Null)] {
        partials.take(&pair("a", "b\",\"c", success), NOW, partition);
    }
    partials.take(&pair("a\",\"b", "c", json!("True")), NOW, 0);
    let all = partials.room(NOW);
    assert_eq!((&all[0]["sourceAgent"], &all[0]["targetAgent"]), (&json!("a"), &json!("b\",\"c")));
    assert_eq!((&all[0]["count"], &all[0]["successRate"]), (&json!(4), &json!(0.666667)));
    assert_eq!(
        (&all[1]["count"], &all[1]["successRate"], &all[1]["avgDuration"]),
        (&json!(1), &json!(1.0), &json!(4.0))
    );
}

#[test]
fn the_router_has_rates_and_quantiles() {
    let nothing: Value = serde_json::from_str(performance::NOTHING).expect("JSON");
    assert_eq!(Partials::new(&RouterPerformance).room(NOW), nothing);
    let mut partials = Partials::new(&RouterPerformance);
    for n in 1..=1_000_u32 {
        let hit = if n % 4 == 0 { json!(true) } else { json!(false) };
        let measured = json!({"routing_duration_ms": n, "cacheHit": hit, "candidates_evaluated": 3,
                              "trigger_match_strategy": if n % 10 == 0 { "regex" } else { "exact" }});
        partials.take(&measured, NOW, n % 4);
    }
    let shown = partials.room(NOW + 60_000);
    assert_eq!(
        (&shown["requests"], &shown["cacheHitRate"], &shown["avgCandidates"]),
        (&json!(1000), &json!(0.25), &json!(3.0))
    );
    for (name, exact) in [("p50", 500.0), ("p90", 900.0), ("p95", 950.0), ("p99", 990.0)] {
        let near = shown["quantiles"][name].as_f64().expect("number");
        assert!((near - exact).abs() <= exact * 0.011, "{name}: {near}");
    }
    assert_eq!(
        shown["strategies"],
        json!([{"strategy": "exact", "count": 900}, {"strategy": "regex", "count": 100}])
    );
    let per_minute = shown["requestsPerMin"].as_f64().expect("number");
    assert!((100.0..=200.0).contains(&per_minute), "{per_minute} over five to ten minutes");
    assert_eq!(partials.room(NOW + 26 * HOUR)["requests"], json!(0));
}

#[test]
fn strategies_are_bounded() {
    let mut partials = Partials::new(&RouterPerformance);
    for n in 0..200 {
        partials.take(
            &json!({"routing_duration_ms": 1, "trigger_match_strategy": format!("s{n:03}")}),
            NOW,
            0,
        );
    }
    let strategies = partials.room(NOW)["strategies"].clone();
    assert_eq!(strategies[0], json!({"strategy": "other", "count": 168}));
    assert_eq!(strategies.as_array().map(Vec::len), Some(33));
}

/// Whether each stream's reader takes a value, and why not.
fn read(stream: &str, value: &Value) -> Result<(), Reason> {
    fn of<A: App>(app: &A, value: &Value) -> Result<(), Reason> {
        with(value, |record| app.decode(record).map(drop).map_err(|poison| poison.reason))
    }
    match stream {
        "agents-routing" => of(&Routing, value),
        "agents-actions" => of(&Actions, value),
        "agents-transformations" => of(&Transformations, value),
        _ => of(&RouterPerformance, value),
    }
}

fn whole(stream: &str) -> Value {
    match stream {
        "agents-routing" => {
            json!({"selected_agent": "a", "routing_time_ms": 1.5, "confidence_score": 1, "correlation_id": "c", "timestamp": "2026-11-21T10:00:00Z"})
        }
        "agents-actions" => {
            json!({"id": "i", "correlation_id": "c", "agent_name": "a", "action_type": "decision", "action_name": "n", "duration_ms": 5, "timestamp": 1792576800})
        }
        "agents-transformations" => {
            json!({"source_agent": "a", "target_agent": "b", "transformation_duration_ms": 3, "success": true, "confidence_score": 0.25, "correlation_id": "c", "timestamp": "2026-11-21T10:00:00"})
        }
        _ => {
            json!({"routing_duration_ms": 7, "cache_hit": false, "candidates_evaluated": 4, "trigger_match_strategy": "exact", "correlation_id": "c", "timestamp": 1792576800000_i64})
        }
    }
}

#[test]
fn both_spellings_are_read_alike() {
    fn camel(name: &str) -> String {
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
    }
    fn shown<A: App>(app: &A, event: &Value) -> Value {
        let mut partials = Partials::new(app);
        partials.take(event, NOW, 0);
        partials.room(NOW)
    }
    for (stream, _) in SCHEMAS {
        let snake = whole(stream);
        let renamed =
            snake.as_object().expect("object").iter().map(|(name, value)| (camel(name), value.clone()));
        let camel = Value::Object(renamed.collect());
        assert_ne!(snake, camel, "{stream}");
        let [snake, camel] = [&snake, &camel].map(|event| match stream {
            "agents-routing" => shown(&Routing, event),
            "agents-actions" => shown(&Actions, event),
            "agents-transformations" => shown(&Transformations, event),
            _ => shown(&RouterPerformance, event),
        });
        assert_eq!(snake, camel, "{stream}");
    }
}

#[test]
fn what_a_schema_says_is_what_is_read() {
    let odd = [
        json!(null),
        json!(""),
        json!("text"),
        json!("12.5"),
        json!(" 3 "),
        json!("true"),
        json!("NaN"),
        json!(-1),
        json!(0),
        json!(1e300),
        json!(true),
        json!([1]),
        json!({"a": 1}),
        json!("x".repeat(201)),
    ];
    let mut refused = 0;
    for (stream, schema) in SCHEMAS {
        let schema: Value = serde_json::from_str(schema).expect("a schema is JSON");
        let valid = jsonschema::validator_for(&schema).expect("a schema");
        let whole = whole(stream);
        assert_eq!((valid.is_valid(&whole), read(stream, &whole)), (true, Ok(())), "{stream}");
        assert!(!valid.is_valid(&json!([])) && read(stream, &json!([])).is_err());
        for name in whole.as_object().expect("object").keys().filter(|name| *name != "timestamp") {
            for value in odd.iter().map(Some).chain([None]) {
                let mut event = whole.clone();
                match value {
                    Some(value) => event[name] = value.clone(),
                    None => drop(event.as_object_mut().expect("object").remove(name)),
                }
                let taken = read(stream, &event);
                assert_eq!(valid.is_valid(&event), taken.is_ok(), "{stream}: {name} = {value:?}: {taken:?}");
                refused += usize::from(taken.is_err());
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn what_cannot_be_read_says_why_and_never_what_it_was() {
    let cases = [
        (json!({"routing_time_ms": 1}), Reason::MissingField),
        (json!({"selected_agent": "", "x": "secret"}), Reason::MissingField),
        (json!({"selected_agent": ["secret"]}), Reason::SchemaInvalid),
        (json!({"selected_agent": "a", "routing_time_ms": "secret"}), Reason::SchemaInvalid),
        (json!({"selected_agent": "a", "routing_time_ms": 1e13}), Reason::NumberRange),
        (json!({"selected_agent": "a", "timestamp": "secret"}), Reason::SchemaInvalid),
        (json!("secret"), Reason::SchemaInvalid),
    ];
    for (value, reason) in cases {
        let poison = with(&value, |record| Routing.decode(record)).err().expect("poison");
        assert_eq!(poison.reason, reason, "{value}");
        assert!(!poison.detail.contains("secret"), "{}", poison.detail);
    }
}

#[test]
fn times_are_taken_as_producers_write_them() {
    let wanted = 1_792_576_800_000;
    for time in [
        json!("2026-10-21T10:00:00Z"),
        json!("2026-10-21T12:00:00+02:00"),
        json!("2026-10-21T10:00:00.000"),
        json!("2026-10-21 10:00:00"),
        json!(1_792_576_800),
        json!(1_792_576_800_000_i64),
        json!("1792576800"),
    ] {
        let taken = with(&json!({"timestamp": time}), |record| fields(record).expect("object").time(TIME));
        assert_eq!(taken, Some(wanted), "{time}");
    }
}

/// A day of events as producers have them, at a hundred times the rate, is held in a bounded number of bytes.
#[test]
fn a_day_at_a_hundred_times_the_rate_is_bounded() {
    fn bytes<A: App>(app: &A, events: i64, event: impl Fn(i64) -> Value) -> usize {
        let mut partials = Partials { app, entities: Default::default(), offset: 0 };
        for n in 0..events {
            // The whole day at once, in steps that touch every slot of every key.
            let time = NOW - 24 * HOUR + n * 24 * HOUR / events;
            let value = event(n);
            let slice = slice(&value, time, (n % 4) as u32, n as u64);
            let record = slice.get(0).expect("record");
            let read = app.decode(&record).expect("event");
            let key = app.group_key(&read).expect("key");
            let position = Position { epoch: 0, partition: (n % 4) as u32, offset: n as u64 };
            let at = At {
                stamp: Stamp { position, time_ms: time, key: &key, headers: Headers::default() },
                seen_before: false,
            };
            let id = (key.clone(), position.partition);
            let was = partials.entities.remove(&id);
            let step = app.step(was, read, &at);
            partials.entities.insert(id, step.entity.expect("entity"));
        }
        partials.entities.values().map(|entity| app.to_json(entity).expect("JSON").text().len()).sum()
    }
    let routing = |n: i64| json!({"selected_agent": format!("agent-{}", n % 20), "routing_time_ms": n % 997, "confidence_score": 0.123456});
    let (day, hundred) = (bytes(&Routing, 1_000, routing), bytes(&Routing, 100_000, routing));
    assert!(day < 1 << 20 && hundred < 4 << 20, "{day}, {hundred}");
    let measured = |n: i64| json!({"routing_duration_ms": (n * 7_919) % 100_000, "cache_hit": true, "candidates_evaluated": 3, "trigger_match_strategy": "exact"});
    let (day, hundred) =
        (bytes(&RouterPerformance, 1_000, measured), bytes(&RouterPerformance, 100_000, measured));
    assert!(day < 1 << 20 && hundred < 1 << 20, "{day}, {hundred}");
    let action = |n: i64| json!({"agent_name": "a", "action_type": "tool_call", "action_name": format!("n{n}"), "further": "x".repeat(200)});
    assert!(bytes(&Actions, 5_000, action) < 256 << 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn however_events_are_spread_over_partitions_the_rooms_show_the_same(
        events in prop::collection::vec((0..5_u32, 0..26 * 60_i64, 0..1_000_u32, 0..4_u32), 0..60), now in 0..30_i64
    ) {
        let fold = |spread: bool| {
            let (mut routing, mut moves, mut router) =
                (Partials::new(&Routing), Partials::new(&Transformations), Partials::new(&RouterPerformance));
            let mut actions = Partials::new(&Actions);
            for (agent, minutes, number, partition) in &events {
                let partition = if spread { *partition } else { 0 };
                let time = NOW - minutes * 60_000;
                let name = format!("agent-{agent}");
                routing.take(&json!({"selected_agent": name, "routing_time_ms": number, "timestamp": time}), NOW, partition);
                moves.take(&json!({"source_agent": name, "target_agent": "b", "success": number % 2 == 0, "timestamp": time}), NOW, partition);
                router.take(&json!({"routing_duration_ms": number, "cache_hit": number % 3 == 0, "timestamp": time}), NOW, partition);
                actions.take(&json!({"id": format!("{agent}-{minutes}-{number}"), "agent_name": name, "action_type": "success", "timestamp": time}), NOW, partition);
            }
            let now = NOW + now * HOUR;
            let mut actions: Vec<String> = actions.room(now).as_array().expect("array").iter().map(|a| a["id"].to_string()).collect();
            actions.sort_unstable();
            (routing.room(now), moves.room(now), router.room(now), actions)
        };
        prop_assert_eq!(fold(true), fold(false));
    }
}
