//! `/live` as any HTTP client reads it.

use super::served::Served;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Default, PartialEq)]
struct Event {
    name: String,
    data: Value,
    id: Option<String>,
}

struct Reader {
    answer: reqwest::Response,
    text: String,
    comments: usize,
    /// As a browser keeps it: that of the last event that had one.
    last_id: String,
    retry: Option<u64>,
}

impl Reader {
    async fn open(served: &Served, query: &str, last_id: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(format!("{}/live?{query}", served.url));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Reader { answer, text: String::new(), comments: 0, last_id: String::new(), retry: None }
    }

    async fn next(&mut self) -> Event {
        self.next_or_end().await.expect("the stream goes on")
    }

    async fn next_or_end(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(event) = self.read(&block) {
                    return Some(event);
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.answer.chunk()).await.expect("something comes");
            self.text.push_str(std::str::from_utf8(&chunk.ok()??).expect("UTF-8"));
        }
    }

    fn read(&mut self, block: &str) -> Option<Event> {
        let mut event = Event::default();
        for line in block.lines().filter(|line| !line.is_empty()) {
            match line.split_once(':') {
                Some(("", _)) => self.comments += 1,
                Some(("event", name)) => event.name = name.trim().into(),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                Some(("id", id)) => event.id = Some(id.trim().into()),
                Some(("retry", ms)) => self.retry = ms.trim().parse().ok(),
                _ => panic!("no field: {line:?}"),
            }
        }
        if let Some(id) = &event.id {
            self.last_id.clone_from(id);
        }
        (!event.name.is_empty()).then_some(event)
    }

    async fn named(&mut self, name: &str) -> Event {
        let event = self.next().await;
        assert_eq!(event.name, name, "{event:?}");
        event
    }
}

async fn refused(served: &Served, query: &str, origin: Option<&str>) -> Value {
    let mut request = reqwest::Client::new().get(format!("{}/live?{query}", served.url));
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    answer.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_then_changes_and_a_cursor_that_resumes() {
    let served = Served::start(|_| {}).await;
    served.engine.write("kv", "a", Some("{\n \"n\": 1\n}"));
    let mut reader = Reader::open(&served, "room=kv/a&room=kv/b", None).await;
    let (first, second) = (reader.named("snapshot").await, reader.named("snapshot").await);
    assert_eq!(
        (&first.data["room"], &first.data["entity"]["value"], &first.id),
        (&json!("kv/a"), &json!({"n": 1}), &None)
    );
    assert_eq!((&second.data["room"], &second.data["entity"]), (&json!("kv/b"), &Value::Null));
    assert!(second.id.is_some() && reader.retry.is_some());
    served.write("a", Some("2"));
    let change = reader.named("change").await;
    assert_eq!(
        (&change.data["room"], &change.data["value"], &change.data["skipped"]),
        (&json!("kv/a"), &json!(2), &json!(0))
    );
    let cursor = reader.last_id.clone();
    assert_eq!(Some(&cursor), change.id.as_ref());
    drop(reader);
    served.until_clients(0).await;
    for n in 3..=5 {
        served.write("a", Some(&n.to_string()));
    }
    served.write("b", Some("1"));
    // As a browser comes back, and as anyone else does.
    for (query, id) in [
        ("room=kv/a&room=kv/b".to_owned(), Some(cursor.as_str())),
        (format!("room=kv/a&room=kv/b&cursor={cursor}"), None),
    ] {
        let mut reader = Reader::open(&served, &query, id).await;
        let (first, second) = (reader.named("snapshot").await, reader.named("snapshot").await);
        assert_eq!((&first.data["resumed"], &first.data["entity"]), (&json!(true), &Value::Null));
        assert_eq!((&second.data["resumed"], &second.data["entity"]["version"]), (&json!(false), &json!(1)));
        let change = reader.named("change").await;
        assert_eq!((&change.data["version"], &change.data["skipped"]), (&json!(5), &json!(2)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_comes_page_by_page_by_itself_and_its_cursor_with_the_last_page() {
    let served = Served::start(|config| config.live.page_bytes_max = 4_000).await;
    for n in 0..100 {
        served.write(&format!("k{n:03}"), Some("1"));
    }
    let mut reader = Reader::open(&served, "room=kv", None).await;
    let (mut keys, mut pages) = (Vec::new(), 0);
    let before = loop {
        let page = reader.named("snapshot").await;
        pages += 1;
        keys.extend(page.data["items"].as_array().expect("items").iter().map(|item| item["key"].clone()));
        if page.data["next"].is_null() {
            break page.id.expect("id");
        }
    };
    assert!(pages > 3 && keys.len() == 100, "{} keys in {pages} pages", keys.len());
    served.write("k050", Some("2"));
    let change = reader.named("change").await;
    assert_eq!((&change.data["room"], &change.data["key"]), (&json!("kv"), &json!("k050")));
    served.write("k051", Some("2"));
    drop(reader);
    let mut reader = Reader::open(&served, &format!("room=kv&cursor={}", change.id.expect("id")), None).await;
    assert_eq!(reader.named("snapshot").await.data["resumed"], true);
    assert_eq!(reader.named("change").await.data["key"], "k051");
    assert_ne!(before, reader.last_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_line_has_comments_and_a_heartbeat_has_no_id() {
    let served = Served::start(|config| {
        config.live.sse_comment_ms = 100;
        config.live.heartbeat_ms = 700;
    })
    .await;
    served.engine.write("kv", "a", Some("1"));
    let mut reader = Reader::open(&served, "room=kv/a", None).await;
    let id = reader.named("snapshot").await.id;
    let beat = reader.named("heartbeat").await;
    assert_eq!(
        (&beat.data[0]["room"], &beat.data[0]["position"], &beat.id),
        (&json!("kv/a"), &json!("0.1.0"), &None)
    );
    assert!(beat.data[0]["at"].is_string() && reader.comments >= 2, "{} comments", reader.comments);
    assert_eq!(id.as_ref(), Some(&reader.last_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_request_is_a_problem() {
    let served =
        Served::start(|config| config.security.allowed_origins = vec!["http://friend.example".into()]).await;
    for (query, status, named) in [
        ("", 400, "room"),
        ("room=nope", 404, "nope"),
        ("room=kv/a&room=kv%3Anever", 404, "kv:never"),
        ("room=kv/", 400, "kv/"),
        ("room=kv/a&cursor=%21", 400, "cursor"),
        ("room=kv/a&since=0.0.1", 400, "since"),
    ] {
        let problem = refused(&served, query, None).await;
        assert_eq!(problem["status"], status, "{query}: {problem}");
        assert!(problem["errors"].to_string().contains(named), "{query}: {problem}");
    }
    assert_eq!(refused(&served, "room=kv/a", Some("http://evil.example")).await["status"], 403);
    served.engine.set_away(true);
    let problem = refused(&served, "room=kv/a", None).await;
    assert_eq!((&problem["status"], problem["retry_ms"].is_u64()), (&json!(503), true), "{problem}");
    served.until_clients(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_gets_the_newest_and_in_the_end_is_cut() {
    let served = Served::start(|config| {
        config.live.unsent_bytes_max = 64 << 10;
        config.live.send_buffer_bytes = 8 << 10;
        config.live.stalled_after_ms = 4_000;
    })
    .await;
    let mut reader = Reader::open(&served, "room=kv/a", None).await;
    reader.named("snapshot").await;
    let mut other = Reader::open(&served, "room=kv/b", None).await;
    other.named("snapshot").await;
    let value = format!("\"{}\"", "x".repeat(100 << 10));
    for _ in 0..200 {
        served.write("a", Some(&value));
        tokio::time::sleep(Duration::from_millis(6)).await;
    }
    let (mut versions, mut all) = (Vec::new(), 0);
    while versions.last() != Some(&200) {
        let change = reader.named("change").await;
        versions.push(change.data["version"].as_u64().expect("version"));
        all += 1 + change.data["skipped"].as_u64().expect("skipped");
    }
    assert!(versions.len() < 150 && all == 200, "{versions:?}");
    let began = Instant::now();
    while served.live.stats().clients.load(std::sync::atomic::Ordering::Relaxed) > 1 {
        assert!(began.elapsed() < Duration::from_secs(12), "it is still there");
        served.write("a", Some(&value));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let removed = served.live.stats().removed.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(removed, 1, "counted, whether the kernel or we found it first");
    served.write("b", Some("1"));
    assert_eq!(other.named("change").await.data["version"], 1);
    while let Some(event) = reader.next_or_end().await {
        assert_eq!(event.name, "change");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_goodbye_and_ends_the_stream() {
    let served = Served::start(|_| {}).await;
    let mut reader = Reader::open(&served, "room=kv/a", None).await;
    reader.named("snapshot").await;
    served.live.goodbye("restart").await;
    let word = reader.named("goodbye").await;
    assert_eq!((&word.data["reason"], word.data["retry_ms"].as_u64()), (&json!("restart"), reader.retry));
    assert_eq!(reader.next_or_end().await, None);
    assert_eq!(refused(&served, "room=kv/a", None).await["status"], 503);
}
