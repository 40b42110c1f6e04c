//! Dead letters at the desk, over the in-memory twin: whose they are, and what a replay may be put over.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    apps,
    config::{Config, Projection, Stream, streams},
    engine::{
        api::{DeadLetterFilter, DeadLetters, State},
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
