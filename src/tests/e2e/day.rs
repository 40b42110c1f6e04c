//! What a day of agents takes, measured on the binary that ships; the figures are in docs/agents.md.
//!
//! `STATECAST_BIN=target/release/statecast scripts/services run kafka -- cargo test --release --lib tests::e2e::day --
//! --include-ignored --nocapture --test-threads 1`
//! They fail when events are missing, or when a figure is over its bound: whoever runs them has a quiet machine.

use super::{binary::Statecast, within};
use crate::{clock, metrics, tests::services};
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::{
    ClientConfig,
    error::RDKafkaErrorCode,
    producer::{FutureProducer, FutureRecord, Producer},
};
use reqwest::Client;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Streams of the agents, the topics they have here, and how many of a hundred events each gets.
const STREAMS: [(&str, &str, u64); 4] = [
    ("agents-routing", "day-routing", 40),
    ("agents-actions", "day-actions", 30),
    ("agents-transformations", "day-transformations", 15),
    ("agents-performance", "day-performance", 15),
];
const ANSWERS: [&str; 4] = ["agents/summary", "actions/recent?limit=100", "transformations", "performance"];
const DAY_MS: i64 = 24 * 3_600_000;
const AGENTS: u64 = 20;
/// S2.5.
const ANSWER_P99_MS: f64 = 10.0;
/// S2.7: the process, and the day in it.
const PROCESS_MIB_MAX: u64 = 100;
/// Threads have buffers of their own, and other machines have more of them.
const PROCESS_SLACK_MIB: u64 = 20;
const DAY_KIB_MAX: u64 = 15 << 10;

/// Of which of `STREAMS` the n-th event is.
fn which(n: u64) -> usize {
    let place = n % 100;
    let at = STREAMS.iter().scan(0, |sum, (_, _, share)| {
        *sum += share;
        Some(*sum)
    });
    at.take_while(|until| *until <= place).count()
}

/// The n-th event: which of `STREAMS`, its agent, and the event.
pub fn event(n: u64, time_ms: i64) -> (usize, String, Value) {
    let which = which(n);
    let agent = |n: u64| format!("agent-{}", n % AGENTS);
    // A step that walks through all agents, whatever the share.
    let k = n / 7;
    let time = clock::iso(time_ms);
    let event = match which {
        0 => {
            json!({"selected_agent": agent(k), "routing_time_ms": n % 997, "confidence_score": 0.9, "timestamp": time})
        }
        1 => {
            json!({"agent_name": agent(k), "action_type": "tool_call", "action_name": format!("tool-{}", n % 50),
            "duration_ms": n % 997, "correlation_id": format!("c-{n}"), "timestamp": time})
        }
        2 => {
            json!({"source_agent": agent(k), "target_agent": agent(k / 3 + 1), "transformation_duration_ms": n % 997,
            "success": !n.is_multiple_of(10), "timestamp": time})
        }
        _ => {
            json!({"routing_duration_ms": n * 7_919 % 100_000, "cache_hit": n.is_multiple_of(3), "candidates_evaluated": 3,
            "trigger_match_strategy": format!("strategy-{}", n % 4), "timestamp": time})
        }
    };
    (which, agent(k), event)
}

async fn answer(statecast: &Statecast, name: &str) -> Value {
    statecast.get(&format!("/api/intelligence/{name}")).await.json().await.expect("JSON")
}

/// How many decisions are counted over all agents.
async fn decisions(statecast: &Statecast) -> u64 {
    let agents = answer(statecast, "agents/summary").await;
    agents.as_array().expect("agents").iter().filter_map(|agent| agent["totalRequests"].as_u64()).sum()
}

/// What of the agents' streams lies in memory, in KiB: with their writers, for readers, and for their rooms.
async fn held_kib(statecast: &Statecast) -> [u64; 3] {
    let (mut held, mut times) = ([0; 3], 0);
    // Told every other second: what has not changed over some of these is all of it.
    for _ in 0..60 {
        let mut now = [0; 3];
        for (cache, now) in ["writer", "view", "board"].iter().zip(&mut now) {
            let labels = ["stream=\"agents-", &format!("cache=\"{cache}\"")];
            *now = statecast.sum(metrics::CACHE_BYTES, &labels).await >> 10;
        }
        times = if now == held && now.iter().all(|kib| *kib > 0) { times + 1 } else { 0 };
        held = now;
        if times == 5 {
            return held;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("what is held does not come to rest: {held:?}");
}

/// Waits until all decisions among the first so many events are counted, and asks for every answer.
async fn are_counted(statecast: &Statecast, events: u64) {
    let all = (0..events).filter(|n| which(*n) == 0).count() as u64;
    within(Duration::from_secs(180), "all decisions are counted", async || {
        match decisions(statecast).await {
            found if found == all => Ok(()),
            found => Err((found, all)),
        }
    })
    .await;
    for name in ANSWERS {
        answer(statecast, name).await;
    }
}

/// When the n-th of so many happened, over the whole of the last day.
fn time_of(n: u64, events: u64, now_ms: i64) -> i64 {
    const SPAN_MS: i64 = DAY_MS - 600_000;
    now_ms - SPAN_MS + (SPAN_MS as i128 * i128::from(n) / i128::from(events)) as i64
}

/// S2.7. A tenth of it where nothing is optimized.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_day_of_agents_takes_in_memory() {
    const EVENTS: u64 = if cfg!(debug_assertions) { 5_300 } else { 53_000 };
    const UNDER_WAY: usize = 64;
    // By PUT, so that the embedded log takes them: streams of latest values on the agents' topics.
    let by_hand = STREAMS.iter().flat_map(|(stream, topic, _)| {
        [
            format!("streams.{stream}.topic={topic}"),
            format!("streams.by-hand-{topic}.topic={topic}"),
            format!("streams.by-hand-{topic}.projection=latest"),
        ]
    });
    let statecast = Statecast::start(&by_hand.collect::<Vec<_>>()).await;
    let empty = statecast.memory_mib();
    let (client, now_ms) = (Client::new(), clock::now_ms());
    let sent = stream::iter((0..EVENTS).map(|n| {
        let (which, agent, event) = event(n, time_of(n, EVENTS, now_ms));
        let url = format!("{}/api/streams/by-hand-{}/{agent}", statecast.base, STREAMS[which].1);
        let put = client.put(url).json(&event).send();
        async move { put.await?.error_for_status().map(drop) }
    }));
    sent.buffer_unordered(UNDER_WAY).try_collect::<Vec<()>>().await.expect("taken");
    are_counted(&statecast, EVENTS).await;
    let held = held_kib(&statecast).await;
    let (now, most) = statecast.memory_mib();
    println!(
        "{EVENTS} events of a day: {} MiB before, {now} MiB with them, {most} MiB at most; of the day {held:?} KiB \
         with writers, for readers, for rooms",
        empty.0
    );
    assert!(held.iter().sum::<u64>() < DAY_KIB_MAX, "{held:?} KiB");
    // Code that is not optimized is larger, and so is what it leaves behind.
    assert!(cfg!(debug_assertions) || most < PROCESS_MIB_MAX + PROCESS_SLACK_MIB, "{most} MiB");
    statecast.terminate().await;
}

/// The same at a hundred times the rate: of a day no more is held than it has stretches.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_a_hundred_times_the_day_takes_in_memory() {
    const EVENTS: u64 = 5_300_000;
    let Some(brokers) = services::kafka() else { return };
    let (statecast, producer, topics) = on_kafka(&brokers).await;
    let now_ms = clock::now_ms();
    let producing = std::thread::spawn(move || {
        for n in 0..EVENTS {
            let (which, agent, event) = event(n, time_of(n, EVENTS, now_ms));
            send(&producer, &topics[which], &agent, &event);
        }
        producer.flush(Duration::from_secs(60)).expect("acknowledged");
    });
    while !producing.is_finished() {
        // Somebody looks, so that the rooms are kept.
        answer(&statecast, ANSWERS[0]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    producing.join().expect("produced");
    are_counted(&statecast, EVENTS).await;
    let held = held_kib(&statecast).await;
    let (now, most) = statecast.memory_mib();
    println!(
        "{EVENTS} events of a day: {now} MiB, {most} MiB at most; of the day {held:?} KiB with writers, for readers, \
         for rooms"
    );
    // The process is larger than with a day that comes by and by: the buffers before the writers are full all along.
    assert!(held.iter().sum::<u64>() < DAY_KIB_MAX, "{held:?} KiB");
    statecast.terminate().await;
}

/// On topics of its own, with a producer for them, in the order of `STREAMS`.
async fn on_kafka(brokers: &str) -> (Statecast, FutureProducer, [String; 4]) {
    let run = uuid::Uuid::new_v4().simple().to_string();
    let mut settings = vec![
        "log.kind=kafka".to_owned(),
        format!("kafka.brokers={brokers}"),
        format!("kafka.group_prefix=day-{run}"),
    ];
    settings.extend(STREAMS.iter().map(|(stream, topic, _)| format!("streams.{stream}.topic={topic}-{run}")));
    let statecast = Statecast::start(&settings).await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("linger.ms", "5");
    (statecast, config.create().expect("producer"), STREAMS.map(|(_, topic, _)| format!("{topic}-{run}")))
}

/// Waits for room where the producer is full.
fn send(producer: &FutureProducer, topic: &str, agent: &str, event: &Value) {
    let value = event.to_string();
    let mut record = FutureRecord::to(topic).key(agent).payload(&value);
    while let Err((error, back)) = producer.send_result(record) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
        std::thread::sleep(Duration::from_millis(2));
        record = back;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn the_answers_while_20000_events_come_each_second() {
    const PER_S: u64 = 20_000;
    const SECONDS: u64 = 20;
    const STEP: Duration = Duration::from_millis(5);
    let Some(brokers) = services::kafka() else { return };
    let (statecast, producer, topics) = on_kafka(&brokers).await;
    let producing = std::thread::spawn(move || {
        let (began, mut n) = (Instant::now(), 0);
        while n < PER_S * SECONDS {
            let due = (began.elapsed().as_secs_f64() * PER_S as f64) as u64;
            for n in n..due.min(PER_S * SECONDS) {
                let (which, agent, event) = event(n, clock::now_ms());
                send(&producer, &topics[which], &agent, &event);
            }
            n = n.max(due.min(PER_S * SECONDS));
            std::thread::sleep(STEP);
        }
        let sent_in = began.elapsed();
        producer.flush(Duration::from_secs(60)).expect("acknowledged");
        sent_in
    });
    // The first second warms up.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut took = Vec::new();
    for name in ANSWERS.iter().cycle() {
        let began = Instant::now();
        let answered = answer(&statecast, name).await;
        took.push(began.elapsed());
        assert!(!answered.is_null());
        if producing.is_finished() {
            break;
        }
        tokio::time::sleep(STEP).await;
    }
    let sent_in = producing.join().expect("produced");
    are_counted(&statecast, PER_S * SECONDS).await;
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (now, most) = statecast.memory_mib();
    println!(
        "{} events in {:.1} s; {} answers, ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, most {:.2}; {now} MiB, {most} at most",
        PER_S * SECONDS,
        sent_in.as_secs_f64(),
        took.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    assert!(at(0.99) < ANSWER_P99_MS, "{} ms", at(0.99));
    statecast.terminate().await;
}
