//! `statecast dlq` against a running instance: what an operator does about bad records, from list to replay.

use super::{binary, binary::Ended, eventually, ground::Ground, load::send_raw, same};
use rdkafka::message::OwnedHeaders;
use serde_json::Value;

async fn dlq(admin: &str, arguments: &[&str]) -> Ended {
    binary::run(&[&["dlq", "--admin", admin], arguments].concat(), &[]).await
}

async fn dlq_json(admin: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let ended = dlq(admin, &[arguments, &["--json"]].concat()).await;
    let answer = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended.code, answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_replayed_and_discarded_from_a_shell() {
    let Some(ground) = Ground::new("dlq").await else { return };
    let statecast = ground.start().await;
    let (producer, admin) = (ground.producer(), statecast.admin.as_str());
    let mut bad = Vec::new();
    for (key, value) in [("a", &b"{a"[..]), ("b", b"{b"), ("c", b"[\xff]")] {
        let headers = OwnedHeaders::new();
        let at = send_raw(&producer, &ground.name, 1, Some(key.as_bytes()), Some(value), headers).await;
        bad.push(format!("0.1.{at}"));
    }
    eventually("three are listed", async || {
        let (_, page) = dlq_json(admin, &["list", "kv"]).await;
        same(page["items"].as_array().map_or(0, Vec::len), &3)
    })
    .await;

    let counted = dlq(admin, &["list"]).await;
    assert!(counted.stdout.contains("kv      malformed_json  3"), "{counted:?}");
    let first = dlq(admin, &["list", "kv", "--partition", "1", "--limit", "2"]).await;
    assert!(first.stdout.contains(&bad[2]) && first.stdout.contains(&bad[1]), "newest first: {first:?}");
    assert!(!first.stdout.contains(&bad[0]) && first.stdout.contains("there are more: --after"), "{first:?}");
    let elsewhere = dlq(admin, &["list", "kv", "--partition", "2"]).await;
    assert_eq!((elsewhere.code, elsewhere.stdout.as_str()), (Some(0), "no dead letters\n"));
    let text = dlq(admin, &["show", "kv", &bad[0]]).await.stdout;
    assert!(text.ends_with("\n\n{a\n"), "{text}");
    let hex = dlq(admin, &["show", "kv", &bad[2]]).await.stdout;
    assert!(hex.contains("00000000  5b ff 5d"), "{hex}");

    // What was replayed is bad still: a letter of its own, at its own position. Those are seen to be three more.
    let (code, done) = dlq_json(admin, &["replay", "kv", "--all"]).await;
    assert_eq!((code, done["replayed"].as_array().map(Vec::len)), (Some(0), Some(3)), "{done}");
    assert_eq!(done["replayed"][0]["replayed"], bad[0], "the oldest first: {done}");
    eventually("the replayed ones came back", async || {
        let (_, page) = dlq_json(admin, &["list", "kv"]).await;
        same(page["items"].as_array().map_or(0, Vec::len), &6)
    })
    .await;
    let shown = dlq(admin, &["show", "kv", &bad[0]]).await.stdout;
    assert!(shown.contains("mark      replayed at "), "{shown}");

    // All of what is open: the marked ones are passed by.
    let discarded = dlq(admin, &["discard", "kv", "--all"]).await;
    assert_eq!(discarded.code, Some(0), "{discarded:?}");
    assert!(discarded.stdout.ends_with("3 of 3 discarded\n"), "{discarded:?}");
    assert_eq!(dlq(admin, &["list"]).await.stdout, "no dead letters\n");

    let missing = dlq(admin, &["replay", "kv", &bad[0], "0.1.999"]).await;
    assert_eq!(missing.code, Some(65), "{missing:?}");
    assert!(missing.stdout.ends_with("0.1.999 no such dead letter\n1 of 2 replayed\n"), "{missing:?}");
    let no_stream = dlq(admin, &["list", "kw"]).await;
    assert_eq!((no_stream.code, no_stream.stdout.as_str()), (Some(64), ""));
    assert!(no_stream.stderr.contains("no such stream"), "{no_stream:?}");
}
