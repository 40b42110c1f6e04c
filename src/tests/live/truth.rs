//! What the store holds is what is told: late and lost news, keys that are forgotten, begun again or owned elsewhere (semantics
//! 6, 13, 18; B5).

use super::{
    said::{one, versions},
    stage::{Got, Stage},
};
use serde_json::{Value, json};

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
