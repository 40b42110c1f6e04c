//! Clients that read slowly, or not at all: the newest per key, within the bound, and nobody else notices (semantics 17).

use super::stage::{Got, Stage};
use crate::engine::live::Order;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

fn items(got: &[Got]) -> Vec<Value> {
    let items =
        got.iter().filter_map(|got| if let Got::Changes(items, _) = got { items.as_array() } else { None });
    items.flatten().cloned().collect()
}

#[test]
fn an_idle_client_hears_at_once_and_a_busy_one_once_per_tick() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a"], &[]);
    for n in 1..=4 {
        let news = stage.engine.write("kv", "a", Some(&n.to_string()));
        stage.tell([news]);
    }
    let got = line.take();
    assert_eq!(items(&got).iter().map(|i| i["version"].clone()).collect::<Vec<_>>(), [json!(1)], "at once");
    stage.tick(4);
    assert_eq!(line.take(), []);
    stage.tick(1);
    let got = items(&line.take());
    assert_eq!((got.len(), &got[0]["version"], &got[0]["skipped"]), (1, &json!(4), &json!(2)));
}

#[test]
fn all_that_changed_for_a_client_is_one_packet() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a", "kv/b", "kv"], &[]);
    let news = ["a", "b", "c"].map(|key| stage.engine.write("kv", key, Some("1")));
    stage.tell(news);
    let got = line.take();
    let [Got::Changes(items, positions)] = &got[..] else { panic!("one packet, not {got:?}") };
    assert_eq!(items.as_array().map(Vec::len), Some(5));
    assert!(positions["kv"].is_string(), "{positions}");
}

#[test]
fn a_client_that_does_not_read_gets_the_newest_per_key_when_it_does() {
    let mut stage = Stage::kv();
    let ((slow, line), (quick, other)) = (stage.connect(), stage.connect());
    stage.subscribe(slow, &line, &["kv/a", "kv"], &[]);
    stage.subscribe(quick, &other, &["kv/a"], &[]);
    line.shut();
    let text = "x".repeat(600);
    for n in 1..=500 {
        let value = format!("\"{text}{n}\"");
        let news = stage.engine.write("kv", if n % 5 == 0 { "b" } else { "a" }, Some(&value));
        stage.tell([news]);
        stage.tick(5);
    }
    assert_eq!(items(&other.take()).len(), 400, "the quick one had every one");
    let before = items(&line.take());
    let last = |key: &str| {
        before
            .iter()
            .rev()
            .find(|i| i["room"] == "kv" && i["key"] == key)
            .map_or(0, |i| i["version"].as_u64().expect("version"))
    };
    line.open();
    stage.tick(20);
    let got = items(&line.take());
    assert_eq!(got.len(), 3, "{got:?}");
    for item in got {
        let (key, version) = (item["key"].as_str().expect("key"), item["version"].as_u64().expect("version"));
        assert_eq!(version, if key == "a" { 400 } else { 100 });
        assert_eq!(item["skipped"], version - last(key) - 1, "{item}");
    }
}

#[test]
fn rule_17_what_is_handed_over_stays_within_the_bound() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.unsent_bytes_max = 10_000);
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv"], &[]);
    line.shut();
    let value = format!("\"{}\"", "x".repeat(700));
    for n in 0..2_000 {
        let news = stage.engine.write("kv", &format!("k{}", n % 40), Some(&value));
        stage.tell([news]);
        stage.tick(5);
    }
    assert!(line.most_unsent() <= 10_000, "{}", line.most_unsent());
    line.take();
    line.open();
    stage.tick(20);
    stage.tick(20);
    stage.tick(20);
    stage.tick(20);
    let got = line.take();
    assert_eq!(items(&got).len(), 40);
    // The position says that the client is whole, so it stands with the last packet alone.
    let positions: Vec<bool> =
        got.iter().map(|got| matches!(got, Got::Changes(_, p) if !p.is_null())).collect();
    assert!(
        positions.len() > 1 && positions.iter().rev().skip(1).all(|p| !p) && positions.last() == Some(&true),
        "{positions:?}"
    );
}

#[test]
fn an_entity_larger_than_the_bound_still_comes() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.unsent_bytes_max = 1_000);
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a", "kv/b"], &[]);
    let large = format!("\"{}\"", "x".repeat(5_000));
    let news = ["a", "b"].map(|key| stage.engine.write("kv", key, Some(&large)));
    stage.tell(news);
    stage.tick(5);
    stage.tick(5);
    assert_eq!(items(&line.take()).len(), 2);
}

#[test]
fn a_stream_that_changes_beyond_what_may_wait_is_sent_anew() {
    let mut stage = Stage::new(&[("kv", 1)], |config| {
        config.live.waiting_keys_max = 10;
        config.live.unsent_bytes_max = 2_000;
    });
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv", "kv/k00"], &[]);
    line.shut();
    for n in 0..50 {
        let news = stage.engine.write("kv", &format!("k{n:02}"), Some("1"));
        stage.tell([news]);
    }
    line.take();
    line.open();
    stage.tick(20);
    stage.run_reads();
    stage.tick(20);
    let got = line.take();
    let resync = got.iter().find_map(|got| if let Got::Resync(message) = got { Some(message) } else { None });
    let message = resync.unwrap_or_else(|| panic!("a resync in {got:?}"));
    assert_eq!((&message["room"], &message["reason"]), (&json!("kv"), &json!("overflow")));
    assert!(message["items"].as_array().is_some_and(|items| items.len() > 10), "{message}");
}

#[test]
fn a_full_buffer_of_the_socket_layer_loses_nothing() {
    let mut stage = Stage::kv();
    let (client, line) = stage.connect();
    stage.subscribe(client, &line, &["kv/a"], &[]);
    line.set_full(true);
    for n in 1..=3 {
        let news = stage.engine.write("kv", "a", Some(&n.to_string()));
        stage.tell([news]);
        stage.tick(20);
    }
    assert_eq!(line.take(), []);
    line.set_full(false);
    stage.tick(20);
    stage.tick(20);
    let got: Vec<_> =
        items(&line.take()).iter().map(|i| (i["version"].clone(), i["skipped"].clone())).collect();
    assert_eq!(got, [(json!(1), json!(0)), (json!(3), json!(1))]);
}

#[test]
fn a_client_that_takes_nothing_is_closed_and_gone_in_time() {
    let mut stage = Stage::kv();
    let ((stuck, line), (quick, other)) = (stage.connect(), stage.connect());
    stage.subscribe(stuck, &line, &["kv/a"], &[]);
    stage.subscribe(quick, &other, &["kv/a"], &[]);
    line.shut();
    let mut seconds = 0;
    while stage.hub.rooms_of(stuck).is_some() {
        seconds += 1;
        assert!(seconds < 30, "gone within 30 s");
        let value = format!("\"{}\"", "x".repeat(1_000));
        let news = stage.engine.write("kv", "a", Some(&value));
        stage.tell([news]);
        stage.tick(20);
        stage.beat(980);
    }
    assert!(seconds >= 20 && line.is_closed());
    assert_eq!(items(&other.take()).len(), seconds, "the other one had them all");
    assert_eq!(stage.hub.rooms_of(quick), Some(1));
}

#[test]
fn pages_of_a_client_that_cannot_ask_come_by_themselves_as_fast_as_it_reads() {
    let mut stage = Stage::new(&[("kv", 1)], |config| {
        config.live.page_bytes_max = 500;
        config.live.unsent_bytes_max = 1_000;
    });
    for n in 0..20 {
        stage.engine.write("kv", &format!("k{n:02}"), Some("1"));
    }
    let (client, line) = stage.connect_sse();
    line.shut();
    stage.ask(client, &line, &["kv"], &[]);
    stage.run_reads();
    for _ in 0..10 {
        stage.tick(200);
        stage.run_reads();
    }
    let held_back = line.take().len();
    assert!(held_back < 4, "no more pages than it reads: {held_back}");
    line.open();
    for _ in 0..20 {
        stage.tick(20);
        stage.run_reads();
    }
    let pages = line.take();
    assert!(matches!(pages.last(), Some(Got::Page(page)) if page["next"].is_null()), "{:?}", pages.last());
}

#[test]
fn a_client_whose_connection_the_system_gave_up_counts_as_removed_and_one_that_left_does_not() {
    let mut stage = Stage::kv();
    let (leaving, _line) = stage.connect();
    let (stuck, line) = stage.connect();
    stage.ask(stuck, &line, &["kv/a"], &[]);
    stage.run_reads();
    stage.order(Order::Disconnect { client: leaving });
    assert_eq!(stage.stats.removed.load(Ordering::Relaxed), 0);
    line.give_up();
    stage.order(Order::Disconnect { client: stuck });
    assert_eq!(stage.stats.removed.load(Ordering::Relaxed), 1);
    assert_eq!(stage.stats.clients.load(Ordering::Relaxed), 0);
}
