//! Bad records from Kafka: each is a dead letter with its bytes and its reason, and its neighbours do not notice.

use super::{
    eventually,
    ground::{Ground, Letter},
    load::send_raw,
};
use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::FutureProducer,
};
use std::time::{Duration, Instant};

/// What is bad about it, the key, the value, and the reason it must be given.
type Bad = (&'static str, Option<Vec<u8>>, Vec<u8>, &'static str);

fn bad_records() -> Vec<Bad> {
    let key = |text: &str| Some(text.as_bytes().to_vec());
    let deep = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    vec![
        ("not JSON", key("bad-json"), b"{bad".to_vec(), "malformed_json"),
        ("nothing where a value belongs", key("bad-empty"), Vec::new(), "malformed_json"),
        ("no UTF-8", key("bad-text"), b"\"\xff\"".to_vec(), "malformed_json"),
        ("deep nesting", key("bad-depth"), deep(65), "too_deep"),
        ("very deep nesting", key("bad-abyss"), deep(100_000), "too_deep"),
        ("10 MB", key("bad-size"), format!("\"{}\"", "x".repeat(10 << 20)).into_bytes(), "too_large"),
        ("an empty key", key(""), b"1".to_vec(), "invalid_key"),
        ("a key over 512 bytes", Some(vec![b'k'; 513]), b"1".to_vec(), "invalid_key"),
        ("a key that is no UTF-8", Some(b"bad-\xff\xfe".to_vec()), b"1".to_vec(), "invalid_key"),
        ("no key", None, b"1".to_vec(), "invalid_key"),
        ("NaN", key("bad-nan"), b"{\"n\":NaN}".to_vec(), "malformed_json"),
        ("an integer beyond 64 bits", key("bad-number"), b"[9223372036854775808]".to_vec(), "number_range"),
        ("a name twice", key("bad-twice"), b"{\"a\":1,\"a\":2}".to_vec(), "duplicate_name"),
    ]
}

/// Headers of the sender's own, not all of them text.
fn own_headers() -> OwnedHeaders {
    let headers = OwnedHeaders::new().insert(Header { key: "traceparent", value: Some("00-1-2-01") });
    let headers = headers.insert(Header { key: "bytes", value: Some(&b"\xff\x00"[..]) });
    headers.insert(Header { key: "none", value: None::<&[u8]> })
}

async fn good(producer: &FutureProducer, topic: &str, key: &str) -> i64 {
    send_raw(producer, topic, 0, Some(key.as_bytes()), Some(b"1"), OwnedHeaders::new()).await
}

fn header(letter: &Letter, name: &str) -> String {
    let found = letter.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.clone());
    String::from_utf8(found.unwrap_or_else(|| panic!("{name}: {letter:?}"))).expect("text")
}

async fn dead_letters(ground: &Ground, count: usize) -> Vec<Letter> {
    eventually("dead letters", async || {
        let letters = ground.read_topic(&ground.dead_letters()).await;
        if letters.len() >= count { Ok(letters) } else { Err(letters.len()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_records_are_dead_letters_with_their_bytes_and_their_neighbours_are_stored() {
    let Some(ground) = Ground::new("bad").await else { return };
    let statecast = ground.start().await;
    let producer = ground.producer();
    let (bad, mut offsets) = (bad_records(), Vec::new());
    good(&producer, &ground.name, "good-first").await;
    for (i, (_, key, value, _)) in bad.iter().enumerate() {
        let (key, value) = (key.as_deref(), Some(value.as_slice()));
        offsets.push(send_raw(&producer, &ground.name, 0, key, value, own_headers()).await);
        good(&producer, &ground.name, &format!("good-{i}")).await;
    }
    let last = good(&producer, &ground.name, "good-last").await;

    let letters = dead_letters(&ground, bad.len()).await;
    assert_eq!(letters.len(), bad.len());
    for ((what, key, value, reason), offset) in bad.iter().zip(offsets) {
        let of_it = |letter: &&Letter| header(letter, "statecast-dlq-offset") == offset.to_string();
        let letter = letters.iter().find(of_it).unwrap_or_else(|| panic!("{what} has no dead letter"));
        assert_eq!(header(letter, "statecast-dlq-reason"), *reason, "{what}");
        assert!(letter.key == *key && letter.value.as_ref() == Some(value), "{what}: the bytes are others");
        assert_eq!(
            letter.headers[..3],
            [
                ("traceparent".to_owned(), Some(b"00-1-2-01".to_vec())),
                ("bytes".to_owned(), Some(b"\xff\x00".to_vec())),
                ("none".to_owned(), None),
            ]
        );
        assert_eq!(header(letter, "statecast-dlq-topic"), ground.name);
        assert_eq!(header(letter, "statecast-dlq-partition"), "0");
        assert_eq!(header(letter, "statecast-dlq-stream"), "kv");
        for told in ["timestamp", "detail", "at"] {
            assert!(!header(letter, &format!("statecast-dlq-{told}")).is_empty(), "{what}: {told}");
        }
    }

    let names = (0..bad.len()).map(|i| i.to_string()).chain(["first".into(), "last".into()]);
    ground.settles_at(&names.map(|name| (format!("good-{name}"), 1)).collect()).await;
    assert_eq!(statecast.entity("bad-json").await, None);
    assert_eq!(statecast.entity("good-last").await.expect("there")["value"], 1);
    eventually("everything is committed", async || {
        let committed = ground.committed().await[0];
        if committed == last as u64 + 1 { Ok(()) } else { Err(committed) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_past_a_bad_record_is_committed_while_its_letter_cannot_be_written() {
    /// Several beats of the committer.
    const LOOK_FOR: Duration = Duration::from_secs(3);
    let Some(ground) = Ground::new("letter").await else { return };
    let statecast = ground.start_with(&["kafka.delivery_timeout_ms=1500"]).await;
    let producer = ground.producer();
    good(&producer, &ground.name, "before").await;
    ground.reaches("before", 1).await;
    delete_topic(&ground, &ground.dead_letters()).await;

    let bad = send_raw(&producer, &ground.name, 0, Some(b"bad"), Some(b"{bad"), own_headers()).await;
    let after = good(&producer, &ground.name, "after").await;
    let start = Instant::now();
    while start.elapsed() < LOOK_FOR {
        let committed = ground.committed().await[0];
        assert!(
            committed <= bad as u64,
            "{committed} is past {bad}, which has no letter:\n{}",
            statecast.said()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    ground.create_topics().await;
    let letters = dead_letters(&ground, 1).await;
    assert_eq!(letters[0].value.as_deref(), Some(&b"{bad"[..]));
    ground.reaches("after", 1).await;
    eventually("both are committed", async || {
        let committed = ground.committed().await[0];
        if committed == after as u64 + 1 { Ok(()) } else { Err((committed, statecast.said())) }
    })
    .await;
}

async fn delete_topic(ground: &Ground, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ground.client_config().create().expect("admin");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let deleted = admin.delete_topics(&[topic], &options).await.expect("answer");
    assert_eq!(deleted, [Ok(topic.to_owned())]);
}
