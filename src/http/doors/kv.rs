//! The key-value paths: `/add`, `/get/{key}`, short for the stream `kv`.
//!
//! Invariant: they mean exactly what `/api/streams/kv/{key}` means; only `/add` has a body of its own.
//! Not here: the page `/viewer/{key}` (`assets`).

use crate::{
    http::{
        Context, entities,
        problem::{FieldError, Kind, Problem, no_stream},
        query::Query,
        request::{JsonBody, Target, check_key},
        schema,
        write::{self, Asked},
    },
    json::members::Members,
};
use axum::{extract::State, http::HeaderMap, response::Response};
use serde_json::value::RawValue;

/// The stream all of this is about.
const STREAM: &str = "kv";

/// Writes a value under a key
///
/// 202 once the log has it; with `wait=stored` 200 once the store has confirmed it.
#[utoipa::path(post, path = "/add", operation_id = "add", tag = "key-value", params(schema::WriteParams, schema::ConditionParams),
    request_body(content = schema::Add, content_type = "application/json"),
    responses(
        (status = 200, description = "Stored (wait=stored)", body = schema::Entity),
        (status = 202, description = "In the log", body = schema::Accepted),
        (status = 400, description = "Not JSON, or no key", body = schema::ProblemBody),
        (status = 408, description = "The body did not arrive in time", body = schema::ProblemBody),
        (status = 412, description = "The key is at another version", body = schema::ProblemBody),
        (status = 413, description = "Too large", body = schema::ProblemBody),
        (status = 415, description = "Not of a JSON type", body = schema::ProblemBody),
        (status = 422, description = "Not what this path takes", body = schema::ProblemBody),
        (status = 503, description = "The log is away, or the outcome is unknown", body = schema::ProblemBody),
        (status = 504, description = "In the log, outcome unknown", body = schema::ProblemBody)
    ))]
pub async fn add(
    State(context): State<Context>,
    query: Query,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let asked = Asked::of(&query, &headers)?;
    let (key, value) = parse(&body)?;
    check_key(&key, context.config.engine.key_bytes_max)?;
    write::check_value(&context, "value", value.get().as_bytes())?;
    let info = context.engine.stream(STREAM).ok_or_else(|| no_stream(STREAM))?;
    asked.carry_out(&context, &info, &key, Some(value.get().as_bytes().to_vec())).await
}

/// The current value of a key
#[utoipa::path(get, path = "/get/{*key}", operation_id = "get_value", tag = "key-value",
    params(schema::KeyPath, schema::ReadParams),
    responses(
        (status = 200, description = "The entity", body = schema::Entity),
        (status = 304, description = "The caller holds it already, or nothing changed in time"),
        (status = 400, description = "A parameter is not understood", body = schema::ProblemBody),
        (status = 404, description = "No such key", body = schema::ProblemBody)
    ))]
pub async fn get(
    State(context): State<Context>,
    target: Target,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    entities::read_of(&context, STREAM, &target.key, &query, &headers).await
}

/// Removes a key
#[utoipa::path(delete, path = "/get/{*key}", operation_id = "remove_value", tag = "key-value",
    params(schema::KeyPath, schema::WriteParams, schema::ConditionParams),
    responses(
        (status = 200, description = "Stored (wait=stored)", body = schema::Entity),
        (status = 202, description = "In the log", body = schema::Accepted),
        (status = 412, description = "The key is at another version", body = schema::ProblemBody)
    ))]
pub async fn remove(
    State(context): State<Context>,
    target: Target,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    write::write(&context, STREAM, &target.key, None, &query, &headers).await
}

/// The key, and the value as it is written; every fault of the body is named at once.
fn parse(body: &[u8]) -> Result<(String, &RawValue), Problem> {
    let members = members(body)?;
    let mut faults = Vec::new();
    let mut fault = |field: &str, detail: &str, remedy: &str| {
        faults.push(FieldError { field: field.into(), detail: detail.into(), remedy: remedy.into() });
    };
    let (mut key, mut value) = (None, None);
    for (name, raw) in members.0 {
        let slot = match name.as_str() {
            "key" => &mut key,
            "value" => &mut value,
            unknown => {
                fault(unknown, "is not known here", "leave it out, or put it into the value");
                continue;
            }
        };
        if slot.replace(raw).is_some() {
            fault(&name, "is given more than once", "give it once");
        }
    }
    let text = key.map(|raw| serde_json::from_str::<String>(raw.get()));
    match text {
        None => fault("key", "is missing", "a string of 1 to 512 bytes"),
        Some(Err(_)) => fault("key", "is no string", "a string of 1 to 512 bytes"),
        Some(Ok(_)) => {}
    }
    if value.is_none() {
        fault("value", "is missing", "any JSON; null is a value, DELETE removes");
    }
    match (text, value) {
        (Some(Ok(key)), Some(value)) if faults.is_empty() => Ok((key, value)),
        _ => {
            let detail = "the body is {\"key\": STRING, \"value\": ANY JSON}";
            Err(Problem::new(Kind::InvalidBody, detail).fields(faults))
        }
    }
}

fn members(body: &[u8]) -> Result<Members<'_>, Problem> {
    let fault = |kind: Kind, detail: &str| {
        Problem::new(kind, detail).field("body", detail, "{\"key\": STRING, \"value\": ANY JSON}")
    };
    let text = std::str::from_utf8(body).map_err(|_| fault(Kind::MalformedJson, "the body is not UTF-8"))?;
    Members::read(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => fault(Kind::InvalidBody, "the body is no object"),
        _ => fault(Kind::MalformedJson, "the body is not JSON"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str) -> String {
        parse(body.as_bytes()).expect_err(body).json()
    }

    #[test]
    fn the_value_is_kept_as_it_is_written() {
        let (key, value) = parse(br#"{"value": {"a":1.50} ,"key":"k\u0031"}"#).expect("add");
        assert_eq!((key.as_str(), value.get()), ("k1", "{\"a\":1.50}"));
        assert_eq!(parse(br#"{"key":"k","value":null}"#).expect("null").1.get(), "null");
    }

    #[test]
    fn each_fault_names_its_field() {
        let json = faults(r#"{"key":7,"valu":1}"#);
        for field in ["key", "valu", "value"] {
            assert!(json.contains(&format!("\"field\":\"{field}\"")), "{field} in {json}");
        }
        assert!(faults(r#"{"key":"a","key":"b","value":1}"#).contains("more than once"));
        assert!(faults("[1]").contains("\"status\":422"));
        for bad in ["", "{", "{\"key\":\"a\",\"value\":NaN}", "{} x"] {
            assert!(faults(bad).contains("\"status\":400"), "{bad}");
        }
    }
}
