//! How soon a dashboard sees what agents do, measured on the binary that ships; the figures are in docs/agents.md.
//!
//! `STATECAST_BIN=target/release/statecast scripts/services run kafka -- cargo test --release --lib tests::e2e::dashboard --
//! --ignored --nocapture --test-threads 1`
//! They fail when an event is not seen, or when the 99th of a hundred comes too late: whoever runs them has a quiet machine.

use super::{binary::Statecast, day::event, sse::Parser};
use crate::{clock, tests::services};
use futures_util::StreamExt;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord, Producer},
};
use reqwest::Client;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// The feed of actions holds 100: at this rate one is in it for a third of a second.
const PER_S: u64 = 300;
const SECONDS: u64 = 20;
const EVENTS: u64 = PER_S * SECONDS;
const STEP: Duration = Duration::from_millis(1);
/// Not counted: connections, caches and pages of memory are new.
const WARM: usize = 2 * PER_S as usize;
/// S2.6.
const P99_MS: i64 = 100;

/// When each event of an agent was made, in the order it made them.
type Made = Arc<Mutex<HashMap<String, Vec<i64>>>>;

/// What a room shows, watched as it comes while events are sent.
struct Dashboard {
    statecast: Statecast,
    body: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    producing: std::thread::JoinHandle<()>,
}

impl Dashboard {
    /// `nth`: which of the day's events the n-th is, so that all are of one stream.
    async fn open(stream: &str, room: &str, nth: fn(u64) -> u64, made: Made) -> Option<Dashboard> {
        let brokers = services::kafka()?;
        let run = uuid::Uuid::new_v4().simple().to_string();
        let topic = format!("seen-{run}");
        let settings = [
            "log.kind=kafka".to_owned(),
            format!("kafka.brokers={brokers}"),
            format!("kafka.group_prefix=seen-{run}"),
            format!("streams.{stream}.topic={topic}"),
        ];
        let statecast = Statecast::start(&settings).await;
        let live = Client::new().get(format!("{}/live?room={room}", statecast.base));
        let body = live.send().await.expect("an answer").bytes_stream().boxed();
        let producer = ClientConfig::new().set("bootstrap.servers", &brokers).set("linger.ms", "0").create();
        let producer = producer.expect("producer");
        let producing = std::thread::spawn(move || produce(&producer, &topic, nth, &made));
        Some(Dashboard { statecast, body, producing })
    }

    /// Hands every event to `see`, which gives how long what it newly shows was under way, until all were seen or none
    /// comes any more. What is told is what was seen, and when.
    async fn watch(mut self, what: &str, mut see: impl FnMut(&Value) -> Vec<i64>) {
        let (mut parser, mut took_ms) = (Parser::default(), Vec::new());
        while (took_ms.len() as u64) < EVENTS {
            let more = tokio::time::timeout(Duration::from_secs(10), self.body.next()).await;
            let Ok(Some(Ok(bytes))) = more else { break };
            parser.take(&bytes).iter().for_each(|event| took_ms.extend(see(&event.data)));
        }
        self.producing.join().expect("produced");
        let seen = took_ms.len() as u64;
        let mut took_ms = took_ms.split_off(WARM.min(took_ms.len()));
        took_ms.sort_unstable();
        let at = |share: f64| took_ms[((took_ms.len() as f64 - 1.0) * share) as usize];
        println!("{seen} of {EVENTS} {what}, ms: p50 {}, p99 {}, most {}", at(0.5), at(0.99), at(1.0));
        assert!(seen * 100 >= EVENTS * 99, "a dashboard missed events");
        assert!(at(0.99) < P99_MS, "{} ms", at(0.99));
        self.statecast.terminate().await;
    }
}

fn produce(producer: &FutureProducer, topic: &str, nth: fn(u64) -> u64, made: &Made) {
    let (began, mut sent) = (Instant::now(), 0);
    while sent < EVENTS {
        let due = ((began.elapsed().as_secs_f64() * PER_S as f64) as u64).min(EVENTS);
        for n in sent..due {
            let now_ms = clock::now_ms();
            let (_, agent, event) = event(nth(n), now_ms);
            made.lock().expect("made").entry(agent.clone()).or_default().push(now_ms);
            let value = event.to_string();
            let record = FutureRecord::to(topic).key(&agent).payload(&value);
            drop(producer.send_result(record).map_err(|(error, _)| error).expect("room in the producer"));
        }
        sent = sent.max(due);
        std::thread::sleep(STEP);
    }
    producer.flush(Duration::from_secs(60)).expect("acknowledged");
}

/// The objects of a room, wherever they stand in what is told.
fn objects<'v>(found: &'v Value, all: &mut Vec<&'v Value>) {
    match found {
        Value::Array(items) => items.iter().for_each(|item| objects(item, all)),
        Value::Object(members) => {
            all.push(found);
            members.values().for_each(|member| objects(member, all));
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_a_dashboard_sees_of_300_actions_a_second() {
    // The 40 to 69 of a hundred are actions.
    let nth = |n| n / 30 * 100 + 40 + n % 30;
    let Some(dashboard) = Dashboard::open("agents-actions", "agents:actions", nth, Made::default()).await
    else {
        return;
    };
    let mut shown = HashSet::new();
    let see = |told: &Value| {
        let mut all = Vec::new();
        objects(told, &mut all);
        let new = all.into_iter().filter_map(|action| {
            let (id, time) = (action["correlationId"].as_str()?, action["createdAt"].as_str()?);
            let is_new = shown.insert(id.to_owned());
            is_new.then(|| clock::now_ms() - clock::parse(time).expect("a time"))
        });
        new.collect()
    };
    dashboard.watch("actions shown", see).await;
}

/// Reflected: the agent has as many requests as it had decisions when this one was made.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn how_soon_a_summary_reflects_300_decisions_a_second() {
    // The first forty of a hundred are decisions.
    let nth = |n| n / 40 * 100 + n % 40;
    let made = Made::default();
    let Some(dashboard) = Dashboard::open("agents-routing", "agents:summary", nth, made.clone()).await else {
        return;
    };
    let mut counted: HashMap<String, usize> = HashMap::new();
    let see = |told: &Value| {
        let (mut all, mut took_ms) = (Vec::new(), Vec::new());
        objects(told, &mut all);
        let now_ms = clock::now_ms();
        for row in all {
            let (Some(agent), Some(requests)) = (row["agent"].as_str(), row["totalRequests"].as_u64()) else {
                continue;
            };
            let counted = counted.entry(agent.to_owned()).or_default();
            let made = made.lock().expect("made");
            took_ms.extend(made[agent][*counted..requests as usize].iter().map(|made_ms| now_ms - made_ms));
            *counted = requests as usize;
        }
        took_ms
    };
    dashboard.watch("decisions reflected", see).await;
}
