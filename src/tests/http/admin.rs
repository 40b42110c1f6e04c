//! The admin listener: what operators see and order, and whom it does not answer.

use super::*;
use crate::http::schema;

async fn seen(door: &Door, path: &str) -> Value {
    let answer = door.ask_admin("GET", path).send().await.expect("answer");
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    assert_eq!(header(&answer, "cache-control"), "no-store", "{path}");
    json(answer).await
}

#[tokio::test]
async fn health_tells_the_truth_on_both_listeners() {
    let door = door().await;
    let live: schema::Live =
        serde_json::from_value(json(door.get("/health/live").await).await).expect("live");
    assert_eq!(live.status, "live");
    assert!(live.memory.resident_bytes.is_none_or(|bytes| bytes > 1 << 20));
    let ready: schema::Ready = serde_json::from_value(seen(&door, "/health/ready").await).expect("ready");
    assert!(ready.ready && ready.dependencies[0].name == "store");
    door.fake.store_away(Some(4));
    assert_eq!(door.get("/health/live").await.status(), StatusCode::OK);
    for request in [door.ask("GET", "/health/ready"), door.ask_admin("GET", "/health/ready")] {
        let missing = problem(request, 503, "not-ready").await;
        assert_eq!(missing["ready"], false);
        assert_eq!(text(&missing, "detail"), "store is down");
        assert_eq!(missing["dependencies"][0]["age_ms"], 4_000);
    }
}

#[tokio::test]
async fn metrics_are_on_the_admin_listener_alone() {
    let door = door().await;
    let answer = door.ask_admin("GET", "/metrics").send().await.expect("answer");
    assert_eq!(
        (answer.status(), header(&answer, "content-type")),
        (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8")
    );
    problem(door.ask("GET", "/metrics"), 404, "not-found").await;
    problem(door.ask("GET", "/admin/pipeline"), 404, "not-found").await;
    problem(door.ask_admin("PUT", "/api/streams/kv/a"), 404, "not-found").await;
}

#[tokio::test]
async fn the_pipeline_says_where_a_record_is() {
    let door = door().await;
    let position = door.put("/api/streams/kv/a", "1").await;
    assert!(seen(&door, "/admin/pipeline").await["streams"].is_array());
    let found = seen(&door, &format!("/admin/pipeline?position={position}")).await;
    let places: Vec<_> =
        found["found"].as_array().expect("found").iter().map(|one| text(one, "stream")).collect();
    assert_eq!(places, ["kv", "acts"]);
    assert_eq!(text(&found["found"][0]["where"], "step"), "stored");
    let found = seen(&door, "/admin/pipeline?key=b&stream=kv").await;
    assert_eq!(text(&found["found"][0]["where"], "step"), "unknown");
    problem(door.ask_admin("GET", "/admin/pipeline?key=b&stream=nope"), 404, "no-stream").await;
    let malformed = door.ask_admin("GET", "/admin/pipeline?position=7");
    assert_eq!(fields(&problem(malformed, 400, "invalid-parameter").await), ["position"]);
}

#[tokio::test]
async fn dead_letters_are_seen_and_dealt_with() {
    let door = door().await;
    assert_eq!(seen(&door, "/admin/dlq").await["streams"][0]["malformed_json"], 1);
    let page = seen(&door, "/admin/dlq/kv?reason=too_deep&partition=3&limit=5").await;
    assert_eq!(
        (text(&page, "reason").as_str(), &page["partition"], &page["limit"]),
        ("too_deep", &3.into(), &5.into())
    );
    assert_eq!(text(&seen(&door, "/admin/dlq/kv/0.1.7").await, "value"), "e30=");
    problem(door.ask_admin("GET", "/admin/dlq/kv/0.1.8"), 404, "no-dead-letter").await;
    problem(door.ask_admin("GET", "/admin/dlq/nope"), 404, "no-stream").await;
    for (path, field) in [
        ("/admin/dlq/kv?reason=bad", "reason"),
        ("/admin/dlq/kv?partition=-1", "partition"),
        ("/admin/dlq/kv?colour=red", "colour"),
        ("/admin/dlq/kv/seven", "position"),
    ] {
        assert_eq!(fields(&problem(door.ask_admin("GET", path), 400, "invalid-parameter").await), [field]);
    }
    let order = |path: &str| door.ask_admin("POST", path);
    problem(order("/admin/dlq/kv/0.1.7/replay"), 409, "superseded").await;
    let replayed = order("/admin/dlq/kv/0.1.7/replay?force=true").send().await.expect("answer");
    assert_eq!(replayed.status(), StatusCode::ACCEPTED);
    assert_eq!(text(&json(replayed).await, "position"), "0.1.8");
    problem(order("/admin/dlq/kv/0.1.9/replay"), 404, "no-dead-letter").await;
    let all = order("/admin/dlq/kv/replay?reason=too_deep&force=true").send().await.expect("answer");
    assert_eq!((all.status(), json(all).await["appended"].clone()), (StatusCode::ACCEPTED, 1.into()));
    assert_eq!(order("/admin/dlq/kv/0.1.7/discard").send().await.expect("answer").status(), StatusCode::OK);
    problem(order("/admin/dlq/kv/0.1.7/discard"), 404, "no-dead-letter").await;
}

#[tokio::test]
async fn a_held_partition_is_released_once() {
    let door = door().await;
    let order = |path: &str| door.ask_admin("POST", path);
    let released = order("/admin/partitions/kv/2/release").send().await.expect("answer");
    assert_eq!(json(released).await["released"], true);
    problem(order("/admin/partitions/kv/1/release"), 409, "not-held").await;
    let malformed = problem(order("/admin/partitions/kv/x/release"), 400, "invalid-parameter").await;
    assert_eq!(fields(&malformed), ["partition"]);
    problem(door.ask_admin("GET", "/admin/partitions/kv/2/release"), 405, "method-not-allowed").await;
}

#[tokio::test]
async fn foreign_pages_neither_read_nor_order() {
    let named = |config: &mut Config| {
        config.server.admin_url = "https://ops.example:9443".into();
        config.security.admin_hosts = vec!["ops.internal.example".into()];
        config.security.allowed_origins = vec!["https://shop.example".into()];
    };
    let door = door_with(named, Router::new()).await;
    for host in ["evil.example", "evil.example:9090"] {
        let rebound = door.ask_admin("GET", "/metrics").header("host", host);
        assert_eq!(fields(&problem(rebound, 421, "foreign-host").await), ["host"]);
    }
    for host in ["ops.example:9443", "ops.internal.example", "localhost:1", "statecast:9090"] {
        let answer = door.ask_admin("GET", "/metrics").header("host", host).send().await.expect("answer");
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
    }
    let release = || door.ask_admin("POST", "/admin/partitions/kv/2/release");
    for origin in ["https://evil.example", "https://shop.example", "null"] {
        problem(release().header("origin", origin), 403, "foreign-origin").await;
    }
    let form = release().header("content-type", "application/x-www-form-urlencoded").body("");
    problem(form, 415, "unsupported-media-type").await;
    let own = format!("http://{}", door.admin);
    for origin in [own.as_str(), "https://ops.example:9443"] {
        let answer = release().header("origin", origin).send().await.expect("answer");
        assert_eq!(answer.status(), StatusCode::OK, "{origin}");
    }
}

#[tokio::test]
async fn the_log_level_changes_while_we_run() {
    let door = door().await;
    assert_eq!(text(&seen(&door, "/admin/log-level").await, "log_level"), "info");
    let set = |level: &str| {
        door.ask_admin("PUT", "/admin/log-level").json(&serde_json::json!({"log_level": level}))
    };
    let answer = set("debug").send().await.expect("answer");
    let level: schema::Level = serde_json::from_value(json(answer).await).expect("level");
    assert_eq!((level.log_level, http::ops::LogLevel::get(&*door.level)), ("debug".into(), "debug".into()));
    assert_eq!(fields(&problem(set("a b"), 422, "invalid-body").await), ["log_level"]);
    let wrong = door.ask_admin("PUT", "/admin/log-level").json(&serde_json::json!({"level": "info"}));
    assert_eq!(fields(&problem(wrong, 422, "invalid-body").await), ["log_level"]);
}
