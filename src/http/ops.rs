//! Health, metrics, the pipeline, and the log level at run time.
//!
//! Invariant: ready means that records can flow and be stored, not that the process is up.
//! Not here: what is measured (`metrics`), who decides health (`engine`).

use super::{
    Context, entities,
    problem::{Kind, Problem, no_stream},
    query::{self, Query},
    request::JsonBody,
    schema::ProblemBody,
};
use crate::{clock, document::Json, engine::api::Locate, telemetry::Levels};
use axum::{
    extract::{Extension, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Between two upkeeps of the recorder, without which histograms grow until somebody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the admin listener has beside the engine.
#[derive(Clone)]
pub struct Tools {
    pub metrics: PrometheusHandle,
    /// `None`: the level is fixed.
    pub log_level: Option<Arc<dyn LogLevel>>,
}

impl fmt::Debug for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tools").finish_non_exhaustive()
    }
}

/// The log's directives (`info`, `info,statecast::engine=debug`), which may change while we run.
pub trait LogLevel: Send + Sync + 'static {
    fn get(&self) -> String;

    /// The error says what is wrong with the directives.
    fn set(&self, directives: &str) -> Result<(), String>;
}

impl LogLevel for Levels {
    fn get(&self) -> String {
        Levels::get(self)
    }

    fn set(&self, directives: &str) -> Result<(), String> {
        Levels::set(self, directives)
    }
}

/// Keeps the recorder's memory bounded until `stop`.
pub async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut beat = tokio::time::interval(UPKEEP);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}

/// Whether the process is up
#[utoipa::path(get, path = "/health/live", operation_id = "health_live", tag = "health",
    responses((status = 200, description = "It is", body = super::schema::Live)))]
pub async fn live(State(context): State<Context>) -> Response {
    let memory = resident_bytes().await;
    let body =
        json!({"status": "live", "at": clock::iso(clock::now_ms()), "memory": {"resident_bytes": memory}});
    never_kept(entities::json_answer(&context, StatusCode::OK, body.to_string()))
}

/// Whether records can flow and be stored
///
/// Each dependency with its state and since when it is known.
#[utoipa::path(get, path = "/health/ready", operation_id = "health_ready", tag = "health",
    responses(
        (status = 200, description = "They can", body = super::schema::Ready),
        (status = 503, description = "They cannot; the same members, in a problem", body = ProblemBody)
    ))]
pub async fn ready(State(context): State<Context>) -> Response {
    let health = context.engine.health();
    let at = clock::iso(clock::now_ms());
    let memory = json!({"resident_bytes": resident_bytes().await});
    if health.ready && !context.stop.is_cancelled() {
        let body = json!({"ready": true, "dependencies": health.dependencies, "memory": memory, "at": at})
            .to_string();
        return never_kept(entities::json_answer(&context, StatusCode::OK, body));
    }
    let missing: Vec<_> = health.dependencies.iter().filter(|one| one.state != "up").collect();
    let missing: Vec<_> = missing.iter().map(|one| format!("{} is {}", one.name, one.state)).collect();
    let detail =
        if context.stop.is_cancelled() { "the process is stopping".into() } else { missing.join(", ") };
    let dependencies = Json::of(&health.dependencies).unwrap_or_else(|_| Json::from_checked("[]"));
    Problem::new(Kind::NotReady, detail)
        .with("ready", Json::from_checked("false"))
        .with("dependencies", dependencies)
        .with("memory", Json::from_checked(&memory.to_string()))
        .with_text("at", &at)
        .into_response()
}

/// Memory of this process, where the system tells it.
async fn resident_bytes() -> Option<u64> {
    let status = tokio::fs::read_to_string("/proc/self/status").await.ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn never_kept(mut answer: Response) -> Response {
    entities::put(&mut answer, header::CACHE_CONTROL, "no-store");
    answer
}

/// Every metric, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Text format 0.0.4", content_type = "text/plain", body = String)))]
pub async fn metrics(Extension(tools): Extension<Tools>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], tools.metrics.render())
        .into_response()
}

/// Everything inside, or where one record is now
///
/// Without parameters: streams, generations, partitions, writers, store. With `position` or `key`: where that record is,
/// in `stream` or in every stream.
#[utoipa::path(get, path = "/admin/pipeline", tag = "operations", params(super::schema::PipelineParams),
    responses(
        (status = 200, description = "The state now", body = Value),
        (status = 400, description = "A parameter is not understood", body = ProblemBody)
    ))]
pub async fn pipeline(State(context): State<Context>, query: Query) -> Result<Response, Problem> {
    let mut reader = query.reader();
    let stream = reader.one("stream", query::text);
    let position = reader.one("position", query::position).map(Locate::Position);
    let key = reader.one("key", query::text).map(Locate::Key);
    reader.finish()?;
    let body = match position.or(key) {
        Some(what) => json!({"found": locate(&context, stream, &what).await?}),
        None => context.engine.pipeline(),
    };
    Ok(never_kept(entities::json_answer(&context, StatusCode::OK, body.to_string())))
}

async fn locate(context: &Context, stream: Option<String>, what: &Locate) -> Result<Vec<Value>, Problem> {
    let streams = match stream {
        Some(name) => vec![context.engine.stream(&name).ok_or_else(|| no_stream(&name))?.name],
        None => context.engine.streams().into_iter().map(|status| status.stream).collect(),
    };
    let found = streams.iter().map(|stream| context.engine.locate(stream, what.clone()));
    let found = join_all(found).await;
    Ok(streams.iter().zip(found).map(|(stream, place)| json!({"stream": stream, "where": place})).collect())
}

/// What the log tells now
#[utoipa::path(get, path = "/admin/log-level", tag = "operations",
    responses(
        (status = 200, description = "The directives", body = super::schema::Level),
        (status = 400, description = "A parameter is not understood", body = ProblemBody)
    ))]
pub async fn log_level(
    State(context): State<Context>,
    Extension(tools): Extension<Tools>,
    query: Query,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    Ok(level_now(&context, &tools))
}

fn level_now(context: &Context, tools: &Tools) -> Response {
    let level =
        tools.log_level.as_ref().map_or_else(|| context.config.telemetry.log_level.clone(), |log| log.get());
    let body = json!({"log_level": level}).to_string();
    never_kept(entities::json_answer(context, StatusCode::OK, body))
}

/// Changes what the log tells, until the process ends
#[utoipa::path(put, path = "/admin/log-level", tag = "operations",
    request_body(content = super::schema::Level, content_type = "application/json"),
    responses(
        (status = 200, description = "The directives that hold now", body = super::schema::Level),
        (status = 400, description = "A parameter is not understood", body = ProblemBody),
        (status = 422, description = "These are no directives", body = ProblemBody)
    ))]
pub async fn set_log_level(
    State(context): State<Context>,
    Extension(tools): Extension<Tools>,
    query: Query,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    const REMEDY: &str = "{\"log_level\": \"info\"}, or directives like info,statecast::engine=debug";
    let fault = |detail: String| Problem::new(Kind::InvalidBody, &detail).field("log_level", detail, REMEDY);
    let body: Value = serde_json::from_slice(&body).map_err(|_| fault("the body is not JSON".into()))?;
    let directives = body.get("log_level").and_then(Value::as_str);
    let directives = directives.ok_or_else(|| fault("is missing, or no string".into()))?;
    let log = tools.log_level.as_ref().ok_or_else(|| fault("the level of this process is fixed".into()))?;
    log.set(directives).map_err(fault)?;
    tracing::info!(directives, "log level changed");
    Ok(level_now(&context, &tools))
}
