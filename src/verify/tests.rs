//! What is stored is told apart from what the log says, and only where it is.

use super::*;
use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    apps,
    config::streams,
    document::Json,
    engine::run,
    ports::{Log, Store, Upsert},
    record::NewRecord,
};
use std::{sync::Arc, time::Duration};

/// An engine that took in what was sent, and has stopped.
struct Bench {
    config: Config,
    ports: Ports,
    store: Arc<MemoryStore>,
    log: Arc<MemoryLog>,
}

const AGENTS: [&str; 4] =
    ["agents-actions", "agents-performance", "agents-routing", "agents-transformations"];

impl Bench {
    async fn new() -> Self {
        let mut config = Config::default();
        for stream in AGENTS {
            config.streams.insert(stream.into(), config::Stream::default());
        }
        let (log, store): (Arc<MemoryLog>, Arc<MemoryStore>) = Default::default();
        log.create_topics(&streams::topics(&config)).await.expect("topics");
        let ports = Ports { log: log.clone(), store: store.clone(), readers: store.clone() };
        Bench { config, ports, store, log }
    }

    async fn send(&self, topic: &str, key: &str, value: &str) {
        let (key, value) = (Some(key.as_bytes().to_vec()), Some(value.as_bytes().to_vec()));
        self.log.append(topic, NewRecord { key, value, ..NewRecord::default() }).await.expect("appended");
    }

    /// Lets an engine take everything in.
    async fn take_in(&self) {
        let specs = apps::register(&self.config);
        let topics: Vec<(String, String)> =
            specs.iter().map(|spec| (spec.name.to_string(), spec.topic.name.clone())).collect();
        let live = run::start(&self.config, self.ports.clone(), specs, "test".into()).await.expect("engine");
        for (stream, topic) in topics {
            for partition in 0..4 {
                let (from, end) = self.log.bounds(&topic, partition).await.expect("bounds");
                if end > from {
                    let position = crate::record::Position { epoch: 0, partition, offset: end - 1 };
                    let reached = live.engine.reached(&stream, position, Duration::from_secs(60)).await;
                    assert!(reached.expect("reached"), "{stream} {position}");
                }
            }
        }
        assert!(live.stop(Duration::from_secs(30)).await);
    }

    async fn verify(&self, name: &str) -> Vec<Report> {
        let mut reports = Vec::new();
        for spec in chosen(apps::register(&self.config), name).expect("streams") {
            reports.push(stream(&self.config, &self.ports, &spec).await.expect("a report"));
        }
        reports
    }

    async fn whole(&self) {
        for n in 0..300 {
            let key = format!("k{n}");
            let agent = format!("agent-{}", n % 7);
            self.send("kv", &format!("k{}", n % 50), &format!("{{\"n\":{n}}}")).await;
            let routed =
                format!(r#"{{"selected_agent":"{agent}","routing_time_ms":{n}.25,"confidence_score":0.1}}"#);
            self.send("agent-routing-decisions", &key, &routed).await;
            let acted = format!(r#"{{"agent_name":"{agent}","action_type":"tool_call","duration_ms":{n}}}"#);
            self.send("agent-actions", &key, &acted).await;
            let moved = format!(r#"{{"source_agent":"{agent}","target_agent":"b","success":true}}"#);
            self.send("agent-transformation-events", &key, &moved).await;
            let measured = format!(r#"{{"routing_duration_ms":{n},"cache_hit":{}}}"#, n % 2 == 0);
            self.send("router-performance-metrics", &key, &measured).await;
        }
        self.send("agent-actions", "bad", "{\"agent_name\":1}").await;
        self.take_in().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_in_is_what_the_log_says() {
    let bench = Bench::new().await;
    bench.whole().await;
    let reports = bench.verify("agents").await;
    assert_eq!(reports.iter().map(|report| report.stream.as_str()).collect::<Vec<_>>(), AGENTS);
    for report in &reports {
        assert!(report.is_same() && report.compared > 3 && report.passed_over == 0, "{report}");
    }
    assert!(reports.iter().map(|report| report.records).sum::<u64>() >= 1_190, "{reports:?}");
    let kv = bench.verify("kv").await;
    assert_eq!((kv[0].compared, kv[0].is_same(), kv[0].records), (50, true, 300), "{}", kv[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_came_by_two_partitions_counts_in_the_one_that_brought_it_first() {
    let mut bench = Bench::new().await;
    let facts = config::Stream {
        projection: config::Projection::Log,
        topic: "facts".into(),
        key: "/subject".into(),
        id: "/id".into(),
        ..config::Stream::default()
    };
    bench.config.streams.insert("facts".into(), facts);
    bench.config.streams.insert("activity".into(), config::Stream::default());
    bench.log.create_topics(&streams::topics(&bench.config)).await.expect("topics");
    let activity = chosen(apps::register(&bench.config), "activity").expect("a stream").remove(0).topic.name;
    // Every event comes by several keys, and so by several partitions; some of the ids come again later.
    for n in 0..200 {
        let (id, user) = (n % 90, n % 3);
        let event = format!(
            r#"{{"eventId":"6f3c1b1e-0000-4000-8000-{id:012}","userId":"u{user}","eventType":"t","payload":{{}}}}"#
        );
        let fact = format!(r#"{{"id":"{id}","subject":"s{user}"}}"#);
        for by in 0..3 {
            bench.send(&activity, &format!("{by}-{n}"), &event).await;
            bench.send("facts", &format!("{by}-{n}"), &fact).await;
        }
    }
    bench.take_in().await;
    for stream in ["activity", "facts"] {
        let report = bench.verify(stream).await.remove(0);
        assert!(report.is_same() && report.compared >= 3, "{report}");
    }
    // Believed is who was first, and no more.
    let scan = Scan { limit: 1, ..Scan::default() };
    let held = bench.store.scan("facts", scan).await.expect("scanned").remove(0);
    let id = EntityId { key: held.key.clone(), partial: held.partial };
    bench.store.forget("facts", vec![(id, held.position)]).await.expect("gone");
    assert!(!bench.verify("facts").await.remove(0).is_same());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_difference_is_told_where_it_is() {
    let bench = Bench::new().await;
    bench.whole().await;
    let load = async |key: &str| {
        let id = EntityId { key: key.into(), partial: None };
        bench.store.load("kv", &[id]).await.expect("loaded").remove(0)
    };
    // One value is another, one is missing, one was never in the log.
    let mut wrong = load("k1").await;
    let (from_version, position) = (wrong.version, wrong.position);
    wrong.value = Some(Json::from_checked("{\"n\":7}"));
    bench
        .store
        .forget("kv", vec![(EntityId { key: "k1".into(), partial: None }, position)])
        .await
        .expect("gone");
    assert_eq!(from_version, 6);
    let upsert = |document: Document| Upsert { document, from_version: 0, expires_ms: None };
    let lost = load("k2").await;
    bench
        .store
        .forget("kv", vec![(EntityId { key: "k2".into(), partial: None }, lost.position)])
        .await
        .expect("gone");
    let mut made_up = load("k3").await;
    made_up.key = "never".into();
    bench.store.write("kv", vec![upsert(wrong), upsert(made_up)]).await.expect("written");
    let reports = bench.verify("kv").await;
    let mut told: Vec<String> = reports[0].differences.iter().map(Difference::to_string).collect();
    told.sort_unstable();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], "kv \"k1\": /n: store has 7, log says 251");
    assert!(told[1].starts_with("kv \"k2\": store has nothing, the log says "), "{}", told[1]);
    assert!(told[2].starts_with("kv \"never\": store is at "), "{}", told[2]);
    assert!(reports[0].to_string().ends_with("3 differences"), "{}", reports[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_has_beyond_the_store_is_not_yet_a_difference() {
    let bench = Bench::new().await;
    bench.whole().await;
    bench.send("kv", "k1", "1").await;
    let reports = bench.verify("kv").await;
    assert!(reports[0].is_same(), "{}", reports[0]);
}

#[tokio::test]
async fn who_asks_for_what_there_is_not_is_told_what_there_is() {
    let why = chosen(apps::register(&Config::default()), "nothing").map(|_| ()).unwrap_err().why;
    assert!(why.starts_with("no enabled stream or app is named \"nothing\"; there are "), "{why}");
    assert!(why.contains("kv") && why.contains("agents-routing"), "{why}");
}
