//! Bad input: each is a problem that names the field and the remedy, and none is appended.

use super::*;

const ENTITY: &str = "/api/streams/kv/a";

async fn refused(door: &Door, method: &str, path: &str, body: &str, status: u16, code: &str, field: &str) {
    let mut request = door.ask(method, path);
    if method != "GET" && method != "DELETE" {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let problem = problem(request, status, code).await;
    let named = fields(&problem);
    assert!(named.iter().any(|name| name == field), "{field} among {named:?} of {method} {path}");
}

#[tokio::test]
async fn values_that_cannot_be_kept_are_refused_at_the_door() {
    let door = door().await;
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    let deepest = "[".repeat(200_000);
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    for (body, status, code) in [
        ("", 400, "malformed-json"),
        ("hello", 400, "malformed-json"),
        ("{\"a\":}", 400, "malformed-json"),
        ("NaN", 400, "malformed-json"),
        ("{\"a\":NaN}", 400, "malformed-json"),
        ("Infinity", 400, "malformed-json"),
        ("1 2", 400, "malformed-json"),
        ("9223372036854775808", 422, "invalid-value"),
        ("{\"a\":1,\"a\":2}", 422, "invalid-value"),
        ("{\"\\u0000\":1}", 400, "malformed-json"),
        (&deep, 422, "invalid-value"),
        (&deepest, 422, "invalid-value"),
        (&large, 413, "too-large"),
    ] {
        refused(&door, "PUT", ENTITY, body, status, code, "value").await;
        if status != 400 {
            let body = format!("{{\"key\":\"a\",\"value\":{body}}}");
            let wellformed = body.len() < 100_000 || code == "too-large";
            if wellformed {
                refused(&door, "POST", "/add", &body, status, code, "value").await;
            }
        }
    }
    let depth = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    door.put(ENTITY, &depth).await;
    assert_eq!(door.fake.appended().len(), 1);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let door = door().await;
    let request = door.ask("PUT", ENTITY).body(vec![b'"', 0xff, b'"']);
    assert_eq!(fields(&problem(request, 400, "malformed-json").await), ["value"]);
    let request = door.ask("POST", "/add").body(vec![0xff]);
    assert_eq!(fields(&problem(request, 400, "malformed-json").await), ["body"]);
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_413_announced_or_not() {
    let door = door().await;
    let large = vec![b'1'; 10 << 20];
    for path in [ENTITY, "/add"] {
        let method = if path == "/add" { "POST" } else { "PUT" };
        let announced = door.ask(method, path).body(large.clone());
        assert_eq!(fields(&problem(announced, 413, "too-large").await), ["body"]);
        let chunks = large.chunks(64 << 10).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()));
        let chunks: Vec<_> = chunks.collect();
        let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        problem(door.ask(method, path).body(stream), 413, "too-large").await;
    }
    assert!(door.fake.appended().is_empty());
}

#[tokio::test]
async fn keys_that_are_no_keys_are_refused() {
    let door = door().await;
    let (longest, longer) = ("k".repeat(512), "k".repeat(513));
    let wide = "%C3%A9".repeat(257);
    door.put(&format!("/api/streams/kv/{longest}"), "1").await;
    for key in ["", longer.as_str(), wide.as_str()] {
        for path in [format!("/api/streams/kv/{key}"), format!("/get/{key}")] {
            refused(&door, "GET", &path, "", 400, "invalid-key", "key").await;
            refused(&door, "DELETE", &path, "", 400, "invalid-key", "key").await;
        }
        refused(&door, "PUT", &format!("/api/streams/kv/{key}"), "1", 400, "invalid-key", "key").await;
    }
    refused(&door, "POST", "/add", "{\"key\":\"\",\"value\":1}", 400, "invalid-key", "key").await;
    let body = format!("{{\"key\":\"{longer}\",\"value\":1}}");
    refused(&door, "POST", "/add", &body, 400, "invalid-key", "key").await;
    assert_eq!(door.fake.appended().len(), 1);
}

#[tokio::test]
async fn the_body_of_add_is_exactly_key_and_value() {
    let door = door().await;
    for (body, field) in [
        ("{\"key\":\"a\",\"value\":1,\"ttl\":5}", "ttl"),
        ("{\"key\":\"a\"}", "value"),
        ("{\"value\":1}", "key"),
        ("{\"key\":5,\"value\":1}", "key"),
        ("{\"key\":null,\"value\":1}", "key"),
        ("{\"key\":\"a\",\"key\":\"b\",\"value\":1}", "key"),
        ("{\"key\":\"a\",\"value\":1,\"value\":2}", "value"),
        ("[]", "body"),
        ("\"a\"", "body"),
    ] {
        refused(&door, "POST", "/add", body, 422, "invalid-body", field).await;
    }
    refused(&door, "POST", "/add", "{\"key\":\"a\",", 400, "malformed-json", "body").await;
    let many: String = (0..20_000).map(|n| format!("\"m{n}\":0,")).collect();
    let request = door.ask("POST", "/add").body(format!("{{{many}\"key\":\"a\",\"value\":1}}"));
    assert!(fields(&problem(request, 422, "invalid-body").await).len() <= 32, "an answer has its bound");
}

#[tokio::test]
async fn parameters_are_known_and_well_formed() {
    let door = door().await;
    for (path, field) in [
        ("/api/streams?x=1", "x"),
        ("/api/streams/kv?page=2", "page"),
        ("/api/streams/kv?limit=0", "limit"),
        ("/api/streams/kv?limit=1001", "limit"),
        ("/api/streams/kv?limit=ten", "limit"),
        ("/api/streams/kv?limit=1&limit=2", "limit"),
        ("/api/streams/kv?filter=/a", "filter"),
        ("/api/streams/kv?filter=/a:like:b", "filter"),
        ("/api/streams/kv?filter=price:eq:1", "filter"),
        ("/api/streams/kv?sort=price", "sort"),
        ("/api/streams/kv?after=***", "after"),
        ("/api/streams/kv/a?min_position=5", "min_position"),
        ("/api/streams/kv/a?min_position=0.1.x", "min_position"),
        ("/api/streams/kv/a?since=yesterday&wait=1s", "since"),
        ("/api/streams/kv/a?wait=10&since=0.1.1", "wait"),
        ("/api/streams/kv/a?wait=10s", "wait"),
        ("/api/streams/kv/a?colour=red", "colour"),
        ("/get/a?colour=red", "colour"),
    ] {
        refused(&door, "GET", path, "", 400, "invalid-parameter", field).await;
    }
    refused(&door, "PUT", "/api/streams/kv/a?wait=10s", "1", 400, "invalid-parameter", "wait").await;
    refused(&door, "PUT", "/api/streams/kv/a?ttl=1", "1", 400, "invalid-parameter", "ttl").await;
    refused(&door, "DELETE", "/get/a?wait=sent", "", 400, "invalid-parameter", "wait").await;
    assert!(door.fake.appended().is_empty());
}

#[tokio::test]
async fn the_remedy_for_a_limit_names_the_bound_that_holds() {
    let door = door().await;
    for (path, remedy) in [
        ("/api/intelligence/actions/recent?limit=101", "a whole number from 1 to 100"),
        ("/api/intelligence/actions/recent?limit=all", "a whole number from 1 to 100"),
        ("/api/streams/kv?limit=1001", "a whole number from 1 to 1000 (limits.page_items_max)"),
        ("/api/streams/kv?limit=all", "a whole number from 1 to 1000 (limits.page_items_max)"),
    ] {
        let problem = problem(door.ask("GET", path), 400, "invalid-parameter").await;
        assert_eq!(problem["errors"][0]["remedy"], remedy, "{path}");
    }
}

#[tokio::test]
async fn conditions_that_are_not_understood_are_refused() {
    let door = door().await;
    for (name, value) in
        [("if-match", "7"), ("if-match", "*"), ("if-match", "W/\"7\""), ("if-none-match", "\"7\"")]
    {
        let request = door.ask("PUT", ENTITY).header(name, value).body("1");
        assert_eq!(fields(&problem(request, 400, "invalid-header").await), [name]);
    }
    assert!(door.fake.appended().is_empty());
}

#[tokio::test]
async fn unknown_streams_paths_and_methods_are_problems() {
    let door = door().await;
    for path in ["/api/streams/nope", "/api/streams/nope/a"] {
        refused(&door, "GET", path, "", 404, "no-stream", "stream").await;
    }
    refused(&door, "PUT", "/api/streams/nope/a", "1", 404, "no-stream", "stream").await;
    for path in ["/nope", "/api", "/api/stream/kv", "/docs/nope", "/assets/nope.js", "/admin/dlq", "/metrics"]
    {
        problem(door.ask("GET", path), 404, "not-found").await;
    }
    for (method, path, allow) in [
        ("POST", "/api/streams/kv/a", "GET,HEAD,PUT,DELETE"),
        ("POST", "/api/streams", "GET,HEAD"),
        ("GET", "/add", "POST"),
        ("PUT", "/get/a", "GET,HEAD,DELETE"),
    ] {
        let answer = door.ask(method, path).send().await.expect("answer");
        assert_eq!(header(&answer, "allow"), allow, "{method} {path}");
        whole_problem(answer, 405, "method-not-allowed").await;
    }
}

#[tokio::test]
async fn paths_that_decode_to_nothing_are_refused() {
    let door = door().await;
    for path in
        ["/get/%zz", "/get/a%", "/get/%ff", "/api/streams/kv?prefix=%ff", "/api/streams/kv?prefix=%g0"]
    {
        let line = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = listener::raw(&door, line.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(answer.contains("/problems/malformed-path"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn bodies_of_another_type_are_415() {
    let door = door().await;
    for kind in ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx"] {
        let request = door.ask("PUT", ENTITY).header("content-type", kind).body("1");
        assert_eq!(fields(&problem(request, 415, "unsupported-media-type").await), ["content-type"]);
    }
    let packed = door.ask("PUT", ENTITY).header("content-encoding", "gzip").body("1");
    assert_eq!(fields(&problem(packed, 415, "unsupported-media-type").await), ["content-encoding"]);
    for kind in
        ["application/json; charset=utf-8", "application/ld+json", "application/x-www-form-urlencoded"]
    {
        let answer = door.ask("PUT", ENTITY).header("content-type", kind).body("1").send().await;
        assert_eq!(answer.expect("answer").status(), StatusCode::ACCEPTED, "{kind}");
    }
}

#[tokio::test]
async fn pages_of_a_foreign_origin_write_nothing() {
    let listed = |config: &mut Config| config.security.allowed_origins = vec!["https://shop.example".into()];
    let door = door_with(listed, Router::new()).await;
    let from = |method: &str, origin: &str| door.ask(method, ENTITY).header("origin", origin).body("1");
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(fields(&problem(from("PUT", origin), 403, "foreign-origin").await), ["origin"]);
        problem(from("DELETE", origin), 403, "foreign-origin").await;
        let add = door.ask("POST", "/add").header("origin", origin).body("{\"key\":\"a\",\"value\":1}");
        problem(add, 403, "foreign-origin").await;
    }
    assert!(door.fake.appended().is_empty());
    let own = format!("http://{}", door.public);
    for origin in [own.as_str(), "https://shop.example"] {
        assert_eq!(from("PUT", origin).send().await.expect("answer").status(), StatusCode::ACCEPTED);
    }
    let asked = door.ask("OPTIONS", ENTITY).header("origin", "https://shop.example");
    let asked = asked.header("access-control-request-method", "PUT").send().await.expect("answer");
    assert_eq!(header(&asked, "access-control-allow-origin"), "https://shop.example");
    let asked = door.ask("OPTIONS", ENTITY).header("origin", "https://evil.example");
    let asked = asked.header("access-control-request-method", "PUT").send().await.expect("answer");
    assert!(asked.headers().get("access-control-allow-origin").is_none());
}
