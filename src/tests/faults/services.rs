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
    let folder = std::env::var("STATECAST_TEST_SERVICES_DIR").expect("a run of scripts/services");
    let state = std::fs::read_to_string(Path::new(&folder).join("state.json")).expect("state.json");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    let ports = &state["services"][KAFKA]["ports"];
    (format!("127.0.0.1:{}", ports["proxy"]), format!("127.0.0.1:{}", ports["proxied"]))
}

/// Everything runs again.
pub async fn mend() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
    let status = Command::new(script).arg("status").output().await.expect("the services script");
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    for service in [KAFKA, MONGODB] {
        let line = status.lines().find(|line| line.starts_with(service)).unwrap_or_default();
        match line.split_whitespace().nth(1) {
            Some("dead") => send("restart", service).await,
            Some("stopped" | "frozen") => send("cont", service).await,
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
