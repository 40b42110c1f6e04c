//! What a day of agents takes, measured on the binary that ships; the figures are in docs/agents.md.
//!
//! `STATECAST_BIN=target/release/statecast cargo test --lib tests::e2e::day -- --ignored --nocapture`, for the second of
//! them on a Kafka (`scripts/services run kafka -- ...`).
//! Not tests of speed: they fail when events are missing, or when memory is over its bound.

use super::{binary::Statecast, eventually, sse::Parser};
use crate::{clock, tests::services};
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord, Producer},
};
use reqwest::Client;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

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

/// The n-th event: which of `STREAMS`, its agent, and the event.
fn event(n: u64, time_ms: i64) -> (usize, String, Value) {
    let place = n % 100;
    let at = STREAMS.iter().scan(0, |sum, (_, _, share)| {
        *sum += share;
        Some(*sum)
    });
    let which = at.take_while(|until| *until <= place).count();
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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_a_full_day_of_agents_takes_in_memory() {
    const EVENTS: u64 = 53_000;
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
        let time_ms = now_ms - DAY_MS + 600_000 + (DAY_MS - 600_000) / EVENTS as i64 * n as i64;
        let (which, agent, event) = event(n, time_ms);
        let url = format!("{}/api/streams/by-hand-{}/{agent}", statecast.base, STREAMS[which].1);
        let put = client.put(url).json(&event).send();
        async move { put.await?.error_for_status().map(drop) }
    }));
    sent.buffer_unordered(UNDER_WAY).try_collect::<Vec<()>>().await.expect("taken");
    let all = (0..EVENTS).filter(|n| event(*n, 0).0 == 0).count() as u64;
    eventually("all decisions are counted", async || match decisions(&statecast).await {
        found if found == all => Ok(()),
        found => Err((found, all)),
    })
    .await;
    for name in ANSWERS {
        answer(&statecast, name).await;
    }
    let (now, most) = statecast.memory_mib();
    println!("{EVENTS} events of a day: {} MiB before, {now} MiB with them, {most} MiB at most", empty.0);
    assert!(most < 100, "{most} MiB");
    statecast.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn the_answers_while_20000_events_come_each_second() {
    const PER_S: u64 = 20_000;
    const SECONDS: u64 = 20;
    const STEP: Duration = Duration::from_millis(5);
    let Some(brokers) = services::kafka() else { return };
    let run = uuid::Uuid::new_v4().simple().to_string();
    let mut settings = vec![
        "log.kind=kafka".to_owned(),
        format!("kafka.brokers={brokers}"),
        format!("kafka.group_prefix=day-{run}"),
    ];
    settings.extend(STREAMS.iter().map(|(stream, topic, _)| format!("streams.{stream}.topic={topic}-{run}")));
    let statecast = Statecast::start(&settings).await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers).set("linger.ms", "5");
    let producer: FutureProducer = config.create().expect("producer");
    let topics = STREAMS.map(|(_, topic, _)| format!("{topic}-{run}"));
    let producing = std::thread::spawn(move || {
        let (began, mut n) = (Instant::now(), 0);
        while n < PER_S * SECONDS {
            let due = (began.elapsed().as_secs_f64() * PER_S as f64) as u64;
            for n in n..due.min(PER_S * SECONDS) {
                let (which, agent, event) = event(n, clock::now_ms());
                let value = event.to_string();
                let record = FutureRecord::to(&topics[which]).key(&agent).payload(&value);
                drop(producer.send_result(record).map_err(|(error, _)| error).expect("room in the producer"));
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
    let all = (0..PER_S * SECONDS).filter(|n| event(*n, 0).0 == 0).count() as u64;
    eventually("all decisions are counted", async || match decisions(&statecast).await {
        found if found == all => Ok(()),
        found => Err((found, all)),
    })
    .await;
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
    statecast.terminate().await;
}

/// What `agents:actions` shows, read as it comes: how long each action was under way, in ms, if it was not shown before.
fn newly_shown(found: &Value, shown: &mut HashSet<String>, took_ms: &mut Vec<i64>) {
    match found {
        Value::Array(items) => items.iter().for_each(|item| newly_shown(item, shown, took_ms)),
        Value::Object(members) => {
            if let (Some(id), Some(time)) = (found["correlationId"].as_str(), found["createdAt"].as_str())
                && shown.insert(id.to_owned())
            {
                took_ms.push(clock::now_ms() - clock::parse(time).expect("a time"));
            }
            members.values().for_each(|member| newly_shown(member, shown, took_ms));
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_a_dashboard_sees_of_300_actions_a_second() {
    // The feed holds 100: at this rate an action is in it for a third of a second.
    const PER_S: u64 = 300;
    const SECONDS: u64 = 20;
    const STEP: Duration = Duration::from_millis(1);
    let Some(brokers) = services::kafka() else { return };
    let run = uuid::Uuid::new_v4().simple().to_string();
    let topic = format!("seen-{run}");
    let statecast = Statecast::start(&[
        "log.kind=kafka".to_owned(),
        format!("kafka.brokers={brokers}"),
        format!("kafka.group_prefix=seen-{run}"),
        format!("streams.agents-actions.topic={topic}"),
    ])
    .await;
    let live = Client::new().get(format!("{}/live?room=agents:actions", statecast.base));
    let mut body = live.send().await.expect("an answer").bytes_stream();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("linger.ms", "0")
        .create()
        .expect("producer");
    let producing = std::thread::spawn(move || {
        let (began, mut sent) = (Instant::now(), 0);
        while sent < PER_S * SECONDS {
            let due = (began.elapsed().as_secs_f64() * PER_S as f64) as u64;
            for n in sent..due.min(PER_S * SECONDS) {
                // The 40 to 69 of a hundred are actions.
                let (_, agent, event) = event(n / 30 * 100 + 40 + n % 30, clock::now_ms());
                let value = event.to_string();
                let record = FutureRecord::to(&topic).key(&agent).payload(&value);
                drop(producer.send_result(record).map_err(|(error, _)| error).expect("room in the producer"));
            }
            sent = sent.max(due.min(PER_S * SECONDS));
            std::thread::sleep(STEP);
        }
        producer.flush(Duration::from_secs(60)).expect("acknowledged");
    });
    let (mut parser, mut shown, mut took_ms) = (Parser::default(), HashSet::new(), Vec::new());
    while (shown.len() as u64) < PER_S * SECONDS {
        let more = tokio::time::timeout(Duration::from_secs(10), body.next()).await;
        let Ok(Some(Ok(bytes))) = more else { break };
        for event in parser.take(&bytes) {
            newly_shown(&event.data, &mut shown, &mut took_ms);
        }
    }
    producing.join().expect("produced");
    // The first two seconds warm up.
    let mut took_ms = took_ms.split_off((2 * PER_S as usize).min(took_ms.len()));
    took_ms.sort_unstable();
    let at = |share: f64| took_ms.get(((took_ms.len() as f64 - 1.0) * share) as usize);
    println!(
        "{} of {} actions shown, ms: p50 {:?}, p99 {:?}, most {:?}",
        shown.len(),
        PER_S * SECONDS,
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(shown.len() as u64 * 100 >= PER_S * SECONDS * 99, "a dashboard missed actions");
    statecast.terminate().await;
}
