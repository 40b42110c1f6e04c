//! `POST /events/generate`: an event comes in by HTTP.
//!
//! Invariant: an event is refused with every fault named, or it is one record of the topic under the id that is answered;
//! the same idempotency key of the same user is the same id, so it may be sent again until it is answered.
//! Not here: what a record becomes (the app), what was stored (`listing`).

use super::{
    STREAM, bounds,
    event::{self, Event, Fault, From},
    listing,
};
use crate::{
    clock,
    http::{
        Context, append,
        entities::{POSITION, json_answer, put},
        problem::{FieldError, Kind, Problem, no_stream},
        query::{self, Query},
        request::JsonBody,
        schema::ProblemBody,
        write,
    },
    json::members::Members,
    record::{NewRecord, Position},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Ids made from idempotency keys are of this namespace, and of no other's.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_52b4_9d0e_4a53_8f3b_51a7_c2de_90f1);

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

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)] // the shape, for the description
struct GenerateHeaders {
    /// The same key of the same user names the same event, counted once however often it is sent. A UUID is taken as the
    /// event's id itself.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

/// Takes in an event of a user
///
/// Its id and time are assigned. 201 once the log has it durably; with `wait=stored` once it is stored and counted.
#[utoipa::path(post, path = "/events/generate", operation_id = "generate_event", tag = "activity",
    params(crate::http::schema::WriteParams, GenerateHeaders),
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
    let key = idempotency_key(&headers)?;
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
        stored(&context, position).await.map_err(named)?;
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
    let id = key.map_or_else(Uuid::new_v4, |key| id_of(key, text));
    let event = event::read(text, From::Door { id, now_ms: clock::now_ms() }, bounds(&context.config));
    event.map_err(|faults| {
        let problem = Problem::new(Kind::InvalidBody, "the body is {userId, eventType, payload}");
        faults.into_iter().fold(problem, |problem, Fault { field, detail, remedy, .. }| {
            let mut problem = problem;
            problem.add(FieldError { field: field.into(), detail, remedy: remedy.into() });
            problem
        })
    })
}

/// The id that a key names: itself, if it is a UUID, else one made from it and the user, so that users need not know of
/// each other's keys.
fn id_of(key: &str, body: &str) -> Uuid {
    if let Ok(id) = Uuid::try_parse(key) {
        return id;
    }
    let mut members = Members::read(body).unwrap_or_default();
    let user = members.take("userId").or_else(|| members.take("user_id"));
    let user = user.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).unwrap_or_default();
    Uuid::new_v5(&NAMESPACE, format!("{user}\0{key}").as_bytes())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    const REMEDY: &str = "1 to 255 visible ASCII characters, or none";
    let wrong = |detail: &str| {
        let problem = Problem::new(Kind::InvalidHeader, format!("{IDEMPOTENCY_KEY} {detail}"));
        Err(problem.field(IDEMPOTENCY_KEY.as_str(), detail, REMEDY))
    };
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return wrong("is given more than once");
    }
    match key.to_str() {
        Ok("") => wrong("is empty"),
        Ok(key) if key.len() > IDEMPOTENCY_KEY_BYTES_MAX => wrong("is too long"),
        Ok(key) => Ok(Some(key)),
        Err(_) => wrong("is not plain text"),
    }
}

async fn stored(context: &Context, position: Position) -> Result<(), Problem> {
    let wait = Duration::from_millis(context.config.engine.wait_timeout_ms);
    let reached = context.until_stopped(context.engine.reached(STREAM, position, wait)).await??;
    if reached {
        return Ok(());
    }
    let problem = Problem::new(Kind::NotReached, "it is in the log, and not stored yet");
    Err(problem.with_text("position", &position.to_string()).retry())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_key_names_one_event_of_one_user() {
        let (ann, bob) = (r#"{"userId":"ann"}"#, r#"{"user_id":"bob"}"#);
        assert_eq!(id_of("order-7", ann), id_of("order-7", r#"{"x":1,"user_id":"ann"}"#));
        assert_ne!(id_of("order-7", ann), id_of("order-8", ann));
        assert_ne!(id_of("order-7", ann), id_of("order-7", bob));
        let uuid = "0190f3a2-7c1e-7b6a-9c3f-3d2b1a0f9e8d";
        assert_eq!(id_of(&uuid.to_uppercase(), ann).to_string(), uuid);
    }

    #[test]
    fn a_key_that_cannot_be_one_is_refused() {
        let of = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).expect("header"));
            }
            idempotency_key(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.json())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[b"a b"]), Ok(Some("a b".into())));
        let long = [b'x'; 256];
        let bad: [&[&[u8]]; 4] = [&[b""], &[b"a", b"b"], &[b"\xff"], &[&long]];
        for bad in bad {
            assert!(of(bad).expect_err("refused").contains("idempotency-key"), "{bad:?}");
        }
    }
}
