//! OpenAPI 3.1 of each listener, collected from the handlers themselves, and a page to try it.
//!
//! Invariant: a path that is routed is described, since both come from one registration; a test holds
//! `schema` against real answers.
//! Not here: the handlers.

use super::{
    assets::PAGE_POLICY,
    problem::{Kind, Problem},
    schema::ProblemBody,
};
use axum::{
    Extension, Router,
    extract::RawPathParams,
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use std::{fmt::Write as _, sync::Arc};
use utoipa::{
    OpenApi,
    openapi::{OpenApi as Document, Server},
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The document of one listener, as text.
#[derive(Clone)]
struct Text(Arc<str>);

#[derive(OpenApi)]
#[openapi(
    info(title = "Statecast", description = "Kafka topics in, durable current state per key, every change live."),
    tags(
        (name = "entities", description = "Streams and their entities"),
        (name = "key-value", description = "The stream kv, in short"),
        (name = "agents", description = "What agents did over the last day"),
        (name = "live", description = "Changes as they happen"),
        (name = "health", description = "Whether it is up, and whether it can work"),
        (name = "operations", description = "The admin listener"),
        (name = "dead letters", description = "Records nobody could take in"),
        (name = "pages", description = "What people look at"),
        (name = "about", description = "This description"),
    )
)]
struct About;

/// An empty document with its title and tags, to be filled by routes.
pub fn begin<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::with_openapi(About::openapi())
}

/// The paths that `live` routes.
pub fn live() -> Document {
    Live::openapi()
}

#[derive(OpenApi)]
#[openapi(paths(changes))]
struct Live;

/// Changes of rooms, as server-sent events
///
/// Events `snapshot`, `change`, `resync` and `heartbeat`; each `id` is a cursor over all rooms asked for. The same
/// rooms are had over Socket.IO at `/socket.io/` with a stock client of version 4.
#[utoipa::path(get, path = "/live", tag = "live",
    params(
        ("room" = Vec<String>, Query, description = "STREAM, STREAM/KEY or STREAM:NAME; repeatable"),
        ("cursor" = Option<String>, Query, description = "The id of the last event, to go on from there"),
        ("Last-Event-ID" = Option<String>, Header, description = "Likewise, as browsers send it")
    ),
    responses(
        (status = 200, description = "The events", content_type = "text/event-stream", body = String),
        (status = 400, description = "A room or cursor is not understood", body = ProblemBody),
        (status = 503, description = "The store is away", body = ProblemBody)
    ))]
#[allow(dead_code)] // only described here
fn changes() {}

/// The routes of the description itself, and of the page to try it.
pub fn description<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::default().routes(routes!(document)).routes(routes!(docs)).routes(routes!(problem))
}

/// What the page loads, and the document it shows.
pub fn serve<S: Clone + Send + Sync + 'static>(router: Router<S>, document: Document) -> Router<S> {
    let text = serde_json::to_string(&finish(document)).unwrap_or_else(|_| "{}".into());
    router
        .route(
            "/docs/docs.js",
            get(async || file("text/javascript; charset=utf-8", include_str!("docs/docs.js"))),
        )
        .route("/docs/docs.css", get(async || file("text/css; charset=utf-8", include_str!("docs/docs.css"))))
        .layer(Extension(Text(text.into())))
}

/// Paths as OpenAPI writes them: its templates know no `{*key}`.
fn finish(mut document: Document) -> Document {
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.license = None;
    document.servers = Some(vec![Server::new("/")]);
    document
}

/// OpenAPI 3.1 of this listener
#[utoipa::path(get, path = "/openapi.json", tag = "about",
    responses((status = 200, description = "The document", body = serde_json::Value)))]
async fn document(Extension(text): Extension<Text>) -> Response {
    file("application/json", &text.0)
}

/// A page to try every path
#[utoipa::path(get, path = "/docs", tag = "about",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
async fn docs() -> Response {
    let policy = [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY), (header::CACHE_CONTROL, "no-cache")];
    (policy, Html(include_str!("docs/index.html").replace("<!-- problems -->", &problems()))).into_response()
}

/// What a problem's type means and what to do about it
#[utoipa::path(get, path = "/problems/{code}", tag = "about", params(("code" = String, Path, description = "The code")),
    responses(
        (status = 303, description = "Its place in /docs"),
        (status = 404, description = "No such code", body = ProblemBody)
    ))]
async fn problem(params: RawPathParams) -> Result<Redirect, Problem> {
    let code = params.iter().map(|(_, value)| value).next().unwrap_or_default();
    let known = Kind::ALL.iter().find(|kind| kind.code() == code);
    known.map(|kind| Redirect::to(&format!("/docs#{}", kind.code()))).ok_or_else(|| {
        Problem::new(Kind::NotFound, "no problem has this code").field("code", "is not known", "see /docs")
    })
}

fn problems() -> String {
    Kind::ALL.iter().fold(String::new(), |mut rows, kind| {
        let (code, status) = (kind.code(), kind.status().as_u16());
        let _ = write!(
            rows,
            "<tr id=\"{code}\"><td><code>{code}</code></td><td>{status}</td><td>{}</td><td>{}</td></tr>",
            kind.title(),
            kind.remedy().replace('&', "&amp;").replace('<', "&lt;")
        );
        rows
    })
}

fn file(kind: &'static str, text: &str) -> Response {
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (head, text.to_owned()).into_response()
}
