//! The dashboard's answers: what the app rooms show, by HTTP.
//!
//! Invariant: answered from memory, from the same value the room is told; nothing is computed for a request.
//! Not here: what is shown (the apps), the page (`web`).

use crate::{
    apps::agents::{APP, Action, AgentSummary, KEEP, NOTHING, Performance, SCHEMAS, Transformation},
    clock,
    engine::api::State,
    http::{
        Context,
        entities::{AGE, POSITION, json_answer, put},
        problem::{Kind, Problem, no_stream},
        query::{self, Query},
        schema::ProblemBody,
    },
};
use axum::{
    extract::{Path, State as Has},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::default()
        .routes(routes!(summary))
        .routes(routes!(recent))
        .routes(routes!(transformations))
        .routes(routes!(performance))
        .routes(routes!(health))
        .routes(routes!(schema))
}

/// How the agents' pipeline is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AgentsHealth {
    /// `healthy` or `unhealthy`
    status: &'static str,
    /// Since this process began.
    events_processed: u64,
    recent_actions_count: usize,
    timestamp: String,
}

/// What a room shows now, as the body of an answer; `empty` where nothing was ever told.
async fn room(context: &Context, name: &str, empty: &str) -> Result<(String, Response), Problem> {
    let read = context.engine.read_room(APP, name).await?;
    let value = read.as_ref().and_then(|read| read.shown.value.as_ref());
    let body = value.map_or(empty, |value| value.text()).to_owned();
    let mut answer = json_answer(context, StatusCode::OK, body.clone());
    if let Some(read) = read {
        put(&mut answer, POSITION, &read.shown.positions.to_string());
        put(&mut answer, AGE, &read.age_ms.to_string());
    }
    Ok((body, answer))
}

/// Every agent over the last 24 hours, most requests first
#[utoipa::path(get, path = "/api/intelligence/agents/summary", operation_id = "agents_summary", tag = "agents",
    responses(
        (status = 200, description = "The agents", body = Vec<AgentSummary>),
        (status = 404, description = "The agents' streams are not enabled", body = ProblemBody),
        (status = 503, description = "The store has not been read yet", body = ProblemBody)
    ))]
async fn summary(Has(context): Has<Context>, query: Query) -> Result<Response, Problem> {
    query.reader().finish()?;
    Ok(room(&context, "summary", "[]").await?.1)
}

/// The latest actions, newest first
#[utoipa::path(get, path = "/api/intelligence/actions/recent", operation_id = "agents_actions", tag = "agents",
    params(("limit" = Option<u32>, Query, description = "1 to 100; 100 if not given", minimum = 1, maximum = 100)),
    responses(
        (status = 200, description = "The actions", body = Vec<Action>),
        (status = 400, description = "The limit is not understood", body = ProblemBody),
        (status = 404, description = "The agents' streams are not enabled", body = ProblemBody),
        (status = 503, description = "The store has not been read yet", body = ProblemBody)
    ))]
async fn recent(Has(context): Has<Context>, query: Query) -> Result<Response, Problem> {
    let mut reader = query.reader();
    let limit = reader.one("limit", |text| query::limit(text, KEEP.items));
    reader.finish()?;
    let (body, mut answer) = room(&context, "actions", "[]").await?;
    if let Some(limit) = limit.filter(|limit| *limit < KEEP.items) {
        let all: Vec<&RawValue> = serde_json::from_str(&body).map_err(internal)?;
        let some = all.get(..limit).unwrap_or(&all);
        *answer.body_mut() = serde_json::to_string(some).map_err(internal)?.into();
    }
    Ok(answer)
}

fn internal(error: serde_json::Error) -> Problem {
    tracing::error!(%error, "an answer cannot be made");
    Problem::new(Kind::Internal, "the answer could not be made")
}

/// Who hands requests to whom over the last 24 hours, most first
#[utoipa::path(get, path = "/api/intelligence/transformations", operation_id = "agents_transformations", tag = "agents",
    responses(
        (status = 200, description = "The pairs", body = Vec<Transformation>),
        (status = 404, description = "The agents' streams are not enabled", body = ProblemBody),
        (status = 503, description = "The store has not been read yet", body = ProblemBody)
    ))]
async fn transformations(Has(context): Has<Context>, query: Query) -> Result<Response, Problem> {
    query.reader().finish()?;
    Ok(room(&context, "transformations", "[]").await?.1)
}

/// How the router performs over the last 24 hours
#[utoipa::path(get, path = "/api/intelligence/performance", operation_id = "agents_performance", tag = "agents",
    responses(
        (status = 200, description = "The router", body = Performance),
        (status = 404, description = "The agents' streams are not enabled", body = ProblemBody),
        (status = 503, description = "The store has not been read yet", body = ProblemBody)
    ))]
async fn performance(Has(context): Has<Context>, query: Query) -> Result<Response, Problem> {
    query.reader().finish()?;
    Ok(room(&context, "performance", NOTHING).await?.1)
}

/// Whether the agents' streams run, and what they did
#[utoipa::path(get, path = "/api/intelligence/health", operation_id = "agents_health", tag = "agents",
    responses(
        (status = 200, description = "They run", body = AgentsHealth),
        (status = 404, description = "The agents' streams are not enabled", body = ProblemBody),
        (status = 503, description = "One of them is held, or has not begun", body = AgentsHealth)
    ))]
async fn health(Has(context): Has<Context>, query: Query) -> Result<Response, Problem> {
    query.reader().finish()?;
    let mut streams = context.engine.streams();
    streams.retain(|stream| stream.app.as_deref() == Some(APP));
    if streams.is_empty() {
        return Err(no_stream(APP));
    }
    let runs = streams.iter().all(|stream| stream.state == State::Running && stream.held.is_none());
    let actions = room(&context, "actions", "[]").await.ok();
    let actions =
        actions.and_then(|(body, _)| serde_json::from_str::<Vec<&RawValue>>(&body).ok().map(|all| all.len()));
    let (status, health) =
        if runs { (StatusCode::OK, "healthy") } else { (StatusCode::SERVICE_UNAVAILABLE, "unhealthy") };
    let body = AgentsHealth {
        status: health,
        events_processed: streams.iter().map(|stream| stream.stored_total).sum(),
        recent_actions_count: actions.unwrap_or_default(),
        timestamp: clock::iso(clock::now_ms()),
    };
    Ok(json_answer(&context, status, serde_json::to_string(&body).map_err(internal)?))
}

/// The JSON Schema of what one of the agents' topics takes
#[utoipa::path(get, path = "/api/intelligence/schemas/{stream}", operation_id = "agents_schema", tag = "agents",
    params(("stream" = String, Path, description = "agents-routing, agents-actions, agents-transformations or agents-performance")),
    responses(
        (status = 200, description = "The schema", body = serde_json::Value),
        (status = 404, description = "No such stream", body = ProblemBody)
    ))]
async fn schema(
    Has(context): Has<Context>,
    Path(stream): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    let found = SCHEMAS.iter().find(|(name, _)| *name == stream).ok_or_else(|| no_stream(&stream))?;
    Ok(json_answer(&context, StatusCode::OK, found.1.to_owned()))
}
