//! Every answer that is no success, as problem+json (RFC 9457).
//!
//! Invariant: a problem names the field and the remedy where the caller can do something, and never carries what is
//! internal (addresses, causes, payloads): that goes to the log, once, here.
//! Not here: who detects it.

use crate::{
    app::{Poison, Reason, RefusedKind},
    document::{Json, push_json_string},
    engine::api::{ReadError, WriteError},
};
use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// When to come back after a failure that passes by itself.
pub const RETRY_MS: u64 = 1_000;
/// Faults named in one problem.
const FIELDS_MAX: usize = 32;

macro_rules! kinds {
    ($($id:ident $code:literal $status:ident $title:literal $remedy:literal;)*) => {
        /// What went wrong, as a fixed code: the last segment of `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $(#[doc = $title] $id),* }

        impl Kind {
            /// Every kind there is.
            pub const ALL: &[Kind] = &[$(Kind::$id),*];

            /// The fixed code, also the anchor in `/docs`.
            pub fn code(self) -> &'static str {
                match self { $(Kind::$id => $code),* }
            }

            /// The status unless the problem says another.
            pub fn status(self) -> StatusCode {
                match self { $(Kind::$id => StatusCode::$status),* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Kind::$id => $title),* }
            }

            /// What the caller can do, for the list of problems in `/docs`.
            pub fn remedy(self) -> &'static str {
                match self { $(Kind::$id => $remedy),* }
            }
        }
    };
}

kinds! {
    InvalidParameter "invalid-parameter" BAD_REQUEST "A parameter is not understood"
        "Correct the parameters that errors[] names; /openapi.json lists those of every path.";
    InvalidHeader "invalid-header" BAD_REQUEST "A header is not understood"
        "Correct the headers that errors[] names.";
    InvalidKey "invalid-key" BAD_REQUEST "The key cannot be a key"
        "A key is 1 to 512 bytes of UTF-8, percent-encoded in a path.";
    MalformedPath "malformed-path" BAD_REQUEST "The path or query is badly encoded"
        "Write each % as %25, and all that is not plain ASCII as % and two hex digits of its UTF-8.";
    MalformedJson "malformed-json" BAD_REQUEST "The body is not JSON as it is read here"
        "Send one JSON value, in UTF-8, with no NUL in a name.";
    IncompleteBody "incomplete-body" BAD_REQUEST "The body broke off"
        "Send the request again; nothing was taken in.";
    InvalidBody "invalid-body" UNPROCESSABLE_ENTITY "The body is not what this path takes"
        "Correct the fields that errors[] names.";
    InvalidValue "invalid-value" UNPROCESSABLE_ENTITY "The value cannot be kept as it is"
        "Integers within 64 bits, each name once in an object, no NUL in a name, a bounded depth.";
    ForeignOrigin "foreign-origin" FORBIDDEN "Pages of this origin may not write here"
        "Add the page's origin to security.allowed_origins.";
    NotFound "not-found" NOT_FOUND "There is nothing at this path"
        "See /docs for every path.";
    NoStream "no-stream" NOT_FOUND "There is no such stream"
        "See /api/streams for every stream.";
    NoRoom "no-room" NOT_FOUND "There is no such room"
        "See /api/streams for every stream; a room is STREAM, STREAM/KEY, or STREAM:NAME where the app declares it.";
    NoEntity "no-entity" NOT_FOUND "There is no such key"
        "Write the key first; a removed key tells the position of its removal.";
    NoDeadLetter "no-dead-letter" NOT_FOUND "There is no such dead letter"
        "See /admin/dlq/STREAM for those there are.";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "This path does not take this method"
        "Use a method of the Allow header.";
    NotWritable "not-writable" METHOD_NOT_ALLOWED "This stream is not written by PUT and DELETE"
        "Write it the way the detail says.";
    BodyTimeout "body-timeout" REQUEST_TIMEOUT "The body did not arrive in time"
        "Send the request again, whole; nothing was taken in.";
    Conflict "conflict" CONFLICT "The state does not allow it"
        "Read the entity, then decide again.";
    Superseded "superseded" CONFLICT "The key has since taken a newer record"
        "Replay with force=true if the older one is to win.";
    NotHeld "not-held" CONFLICT "The partition is not held"
        "Nothing has to be done.";
    PreconditionFailed "precondition-failed" PRECONDITION_FAILED "The key is at another version"
        "Take the entity in this problem, then write with its version.";
    TooLarge "too-large" PAYLOAD_TOO_LARGE "The body is too large"
        "Send less; limits.body_bytes_max and engine.value_bytes_max are the bounds.";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "The body is of a type that is not read"
        "Send plain JSON with Content-Type: application/json.";
    ForeignHost "foreign-host" MISDIRECTED_REQUEST "The admin listener does not answer under this name"
        "Use its address, or add the name to security.admin_hosts.";
    Rule "rule" UNPROCESSABLE_ENTITY "A rule about the content says no"
        "Correct what the detail says.";
    Poisoned "poisoned" UNPROCESSABLE_ENTITY "The record cannot be taken in"
        "It went to the dead letters; correct it and write again.";
    LogRefused "log-refused" UNPROCESSABLE_ENTITY "The log will not take this record"
        "Nothing was appended; send a smaller record, or see the server's log.";
    TooMany "too-many" TOO_MANY_REQUESTS "A limit is used up"
        "Come back after retry_ms, or ask for less.";
    Internal "internal" INTERNAL_SERVER_ERROR "A fault of the server's own"
        "The server's log says more.";
    OutcomeUnknown "outcome-unknown" SERVICE_UNAVAILABLE "The write may or may not have been taken in"
        "Read the key; with a position, read it with min_position.";
    LogUnavailable "log-unavailable" SERVICE_UNAVAILABLE "The log cannot be written now"
        "Nothing was appended; send it again after retry_ms.";
    StoreUnavailable "store-unavailable" SERVICE_UNAVAILABLE "The store cannot be read now"
        "Come back after retry_ms; what is held in memory is served meanwhile.";
    Busy "busy" SERVICE_UNAVAILABLE "Too many writes wait for their outcome"
        "Nothing was appended; send it again after retry_ms, or without wait=stored.";
    LiveBusy "live-busy" SERVICE_UNAVAILABLE "The live side takes no more now"
        "Come back after retry_ms.";
    Stopping "stopping" SERVICE_UNAVAILABLE "This instance is stopping"
        "Ask again: another instance, or the next start, answers.";
    NotReady "not-ready" SERVICE_UNAVAILABLE "Records cannot flow and be stored now"
        "The dependencies below say which one is missing.";
    NotReached "not-reached" GATEWAY_TIMEOUT "The position was not confirmed in time"
        "Ask again with the same min_position.";
}

/// One field, what is wrong with it, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    pub field: String,
    pub detail: String,
    pub remedy: String,
}

/// An answer that is no success. Boxed, since it travels in every `Result`.
#[derive(Debug, Clone)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: Kind,
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    members: Vec<(&'static str, Json)>,
    headers: HeaderMap,
}

impl Problem {
    /// `detail` is one sentence for the caller.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem(Box::new(Inner {
            kind,
            status: kind.status(),
            detail: detail.into(),
            errors: Vec::new(),
            members: Vec::new(),
            headers: HeaderMap::new(),
        }))
    }

    /// Names a field and its remedy. `field`: a parameter, a header, or a member of the body.
    pub fn field(
        self,
        field: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        self.fields([FieldError { field: field.into(), detail: detail.into(), remedy: remedy.into() }])
    }

    /// Names further fields. The first faults are told, however many there are.
    pub fn fields(mut self, errors: impl IntoIterator<Item = FieldError>) -> Self {
        let room = FIELDS_MAX.saturating_sub(self.0.errors.len());
        self.0.errors.extend(errors.into_iter().take(room));
        self
    }

    /// A further member (`position`, `entity`).
    pub fn with(mut self, name: &'static str, value: Json) -> Self {
        self.0.members.push((name, value));
        self
    }

    /// A further member that is a string.
    pub fn with_text(self, name: &'static str, text: &str) -> Self {
        let mut quoted = String::with_capacity(text.len() + 2);
        push_json_string(&mut quoted, text);
        self.with(name, Json::from_checked(&quoted))
    }

    pub fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Says when to come back, in the body (`retry_ms`) and as `Retry-After`.
    pub fn retry(self) -> Self {
        let seconds = HeaderValue::from(RETRY_MS.div_ceil(1_000));
        self.with("retry_ms", Json::from_checked(&RETRY_MS.to_string())).header(header::RETRY_AFTER, seconds)
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The problem as its JSON text, as an ack over Socket.IO carries it.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{\"status\":500}".into())
    }

    /// A value that the engine would refuse as poison, found before it was appended.
    pub fn of_value(field: &'static str, poison: &Poison) -> Self {
        let kind = match poison.reason {
            Reason::MalformedJson => Kind::MalformedJson,
            Reason::TooLarge => Kind::TooLarge,
            Reason::InvalidKey => Kind::InvalidKey,
            _ => Kind::InvalidValue,
        };
        let problem = Problem::new(kind, format!("{}: {}", poison.reason.code(), poison.detail))
            .field(field, &poison.detail, kind.remedy())
            .with_text("reason", poison.reason.code());
        match poison.at_byte {
            Some(byte) => problem.with("at_byte", Json::from_checked(&byte.to_string())),
            None => problem,
        }
    }

    /// A command that the step refused; the entity, or null, stands in the problem.
    pub fn of_refusal(kind: RefusedKind, detail: &str, entity: Json) -> Self {
        let kind = match kind {
            RefusedKind::Conflict => Kind::Conflict,
            RefusedKind::Precondition => Kind::PreconditionFailed,
            RefusedKind::Rule => Kind::Rule,
        };
        Problem::new(kind, detail).with("entity", entity)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let inner = &*self.0;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/problems/{}", inner.kind.code()))?;
        map.serialize_entry("title", inner.kind.title())?;
        map.serialize_entry("status", &inner.status.as_u16())?;
        map.serialize_entry("detail", &inner.detail)?;
        if !inner.errors.is_empty() {
            map.serialize_entry("errors", &inner.errors)?;
        }
        for (name, value) in &inner.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.json();
        let own = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (self.0.status, own, self.0.headers, body).into_response()
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NoStream(stream) => no_stream(&stream),
            WriteError::Busy => Problem::new(Kind::Busy, "nothing was appended").retry(),
            WriteError::Unavailable(cause) => {
                tracing::warn!(cause, "write refused because the log is away");
                Problem::new(Kind::LogUnavailable, "nothing was appended").retry()
            }
            WriteError::Refused(cause) => {
                tracing::warn!(cause, "write refused by the log");
                Problem::new(Kind::LogRefused, "nothing was appended")
            }
            WriteError::Unknown { position, detail } => {
                tracing::warn!(cause = detail, "write with an unknown outcome");
                let problem = Problem::new(Kind::OutcomeUnknown, "it may have been appended; read to know");
                match position {
                    Some(at) => {
                        problem.status(StatusCode::GATEWAY_TIMEOUT).with_text("position", &at.to_string())
                    }
                    None => problem.retry(),
                }
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NoStream(stream) => no_stream(&stream),
            ReadError::Unavailable(cause) => {
                tracing::debug!(cause, "read refused because the store is away");
                Problem::new(
                    Kind::StoreUnavailable,
                    "this is not held in memory, and the store does not answer",
                )
                .retry()
            }
            ReadError::Query { field, detail } => Problem::new(
                Kind::InvalidParameter,
                format!("{field}: {detail}"),
            )
            .field(field, detail, Kind::InvalidParameter.remedy()),
            ReadError::Internal(cause) => {
                tracing::error!(cause, "read failed by our own fault");
                Problem::new(Kind::Internal, "the request was not carried out")
            }
        }
    }
}

/// A stream that is not there.
pub fn no_stream(stream: &str) -> Problem {
    Problem::new(Kind::NoStream, "no stream has this name").field(
        "stream",
        format!("there is no stream {stream:?}"),
        Kind::NoStream.remedy(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Position;

    #[test]
    fn a_problem_has_the_members_of_its_kind_and_its_own() {
        let problem = Problem::new(Kind::InvalidParameter, "limit is no number")
            .field("limit", "\"x\" is no number", "a number from 1 to 1000")
            .with_text("position", "0.1.2");
        assert_eq!(
            problem.json(),
            r#"{"type":"/problems/invalid-parameter","title":"A parameter is not understood","status":400,"detail":"limit is no number","errors":[{"field":"limit","detail":"\"x\" is no number","remedy":"a number from 1 to 1000"}],"position":"0.1.2"}"#
        );
    }

    #[test]
    fn an_unknown_outcome_is_503_without_a_position_and_504_with_one() {
        let without = Problem::from(WriteError::Unknown { position: None, detail: "cut".into() });
        assert!(without.json().contains("\"status\":503") && !without.json().contains("cut"));
        let position = Some(Position { epoch: 0, partition: 1, offset: 7 });
        let with = Problem::from(WriteError::Unknown { position, detail: "cut".into() });
        assert!(with.json().contains("\"status\":504") && with.json().contains("\"position\":\"0.1.7\""));
    }

    #[test]
    fn no_cause_from_inside_reaches_the_caller() {
        let secret = "10.0.0.3:27017 refused";
        for problem in [
            Problem::from(ReadError::Unavailable(secret.into())),
            Problem::from(ReadError::Internal(secret.into())),
            Problem::from(WriteError::Unavailable(secret.into())),
            Problem::from(WriteError::Refused(secret.into())),
        ] {
            assert!(!problem.json().contains("10.0.0.3"), "{}", problem.json());
        }
    }

    #[test]
    fn codes_are_told_apart() {
        let mut codes: Vec<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
    }
}
