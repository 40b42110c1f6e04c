//! Streams and their entities: list, get, long poll.
//!
//! Invariant: every answer about a key carries its position and its age, and says when it comes from memory because the
//! store is away.
//! Not here: writing (`write`), the grammar of parameters (`query`).

use super::{
    Context, conditions,
    problem::{Kind, Problem, no_stream},
    query::{self, Query, Wrong},
    request::Target,
};
use crate::{
    clock,
    document::{Positions, Shown, push_json_string},
    engine::api::{ListPage, Read, StreamInfo},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::future::try_join_all;
use serde_json::json;
use std::time::Duration;

pub const POSITION: HeaderName = HeaderName::from_static("statecast-position");
pub const AGE: HeaderName = HeaderName::from_static("statecast-age-ms");
pub const STALE: HeaderName = HeaderName::from_static("statecast-stale");

/// Every stream, what it holds and how it does
///
/// Kind, topics, keys held, position per partition, lag, and whether it is held and why.
#[utoipa::path(get, path = "/api/streams", operation_id = "list_streams", tag = "entities", responses(
    (status = 200, description = "All streams", body = super::schema::Streams)
))]
pub async fn streams(State(context): State<Context>, query: Query) -> Result<Response, Problem> {
    query.reader().finish()?;
    let streams = context.engine.streams();
    let mut apps = Vec::new();
    for app in streams.iter().filter_map(|stream| stream.app.as_ref()) {
        if !apps.contains(&app) {
            apps.push(app);
        }
    }
    let server = &context.config.server;
    let [admin, public] =
        [&server.admin_url, &server.public_url].map(|url| Some(url).filter(|url| !url.is_empty()));
    let links = json!({"admin": admin, "public": public});
    let body = json!({"streams": streams, "apps": apps, "links": links, "at": clock::iso(clock::now_ms())});
    Ok(json_answer(&context, StatusCode::OK, body.to_string()))
}

/// One page of a stream's entities
///
/// In key order, or as `sort` says; `next` is the `after` of the page that follows, null at the end.
#[utoipa::path(get, path = "/api/streams/{stream}", operation_id = "list_entities", tag = "entities",
    params(super::schema::StreamPath, super::schema::ListParams),
    responses(
        (status = 200, description = "A page", body = super::schema::Page),
        (status = 400, description = "A parameter is not understood", body = super::schema::ProblemBody),
        (status = 404, description = "No such stream", body = super::schema::ProblemBody),
        (status = 503, description = "The store is away", body = super::schema::ProblemBody)
    ))]
pub async fn list(State(context): State<Context>, target: Target, query: Query) -> Result<Response, Problem> {
    list_of(&context, &target.stream, &query).await
}

/// What a list answers, whichever path names the stream.
pub async fn list_of(context: &Context, stream: &str, query: &Query) -> Result<Response, Problem> {
    context.engine.stream(stream).ok_or_else(|| no_stream(stream))?;
    let asked = query::list(query, context.config.limits.page_items_max)?;
    let page = context.engine.list(stream, asked).await?;
    Ok(json_answer(context, StatusCode::OK, page_json(stream, &page)))
}

fn page_json(stream: &str, page: &ListPage) -> String {
    let items: Vec<_> = page.items.iter().map(|shown| shown.json(stream)).collect();
    let mut next = "null".to_owned();
    if let Some(cursor) = &page.next {
        next.clear();
        push_json_string(&mut next, &query::cursor_out(cursor));
    }
    format!("{{\"items\":[{}],\"next\":{next}}}", items.join(","))
}

/// The current entity of a key
///
/// `min_position` reads your own write; `wait` and `since` answer at the next change, or with 304.
#[utoipa::path(get, path = "/api/streams/{stream}/{*key}", operation_id = "read_entity", tag = "entities",
    params(super::schema::StreamPath, super::schema::KeyPath, super::schema::ReadParams),
    responses(
        (status = 200, description = "The entity", body = super::schema::Entity, headers(
            ("ETag" = String, description = "The version in quotes"),
            ("Statecast-Position" = String, description = "The position the entity stands at"),
            ("Statecast-Age-Ms" = u64, description = "Since this value was last known to be the newest"),
            ("Statecast-Stale" = Option<u64>, description = "Seconds the store has been away")
        )),
        (status = 304, description = "The caller holds it already, or nothing changed in time"),
        (status = 400, description = "A parameter is not understood", body = super::schema::ProblemBody),
        (status = 404, description = "No such stream or key", body = super::schema::ProblemBody),
        (status = 503, description = "The store is away", body = super::schema::ProblemBody),
        (status = 504, description = "min_position was not confirmed in time", body = super::schema::ProblemBody)
    ))]
pub async fn read(
    State(context): State<Context>,
    target: Target,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    read_of(&context, &target.stream, &target.key, &query, &headers).await
}

/// What GET answers, whichever path names the entity.
pub async fn read_of(
    context: &Context,
    stream: &str,
    key: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let info = context.engine.stream(stream).ok_or_else(|| no_stream(stream))?;
    let asked = ReadQuery::of(query, context.config.limits.poll_wait_max_ms)?;
    if let Some(positions) = &asked.min_position {
        reach(context, &info, positions, asked.wait).await?;
    }
    let read = match &asked.since {
        Some(since) => match poll(context, stream, key, since, asked.wait.unwrap_or_default()).await? {
            Some(read) => Some(read),
            None => return Ok(not_modified(context, since)),
        },
        None => context.engine.read(stream, key).await?,
    };
    let read =
        read.ok_or_else(|| Problem::new(Kind::NoEntity, "this key was never written, or is forgotten"))?;
    let etag = conditions::etag(&read.shown, info.partials);
    if read.shown.value.is_some() && conditions::held(headers, &etag) {
        return Ok(entity_answer(context, StatusCode::NOT_MODIFIED, &read, &etag, String::new()));
    }
    entity(context, &info, &read)
}

/// What a GET asks for beside the key.
struct ReadQuery {
    min_position: Option<Positions>,
    wait: Option<Duration>,
    since: Option<Positions>,
}

impl ReadQuery {
    fn of(query: &Query, wait_max_ms: u64) -> Result<Self, Problem> {
        let wait_max = Duration::from_millis(wait_max_ms);
        let mut reader = query.reader();
        let asked = ReadQuery {
            min_position: reader.one("min_position", query::positions),
            wait: reader.one("wait", |text| query::wait(text, wait_max)),
            since: reader.one_or_empty("since", |text| match text {
                "" => Ok(Positions::default()),
                text => query::positions(text),
            }),
        };
        if asked.wait.is_some() && asked.since.is_none() && asked.min_position.is_none() {
            let (detail, remedy) = ("says not since when".into(), "since=POSITION beside wait".into());
            reader.fault("wait", Wrong { detail, remedy });
        }
        reader.finish().map(|()| asked)
    }
}

/// Waits for each position of each partition to be confirmed.
async fn reach(
    context: &Context,
    info: &StreamInfo,
    positions: &Positions,
    wait: Option<Duration>,
) -> Result<(), Problem> {
    let wait = wait.unwrap_or(Duration::from_millis(context.config.engine.wait_timeout_ms));
    if let Some(position) = positions.0.iter().find(|position| position.partition >= info.partitions) {
        let detail = format!("{position} is of no partition of this stream");
        let remedy = "a position of this stream, exactly as an answer gave it";
        return Err(Problem::new(Kind::InvalidParameter, &detail).field("min_position", &detail, remedy));
    }
    let all = try_join_all(positions.0.iter().map(|p| context.engine.reached(&info.name, *p, wait)));
    let reached = context.until_stopped(all).await??;
    if reached.into_iter().all(|one| one) {
        return Ok(());
    }
    Err(Problem::new(Kind::NotReached, "the store has not confirmed it yet")
        .with_text("position", &positions.to_string())
        .retry())
}

async fn poll(
    context: &Context,
    stream: &str,
    key: &str,
    since: &Positions,
    wait: Duration,
) -> Result<Option<Read>, Problem> {
    let changed = context.engine.changed(stream, key, since.clone(), wait);
    Ok(context.until_stopped(changed).await??)
}

/// An entity as an answer; a removed key is a 404 that tells where it was removed.
pub fn entity(context: &Context, info: &StreamInfo, read: &Read) -> Result<Response, Problem> {
    let position = read.shown.positions.to_string();
    if read.shown.value.is_none() {
        let problem = Problem::new(Kind::NoEntity, "this key was removed").with_text("position", &position);
        return Err(match HeaderValue::from_str(&position) {
            Ok(value) => problem.header(POSITION, value),
            Err(_) => problem,
        });
    }
    Ok(shown(context, info, read))
}

/// An entity as a 200, removed or not.
pub fn shown(context: &Context, info: &StreamInfo, read: &Read) -> Response {
    let etag = conditions::etag(&read.shown, info.partials);
    entity_answer(context, StatusCode::OK, read, &etag, read.shown.json(&info.name))
}

/// The current entity, or null, as a member of a problem.
pub fn entity_or_null(stream: &str, shown: Option<&Shown>) -> String {
    shown.filter(|shown| shown.value.is_some()).map_or_else(|| "null".to_owned(), |shown| shown.json(stream))
}

fn entity_answer(context: &Context, status: StatusCode, read: &Read, etag: &str, body: String) -> Response {
    let mut answer = json_answer(context, status, body);
    let position = read.shown.positions.to_string();
    put(&mut answer, header::ETAG, etag);
    put(&mut answer, POSITION, &position);
    put(&mut answer, AGE, &read.age_ms.to_string());
    answer
}

fn not_modified(context: &Context, since: &Positions) -> Response {
    let mut answer = json_answer(context, StatusCode::NOT_MODIFIED, String::new());
    put(&mut answer, POSITION, &since.to_string());
    answer
}

/// A JSON answer that says so where it comes from memory alone.
pub fn json_answer(context: &Context, status: StatusCode, body: String) -> Response {
    let own = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    let mut answer = (status, own, body).into_response();
    if let Some(seconds) = context.engine.stale_s() {
        put(&mut answer, STALE, &seconds.to_string());
    }
    answer
}

/// Sets a header from text that is plain by construction; what is not is left out.
pub fn put(answer: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
