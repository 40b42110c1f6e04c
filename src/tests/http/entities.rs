//! Reading: get, conditional get, read your write, long poll, list.

use super::*;
use crate::{
    engine::api::{Filter, Op, Sort, What},
    http::schema,
};
use std::sync::atomic::Ordering;

#[tokio::test]
async fn rule_28_a_get_answers_the_entity_with_tag_position_and_age() {
    let door = door().await;
    let position = door.put("/api/streams/kv/user-1", "{\"a\": 1.50}").await;
    let answer = door.get("/api/streams/kv/user-1").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(header(&answer, "etag"), "\"1\"");
    assert_eq!(header(&answer, "statecast-position"), position);
    assert_eq!(header(&answer, "statecast-age-ms"), "3");
    assert_eq!(header(&answer, "content-type"), "application/json");
    assert_eq!(header(&answer, "cache-control"), "no-cache");
    assert!(answer.headers().get("statecast-stale").is_none());
    let body = answer.text().await.expect("body");
    assert!(body.contains("\"value\":{\"a\": 1.50}"), "JSON is given back as it came: {body}");
    let entity: schema::Entity = serde_json::from_str(&body).expect("entity");
    assert_eq!((&*entity.stream, &*entity.key, entity.version), ("kv", "user-1", 1));
    assert_eq!(entity.position, position);
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let door = door().await;
    door.put("/api/streams/kv/a", "1").await;
    let length = door.get("/api/streams/kv/a").await.text().await.expect("body").len();
    let answer = door.ask("HEAD", "/api/streams/kv/a").send().await.expect("answer");
    assert_eq!((answer.status(), header(&answer, "etag")), (StatusCode::OK, "\"1\""));
    assert_eq!(header(&answer, "content-length"), length.to_string());
    assert!(answer.bytes().await.expect("body").is_empty());
}

#[tokio::test]
async fn keys_hold_slashes_spaces_and_any_letter() {
    let door = door().await;
    for (path, key) in [
        ("a/b/c", "a/b/c"),
        ("a%2Fb", "a/b"),
        ("r%C3%A9sum%C3%A9%20%F0%9F%A6%80", "résumé 🦀"),
        ("100%25", "100%"),
        ("a+b", "a+b"),
        ("a%00b", "a\0b"),
        ("/lead", "/lead"),
        ("trail/", "trail/"),
    ] {
        door.put(&format!("/api/streams/kv/{path}"), "1").await;
        let entity = json(door.get(&format!("/get/{path}")).await).await;
        assert_eq!(text(&entity, "key"), key);
    }
}

#[tokio::test]
async fn who_holds_the_tag_gets_304() {
    let door = door().await;
    let position = door.put("/api/streams/kv/a", "1").await;
    let ask = |tag: &str| door.ask("GET", "/api/streams/kv/a").header("if-none-match", tag).send();
    let answer = ask("\"1\"").await.expect("answer");
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    assert_eq!((header(&answer, "etag"), header(&answer, "statecast-position")), ("\"1\"", &*position));
    assert_eq!(ask("\"0\", \"9\"").await.expect("answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn rule_26_a_key_never_seen_is_404_and_a_removed_one_says_where() {
    let door = door().await;
    let never = problem(door.ask("GET", "/api/streams/kv/a"), 404, "no-entity").await;
    assert!(never.get("position").is_none());
    door.put("/api/streams/kv/a", "1").await;
    let removed = door.ask("DELETE", "/api/streams/kv/a").send().await.expect("answer");
    let position = text(&json(removed).await, "position");
    let answer = door.get("/api/streams/kv/a").await;
    assert_eq!(header(&answer, "statecast-position"), position);
    let problem = whole_problem(answer, 404, "no-entity").await;
    assert_eq!(text(&problem, "position"), position);
}

#[tokio::test]
async fn min_position_waits_for_the_own_write() {
    let door = Arc::new(door().await);
    door.fake.hold_fold();
    let position = door.put("/api/streams/kv/a", "\"mine\"").await;
    assert_eq!(door.get("/api/streams/kv/a").await.status(), StatusCode::NOT_FOUND);
    let path = format!("/api/streams/kv/a?min_position={position}");
    let waiting = tokio::spawn({
        let (door, path) = (door.clone(), path.clone());
        async move { json(door.get(&path).await).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    door.fake.release_fold();
    assert_eq!(text(&waiting.await.expect("task"), "value"), "mine");
}

#[tokio::test]
async fn a_position_that_is_not_confirmed_in_time_is_504() {
    let door = door().await;
    door.fake.hold_fold();
    let position = door.put("/api/streams/kv/a", "1").await;
    let path = format!("/api/streams/kv/a?min_position={position}");
    let late = problem(door.ask("GET", &path), 504, "not-reached").await;
    assert_eq!(text(&late, "position"), position);
    let path = "/api/streams/kv/a?min_position=0.9.1";
    let foreign = problem(door.ask("GET", path), 400, "invalid-parameter").await;
    assert_eq!(fields(&foreign), ["min_position"]);
}

#[tokio::test]
async fn a_long_poll_answers_at_the_next_change() {
    let door = Arc::new(door().await);
    let since = door.put("/api/streams/kv/a", "1").await;
    let path = format!("/api/streams/kv/a?wait=10s&since={since}");
    let polling = tokio::spawn({
        let door = door.clone();
        async move { json(door.get(&path).await).await }
    });
    while door.fake.polls.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    door.put("/api/streams/kv/other", "2").await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!polling.is_finished(), "another key is none of its business");
    door.put("/api/streams/kv/a", "2").await;
    assert_eq!(polling.await.expect("task")["value"], 2);
}

#[tokio::test]
async fn a_long_poll_without_change_is_304_and_at_once_where_something_changed() {
    let door = door().await;
    let since = door.put("/api/streams/kv/a", "1").await;
    let path = format!("/api/streams/kv/a?wait=50ms&since={since}");
    let answer = door.get(&path).await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(header(&answer, "statecast-position"), since);
    door.put("/api/streams/kv/a", "2").await;
    assert_eq!(json(door.get(&path).await).await["value"], 2);
    let empty = door.get("/api/streams/kv/a?wait=10s&since=").await;
    assert_eq!(empty.status(), StatusCode::OK, "who holds nothing hears of what is there");
    assert_eq!(door.get("/api/streams/kv/b?wait=20ms&since=").await.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_long_poll_hears_of_a_removal() {
    let door = Arc::new(door().await);
    let since = door.put("/api/streams/kv/a", "1").await;
    let polling = tokio::spawn({
        let door = door.clone();
        async move { door.get(&format!("/api/streams/kv/a?wait=10s&since={since}")).await }
    });
    while door.fake.polls.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    door.ask("DELETE", "/get/a").send().await.expect("answer");
    let problem = whole_problem(polling.await.expect("task"), 404, "no-entity").await;
    assert!(problem["position"].is_string());
}

#[tokio::test]
async fn what_comes_from_memory_alone_says_so_and_what_is_not_held_is_503() {
    let door = door().await;
    door.put("/api/streams/kv/a", "1").await;
    door.fake.store_away(Some(7));
    let answer = door.get("/api/streams/kv/a").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((header(&answer, "statecast-stale"), header(&answer, "statecast-age-ms")), ("7", "7000"));
    let away = door.get("/api/streams/kv/b").await;
    assert_eq!(header(&away, "retry-after"), "1");
    let away = whole_problem(away, 503, "store-unavailable").await;
    assert_eq!(away["retry_ms"], 1_000);
    problem(door.ask("GET", "/api/streams/kv"), 503, "store-unavailable").await;
}

#[tokio::test]
async fn merged_entities_are_tagged_by_their_positions() {
    let door = door().await;
    let answer = door.get("/api/streams/acts/agent-1").await;
    assert_eq!(header(&answer, "etag"), "\"0.0.5,0.1.9\"");
    assert_eq!(header(&answer, "statecast-position"), "0.0.5,0.1.9");
    let again = door.ask("GET", "/api/streams/acts/agent-1").header("if-none-match", "\"0.0.5,0.1.9\"");
    assert_eq!(again.send().await.expect("answer").status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_list_goes_page_by_page_to_its_end() {
    let door = door().await;
    for key in ["a1", "a2", "a3", "b1"] {
        door.put(&format!("/api/streams/kv/{key}"), "{}").await;
    }
    door.ask("DELETE", "/api/streams/kv/a2").send().await.expect("answer");
    let mut keys = Vec::new();
    let mut path = "/api/streams/kv?prefix=a&limit=1".to_owned();
    for _ in 0..4 {
        let page: schema::Page = serde_json::from_value(json(door.get(&path).await).await).expect("page");
        keys.extend(page.items.into_iter().map(|entity| entity.key));
        let Some(next) = page.next else { break };
        assert_ne!(next, "a1", "a cursor is opaque");
        path = format!("/api/streams/kv?prefix=a&limit=1&after={next}");
    }
    assert_eq!(keys, ["a1", "a3"]);
    let all = json(door.get("/api/streams/kv?prefix=&from=a3&filter=&sort=&limit=&after=").await).await;
    assert_eq!((all["items"].as_array().expect("items").len(), &all["next"]), (2, &Value::Null));
}

#[tokio::test]
async fn filter_and_sort_reach_the_engine_as_they_are_meant() {
    let door = door().await;
    let path = "/api/streams/kv?filter=/a~1b:ge:10&filter=version:lt:3&filter=/c:prefix:x%3Ay&sort=-updated";
    assert_eq!(door.get(path).await.status(), StatusCode::OK);
    let asked = door.fake.asked().expect("asked");
    let filter = |what, op, value: &str| Filter { what, op, value: value.into() };
    assert_eq!(
        asked.filters,
        [
            filter(What::Pointer("/a~1b".into()), Op::Ge, "10"),
            filter(What::Version, Op::Lt, "3"),
            filter(What::Pointer("/c".into()), Op::Prefix, "x:y"),
        ]
    );
    assert_eq!(asked.sort, Some(Sort { what: What::Updated, descending: true }));
    assert_eq!(asked.limit, 100);
}

#[tokio::test]
async fn what_the_engine_says_of_a_query_names_the_parameter() {
    let door = door().await;
    let path = "/api/streams/kv?prefix=fault&sort=/a";
    let refused = problem(door.ask("GET", path), 400, "invalid-parameter").await;
    assert_eq!(fields(&refused), ["sort"]);
}

#[tokio::test]
async fn all_streams_are_listed_with_their_apps_and_the_way_to_the_admin_pages() {
    let named = |config: &mut Config| {
        config.server.admin_url = "http://ops.example".into();
        config.server.public_url = "http://shop.example".into();
    };
    let door = door_with(named, Router::new()).await;
    let answer = json(door.get("/api/streams").await).await;
    let streams: schema::Streams = serde_json::from_value(answer).expect("streams");
    let names: Vec<_> = streams.streams.iter().map(|stream| stream.stream.as_str()).collect();
    assert_eq!((names, streams.apps), (vec!["kv", "acts"], vec!["agents".to_owned()]));
    assert_eq!(streams.links.admin.as_deref(), Some("http://ops.example"));
    assert_eq!(streams.links.public.as_deref(), Some("http://shop.example"));
    assert!(streams.at.ends_with('Z'));
    let door = super::door().await;
    assert_eq!(json(door.get("/api/streams").await).await["links"]["admin"], Value::Null);
}
