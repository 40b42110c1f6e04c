//! What a call is answered, and what comes before and after the answer.

use super::stage::{Got, Stage};
use crate::engine::live::{ClientId, Order};
use serde_json::{Value, json};
use std::time::Duration;

fn one(ack: &Value) -> &Value {
    assert_eq!(ack["ok"], true, "{ack}");
    &ack["rooms"][0]
}

#[test]
fn the_answer_comes_before_the_first_change_and_misses_nothing() {
    let mut stage = Stage::kv();
    stage.engine.write("kv", "a", Some("1"));
    let (client, line) = stage.connect();
    stage.ask(client, &line, &["kv/a"], &[]);
    stage.begin_reads();
    stage.look(0);
    // Stored after the look and told before the answer: it is in neither, unless the room keeps it.
    let late = stage.engine.write("kv", "a", Some("2"));
    stage.tell([late]);
    assert_eq!(line.take(), [], "nothing before the answer");
    stage.end_read(0);
    let got = line.take();
    let [Got::Ack(ack)] = &got[..] else { panic!("one answer, not {got:?}") };
    assert_eq!((&one(ack)["entity"]["version"], &one(ack)["entity"]["value"]), (&json!(2), &json!(2)));
    let next = stage.engine.write("kv", "a", Some("3"));
    stage.tell([next]);
    let got = line.take();
    let [Got::Changes(items, Value::Null)] = &got[..] else { panic!("one packet, not {got:?}") };
    assert_eq!(
        (&items[0]["version"], &items[0]["skipped"], &items[0]["room"]),
        (&json!(3), &json!(0), &json!("kv/a"))
    );
}

#[test]
fn what_the_answer_holds_is_not_told_again() {
    let mut stage = Stage::kv();
    let news = stage.engine.write("kv", "a", Some("1"));
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv/a", "kv"], &[]);
    assert_eq!(
        (&one(&ack)["entity"]["version"], &ack["rooms"][1]["items"][0]["version"]),
        (&json!(1), &json!(1))
    );
    stage.tell([news]);
    stage.tick(10);
    assert_eq!(line.take(), []);
}

#[test]
fn a_key_never_seen_and_a_removed_one() {
    let mut stage = Stage::kv();
    stage.engine.write("kv", "gone", Some("1"));
    stage.engine.write("kv", "gone", None);
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv/never", "kv/gone"], &[]);
    assert_eq!((&one(&ack)["entity"], &one(&ack)["position"]), (&Value::Null, &Value::Null));
    let gone = &ack["rooms"][1]["entity"];
    assert_eq!((&gone["deleted"], &gone["value"], &gone["version"]), (&json!(true), &Value::Null, &json!(2)));
}

#[test]
fn rule_27_subscribe_is_all_or_nothing_and_names_what_is_wrong() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    let rooms = ["kv/a", "nope/a", "kv/", "kv:never", "kv"];
    let ack = stage.subscribe(client, &line, &rooms, &[("kv/a", "0.1")]);
    let refusal = ack["refusal"].as_str().expect("refusal");
    for named in ["rooms[1]", "nope/a", "rooms[2]", "rooms[3]", "since.kv/a"] {
        assert!(refusal.contains(named), "{named} in {refusal}");
    }
    assert!(!refusal.contains("rooms[0]") && !refusal.contains("rooms[4]"), "{refusal}");
    let news = stage.engine.write("kv", "a", Some("1"));
    stage.tell([news]);
    assert_eq!(line.take(), [], "it joined nothing");
    assert_eq!(stage.hub.rooms_of(client), Some(0));
}

#[test]
fn more_rooms_than_a_client_may_have_are_refused() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.rooms_per_client_max = 2);
    let (client, line) = stage.connect();
    assert_eq!(stage.subscribe(client, &line, &["kv/a", "kv/b"], &[])["ok"], true);
    assert_eq!(stage.subscribe(client, &line, &["kv/a", "kv/b"], &[])["ok"], true, "the same again");
    let ack = stage.subscribe(client, &line, &["kv/c"], &[]);
    assert!(ack["refusal"].as_str().is_some_and(|r| r.contains("2 rooms")), "{ack}");
}

#[test]
fn app_rooms_show_an_entity_of_their_own_with_the_rooms_position() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv:board", "kv:seller/42"], &[]);
    assert_eq!(one(&ack)["entity"], Value::Null);
    let mut news = stage.engine.write("kv", "a", Some("1"));
    let mut shown = news.shown.clone();
    shown.key = "board".into();
    stage.engine.set_room("kv:board", shown);
    news.rooms = vec!["board".into()];
    stage.tell([news]);
    stage.run_reads();
    let got = line.take();
    let [Got::Changes(items, positions)] = &got[..] else { panic!("one packet, not {got:?}") };
    assert_eq!((&items[0]["room"], &items[0]["key"]), (&json!("kv:board"), &json!("board")));
    assert_eq!(positions, &json!({"kv:board": "0.1.0"}));
    assert_eq!(stage.subscribe(client, &line, &["kv:boar"], &[])["ok"], false);
}

#[test]
fn of_a_stream_split_by_partition_the_merge_is_told_and_never_a_partial() {
    let mut stage = Stage::new(&[("kv", 2)], |_| {});
    let ((client, line), (all, every)) = (stage.connect(), stage.connect());
    stage.subscribe(client, &line, &["kv/a"], &[]);
    stage.subscribe(all, &every, &["kv"], &[]);
    let partial = |stage: &Stage, value: &str| {
        let mut news = stage.engine.write("kv", "a", Some(value));
        (news.kind, news.shown.value) = (crate::engine::news::NewsKind::Partial, None);
        news
    };
    let (first, second) = (partial(&stage, "1"), partial(&stage, "2"));
    stage.tell([first]);
    stage.tell([second]);
    assert_eq!((line.take(), every.take()), (vec![], vec![]), "nothing before the merge was read");
    stage.run_reads();
    stage.tick(10);
    for (line, room) in [(line, "kv/a"), (every, "kv")] {
        let got = line.take();
        let [Got::Changes(items, _)] = &got[..] else { panic!("one packet, not {got:?}") };
        assert_eq!((&items[0]["room"], &items[0]["value"]), (&json!(room), &json!(2)));
        assert_eq!(items[0]["version"], 2);
        assert_eq!(items.as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn a_room_that_is_told_by_itself_slides_at_one_position() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv:board"], &[]);
    let room = |stage: &Stage, value: &str| {
        let mut news = stage.engine.write("kv", "a", Some(value));
        (news.kind, news.shown.key) = (crate::engine::news::NewsKind::Room, "board".into());
        news
    };
    let mut news = room(&stage, "[1]");
    stage.tell([news.clone()]);
    stage.tick(10);
    stage.tell([news.clone()]);
    news.shown.value = Some(crate::document::Json::from_checked("[]"));
    stage.tell([news]);
    stage.tick(10);
    let got = line.take();
    let [Got::Changes(first, _), Got::Changes(second, at)] = &got[..] else { panic!("two, not {got:?}") };
    assert_eq!((&first[0]["value"], &second[0]["value"]), (&json!([1]), &json!([])));
    assert_eq!(at, &json!({"kv:board": "0.1.0"}));
}

#[test]
fn the_summary_of_streams_comes_at_once_and_every_second() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["streams:summary"], &[]);
    let entity = &one(&ack)["entity"];
    assert_eq!(
        (&entity["stream"], &entity["key"], &entity["version"]),
        (&json!("streams"), &json!("summary"), &json!(1))
    );
    for _ in 0..20 {
        stage.engine.write("kv", "a", Some("1"));
    }
    stage.beat(1_000);
    stage.tick(10);
    let got = line.take();
    let [Got::Changes(items, positions)] = &got[..] else { panic!("one packet, not {got:?}") };
    let stream = &items[0]["value"]["streams"][0];
    assert_eq!(
        (&stream["stream"], &stream["records_per_s"], &stream["state"]),
        (&json!("kv"), &json!(20.0), &json!("running"))
    );
    for member in ["kind", "keys", "stored_per_s", "lag", "newest", "held", "latency_ms"] {
        assert!(stream.get(member).is_some(), "{member} in {stream}");
    }
    assert!(items[0]["value"]["at"].is_string() && positions["streams:summary"].is_string());
}

#[test]
fn a_store_that_is_away_leaves_what_is_held_and_says_how_stale() {
    let mut stage = Stage::kv();
    stage.engine.write("kv", "a", Some("1"));
    let ((first, line), (second, other)) = (stage.connect(), stage.connect());
    stage.subscribe(first, &line, &["kv/a"], &[]);
    stage.engine.set_away(true);
    let ack = stage.subscribe(second, &other, &["kv/a"], &[]);
    assert_eq!((&one(&ack)["entity"]["version"], &ack["stale_s"]), (&json!(1), &json!(7)));
    let ack = stage.subscribe(second, &other, &["kv/a", "kv/b"], &[]);
    assert_eq!(ack["refusal"], "StoreAway");
    let ack = stage.subscribe(second, &other, &["kv"], &[]);
    assert_eq!(ack["refusal"], "StoreAway");
    stage.engine.set_away(false);
    assert_eq!(stage.subscribe(second, &other, &["kv/a", "kv/b", "kv"], &[])["ok"], true);
}

#[test]
fn a_snapshot_too_large_for_one_answer_follows_as_changes() {
    let mut stage = Stage::kv();
    let large = format!("\"{}\"", "x".repeat(200 << 10));
    stage.engine.write("kv", "a", Some(&large));
    stage.engine.write("kv", "b", Some(&large));
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv/a", "kv/b"], &[]);
    assert_eq!(one(&ack)["entity"]["version"], 1);
    let second = &ack["rooms"][1];
    assert_eq!(
        (&second["entity"], &second["position"], &second["follows"]),
        (&Value::Null, &Value::Null, &json!(true))
    );
    stage.tick(10);
    let got = line.take();
    let [Got::Changes(items, _)] = &got[..] else { panic!("one packet, not {got:?}") };
    assert_eq!(
        (&items[0]["room"], &items[0]["version"], &items[0]["skipped"]),
        (&json!("kv/b"), &json!(1), &json!(0))
    );
}

#[test]
fn calls_are_answered_in_order_and_too_many_are_refused() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.calls_per_client_max = 2);
    let (client, line) = stage.connect();
    stage.ask(client, &line, &["kv/a"], &[]);
    stage.unsubscribe(client, &line, &["kv/a"]);
    stage.ask(client, &line, &["kv/b"], &[]);
    stage.ask(client, &line, &["kv/c"], &[]);
    let got = line.take();
    assert!(matches!(&got[..], [Got::Ack(ack)] if ack["refusal"] == "Busy"), "{got:?}");
    stage.run_reads();
    let got = line.take();
    let [Got::Ack(first), Got::Left(_), Got::Ack(second)] = &got[..] else { panic!("{got:?}") };
    assert_eq!((&one(first)["room"], &one(second)["room"]), (&json!("kv/a"), &json!("kv/b")));
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_call_leaves_nothing_behind() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.ask(client, &line, &["kv/a", "kv"], &[]);
    stage.begin_reads();
    stage.order(Order::Disconnect { client });
    stage.run_reads();
    assert_eq!(line.take(), []);
    assert_eq!(stage.hub.rooms_of(client), None);
    assert_eq!(stage.stats.clients.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_heartbeat_has_every_room_that_is_whole_behind_what_waits() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.page_bytes_max = 300);
    let mut all: Vec<_> = (0..9).map(|i| stage.engine.write("kv", &format!("k{i}"), Some("1"))).collect();
    let last = all.pop().expect("news");
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/k8", "kv/never", "kv"], &[]);
    stage.now += Duration::from_secs(25);
    let next = stage.engine.write("kv", "k8", Some("2"));
    stage.tell([last, next]);
    let newest = stage.engine.write("kv", "k8", Some("3"));
    stage.tell([newest]);
    line.take();
    stage.beat(0);
    assert_eq!(line.take(), [], "the newest waits for the tick");
    stage.tick(5);
    let got = line.take();
    let [Got::Changes(..), Got::Heartbeat(beats)] = &got[..] else { panic!("a heartbeat last, not {got:?}") };
    let beats = beats.as_array().expect("beats");
    let mut rooms: Vec<_> =
        beats.iter().map(|beat| (beat["room"].as_str(), beat["position"].clone())).collect();
    rooms.sort_by_key(|(room, _)| *room);
    assert_eq!(
        rooms,
        [(Some("kv/k8"), json!("0.0.10")), (Some("kv/never"), Value::Null)],
        "the stream is in pages"
    );
    assert!(beats.iter().all(|beat| beat["at"].is_string()));
}

#[test]
fn everyone_is_told_goodbye_and_then_closed() {
    let mut stage = Stage::kv();
    let (_, line) = stage.connect();
    let (done, told) = tokio::sync::oneshot::channel();
    stage.order(Order::Goodbye { reason: "restart".into(), done });
    told.blocking_recv().expect("told");
    let got = line.take();
    assert!(matches!(&got[..], [Got::Goodbye(word)] if word["reason"] == "restart"), "{got:?}");
    let (done, closed) = tokio::sync::oneshot::channel();
    stage.order(Order::Close { done });
    closed.blocking_recv().expect("closed");
    assert!(line.is_closed());
}

#[test]
fn clients_whose_connection_is_gone_are_swept_out() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a"], &[]);
    crate::engine::live::Listener::close(&super::stage::Ear(line));
    stage.now += Duration::from_secs(60);
    stage.beat(0);
    assert_eq!(stage.hub.rooms_of(client), None);
    assert_eq!(stage.hub.rooms_of(ClientId(99)), None);
}
