//! Coming back with a position: the missed changes, or the truth anew, never a hole (semantics 13-16; B1-B3, B6).

use super::{
    said::{one, versions},
    stage::{Got, Stage},
};
use serde_json::{Value, json};

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
