//! `POST /events/generate`: an event comes in by HTTP.
//!
//! Invariant: an event is refused with every fault named, or it is one record of the topic under the id that is answered;
//! the same idempotency key of the same user is the same id, so it may be sent again until it is answered.
//! Not here: what an event is and becomes (the app), what was stored (`listing`).

pub mod listing;

use crate::{
    apps::activity::{
        Activity, STREAM,
        event::{self, Event, From},
    },
    clock,
    event::Faults,
    http::{
        Context, append,
        entities::{POSITION, json_answer, put},
        idempotency::{self, IdempotencyParams},
        problem::{Kind, Problem, no_stream},
        query::{self, Query},
        request::JsonBody,
        schema::ProblemBody,
        write,
    },
    record::NewRecord,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

#[derive(OpenApi)]
#[openapi(tags((name = "activity", description = "Events of users, each stored and counted once")))]
struct About;

/// Everything of this app that HTTP shows.
pub fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(About::openapi())
        .routes(routes!(generate))
        .routes(routes!(listing::processed))
        .routes(routes!(listing::one))
        .routes(routes!(listing::users))
        .routes(routes!(listing::user))
}

/// An event that has no id yet. Further members are kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewEvent)]
#[allow(dead_code)] // the shape, for the description
struct NewEvent {
    /// Whose event it is; `user_id` is taken too. 1 to 512 bytes.
    #[schema(min_length = 1, max_length = 512)]
    user_id: String,
    /// What happened; `event_type` is taken too.
    #[schema(min_length = 1)]
    event_type: String,
    /// Anything further.
    #[schema(value_type = Object)]
    payload: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GeneratedEvent)]
struct Generated {
    /// A UUID.
    event_id: String,
}

/// Takes in an event of a user
///
/// Its id and time are assigned. 201 once the log has it durably; with `wait=stored` once it is stored and counted.
#[utoipa::path(post, path = "/events/generate", operation_id = "generate_event", tag = "activity",
    params(crate::http::schema::WriteParams, IdempotencyParams),
    request_body(content = NewEvent, content_type = "application/json"),
    responses(
        (status = 201, description = "In the log", body = Generated, headers(
            ("Location" = String, description = "Where the event is found once it is stored"),
            ("Statecast-Position" = String, description = "Where the log has it")
        )),
        (status = 400, description = "Not JSON, or a header is not understood", body = ProblemBody),
        (status = 413, description = "Too large", body = ProblemBody),
        (status = 415, description = "Not of a JSON type", body = ProblemBody),
        (status = 422, description = "No event; errors[] names every field", body = ProblemBody),
        (status = 503, description = "The log did not take it however often it was tried, or did not say: eventId names it", body = ProblemBody),
        (status = 504, description = "In the log, not stored in time (wait=stored)", body = ProblemBody)
    ))]
async fn generate(
    State(context): State<Context>,
    query: Query,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let mut reader = query.reader();
    let wait = reader.one("wait", query::stored).is_some();
    reader.finish()?;
    let key = idempotency::key(&headers)?;
    write::check_value(&context, "body", &body)?;
    let event = read(&context, &body, key)?;
    context.engine.stream(STREAM).ok_or_else(|| no_stream(STREAM))?;
    let id = event.id.to_string();
    let record = NewRecord {
        key: Some(event.user.into_bytes()),
        value: Some(event.json.text().as_bytes().to_vec()),
        ..NewRecord::default()
    };
    let named = |problem: Problem| problem.with_text("eventId", &id);
    let position = append::repeatable(&context, STREAM, &record).await.map_err(named)?;
    if wait {
        append::stored(&context, STREAM, position).await.map_err(named)?;
    }
    let body = serde_json::to_string(&Generated { event_id: id.clone() }).unwrap_or_default();
    let mut answer = json_answer(&context, StatusCode::CREATED, body);
    put(&mut answer, header::LOCATION, &format!("/events/processed/{id}"));
    put(&mut answer, POSITION, &position.to_string());
    Ok(answer)
}

fn read(context: &Context, body: &[u8], key: Option<&str>) -> Result<Event, Problem> {
    let text =
        std::str::from_utf8(body).map_err(|_| Problem::new(Kind::MalformedJson, "the body is not UTF-8"))?;
    let from = From::Door { id: &|user| idempotency::id(key, user), now_ms: clock::now_ms() };
    event::read(text, from, &Activity::new(&context.config)).map_err(|Faults(faults)| {
        let problem = Problem::new(Kind::InvalidBody, "the body is {userId, eventType, payload}");
        faults
            .into_iter()
            .fold(problem, |problem, fault| problem.field(fault.field, fault.detail, remedy(fault.field)))
    })
}

/// What would be right.
fn remedy(field: &str) -> &'static str {
    match field {
        "userId" => "a text that is not empty and no longer than a key",
        "eventType" => "a text that is not empty and within activity.type_bytes_max",
        "eventId" | "timestamp" => {
            "leave it out: it is assigned here; Idempotency-Key names an event that may be sent again"
        }
        _ => "an object",
    }
}
