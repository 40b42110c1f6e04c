//! Writing an entity: a record is appended, and whoever wants to know waits for what became of it.
//!
//! Invariant: the log is written first and by nothing but a record; a value that the engine would refuse as poison never
//! becomes one (the same pure check runs here), and an unknown outcome is said to be unknown.
//! Not here: deciding conditions and rules, which is the step's.

use super::{
    Context, conditions, entities,
    problem::{Kind, Problem, no_stream},
    query::{self, Query},
    request::{JsonBody, Target},
};
use crate::{
    app::{Poison, Reason},
    document::{Json, push_json_string},
    engine::api::{Outcome, Read, StreamInfo},
    json,
    record::{NewRecord, Position},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

/// The trace a record belongs to, passed on as it came.
const TRACEPARENT: &str = "traceparent";
/// Its length in version 00, the only one there is.
const TRACEPARENT_BYTES: usize = 55;

/// Writes a value
///
/// 202 once the log has it; with `wait=stored`, or a condition, 200 once the store has confirmed it.
#[utoipa::path(put, path = "/api/streams/{stream}/{*key}", operation_id = "replace_entity", tag = "entities",
    params(super::schema::StreamPath, super::schema::KeyPath, super::schema::WriteParams, super::schema::ConditionParams),
    request_body(content = serde_json::Value, description = "The value: any JSON", content_type = "application/json"),
    responses(
        (status = 200, description = "Stored (wait=stored)", body = super::schema::Entity),
        (status = 202, description = "In the log", body = super::schema::Accepted),
        (status = 400, description = "Not JSON, no key, or no such parameter", body = super::schema::ProblemBody),
        (status = 405, description = "The stream is written another way", body = super::schema::ProblemBody),
        (status = 408, description = "The body did not arrive in time", body = super::schema::ProblemBody),
        (status = 409, description = "The state does not allow it", body = super::schema::ProblemBody),
        (status = 412, description = "The key is at another version", body = super::schema::ProblemBody),
        (status = 413, description = "Too large", body = super::schema::ProblemBody),
        (status = 415, description = "Not of a JSON type", body = super::schema::ProblemBody),
        (status = 422, description = "The value cannot be kept", body = super::schema::ProblemBody),
        (status = 503, description = "The log is away, or the outcome is unknown", body = super::schema::ProblemBody),
        (status = 504, description = "In the log, outcome unknown", body = super::schema::ProblemBody)
    ))]
pub async fn replace(
    State(context): State<Context>,
    target: Target,
    query: Query,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    write(&context, &target.stream, &target.key, Some(&body), &query, &headers).await
}

/// Removes a key
///
/// As PUT: 202 once the log has the removal; with `wait=stored`, or a condition, 200 once it is stored.
#[utoipa::path(delete, path = "/api/streams/{stream}/{*key}", operation_id = "remove_entity", tag = "entities",
    params(super::schema::StreamPath, super::schema::KeyPath, super::schema::WriteParams, super::schema::ConditionParams),
    responses(
        (status = 200, description = "Stored (wait=stored)", body = super::schema::Entity),
        (status = 202, description = "In the log", body = super::schema::Accepted),
        (status = 405, description = "The stream is written another way", body = super::schema::ProblemBody),
        (status = 412, description = "The key is at another version", body = super::schema::ProblemBody),
        (status = 503, description = "The log is away, or the outcome is unknown", body = super::schema::ProblemBody),
        (status = 504, description = "In the log, outcome unknown", body = super::schema::ProblemBody)
    ))]
pub async fn remove(
    State(context): State<Context>,
    target: Target,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    write(&context, &target.stream, &target.key, None, &query, &headers).await
}

/// What PUT (`value`) and DELETE (none) do, whichever path names the entity.
pub async fn write(
    context: &Context,
    stream: &str,
    key: &str,
    value: Option<&[u8]>,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let asked = Asked::of(query, headers)?;
    if let Some(value) = value {
        check_value(context, "value", value)?;
    }
    let info = context.engine.stream(stream).ok_or_else(|| no_stream(stream))?;
    check_writable(&info)?;
    asked.carry_out(context, &info, key, value.map(<[u8]>::to_vec)).await
}

/// How a write is to be done, as query and headers say.
pub struct Asked {
    wait: bool,
    if_version: Option<u64>,
    traceparent: Option<Vec<u8>>,
}

impl Asked {
    /// A condition implies waiting, since nobody else would hear of its refusal.
    pub fn of(query: &Query, headers: &HeaderMap) -> Result<Self, Problem> {
        let mut reader = query.reader();
        let wait = reader.one("wait", query::stored).is_some();
        reader.finish()?;
        let if_version = conditions::of_write(headers)?;
        let trace = headers.get(TRACEPARENT).map(HeaderValue::as_bytes);
        let trace = trace.filter(|trace| trace.len() == TRACEPARENT_BYTES && trace.is_ascii());
        Ok(Asked { wait: wait || if_version.is_some(), if_version, traceparent: trace.map(<[u8]>::to_vec) })
    }

    /// Appends the record; 202 with its position, or what the wait brings.
    pub async fn carry_out(
        self,
        context: &Context,
        info: &StreamInfo,
        key: &str,
        value: Option<Vec<u8>>,
    ) -> Result<Response, Problem> {
        let wait = self.wait;
        let record = self.record(key, value);
        // The stream's own check, such as a schema: what it refuses would be a dead letter later.
        context.engine.check(&info.name, &record).map_err(|poison| Problem::of_value("value", &poison))?;
        if !wait {
            let position = context.engine.append(&info.name, record).await?;
            return Ok(accepted(context, &info.name, key, position));
        }
        let (position, outcome) = context.engine.append_and_wait(&info.name, record).await?;
        told(context, info, position, outcome)
    }

    fn record(self, key: &str, value: Option<Vec<u8>>) -> NewRecord {
        let mut record = NewRecord { key: Some(key.as_bytes().to_vec()), value, ..NewRecord::default() };
        if let Some(version) = self.if_version {
            let version = version.to_string().into_bytes();
            record.headers.push((conditions::IF_VERSION.to_owned(), Some(version)));
        }
        if let Some(trace) = self.traceparent {
            record.headers.push((TRACEPARENT.to_owned(), Some(trace)));
        }
        record
    }
}

/// Refuses a value that would become poison, naming the field it came in.
pub fn check_value(context: &Context, field: &'static str, value: &[u8]) -> Result<(), Problem> {
    let limits = &context.config.engine;
    let checked = if value.len() > limits.value_bytes_max {
        let detail = format!("the value has {} bytes, the bound is {}", value.len(), limits.value_bytes_max);
        Err(Poison::new(Reason::TooLarge, detail))
    } else {
        json::check(value, limits.depth_max).map(|_| ())
    };
    checked.map_err(|poison| Problem::of_value(field, &poison))
}

/// Refuses a stream that PUT and DELETE do not write, and says what does.
pub fn check_writable(info: &StreamInfo) -> Result<(), Problem> {
    if info.kind.is_writable(info.partials) {
        return Ok(());
    }
    let hint = info.write_hint.clone();
    let hint = hint.unwrap_or_else(|| format!("produce a record to the topic {}", info.topic));
    let allow = HeaderValue::from_static("GET,HEAD");
    Err(Problem::new(Kind::NotWritable, hint).header(header::ALLOW, allow))
}

fn accepted(context: &Context, stream: &str, key: &str, position: Position) -> Response {
    let mut body = String::with_capacity(stream.len() + key.len() + 64);
    body.push_str("{\"stream\":");
    push_json_string(&mut body, stream);
    body.push_str(",\"key\":");
    push_json_string(&mut body, key);
    body.push_str(&format!(",\"position\":\"{position}\"}}"));
    let mut answer = entities::json_answer(context, StatusCode::ACCEPTED, body);
    entities::put(&mut answer, entities::POSITION, &position.to_string());
    answer
}

/// The outcome of the record at `position`, as an answer.
fn told(
    context: &Context,
    info: &StreamInfo,
    position: Position,
    outcome: Outcome,
) -> Result<Response, Problem> {
    let position = position.to_string();
    match outcome {
        Outcome::Stored(shown) => Ok(entities::shown(context, info, &Read { shown, age_ms: 0 })),
        Outcome::Refused { kind, detail, entity } => {
            let entity = Json::from_checked(&entities::entity_or_null(&info.name, entity.as_ref()));
            Err(Problem::of_refusal(kind, &detail, entity).with_text("position", &position))
        }
        Outcome::Poisoned { reason, detail } => Err(Problem::new(Kind::Poisoned, &detail)
            .field("value", detail, Kind::Poisoned.remedy())
            .with_text("reason", reason.code())
            .with_text("position", &position)),
    }
}
