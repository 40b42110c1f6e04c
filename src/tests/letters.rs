//! Dead letters at the desk, over the in-memory twin: whose they are, and what a replay may be put over.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    apps,
    config::{Config, Projection, Stream, streams},
    engine::{
        api::{DeadLetterFilter, DeadLetters, Replay, State},
        run::{self, Running},
    },
    ports::{Log, Ports},
    record::{NewRecord, Position},
    tests::only,
};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(60);
/// The topic of every stream here.
const TOPIC: &str = "readings";

/// Declared streams of one topic on a log and a store in memory.
struct Bench {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    config: Config,
}

impl Bench {
    async fn new(declared: impl IntoIterator<Item = (&'static str, Stream)>) -> Bench {
        let mut config = Config { streams: only(&[]), ..Config::default() };
        config.streams.extend(
            declared
                .into_iter()
                .map(|(name, stream)| (name.into(), Stream { topic: TOPIC.into(), ..stream })),
        );
        assert_eq!(crate::config::validate::faults(&config), []);
        let (log, store) = (Arc::new(MemoryLog::default()), Arc::new(MemoryStore::default()));
        log.create_topics(&streams::topics(&config)).await.expect("topics");
        Bench { log, store, config }
    }

    async fn start(&self) -> Running {
        let ports = Ports { log: self.log.clone(), store: self.store.clone(), readers: self.store.clone() };
        let live = run::start(&self.config, ports, apps::register(&self.config), "test".into()).await;
        let live = live.expect("engine");
        eventually("running", async || {
            live.engine.streams().iter().all(|stream| stream.state == State::Running).then_some(())
        })
        .await;
        live
    }

    /// What a producer of the topic sends; `second` is the record's time.
    async fn produce(&self, partition: u32, second: i64, value: &str) -> Position {
        let record = NewRecord {
            key: Some(b"any".to_vec()),
            value: Some(value.into()),
            partition: Some(partition),
            time_ms: Some(second * 1_000),
            ..NewRecord::default()
        };
        let (partition, offset) = self.log.append(TOPIC, record).await.expect("appended");
        Position { epoch: 0, partition, offset }
    }
}

/// Asks until there is an answer, since all of this happens some time after it was asked for.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < SOON, "{what}: not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn lies_there(desk: &dyn DeadLetters, stream: &str, position: Position) {
    eventually("the letter", async || desk.show(stream, position).await.expect("shown")).await;
}

async fn positions(desk: &dyn DeadLetters, stream: &str) -> Vec<String> {
    let filter = DeadLetterFilter { limit: 10, ..DeadLetterFilter::default() };
    let listed = desk.list(stream, filter).await.expect("listed");
    let items = listed["items"].as_array().expect("items").iter();
    items.map(|item| item["position"].as_str().expect("position").to_owned()).collect()
}

async fn open(desk: &dyn DeadLetters) -> (Value, Vec<Value>) {
    let summary = desk.summary().await.expect("summary");
    let streams = summary["streams"].as_array().expect("streams").iter();
    (summary["total"].clone(), streams.map(|stream| stream["reasons"].clone()).collect())
}

/// A schema that wants these members.
fn wanting(members: &str) -> String {
    format!(r#"{{"type":"object","required":[{members}]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_streams_of_a_topic_each_has_the_letters_that_it_refused() {
    let strict = Stream { projection: Projection::Latest, schema: wanting("\"n\""), ..Stream::default() };
    let bench = Bench::new([
        ("lax", Stream { projection: Projection::Latest, ..Stream::default() }),
        ("strict", strict),
    ])
    .await;
    let live = bench.start().await;
    let desk = live.engine.dead_letters().expect("desk");
    let for_one = bench.produce(0, 1, "{}").await;
    lies_there(&*desk, "strict", for_one).await;
    let for_both = bench.produce(0, 2, "{").await;
    lies_there(&*desk, "strict", for_both).await;
    // Each reads the letters in their order, so that who has this one has passed over the first.
    lies_there(&*desk, "lax", for_both).await;
    assert_eq!(positions(&*desk, "lax").await, [for_both.to_string()]);
    assert_eq!(positions(&*desk, "strict").await, [for_both.to_string(), for_one.to_string()]);
    assert_eq!(desk.show("lax", for_one).await.expect("answered"), None);
    assert!(!desk.discard("lax", for_one).await.expect("answered"));
    assert!(desk.discard("strict", for_one).await.expect("discarded"));
    let malformed = serde_json::json!({ "malformed_json": 1 });
    assert_eq!(open(&*desk).await, (2.into(), vec![malformed.clone(), malformed]));

    let headers = [("partition", "0"), ("offset", "77"), ("reason", "too_deep")];
    let headers = headers.map(|(name, value)| (format!("statecast-dlq-{name}"), Some(value.into())));
    let nobodys = NewRecord { value: Some(b"{}".to_vec()), headers: headers.into(), ..NewRecord::default() };
    bench.log.append(&format!("{TOPIC}.dlq"), nobodys).await.expect("appended");
    let nobodys = Position { epoch: 0, partition: 0, offset: 77 };
    lies_there(&*desk, "lax", nobodys).await;
    lies_there(&*desk, "strict", nobodys).await;
    live.stop(Duration::from_secs(5)).await;
}

/// Streams of readings by sensor, which want a value `v` until they are widened.
async fn sensors() -> Bench {
    let stream = |projection| Stream {
        projection,
        key: "/sensor".into(),
        schema: wanting("\"sensor\",\"v\""),
        ..Stream::default()
    };
    let figures = [("readings".to_owned(), "count".to_owned())].into();
    let counted = Stream { aggregates: figures, ..stream(Projection::Aggregate) };
    Bench::new([("newest", stream(Projection::Latest)), ("counted", counted)]).await
}

async fn replay(desk: &dyn DeadLetters, stream: &str, position: Position, force: bool) -> Replay {
    desk.replay(stream, position, force).await.expect("answered")
}

async fn shows(live: &Running, stream: &str, key: &str, wanted: &str) {
    eventually(wanted, async || {
        let read = live.engine.read(stream, key).await.expect("read")?;
        read.shown.value.filter(|value| value.text() == wanted)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_not_put_over_something_newer_of_a_key_that_stands_in_the_value() {
    let mut bench = sensors().await;
    let live = bench.start().await;
    // Overtaken: in its own partition, and in another by a newer time. Not overtaken: by an older time, and by nothing.
    let same = bench.produce(0, 10, r#"{"sensor":"same","w":1}"#).await;
    let later = bench.produce(0, 20, r#"{"sensor":"later","w":1}"#).await;
    let earlier = bench.produce(0, 30, r#"{"sensor":"earlier","w":1}"#).await;
    let alone = bench.produce(0, 40, r#"{"sensor":"alone","w":1}"#).await;
    let broken = bench.produce(0, 50, "{").await;
    for (sensor, partition, second) in [("same", 0, 5), ("later", 1, 21), ("earlier", 1, 29)] {
        let good = format!(r#"{{"sensor":"{sensor}","v":2}}"#);
        bench.produce(partition, second, &good).await;
        shows(&live, "newest", sensor, &good).await;
        shows(&live, "counted", sensor, r#"{"readings":1}"#).await;
    }
    assert!(live.stop(Duration::from_secs(10)).await);

    for stream in bench.config.streams.values_mut().filter(|stream| !stream.schema.is_empty()) {
        stream.schema = wanting("\"sensor\"");
    }
    let live = bench.start().await;
    let desk = live.engine.dead_letters().expect("desk");
    for position in [same, later, earlier, alone, broken] {
        lies_there(&*desk, "newest", position).await;
        lies_there(&*desk, "counted", position).await;
    }
    for overtaken in [same, later] {
        assert_eq!(replay(&*desk, "newest", overtaken, false).await, Replay::Superseded, "{overtaken}");
    }
    shows(&live, "newest", "later", r#"{"sensor":"later","v":2}"#).await;
    // Both streams take what one of them replays.
    for (sensor, position, readings) in [("earlier", earlier, 2), ("alone", alone, 1)] {
        let answer = replay(&*desk, "newest", position, false).await;
        assert!(matches!(answer, Replay::Appended(_)), "{sensor}: {answer:?}");
        shows(&live, "newest", sensor, &format!(r#"{{"sensor":"{sensor}","w":1}}"#)).await;
        shows(&live, "counted", sensor, &format!(r#"{{"readings":{readings}}}"#)).await;
    }
    let counted = replay(&*desk, "counted", same, false).await;
    assert!(matches!(counted, Replay::Appended(_)), "nothing is overwritten of what adds up: {counted:?}");
    shows(&live, "counted", "same", r#"{"readings":2}"#).await;
    assert!(matches!(replay(&*desk, "newest", later, true).await, Replay::Appended(_)));
    shows(&live, "newest", "later", r#"{"sensor":"later","w":1}"#).await;
    let again = replay(&*desk, "newest", broken, false).await;
    assert!(matches!(again, Replay::Appended(_)), "what cannot be read yet takes no place: {again:?}");
    live.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_letters_of_one_key_the_newest_comes_to_stand_in_whatever_order_they_are_replayed() {
    let mut bench = sensors().await;
    let live = bench.start().await;
    let mut letters = Vec::new();
    for sensor in ["in-order", "backwards", "all-at-once"] {
        for n in 1..=2 {
            let value = format!(r#"{{"sensor":"{sensor}","w":{n}}}"#);
            letters.push(bench.produce(0, 10 + n, &value).await);
        }
    }
    assert!(live.stop(Duration::from_secs(10)).await);
    for stream in bench.config.streams.values_mut().filter(|stream| !stream.schema.is_empty()) {
        stream.schema = wanting("\"sensor\"");
    }
    let live = bench.start().await;
    let desk = live.engine.dead_letters().expect("desk");
    for &position in &letters {
        lies_there(&*desk, "newest", position).await;
    }
    let second = |sensor| format!(r#"{{"sensor":"{sensor}","w":2}}"#);
    for (at, wanted) in [(0, r#"{"sensor":"in-order","w":1}"#.to_owned()), (1, second("in-order"))] {
        assert!(matches!(replay(&*desk, "newest", letters[at], false).await, Replay::Appended(_)), "{at}");
        shows(&live, "newest", "in-order", &wanted).await;
    }
    assert!(matches!(replay(&*desk, "newest", letters[3], false).await, Replay::Appended(_)));
    shows(&live, "newest", "backwards", &second("backwards")).await;
    assert_eq!(replay(&*desk, "newest", letters[2], false).await, Replay::Superseded);
    assert!(desk.discard("newest", letters[2]).await.expect("discarded"));
    let filter = DeadLetterFilter { limit: 10, ..DeadLetterFilter::default() };
    let told = desk.replay_all("newest", filter, false).await.expect("replayed");
    assert_eq!((&told["replayed"], &told["superseded"]), (&2.into(), &0.into()));
    shows(&live, "newest", "all-at-once", &second("all-at-once")).await;
    live.stop(Duration::from_secs(5)).await;
}
