//! The engine with the one stream, its door, and a log that fails when told to.

use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    app::EVENTS,
    app::Reason,
    apps,
    config::{Config, streams},
    engine::{
        api::{DeadLetterFilter, State},
        run::{self, Running},
    },
    http::{self, Context},
    ports::{
        Assignments, Log, LogError, Membership, PartitionReader, Ports, RowScan, Store, Subscription,
        TopicIdentity, TopicSpec,
    },
    record::{NewRecord, Position},
    tests::only,
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request},
};
use futures_util::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub const TOPIC: &str = "user-activity-events";
pub const PARTITIONS: u32 = 4;
const SOON: Duration = Duration::from_secs(60);

/// What becomes of the next append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing is appended, and the log says so.
    Away,
    /// It is appended, and the log says nothing.
    Silent,
}

#[derive(Default)]
pub struct Flaky {
    log: MemoryLog,
    next: Mutex<VecDeque<Next>>,
}

pub struct Bench {
    pub log: Arc<Flaky>,
    pub store: Arc<MemoryStore>,
    pub config: Config,
}

/// A bench that runs.
pub struct Going {
    pub running: Running,
    router: Router,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Bench {
    pub async fn new() -> Bench {
        let mut config = Config { streams: only(&["activity"]), ..Config::default() };
        (config.produce.wait_ms, config.produce.wait_max_ms) = (1, 4);
        let bench = Bench { log: Arc::default(), store: Arc::default(), config };
        bench.with_another_log().await
    }

    /// The same store, and a log that begins anew.
    pub async fn with_another_log(self) -> Bench {
        let log: Arc<Flaky> = Arc::default();
        log.create_topics(&streams::topics(&self.config)).await.expect("topics");
        Bench { log, ..self }
    }

    pub async fn start(&self) -> Going {
        self.start_on(self.store.clone()).await
    }

    /// With writers on a store of the test's own, over the same one.
    pub async fn start_on(&self, store: Arc<dyn Store>) -> Going {
        let ports = Ports { log: self.log.clone(), store, readers: self.store.clone() };
        let specs = apps::register(&self.config);
        let running = run::start(&self.config, ports, specs, "test".into()).await.expect("engine");
        let config = Arc::new(self.config.clone());
        let context = Context { engine: running.engine.clone(), config, stop: CancellationToken::new() };
        let doors = apps::doors(&self.config).with_state(context.clone());
        let going = Going { running, router: http::public(&context, doors) };
        going.is_running().await;
        going
    }

    /// A record of some producer; where the log has it.
    pub async fn produce(&self, key: Option<&str>, value: Option<&str>, partition: Option<u32>) -> Position {
        let record = NewRecord {
            key: key.map(|key| key.as_bytes().to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            partition,
            ..NewRecord::default()
        };
        let (partition, offset) = self.log.append(TOPIC, record).await.expect("appended");
        Position { epoch: 0, partition, offset }
    }

    /// Every id that is stored, oldest first.
    pub async fn stored(&self) -> Vec<String> {
        let rows = self.store.scan_rows("activity", EVENTS, RowScan::all(usize::MAX)).await.expect("rows");
        rows.into_iter().map(|row| row.id).collect()
    }
}

impl Going {
    async fn is_running(&self) {
        eventually("it runs", async || {
            let streams = self.running.engine.streams();
            let all = streams.iter().all(|s| s.state == State::Running && s.lag.len() == PARTITIONS as usize);
            if all { Ok(()) } else { Err(streams) }
        })
        .await;
    }

    /// Waits until every record of the log is finished.
    pub async fn takes_in(&self, bench: &Bench) {
        let identity = bench.log.identity(TOPIC).await.expect("identity").expect("there");
        let (epoch, _) = crate::tests::contract::store::epoch(&*bench.store, "activity", &identity.id).await;
        for partition in 0..PARTITIONS {
            let (_, end) = bench.log.bounds(TOPIC, partition).await.expect("bounds");
            eventually("everything is taken in", async || {
                let Some(offset) = end.checked_sub(1) else { return Ok(()) };
                let last = Position { epoch, partition, offset };
                let wait = Duration::from_millis(50);
                match self.running.engine.reached("activity", last, wait).await {
                    Ok(true) => Ok(()),
                    other => Err((last, format!("{other:?}"), self.running.engine.streams())),
                }
            })
            .await;
        }
    }

    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request).await.expect("answer");
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, 1 << 24).await.expect("body");
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).expect("request")).await
    }

    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.ask(request.body(Body::from(body.to_string())).expect("request")).await
    }

    /// What is counted of a user, by type; `None`: nothing.
    pub async fn counts(&self, user: &str) -> Option<BTreeMap<String, u64>> {
        let answer = self.get(&format!("/events/users/{user}")).await;
        if answer.status == 404 {
            return None;
        }
        let value = &answer.body["value"];
        let counts: BTreeMap<String, u64> = serde_json::from_value(value["byType"].clone()).expect("counts");
        assert_eq!(value["total"], json!(counts.values().sum::<u64>()), "{value}");
        Some(counts)
    }

    /// Dead letters by reason.
    pub async fn letters(&self, reason: Reason) -> usize {
        let desk = self.running.engine.dead_letters().expect("desk");
        let filter = DeadLetterFilter { reason: Some(reason), limit: 100, ..DeadLetterFilter::default() };
        let found = desk.list("activity", filter).await.expect("letters");
        found["items"].as_array().expect("items").len()
    }

    pub async fn stop(self) {
        assert!(self.running.stop(Duration::from_secs(20)).await, "it stops in time");
    }
}

pub async fn eventually<T, E: std::fmt::Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = std::time::Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) if start.elapsed() > SOON => panic!("{what}: {seen:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// An event as any producer may send it.
pub fn event(id: u128, user: &str, kind: &str) -> String {
    let id = uuid::Uuid::from_u128(id);
    json!({"eventId": id.to_string(), "userId": user, "eventType": kind, "payload": {"n": 1}}).to_string()
}

impl Flaky {
    pub fn next(&self, next: &[Next]) {
        self.next.lock().expect("next").extend(next);
    }
}

impl Log for Flaky {
    fn create_topics<'a>(&'a self, topics: &'a [TopicSpec]) -> BoxFuture<'a, Result<(), LogError>> {
        self.log.create_topics(topics)
    }

    fn identity<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Option<TopicIdentity>, LogError>> {
        self.log.identity(topic)
    }

    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: NewRecord,
    ) -> BoxFuture<'a, Result<(u32, u64), LogError>> {
        let next = self.next.lock().expect("next").pop_front();
        async move {
            match next {
                Some(Next::Away) => Err(LogError::Unavailable("10.0.0.9 refused".into())),
                Some(Next::Silent) => {
                    self.log.append(topic, record).await?;
                    Err(LogError::Unknown("10.0.0.9 said nothing".into()))
                }
                None => self.log.append(topic, record).await,
            }
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<(u64, u64), LogError>> {
        self.log.bounds(topic, partition)
    }

    fn join(
        &self,
        subscription: Subscription,
        events: Arc<dyn Assignments>,
    ) -> Result<Arc<dyn Membership>, LogError> {
        self.log.join(subscription, events)
    }

    fn read(
        &self,
        topic: &str,
        epoch: u32,
        partition: u32,
        from: u64,
    ) -> Result<Box<dyn PartitionReader>, LogError> {
        self.log.read(topic, epoch, partition, from)
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.ping()
    }
}
