//! Coming back with a position: the missed changes, or the truth anew, never a hole (semantics 13-16; B1-B7, B10).

use super::stage::{Got, Stage};
use serde_json::{Value, json};

fn one(ack: &Value) -> &Value {
    assert_eq!(ack["ok"], true, "{ack}");
    &ack["rooms"][0]
}

/// The versions told, with what was skipped, of everything that came.
fn versions(got: &[Got]) -> Vec<(String, u64, u64)> {
    let items =
        got.iter().filter_map(|got| if let Got::Changes(items, _) = got { items.as_array() } else { None });
    let told = |item: &Value| {
        let number = |name: &str| item[name].as_u64().expect("number");
        (item["key"].as_str().expect("key").to_owned(), number("version"), number("skipped"))
    };
    items.flatten().map(told).collect()
}

#[test]
fn a_since_at_the_head_has_missed_nothing() {
    let mut stage = Stage::kv();
    let news = stage.engine.write("kv", "a", Some("1"));
    let position = news.shown.positions.to_string();
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv/a"], &[("kv/a", &position)]);
    assert_eq!(
        (&one(&ack)["resumed"], &one(&ack)["entity"], &one(&ack)["position"]),
        (&json!(true), &Value::Null, &json!(position))
    );
    stage.tell([news]);
    stage.tick(10);
    assert_eq!(line.take(), []);
}

#[test]
fn a_since_that_is_remembered_gets_the_newest_and_how_many_it_skips() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a"], &[]);
    let all: Vec<_> = (1..=5).map(|n| stage.engine.write("kv", "a", Some(&n.to_string()))).collect();
    let second = all[1].shown.positions.to_string();
    all.into_iter().for_each(|news| stage.tell([news]));
    let (other, line) = stage.connect();
    let ack = stage.subscribe(other, &line, &["kv/a"], &[("kv/a", &second)]);
    assert_eq!(
        (&one(&ack)["resumed"], &one(&ack)["entity"], &one(&ack)["position"]),
        (&json!(true), &Value::Null, &json!(second))
    );
    stage.tick(10);
    assert_eq!(versions(&line.take()), [("a".into(), 5, 2)]);
}

/// B1: the ring was emptied while the head moved on.
#[test]
fn b1_a_since_that_was_forgotten_gets_the_entity() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.history_changes_max = 2);
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a", "kv"], &[]);
    let all: Vec<_> = (1..=9).map(|n| stage.engine.write("kv", "a", Some(&n.to_string()))).collect();
    let first = all[0].shown.positions.to_string();
    all.into_iter().for_each(|news| stage.tell([news]));
    let (other, line) = stage.connect();
    let ack = stage.subscribe(other, &line, &["kv/a"], &[("kv/a", &first)]);
    assert_eq!((&one(&ack)["resumed"], &one(&ack)["entity"]["version"]), (&json!(false), &json!(9)));
}

/// B1 for a stream: what it remembers is bounded in bytes over all rooms.
#[test]
fn b1_a_stream_that_remembers_too_little_gives_its_pages() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.history_bytes_max = 2_000);
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv"], &[]);
    let first = stage.engine.write("kv", "k0", Some("1"));
    let since = first.shown.positions.to_string();
    stage.tell([first]);
    for n in 1..20 {
        let news = stage.engine.write("kv", &format!("k{n}"), Some("1"));
        stage.tell([news]);
    }
    let (other, line) = stage.connect();
    let ack = stage.subscribe(other, &line, &["kv"], &[("kv", &since)]);
    assert_eq!(one(&ack)["resumed"], false);
    assert_eq!(one(&ack)["items"].as_array().map(Vec::len), Some(20));
}

/// B2: a position from when the room was empty.
#[test]
fn b2_a_position_from_an_empty_room_gets_the_changes_since_or_the_truth() {
    let mut stage = Stage::kv();
    let first = stage.engine.write("kv", "a", Some("1"));
    let since = first.shown.positions.to_string();
    stage.tell([first]);
    // Nobody is in it, nothing is remembered: what came since is in the store alone.
    let news = stage.engine.write("kv", "a", Some("2"));
    stage.tell([news]);
    for room in ["kv/a", "kv"] {
        let (client, line) = stage.connect();
        let ack = stage.subscribe(client, &line, &[room], &[(room, &since)]);
        assert_eq!(one(&ack)["resumed"], false, "{room}");
        let shown = if room == "kv" { &one(&ack)["items"][0] } else { &one(&ack)["entity"] };
        assert_eq!(shown["version"], 2, "{room}");
    }
    // A key never seen has no position; whoever saw it empty asks without one.
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv/never"], &[("kv/never", "0.0.5")]);
    assert_eq!((&one(&ack)["resumed"], &one(&ack)["entity"]), (&json!(false), &Value::Null));
}

/// B3: a replay ends at the head.
#[test]
fn b3_the_replay_of_a_stream_ends_at_its_head() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv"], &[]);
    let mut since = String::new();
    for (n, key) in ["a", "b", "a", "c", "a"].into_iter().enumerate() {
        let news = stage.engine.write("kv", key, Some("1"));
        stage.tell([news]);
        stage.tick(10);
        if n == 1 {
            let got = line.take();
            let Some(Got::Changes(_, positions)) = got.last() else { panic!("{got:?}") };
            since = positions["kv"].as_str().expect("position").to_owned();
        }
    }
    let (other, again) = stage.connect();
    let ack = stage.subscribe(other, &again, &["kv"], &[("kv", &since)]);
    assert_eq!(
        (&one(&ack)["resumed"], &one(&ack)["items"], &one(&ack)["next"]),
        (&json!(true), &json!([]), &Value::Null)
    );
    stage.tick(10);
    let (missed, told) = (again.take(), line.take());
    assert_eq!(versions(&missed), [("a".into(), 3, 1), ("c".into(), 1, 0)]);
    let head = |got: &[Got]| match got.last() {
        Some(Got::Changes(_, positions)) => positions["kv"].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(head(&missed), head(&told));
}

/// Shards confirm out of order: a position that a late change left as it was does not say whether that was seen.
#[test]
fn a_position_that_names_two_places_is_not_resumed() {
    let mut stage = Stage::new(&[("kv", 1)], |_| {});
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv"], &[]);
    let zero = stage.engine.write("kv", "z", Some("1"));
    let slow = stage.engine.write("kv", "slow", Some("1"));
    let fast = stage.engine.write("kv", "fast", Some("1"));
    let since = fast.shown.positions.to_string();
    stage.tell([zero]);
    stage.tell([fast]);
    stage.tell([slow]);
    let (other, line) = stage.connect();
    let ack = stage.subscribe(other, &line, &["kv"], &[("kv", &since)]);
    assert_eq!(one(&ack)["resumed"], false, "who has this position may have missed the slow one");
    assert_eq!(one(&ack)["items"].as_array().map(Vec::len), Some(3));
}

/// B4: changes roll over the history while pages are read.
#[test]
fn b4_pages_end_and_are_right_while_every_key_changes() {
    let mut stage = Stage::new(&[("kv", 1)], |config| {
        config.live.page_bytes_max = 400;
        config.live.history_bytes_max = 3_000;
    });
    let keys: Vec<String> = (0..30).map(|n| format!("k{n:02}")).collect();
    for key in &keys {
        stage.engine.write("kv", key, Some("0"));
    }
    let mut viewer = super::viewer::Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    let mut turns = 0;
    while viewer.rooms.get("kv").is_none_or(|view| view.next.is_some()) {
        turns += 1;
        assert!(turns < 400, "the pages end");
        stage.begin_reads();
        stage.look(0);
        for key in &keys {
            let news = stage.engine.write("kv", key, Some(&turns.to_string()));
            if turns % 3 == 0 {
                stage.tell([news]);
            }
        }
        stage.end_read(0);
        stage.tick(10);
        viewer.hear();
        viewer.page(&mut stage);
    }
    for key in &keys {
        let news = stage.engine.write("kv", key, Some("-1"));
        stage.tell([news]);
    }
    stage.settle(std::slice::from_mut(&mut viewer));
    viewer.assert_holds(&stage.engine);
}

/// B5: an older put that comes late, after a removal.
#[test]
fn b5_what_was_removed_stays_removed_when_an_older_put_comes_late() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a", "kv"], &[]);
    let put = stage.engine.write("kv", "a", Some("1"));
    let removal = stage.engine.write("kv", "a", None);
    stage.tell([removal]);
    stage.tick(10);
    let got = line.take();
    let [Got::Changes(items, _)] = &got[..] else { panic!("one packet, not {got:?}") };
    assert!(
        items.as_array().expect("items").iter().all(|item| item["deleted"] == true && item["version"] == 2)
    );
    stage.tell([put]);
    stage.tick(10);
    assert_eq!(line.take(), []);
}

/// B6: a removal while the client was away.
#[test]
fn b6_a_removal_while_away_is_shown_and_so_is_what_follows() {
    let mut stage = Stage::kv();
    let (first, line) = stage.connect();
    stage.subscribe(first, &line, &["kv/a", "kv"], &[]);
    let news = stage.engine.write("kv", "a", Some("1"));
    let since = news.shown.positions.to_string();
    stage.tell([news]);
    let news = stage.engine.write("kv", "a", None);
    stage.tell([news]);
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv/a", "kv"], &[("kv/a", &since), ("kv", &since)]);
    assert!(ack["rooms"].as_array().expect("rooms").iter().all(|room| room["resumed"] == true), "{ack}");
    stage.tick(10);
    let got = line.take();
    let [Got::Changes(items, _)] = &got[..] else { panic!("one packet, not {got:?}") };
    assert_eq!(items.as_array().map(Vec::len), Some(2));
    assert!(items.as_array().expect("items").iter().all(|item| item["deleted"] == true), "{items}");
    let news = stage.engine.write("kv", "a", Some("3"));
    stage.tell([news]);
    stage.tick(10);
    assert_eq!(versions(&line.take()), [("a".into(), 3, 0), ("a".into(), 3, 0)]);
}

/// B7: left and joined again in the middle of the pages.
#[test]
fn b7_two_walks_through_the_pages_never_mix() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.page_bytes_max = 400);
    for n in 0..12 {
        stage.engine.write("kv", &format!("k{n:02}"), Some("0"));
    }
    let mut viewer = super::viewer::Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    stage.run_reads();
    viewer.hear();
    viewer.page(&mut stage);
    stage.begin_reads();
    stage.look(0);
    viewer.leave(&mut stage, "kv");
    viewer.ask(&mut stage, &["kv"]);
    let news: Vec<_> = (0..12).map(|n| stage.engine.write("kv", &format!("k{n:02}"), Some("1"))).collect();
    stage.tell(news);
    stage.settle(std::slice::from_mut(&mut viewer));
    viewer.assert_holds(&stage.engine);
    assert_eq!((viewer.acks, viewer.resyncs), (2, 0));
}

/// B10: a snapshot larger than the client's bound comes in pages, and nobody is removed for it.
#[test]
fn b10_a_snapshot_larger_than_the_bound_is_paged() {
    let mut stage = Stage::new(&[("kv", 1)], |config| {
        config.live.page_bytes_max = 10_000;
        config.live.unsent_bytes_max = 20_000;
    });
    let value = format!("\"{}\"", "x".repeat(900));
    for n in 0..200 {
        stage.engine.write("kv", &format!("k{n:03}"), Some(&value));
    }
    let mut viewer = super::viewer::Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    stage.settle(std::slice::from_mut(&mut viewer));
    viewer.assert_holds(&stage.engine);
    assert!(stage.engine.lists() >= 20, "{} pages", stage.engine.lists());
    assert!(viewer.line.most_unsent() <= 20_000, "{}", viewer.line.most_unsent());
}

#[test]
fn a_document_read_from_the_store_holds_a_position_ahead_of_what_is_known_here() {
    let mut stage = Stage::kv();
    stage.engine.write("kv", "a", Some("1"));
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a"], &[]);
    let unseen = stage.engine.write_unseen("kv", "a", Some("2"));
    let since = unseen.shown.positions.to_string();
    let (reader, other) = stage.connect();
    let ack = stage.subscribe(reader, &other, &["kv/a"], &[("kv/a", &since)]);
    assert_eq!(one(&ack)["resumed"], true, "the store was asked");
    stage.tick(10);
    assert_eq!(versions(&line.take()), [("a".into(), 2, 0)], "and what it had was announced");
    stage.engine.reveal();
    stage.tell([unseen]);
    stage.tick(10);
    assert_eq!((line.take(), other.take()), (vec![], vec![]));
    // One that even the store does not have.
    let ack = stage.subscribe(reader, &other, &["kv/a"], &[("kv/a", "0.1.999")]);
    assert_eq!((&one(&ack)["resumed"], &one(&ack)["entity"]["version"]), (&json!(false), &json!(2)));
}

#[test]
fn a_room_just_left_remembers_for_who_comes_back() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a", "kv"], &[]);
    let first = stage.engine.write("kv", "a", Some("1"));
    let since = first.shown.positions.to_string();
    stage.tell([first]);
    stage.order(crate::engine::live::Order::Disconnect { client });
    let news = stage.engine.write("kv", "a", Some("2"));
    stage.tell([news]);
    let (back, line) = stage.connect();
    let ack = stage.subscribe(back, &line, &["kv/a", "kv"], &[("kv/a", &since), ("kv", &since)]);
    assert!(ack["rooms"].as_array().expect("rooms").iter().all(|room| room["resumed"] == true), "{ack}");
    stage.tick(10);
    assert_eq!(versions(&line.take()), [("a".into(), 2, 0), ("a".into(), 2, 0)]);
}

#[test]
fn a_forgotten_tombstone_voids_the_room() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.engine.write("kv", "a", Some("1"));
    stage.engine.write("kv", "a", None);
    stage.subscribe(client, &line, &["kv/a"], &[]);
    let news = stage.engine.forget("kv", "a");
    stage.tell([news]);
    let got = line.take();
    let [Got::Resync(message)] = &got[..] else { panic!("a resync, not {got:?}") };
    assert_eq!(
        (&message["reason"], &message["entity"], &message["position"]),
        (&json!("forgotten"), &Value::Null, &Value::Null)
    );
    let news = stage.engine.write("kv", "a", Some("2"));
    stage.tell([news]);
    stage.tick(10);
    assert_eq!(versions(&line.take()), [("a".into(), 1, 0)]);
}

#[test]
fn a_key_begun_again_elsewhere_voids_the_room_too() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.engine.write("kv", "a", Some("1"));
    stage.engine.write("kv", "a", None);
    stage.subscribe(client, &line, &["kv/a"], &[]);
    stage.engine.forget("kv", "a");
    stage.engine.write("kv", "a", Some("2"));
    stage.beat(10_000);
    stage.run_reads();
    let got = line.take();
    let [Got::Resync(message)] = &got[..] else { panic!("a resync, not {got:?}") };
    assert_eq!((&message["reason"], &message["entity"]["version"]), (&json!("replaced"), &json!(1)));
}

#[test]
fn lost_news_are_found_in_the_store_on_the_beat() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a"], &[]);
    drop(stage.engine.write("kv", "a", Some("1")));
    stage.beat(9_000);
    stage.run_reads();
    assert_eq!(line.take(), []);
    stage.beat(1_000);
    stage.run_reads();
    assert_eq!(versions(&line.take()), [("a".into(), 1, 0)]);
}

#[test]
fn a_key_owned_elsewhere_is_read_every_second_and_its_answer_says_so() {
    let mut stage = Stage::kv();
    let partition = stage.engine.write("kv", "a", Some("1")).partition;
    stage.engine.set_owned("kv", partition, false);
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv/a"], &[]);
    assert_eq!(one(&ack)["feed"], "store");
    drop(stage.engine.write("kv", "a", Some("2")));
    stage.beat(1_000);
    stage.run_reads();
    stage.tick(10);
    assert_eq!(versions(&line.take()), [("a".into(), 2, 0)]);
    stage.engine.set_owned("kv", partition, true);
    stage.beat(1_000);
    let ack = stage.subscribe(client, &line, &["kv/a"], &[]);
    assert_eq!(one(&ack).get("feed"), None);
}

#[test]
fn partitions_that_come_or_go_send_the_streams_room_anew() {
    let mut stage = Stage::kv();
    let partition = stage.engine.write("kv", "a", Some("1")).partition;
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv"], &[]);
    stage.engine.set_owned("kv", partition, false);
    stage.beat(1_000);
    stage.run_reads();
    let got = line.take();
    let Some(Got::Resync(message)) = got.first() else { panic!("a resync, not {got:?}") };
    assert_eq!((&message["reason"], &message["items"][0]["key"]), (&json!("rebalanced"), &json!("a")));
}
