//! Partitions that another instance consumes, without Redis (semantics 18): the store is read on a beat.

use super::{stage::Stage, viewer::Viewer};
use crate::engine::news::{News, NewsKind};
use serde_json::json;

fn foreign(configure: impl FnOnce(&mut crate::config::Config)) -> Stage {
    let stage = Stage::new(&[("kv", 2)], configure);
    stage.engine.set_owned("kv", 0, false);
    stage.engine.set_owned("kv", 1, false);
    stage
}

/// Lets a second of beats and reads pass.
fn second(stage: &mut Stage) {
    stage.beat(1_000);
    stage.run_reads();
    stage.tick(10);
}

#[test]
fn a_stream_is_followed_key_by_key_with_new_ones_and_removals() {
    let mut stage = foreign(|_| {});
    for key in ["a", "b", "c"] {
        stage.engine.write("kv", key, Some("1"));
    }
    let (mut first, mut second_viewer) = (Viewer::new(&mut stage), Viewer::new(&mut stage));
    first.ask(&mut stage, &["kv"]);
    stage.run_reads();
    stage.engine.write("kv", "b", Some("2"));
    second_viewer.ask(&mut stage, &["kv"]);
    stage.run_reads();
    stage.tick(10);
    first.hear();
    assert_eq!(first.rooms["kv"].keys["b"].0, 2, "what one was shown first is told to the others");
    stage.engine.write("kv", "c", None);
    stage.engine.write("kv", "d", Some("1"));
    second(&mut stage);
    second(&mut stage);
    for viewer in [&mut first, &mut second_viewer] {
        viewer.hear();
        viewer.assert_holds(&stage.engine);
        assert_eq!((viewer.acks, viewer.resyncs), (1, 0));
    }
}

#[test]
fn what_did_not_change_is_not_told() {
    let mut stage = foreign(|_| {});
    stage.engine.write("kv", "a", Some("1"));
    let (client, line) = stage.connect();
    let ack = stage.subscribe(client, &line, &["kv"], &[]);
    assert_eq!(ack["rooms"][0]["feed"], "store");
    for _ in 0..5 {
        second(&mut stage);
    }
    assert_eq!(line.take(), []);
}

#[test]
fn a_stream_with_more_keys_than_can_be_followed_is_sent_anew() {
    let mut stage = foreign(|config| config.live.news_keys_max = 3);
    for key in ["a", "b", "c", "d"] {
        stage.engine.write("kv", key, Some("1"));
    }
    let mut viewer = Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    stage.run_reads();
    viewer.hear();
    stage.engine.write("kv", "d", Some("2"));
    for _ in 0..12 {
        second(&mut stage);
    }
    viewer.hear();
    assert!(viewer.resyncs > 0);
    viewer.assert_holds(&stage.engine);
}

#[test]
fn a_round_goes_on_in_parts_and_after_the_store_was_away() {
    let mut stage = foreign(|config| {
        config.limits.page_items_max = 8;
        config.live.page_bytes_max = 1_000;
    });
    for n in 0..40 {
        stage.engine.write("kv", &format!("k{n:02}"), Some("1"));
    }
    let mut viewer = Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    stage.settle(std::slice::from_mut(&mut viewer));
    stage.engine.set_away(true);
    second(&mut stage);
    stage.engine.set_away(false);
    stage.engine.write("kv", "k39", Some("2"));
    stage.engine.write("kv", "k00", Some("2"));
    second(&mut stage);
    second(&mut stage);
    viewer.hear();
    viewer.assert_holds(&stage.engine);
    assert_eq!(viewer.rooms["kv"].keys["k39"], (2, json!(2)));
}

/// Somebody stored `a` and ended before telling; what is told of `b` stands beyond it. Then a writer reads `a`.
#[test]
fn rule_13_what_was_only_read_and_stands_behind_the_room_brings_it_anew() {
    let mut stage = Stage::new(&[("kv", 1)], |_| {});
    let mut viewer = Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    stage.settle(std::slice::from_mut(&mut viewer));
    let untold = stage.engine.write("kv", "a", Some("1"));
    let told = stage.engine.write("kv", "b", Some("2"));
    stage.tell([told]);
    let read = News { covers: 0, kind: NewsKind::Read, ..untold };
    stage.tell([read.clone()]);
    stage.settle(std::slice::from_mut(&mut viewer));
    viewer.assert_holds(&stage.engine);
    assert_eq!((viewer.rooms["kv"].keys["a"].0, viewer.resyncs), (1, 1));
    // Once: from here on the room remembers what became of it.
    let newer = stage.engine.write("kv", "a", Some("3"));
    stage.tell([newer, read]);
    stage.settle(std::slice::from_mut(&mut viewer));
    viewer.assert_holds(&stage.engine);
    assert_eq!(viewer.resyncs, 1);
}
