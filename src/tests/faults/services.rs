//! Kafka and MongoDB as things that can be killed, frozen and started again.

use std::{path::Path, time::Duration};
use tokio::process::Command;

pub const KAFKA: &str = "kafka";
pub const MONGODB: &str = "mongodb";

/// `kill`, `stop`, `cont` or `restart`; returns when it is done, a restarted one when it is ready.
pub async fn send(verb: &str, service: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
    let sent = Command::new(script).args([verb, service]).output().await.expect("the services script");
    assert!(sent.status.success(), "{verb} {service}: {sent:?}");
}

/// Where a proxy before Kafka has to listen, since Kafka tells clients so, and where it leads.
pub fn kafka_door() -> (String, String) {
    let ports = &state()["services"][KAFKA]["ports"];
    (format!("127.0.0.1:{}", ports["proxy"]), format!("127.0.0.1:{}", ports["proxied"]))
}

/// The names of the brokers: `kafka`, or `kafka-1` and so on.
pub fn brokers() -> Vec<String> {
    let state = state();
    let services = state["services"].as_object().expect("services");
    services.keys().filter(|name| name.starts_with(KAFKA)).cloned().collect()
}

fn state() -> serde_json::Value {
    let folder = std::env::var("STATECAST_TEST_SERVICES_DIR").expect("a run of scripts/services");
    let state = std::fs::read_to_string(Path::new(&folder).join("state.json")).expect("state.json");
    serde_json::from_str(&state).expect("JSON")
}

/// Everything runs again.
pub async fn mend() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
    let status = Command::new(script).arg("status").output().await.expect("the services script");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    for line in status.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(service), Some("dead")) => send("restart", service).await,
            (Some(service), Some("stopped")) => send("cont", service).await,
            _ => {}
        }
    }
}

/// Dies, and is back after a while.
pub async fn kill_for(service: &str, down: Duration) {
    send("kill", service).await;
    tokio::time::sleep(down).await;
    send("restart", service).await;
}

/// Stands still for a while.
pub async fn freeze_for(service: &str, still: Duration) {
    send("stop", service).await;
    tokio::time::sleep(still).await;
    send("cont", service).await;
}
