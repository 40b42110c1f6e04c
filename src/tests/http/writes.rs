//! Writing: what 202, 200 and each refusal mean.

use super::{fake::LogIs, *};
use crate::http::schema;

fn put(door: &Door, path: &str, body: &'static str) -> RequestBuilder {
    door.ask("PUT", path).header("content-type", "application/json").body(body)
}

#[tokio::test]
async fn a_put_is_202_with_its_position_and_is_read_back() {
    let door = door().await;
    let answer = put(&door, "/api/streams/kv/a/b", "{\"x\":1}").send().await.expect("answer");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let position = header(&answer, "statecast-position").to_owned();
    let accepted: schema::Accepted = serde_json::from_value(json(answer).await).expect("accepted");
    assert_eq!((&*accepted.stream, &*accepted.key), ("kv", "a/b"));
    assert_eq!(accepted.position, position);
    let read = json(door.get("/api/streams/kv/a/b").await).await;
    assert_eq!((text(&read, "position"), &read["version"]), (position, &Value::from(1)));
}

#[tokio::test]
async fn wait_stored_answers_the_stored_entity() {
    let door = door().await;
    for version in 1..=2 {
        let answer = put(&door, "/api/streams/kv/a?wait=stored", "null").send().await.expect("answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "etag"), format!("\"{version}\""));
        assert_eq!(header(&answer, "statecast-age-ms"), "0");
        let entity: schema::Entity = serde_json::from_value(json(answer).await).expect("entity");
        assert_eq!((entity.version, entity.value), (version, Value::Null));
    }
    let removed = door.ask("DELETE", "/api/streams/kv/a?wait=stored").send().await.expect("answer");
    assert_eq!(removed.status(), StatusCode::OK);
    let removed: schema::Entity = serde_json::from_value(json(removed).await).expect("entity");
    assert_eq!((removed.version, removed.deleted), (3, Some(true)));
}

#[tokio::test]
async fn a_condition_holds_for_one_version_and_implies_waiting() {
    let door = door().await;
    let absent = put(&door, "/api/streams/kv/a", "1").header("if-none-match", "*");
    assert_eq!(absent.send().await.expect("answer").status(), StatusCode::OK);
    let again = put(&door, "/api/streams/kv/a", "2").header("if-none-match", "*");
    let again = problem(again, 412, "precondition-failed").await;
    assert_eq!((&again["entity"]["value"], &again["entity"]["version"]), (&1.into(), &1.into()));
    assert!(again["position"].is_string());
    let right = put(&door, "/api/streams/kv/a", "2").header("if-match", "\"1\"");
    assert_eq!(json(right.send().await.expect("answer")).await["version"], 2);
    let wrong = door.ask("DELETE", "/api/streams/kv/a").header("if-match", "\"1\"");
    problem(wrong, 412, "precondition-failed").await;
    let right = door.ask("DELETE", "/api/streams/kv/a").header("if-match", "\"2\"");
    assert_eq!(right.send().await.expect("answer").status(), StatusCode::OK);
    let gone = put(&door, "/api/streams/kv/a", "3").header("if-match", "\"3\"");
    let gone = problem(gone, 412, "precondition-failed").await;
    assert_eq!(gone["entity"], Value::Null, "{gone}");
    let absent = put(&door, "/api/streams/kv/a", "3").header("if-none-match", "*");
    assert_eq!(absent.send().await.expect("answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn of_many_writers_with_one_version_one_gets_the_200() {
    let door = door().await;
    door.put("/api/streams/kv/a", "0").await;
    let writers = (0..20).map(|_| put(&door, "/api/streams/kv/a", "1").header("if-match", "\"1\"").send());
    let answers = futures_util::future::join_all(writers).await;
    let statuses: Vec<_> =
        answers.into_iter().map(|answer| answer.expect("answer").status().as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 19);
}

#[tokio::test]
async fn each_refusal_of_the_step_has_its_status() {
    let door = door().await;
    door.put("/api/streams/kv/a", "1").await;
    let path = "/api/streams/kv/a?wait=stored";
    let conflict = problem(put(&door, path, "\"conflict\""), 409, "conflict").await;
    assert_eq!(conflict["entity"]["value"], 1);
    problem(put(&door, path, "\"rule\""), 422, "rule").await;
    let poison = problem(put(&door, path, "\"poison\""), 422, "poisoned").await;
    assert_eq!(
        (fields(&poison), text(&poison, "reason")),
        (vec!["value".to_owned()], "schema_invalid".to_owned())
    );
    let unwaited = put(&door, "/api/streams/kv/a", "\"conflict\"").send().await.expect("answer");
    assert_eq!(unwaited.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_is_known_of_a_failed_write_is_said() {
    let door = door().await;
    door.fake.log_is(LogIs::Away);
    let away = problem(put(&door, "/api/streams/kv/a", "1"), 503, "log-unavailable").await;
    assert_eq!(away["retry_ms"], 1_000);
    door.fake.log_is(LogIs::Silent);
    let silent = problem(put(&door, "/api/streams/kv/a", "1"), 503, "outcome-unknown").await;
    assert!(silent.get("position").is_none());
    door.fake.log_is(LogIs::Busy);
    problem(put(&door, "/api/streams/kv/a?wait=stored", "1"), 503, "busy").await;
    door.fake.log_is(LogIs::Refusing);
    problem(put(&door, "/api/streams/kv/a", "1"), 422, "log-refused").await;
    door.fake.log_is(LogIs::Up);
    door.fake.hold_fold();
    let lost = problem(put(&door, "/api/streams/kv/a?wait=stored", "1"), 504, "outcome-unknown").await;
    door.fake.release_fold();
    let path = format!("/api/streams/kv/a?min_position={}", text(&lost, "position"));
    assert_eq!(json(door.get(&path).await).await["value"], 1, "the position reads what became of it");
}

#[tokio::test]
async fn streams_that_are_not_latest_say_how_they_are_written() {
    let door = door().await;
    let answer = put(&door, "/api/streams/acts/a", "1").send().await.expect("answer");
    assert_eq!(header(&answer, "allow"), "GET,HEAD");
    let refused = whole_problem(answer, 405, "not-writable").await;
    assert_eq!(text(&refused, "detail"), "POST /api/acts");
    let merged = problem(door.ask("DELETE", "/api/streams/grouped/a"), 405, "not-writable").await;
    assert!(text(&merged, "detail").contains("the topic grouped"));
    assert!(door.fake.appended().is_empty());
}

#[tokio::test]
async fn the_record_holds_key_value_condition_and_trace() {
    let door = door().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = put(&door, "/api/streams/kv/k%2F1", " [1, 2] ").header("if-none-match", "*");
    request.header("traceparent", trace).send().await.expect("answer");
    door.ask("DELETE", "/get/k/1").header("traceparent", "garbage").send().await.expect("answer");
    let records = door.fake.appended();
    let [put, delete] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((put.key.as_deref(), put.value.as_deref()), (Some(&b"k/1"[..]), Some(&b" [1, 2] "[..])));
    let version = ("statecast-if-version".to_owned(), Some(b"0".to_vec()));
    assert_eq!(put.headers, [version, ("traceparent".to_owned(), Some(trace.as_bytes().to_vec()))]);
    assert_eq!((delete.value.as_deref(), delete.headers.len()), (None, 0));
}

#[tokio::test]
async fn add_get_and_delete_are_short_for_kv() {
    let door = door().await;
    let add =
        |body: &'static str| door.ask("POST", "/add").header("content-type", "application/json").body(body);
    let answer = add("{\"key\":\"a/b\",\"value\":{\"n\":1e400}}").send().await.expect("answer");
    assert_eq!(answer.status().as_u16(), 422, "a number beyond every range");
    let answer = add("{\"key\":\"a/b\",\"value\":{\"n\":1.50}}").send().await.expect("answer");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let accepted = json(answer).await;
    assert_eq!(text(&accepted, "key"), "a/b");
    let body = door.get(&format!("/get/a/b?min_position={}", text(&accepted, "position"))).await;
    assert!(body.text().await.expect("body").contains("\"value\":{\"n\":1.50}"));
    let stored = door.ask("POST", "/add?wait=stored").json(&serde_json::json!({"key": "a/b", "value": null}));
    let stored = stored.send().await.expect("answer");
    assert_eq!((stored.status(), json(stored).await["version"].clone()), (StatusCode::OK, 2.into()));
    let removed = door.ask("DELETE", "/get/a/b").send().await.expect("answer");
    assert_eq!(removed.status(), StatusCode::ACCEPTED);
    problem(door.ask("GET", "/get/a/b"), 404, "no-entity").await;
}
