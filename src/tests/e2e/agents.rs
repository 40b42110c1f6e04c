//! The agents' dashboard through the real door: events by a plain producer, answers by HTTP and room, a restart, verify.

use super::{
    binary::{self, Statecast},
    client::Viewer,
    eventually,
    ground::Ground,
    load::send,
    same,
};
use bson::doc;
use serde_json::{Value, json};

const BASE: &str = "/api/intelligence";
const EVENTS: usize = 60;

/// Every agents' stream, each with a topic of this test's own.
fn settings(ground: &Ground) -> Vec<String> {
    let streams = ["routing", "actions", "transformations", "performance"];
    let of = |stream: &&str| {
        let name = format!("streams.agents-{stream}");
        [format!("{name}.enabled=true"), format!("{name}.topic={}", topic(ground, stream))]
    };
    streams.iter().flat_map(of).collect()
}

fn topic(ground: &Ground, stream: &str) -> String {
    format!("{}-{stream}", ground.name)
}

async fn start(ground: &Ground) -> Statecast {
    let settings = settings(ground);
    ground.start_with(&settings.iter().map(String::as_str).collect::<Vec<_>>()).await
}

async fn get(statecast: &Statecast, path: &str) -> Value {
    let answer = statecast.get(&format!("{BASE}{path}")).await;
    answer.json().await.expect("JSON")
}

async fn produce(ground: &Ground) {
    let producer = ground.producer();
    for n in 0..EVENTS {
        let (key, agent) = (format!("k{n}"), format!("agent-{}", n % 3));
        let routed = json!({"selected_agent": agent, "routing_time_ms": n, "confidence_score": "0.5", "correlation_id": key});
        send(&producer, &topic(ground, "routing"), &key, Some(&routed.to_string())).await;
        let acted = json!({"agentName": agent, "actionType": "tool_call", "actionName": "search", "durationMs": n,
                           "correlationId": key, "model": "m"});
        send(&producer, &topic(ground, "actions"), &key, Some(&acted.to_string())).await;
        let moved = json!({"source_agent": agent, "target_agent": "agent-0", "success": true, "transformation_duration_ms": 2});
        send(&producer, &topic(ground, "transformations"), &key, Some(&moved.to_string())).await;
        let measured = json!({"routing_duration_ms": n + 1, "cache_hit": n % 2 == 0, "candidates_evaluated": 4,
                              "trigger_match_strategy": "exact"});
        send(&producer, &topic(ground, "performance"), &key, Some(&measured.to_string())).await;
    }
    send(&producer, &topic(ground, "routing"), "bad", Some("{\"routing_time_ms\": 1}")).await;
}

/// What the four answers come to.
async fn seen(statecast: &Statecast) -> Value {
    let agents = get(statecast, "/agents/summary").await;
    let requests = agents.as_array().into_iter().flatten();
    let pairs = get(statecast, "/transformations").await;
    let performance = get(statecast, "/performance").await;
    json!({
        "requests": requests.map(|agent| agent["totalRequests"].clone()).collect::<Vec<_>>(),
        "actions": get(statecast, "/actions/recent").await.as_array().map(Vec::len),
        "pairs": pairs.as_array().into_iter().flatten().map(|pair| pair["count"].clone()).collect::<Vec<_>>(),
        "performance": [performance["requests"], performance["cacheHitRate"]],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_agents_do_is_answered_told_kept_and_verified() {
    let Some(ground) = Ground::new("agents").await else { return };
    let statecast = start(&ground).await;
    let mut viewer = Viewer::connect(&statecast.base, "websocket").await;
    viewer.subscribe(&["agents:summary", "agents:actions", "agents:performance"], &[]).await;
    produce(&ground).await;
    let wanted =
        json!({"requests": [20, 20, 20], "actions": EVENTS, "pairs": [20, 20, 20], "performance": [60, 0.5]});
    eventually("every event is answered", async || same(seen(&statecast).await, &wanted)).await;
    look_at_answers(&statecast).await;
    eventually("every event is told", async || {
        let told = |room: &str| viewer.last(room)["value"].clone();
        let total: u64 = told("agents/summary")
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|agent| agent["totalRequests"].as_u64())
            .sum();
        let actions = told("agents/actions").as_array().map(Vec::len);
        same((total, actions, told("agents/performance")["requests"].clone()), &(60, Some(60), json!(60)))
    })
    .await;
    let letters = eventually("what cannot be read is a dead letter", async || {
        let letters = ground.read_topic(&format!("{}.dlq", topic(&ground, "routing"))).await;
        if letters.is_empty() { Err(()) } else { Ok(letters) }
    })
    .await;
    assert_eq!(letters[0].value.as_deref(), Some(&b"{\"routing_time_ms\": 1}"[..]));
    assert!(statecast.terminate().await.0.success());

    let again = start(&ground).await;
    eventually("windows come back from the store", async || same(seen(&again).await, &wanted)).await;
    assert_eq!(get(&again, "/health").await["eventsProcessed"], 0, "nothing of the day was replayed");
    assert!(again.terminate().await.0.success());
    verify(&ground).await;
}

async fn look_at_answers(statecast: &Statecast) {
    let agents = get(statecast, "/agents/summary").await;
    let of = |name: &str| agents.as_array().into_iter().flatten().find(|a| a["agent"] == name).cloned();
    let agent = of("agent-1").expect("agent-1");
    assert_eq!((&agent["avgRoutingTime"], &agent["avgConfidence"]), (&json!(29.5), &json!(0.5)), "{agent}");
    let newest = get(statecast, "/actions/recent?limit=2").await;
    assert_eq!(newest.as_array().map(Vec::len), Some(2), "{newest}");
    assert_eq!((&newest[0]["actionName"], &newest[0]["model"]), (&json!("search"), &json!("m")));
    for limit in ["0", "101", "x"] {
        let answer = statecast.get(&format!("{BASE}/actions/recent?limit={limit}")).await;
        assert_eq!(answer.status(), 400, "{limit}");
    }
    let health = get(statecast, "/health").await;
    assert_eq!(
        (&health["status"], &health["recentActionsCount"]),
        (&json!("healthy"), &json!(EVENTS)),
        "{health}"
    );
    assert!(health["eventsProcessed"].as_u64().is_some_and(|events| events >= 240), "{health}");
    let schema = get(statecast, "/schemas/agents-actions").await;
    assert_eq!(schema["title"], "Agent action");
}

async fn verify(ground: &Ground) {
    let mut all = ground.settings();
    all.extend(settings(ground));
    let ended = binary::run(&["verify", "agents"], &all).await;
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 4), "{ended:?}");
    let routing = ground.collection("agents-routing");
    let changed = routing
        .update_one(doc! {"_id.key": "agent-2"}, doc! {"$inc": {"version": 1_i64}})
        .await
        .expect("changed");
    assert_eq!(changed.modified_count, 1);
    let ended = binary::run(&["verify", "agents"], &all).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told: Vec<&str> = ended.stdout.lines().filter(|line| line.contains("store has version")).collect();
    assert_eq!(told.len(), 1, "{}", ended.stdout);
    assert!(told[0].starts_with("agents-routing \"agent-2\" (partition "), "{}", ended.stdout);
    assert!(ended.stdout.contains(" 1 difference"), "{}", ended.stdout);
    let ended = binary::run(&["verify", "nothing"], &all).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
}
