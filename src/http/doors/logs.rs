//! `GET /api/logs/{stream}`: the events of a stream that is a log, page by page, and one by its id.
//!
//! Invariant: an event is shown as it came, with where it was first seen. Not under `/api/streams/{stream}`, where every
//! further segment is a key.
//! Not here: the state of a key of the log, which is an entity as any other.

use crate::http::{
    Context,
    problem::{Kind, Problem, no_stream},
    query::Query,
    request::Target,
    rows::{self, RowsParams},
    schema::{ProblemBody, StreamPath},
};
use crate::{app::EVENTS, clock, document::push_json_string, engine::api, ports::StoredRow};
use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(OpenApi)]
#[openapi(tags((name = "logs", description = "Events of declared logs, each kept once")))]
struct About;

/// What logs show over HTTP beside what every stream has.
pub fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(About::openapi()).routes(routes!(events)).routes(routes!(event))
}

/// Which events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // the shape, for the description
struct EventsParams {
    /// Of this key alone.
    key: Option<String>,
}

/// An event of a log.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogEvent {
    /// Its own; of a CloudEvent source and id, joined by #.
    pub id: String,
    pub key: String,
    /// As it came.
    pub value: serde_json::Value,
    /// The record's.
    pub time: String,
    /// Of the record that brought it first.
    pub position: String,
}

/// One page of events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogPage {
    pub items: Vec<LogEvent>,
    #[schema(required)]
    pub next: Option<String>,
}

/// Events of a log, page by page
///
/// The latest first, or as `order` says, by the times of their records; `next` is the `after` of the page that follows, null
/// at the end.
#[utoipa::path(get, path = "/api/logs/{stream}", operation_id = "list_log_events", tag = "logs",
    params(StreamPath, EventsParams, RowsParams),
    responses(
        (status = 200, description = "A page", body = LogPage),
        (status = 400, description = "A parameter is not understood", body = ProblemBody),
        (status = 404, description = "No such stream, or it is no log", body = ProblemBody),
        (status = 503, description = "The store is away", body = ProblemBody)
    ))]
async fn events(State(context): State<Context>, target: Target, query: Query) -> Result<Response, Problem> {
    let mut reader = query.reader();
    let scan = rows::scan(&mut reader, "key", context.config.limits.page_items_max);
    reader.finish()?;
    check_log(&context, &target.stream)?;
    rows::page(&context, &target.stream, EVENTS, scan, shown).await
}

/// One event of a log
#[utoipa::path(get, path = "/api/logs/{stream}/{*id}", operation_id = "read_log_event", tag = "logs",
    params(StreamPath, ("id" = String, Path, description = "The event's id")),
    responses(
        (status = 200, description = "The event", body = LogEvent),
        (status = 400, description = "A parameter is not understood", body = ProblemBody),
        (status = 404, description = "No event of this id is stored, or the stream is no log", body = ProblemBody),
        (status = 503, description = "The store is away", body = ProblemBody)
    ))]
async fn event(State(context): State<Context>, target: Target, query: Query) -> Result<Response, Problem> {
    query.reader().finish()?;
    check_log(&context, &target.stream)?;
    rows::one(&context, &target.stream, EVENTS, &target.item, shown).await
}

fn check_log(context: &Context, stream: &str) -> Result<(), Problem> {
    let info = context.engine.stream(stream).ok_or_else(|| no_stream(stream))?;
    if info.kind == api::Kind::Log {
        return Ok(());
    }
    let detail = format!("{stream} keeps no events: its projection is not log");
    Err(Problem::new(Kind::NotFound, &detail).field(
        "stream",
        &detail,
        "a stream of the kind log in /api/streams",
    ))
}

/// The row has key and value already.
fn shown(row: &StoredRow) -> String {
    let mut out = String::with_capacity(row.json.text().len() + row.id.len() + 100);
    out.push_str("{\"id\":");
    push_json_string(&mut out, &row.id);
    let kept = row.json.text().trim_start_matches('{').strip_suffix('}').unwrap_or_default();
    out.push_str(&format!(
        ",{kept},\"time\":\"{}\",\"position\":\"{}\"}}",
        clock::iso(row.time_ms),
        row.first
    ));
    out
}
