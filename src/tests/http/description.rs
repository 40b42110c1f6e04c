//! The OpenAPI document: whole, sound, and of the routes there are.

use super::*;
use axum::routing::{any, get};
use std::collections::{BTreeMap, BTreeSet};

/// Routed and not described: files of the description, keys that are missing, the socket, a redirect.
const APART: [&str; 7] =
    ["/docs/docs.js", "/docs/docs.css", "/api/streams/{stream}/", "/get/", "/viewer/", "/socket.io/", "/"];

fn extra() -> Router {
    Router::new().route("/live", get(async || "")).route("/socket.io/", any(async || ""))
}

async fn documents(door: &Door) -> [(Value, RequestOf<'_>); 2] {
    let public = json(door.get("/openapi.json").await).await;
    let admin = json(door.ask_admin("GET", "/openapi.json").send().await.expect("answer")).await;
    [(public, Box::new(|m, p| door.ask(m, p))), (admin, Box::new(|m, p| door.ask_admin(m, p)))]
}

type RequestOf<'d> = Box<dyn Fn(&str, &str) -> RequestBuilder + 'd>;

fn paths(document: &Value) -> BTreeMap<String, Vec<String>> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| item.as_object().expect("item").keys().cloned().collect();
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

#[tokio::test]
async fn what_is_described_is_routed_with_exactly_these_methods() {
    let door = door_with(|_| {}, extra()).await;
    for (admin, (document, ask)) in [false, true].into_iter().zip(documents(&door).await) {
        assert!(paths(&document).len() > 10);
        let doors =
            ["/events/processed", "/api/intelligence/health"].map(|p| paths(&document).contains_key(p));
        assert!(doors == [!admin; 2], "the apps' paths are on the public listener");
        for (path, methods) in paths(&document) {
            let filled = path.replace(['{', '}'], "");
            let answer = ask("TRACE", &filled).send().await.expect("answer");
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path} is routed");
            let allowed: BTreeSet<_> = header(&answer, "allow").split(',').map(str::to_lowercase).collect();
            let mut described: BTreeSet<_> = methods.iter().cloned().collect();
            if described.contains("get") {
                described.insert("head".into());
            }
            assert_eq!(allowed, described, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_routed_is_described() {
    let door = door_with(|_| {}, extra()).await;
    let fake = Fake::new(Duration::ZERO);
    let config = Arc::new(Config::default());
    let context = Context { engine: fake, config, stop: CancellationToken::new() };
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let routers = [
        http::public(&context, outside(&context, extra())),
        http::admin(&context, Tools { metrics, log_level: None }),
    ];
    for ((document, _), router) in documents(&door).await.into_iter().zip(routers) {
        let described = paths(&document);
        let routed = routed(&format!("{router:?}"));
        assert!(routed.len() >= described.len(), "the router tells its paths: {routed:?}");
        for path in routed {
            let known = described.contains_key(&path.replace("{*", "{")) || APART.contains(&path.as_str());
            assert!(known, "{path} is not described");
        }
    }
}

/// These take any parameter: pages and their files, what probes and scrapers ask, and `/live`, which asks for rooms first.
const ANY_PARAMETER: [&str; 12] = [
    "/",
    "/viewer/{key}",
    "/streams/{stream}",
    "/streams/{stream}/{key}",
    "/agents",
    "/products",
    "/tasks",
    "/pipeline",
    "/dlq",
    "/live",
    "/metrics",
    "/problems/{code}",
];

#[tokio::test]
async fn a_parameter_that_is_not_described_is_refused_wherever_something_is_asked() {
    let door = door_with(|_| {}, extra()).await;
    for (document, ask) in documents(&door).await {
        for (path, _) in paths(&document).into_iter().filter(|(_, methods)| methods.contains(&"get".into())) {
            let of_itself = ["/health/", "/docs", "/openapi.json"].iter().any(|of| path.starts_with(of));
            if of_itself || ANY_PARAMETER.contains(&path.as_str()) {
                continue;
            }
            let filled =
                path.replace("{stream}", "kv").replace("{position}", "0.0.0").replace(['{', '}'], "");
            let answer = ask("GET", &format!("{filled}?nobody-knows=1")).send().await.expect("answer");
            let (status, body) = (answer.status(), answer.text().await.expect("body"));
            // The streams of the apps are not in the engine at hand.
            if body.contains("\"/problems/no-stream\"") {
                continue;
            }
            assert!(status == 400 && body.contains("nobody-knows"), "{path} answers {status}: {body}");
        }
    }
}

/// The paths in a router's own account of itself: every quoted text that begins with a slash.
fn routed(debug: &str) -> BTreeSet<String> {
    let quoted = debug.split('"').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with('/') && !text.contains("__private")).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_documents_are_sound() {
    let door = door_with(|_| {}, extra()).await;
    for (document, _) in documents(&door).await {
        assert_eq!(text(&document, "openapi"), "3.1.0");
        assert_eq!(text(&document["info"], "version"), env!("CARGO_PKG_VERSION"));
        let tags: BTreeSet<_> =
            document["tags"].as_array().expect("tags").iter().map(|t| text(t, "name")).collect();
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("item") {
                let at = format!("{method} {path}");
                assert!(ids.insert(text(operation, "operationId")), "{at} has an id of its own");
                assert!(!text(operation, "summary").is_empty(), "{at}");
                assert!(tags.contains(operation["tags"][0].as_str().expect("tag")), "{at}");
                assert!(operation["responses"].as_object().is_some_and(|r| !r.is_empty()), "{at}");
                assert_eq!(in_path(operation), in_template(path), "{at}");
            }
        }
        references(&document, &document);
    }
}

fn in_path(operation: &Value) -> BTreeSet<String> {
    let empty = Vec::new();
    let parameters = operation["parameters"].as_array().unwrap_or(&empty);
    let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
    in_path.inspect(|p| assert_eq!(p["required"], true)).map(|p| text(p, "name")).collect()
}

fn in_template(path: &str) -> BTreeSet<String> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    names.inspect(|name| assert!(!name.starts_with('*'), "{path}")).map(str::to_owned).collect()
}

/// Every `$ref` leads somewhere.
fn references(document: &Value, part: &Value) {
    match part {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "$ref") {
                    Some(to) => assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}"),
                    None => references(document, member),
                }
            }
        }
        Value::Array(members) => members.iter().for_each(|member| references(document, member)),
        _ => {}
    }
}

#[tokio::test]
async fn the_page_to_try_it_loads_only_files_of_its_own() {
    let door = door().await;
    let page = door.get("/docs").await.text().await.expect("body");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("style="));
    assert!(!page.contains("<!-- problems -->") && page.contains("id=\"outcome-unknown\""));
    for (file, kind) in [("/docs/docs.js", "text/javascript"), ("/docs/docs.css", "text/css")] {
        assert!(page.contains(file));
        let answer = door.get(file).await;
        assert!(header(&answer, "content-type").starts_with(kind) && answer.status() == 200);
    }
    let place = door.get("/problems/outcome-unknown").await;
    assert_eq!(
        (place.status(), header(&place, "location")),
        (StatusCode::SEE_OTHER, "/docs#outcome-unknown")
    );
    problem(door.ask("GET", "/problems/nope"), 404, "not-found").await;
}
