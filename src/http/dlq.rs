//! Dead letters on the admin listener: look, replay, discard, and let a held partition go on.
//!
//! Invariant: an order names one record by its original position, or a filter, and is given by POST alone, so that no
//! link and no form of a foreign page gives it.
//! Not here: what an order does (`engine`).

use super::{
    Context, entities,
    problem::{Kind, Problem, no_stream},
    query::{self, Query, Reader, Wrong},
    request::Target,
    schema::{DeadLetterParams, DeadLetterPath, ForceParams, PartitionPath, ProblemBody, StreamPath},
};
use crate::{
    app::Reason,
    engine::api::{DeadLetterFilter, DeadLetters, Replay},
    record::Position,
};
use axum::{extract::State, http::StatusCode, response::Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// Counts by stream and reason, and how near each partition is to its limit
#[utoipa::path(get, path = "/admin/dlq", operation_id = "dead_letters_summary", tag = "dead letters",
    responses((status = 200, description = "The counts", body = Value)))]
pub async fn summary(State(context): State<Context>, query: Query) -> Result<Response, Problem> {
    query.reader().finish()?;
    let found = dead_letters(&context)?.summary().await?;
    Ok(answer(&context, StatusCode::OK, &found))
}

/// Dead letters of a stream, one page
#[utoipa::path(get, path = "/admin/dlq/{stream}", operation_id = "dead_letters_list", tag = "dead letters", params(StreamPath, DeadLetterParams),
    responses(
        (status = 200, description = "A page", body = Value),
        (status = 400, description = "A parameter is not understood", body = ProblemBody),
        (status = 404, description = "No such stream", body = ProblemBody)
    ))]
pub async fn list(State(context): State<Context>, target: Target, query: Query) -> Result<Response, Problem> {
    let stream = known(&context, &target)?;
    let mut reader = query.reader();
    let filter = filter(&mut reader, context.config.limits.page_items_max);
    reader.finish()?;
    let found = dead_letters(&context)?.list(stream, filter).await?;
    Ok(answer(&context, StatusCode::OK, &found))
}

/// One dead letter, with its bytes
#[utoipa::path(get, path = "/admin/dlq/{stream}/{position}", operation_id = "dead_letters_show", tag = "dead letters", params(StreamPath, DeadLetterPath),
    responses(
        (status = 200, description = "The record", body = Value),
        (status = 404, description = "No such dead letter", body = ProblemBody)
    ))]
pub async fn show(State(context): State<Context>, target: Target, query: Query) -> Result<Response, Problem> {
    query.reader().finish()?;
    let (stream, position) = (known(&context, &target)?, position(&target)?);
    let found = dead_letters(&context)?.show(stream, position).await?;
    Ok(answer(&context, StatusCode::OK, &found.ok_or_else(|| not_there(position))?))
}

/// Appends a dead letter again, with its origin
#[utoipa::path(post, path = "/admin/dlq/{stream}/{position}/replay", operation_id = "dead_letters_replay", tag = "dead letters",
    params(StreamPath, DeadLetterPath, ForceParams),
    responses(
        (status = 202, description = "Appended at this position", body = Value),
        (status = 404, description = "No such dead letter", body = ProblemBody),
        (status = 409, description = "The key has since taken a newer record", body = ProblemBody)
    ))]
pub async fn replay(
    State(context): State<Context>,
    target: Target,
    query: Query,
) -> Result<Response, Problem> {
    let (stream, origin) = (known(&context, &target)?, position(&target)?);
    let mut reader = query.reader();
    let force = reader.one("force", query::flag).unwrap_or_default();
    reader.finish()?;
    match dead_letters(&context)?.replay(stream, origin, force).await? {
        Replay::Appended(at) => {
            let body = json!({"stream": stream, "replayed": origin.to_string(), "position": at.to_string()});
            Ok(answer(&context, StatusCode::ACCEPTED, &body))
        }
        Replay::Superseded => Err(Problem::new(Kind::Superseded, "an older value would replace a newer one")
            .with_text("position", &origin.to_string())),
        Replay::NotThere => Err(not_there(origin)),
    }
}

/// Appends again what the filter finds
#[utoipa::path(post, path = "/admin/dlq/{stream}/replay", operation_id = "dead_letters_replay_all", tag = "dead letters",
    params(StreamPath, DeadLetterParams, ForceParams),
    responses(
        (status = 202, description = "How many, by what became of them", body = Value),
        (status = 400, description = "A parameter is not understood", body = ProblemBody)
    ))]
pub async fn replay_all(
    State(context): State<Context>,
    target: Target,
    query: Query,
) -> Result<Response, Problem> {
    let stream = known(&context, &target)?;
    let mut reader = query.reader();
    let filter = filter(&mut reader, context.config.limits.page_items_max);
    let force = reader.one("force", query::flag).unwrap_or_default();
    reader.finish()?;
    let told = dead_letters(&context)?.replay_all(stream, filter, force).await?;
    Ok(answer(&context, StatusCode::ACCEPTED, &told))
}

/// Marks a dead letter as not worth replaying
#[utoipa::path(post, path = "/admin/dlq/{stream}/{position}/discard", operation_id = "dead_letters_discard", tag = "dead letters",
    params(StreamPath, DeadLetterPath),
    responses(
        (status = 200, description = "Marked", body = Value),
        (status = 404, description = "No such dead letter", body = ProblemBody)
    ))]
pub async fn discard(
    State(context): State<Context>,
    target: Target,
    query: Query,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    let (stream, position) = (known(&context, &target)?, position(&target)?);
    if !dead_letters(&context)?.discard(stream, position).await? {
        return Err(not_there(position));
    }
    let body = json!({"stream": stream, "discarded": position.to_string()});
    Ok(answer(&context, StatusCode::OK, &body))
}

/// Lets a held partition go on
#[utoipa::path(post, path = "/admin/partitions/{stream}/{partition}/release", operation_id = "release_partition", tag = "dead letters",
    params(StreamPath, PartitionPath),
    responses(
        (status = 200, description = "It goes on", body = Value),
        (status = 409, description = "It is not held", body = ProblemBody)
    ))]
pub async fn release(
    State(context): State<Context>,
    target: Target,
    query: Query,
) -> Result<Response, Problem> {
    query.reader().finish()?;
    let stream = known(&context, &target)?;
    let partition = query::number(&target.item).map_err(|wrong| in_path("partition", wrong))?;
    if !dead_letters(&context)?.release(stream, partition) {
        return Err(Problem::new(Kind::NotHeld, format!("partition {partition} of {stream} is not held")));
    }
    let body = json!({"stream": stream, "partition": partition, "released": true});
    Ok(answer(&context, StatusCode::OK, &body))
}

fn dead_letters(context: &Context) -> Result<Arc<dyn DeadLetters>, Problem> {
    let absent = || Problem::new(Kind::NotFound, "this engine keeps no dead letters");
    context.engine.dead_letters().ok_or_else(absent)
}

fn known<'t>(context: &Context, target: &'t Target) -> Result<&'t str, Problem> {
    match context.engine.stream(&target.stream) {
        Some(_) => Ok(&target.stream),
        None => Err(no_stream(&target.stream)),
    }
}

fn position(target: &Target) -> Result<Position, Problem> {
    query::position(&target.item).map_err(|wrong| in_path("position", wrong))
}

fn in_path(field: &str, wrong: Wrong) -> Problem {
    Problem::new(Kind::InvalidParameter, format!("{field} {}", wrong.detail)).field(
        field,
        wrong.detail,
        wrong.remedy,
    )
}

fn filter(reader: &mut Reader<'_>, items_max: usize) -> DeadLetterFilter {
    DeadLetterFilter {
        reason: reader.one("reason", |text| {
            let remedy = "malformed_json, invalid_key, too_large, too_deep, number_range, duplicate_name, \
                          schema_invalid, missing_field, unknown_version, step_rejected or store_refused";
            Reason::from_code(text).ok_or(Wrong { detail: "is no reason".into(), remedy: remedy.into() })
        }),
        partition: reader.one("partition", query::number),
        after: reader.one("after", query::text),
        limit: reader.limit(items_max),
    }
}

fn not_there(position: Position) -> Problem {
    Problem::new(Kind::NoDeadLetter, format!("there is none from {position}"))
}

fn answer(context: &Context, status: StatusCode, body: &Value) -> Response {
    let mut answer = entities::json_answer(context, status, body.to_string());
    entities::put(&mut answer, axum::http::header::CACHE_CONTROL, "no-store");
    answer
}
