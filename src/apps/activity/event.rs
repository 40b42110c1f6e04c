//! An event of a user: how it comes, and how it is kept.
//!
//! Invariant: what is kept is a function of what came: the five members under their own names, in a fixed order, then
//! every further member as it was written. Every fault is named at once.
//! Not here: whether it was seen before (`App::check`), what it counts for (`totals`).

use crate::{
    app::{Poison, Reason},
    clock,
    document::{Json, push_json_string},
    json::members::Members,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use uuid::Uuid;

/// One event, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: Uuid,
    pub user: String,
    pub kind: String,
    /// When it happened, in ms since 1970 UTC.
    pub time_ms: i64,
    /// The whole event, as it is kept.
    pub json: Json,
}

/// Where an event is read from, and with it who says its id and time.
#[derive(Debug, Clone, Copy)]
pub enum From {
    /// A record of any producer, which has the id; without a time the record's own counts.
    Record { time_ms: i64 },
    /// Our own door, which assigns both.
    Door { id: Uuid, now_ms: i64 },
}

/// What an event's texts may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub user_bytes_max: usize,
    pub type_bytes_max: usize,
}

/// One thing wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub field: &'static str,
    pub detail: String,
    pub remedy: &'static str,
    /// It is not there at all.
    missing: bool,
}

const ID: (&str, &str) = ("eventId", "event_id");
const USER: (&str, &str) = ("userId", "user_id");
const TYPE: (&str, &str) = ("eventType", "event_type");
const TIME: (&str, &str) = ("timestamp", "time_stamp");
const PAYLOAD: (&str, &str) = ("payload", "payload");

const ID_REMEDY: &str = "a UUID";
const USER_REMEDY: &str = "a text that is not empty and no longer than a key";
const TYPE_REMEDY: &str = "a text that is not empty and within activity.type_bytes_max";
const TIME_REMEDY: &str = "a time of ISO 8601, like 2026-11-21T10:00:00Z; without a zone it is UTC";
const PAYLOAD_REMEDY: &str = "an object";
const ASSIGNED: &str =
    "leave it out: it is assigned here; Idempotency-Key names an event that may be sent again";

/// Reads an event from the text of an object that obeys the engine's limits.
pub fn read(text: &str, from: From, bounds: Bounds) -> Result<Event, Vec<Fault>> {
    let Ok(members) = Members::read(text) else {
        let detail = "is no object".to_owned();
        return Err(vec![Fault { field: "body", detail, remedy: PAYLOAD_REMEDY, missing: false }]);
    };
    Reader { members, faults: Vec::new() }.event(from, bounds)
}

/// An event that nobody can take in, as poison that names every field and no value.
pub fn poison(faults: &[Fault]) -> Poison {
    let reason = match faults.iter().all(|fault| fault.missing) {
        true => Reason::MissingField,
        false => Reason::SchemaInvalid,
    };
    let all: Vec<_> = faults.iter().map(|fault| format!("{} {}", fault.field, fault.detail)).collect();
    Poison::new(reason, all.join(", "))
}

struct Reader<'a> {
    members: Members<'a>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn event(mut self, from: From, bounds: Bounds) -> Result<Event, Vec<Fault>> {
        let (id, time_ms) = match from {
            From::Door { id, now_ms } => {
                self.is_assigned(ID);
                self.is_assigned(TIME);
                (Some(id), Some(now_ms))
            }
            From::Record { time_ms } => {
                let id = self.text(ID, ID_REMEDY);
                (id.and_then(|text| self.id(&text)), self.time(time_ms))
            }
        };
        let user = self.bounded(USER, USER_REMEDY, bounds.user_bytes_max);
        let kind = self.bounded(TYPE, TYPE_REMEDY, bounds.type_bytes_max);
        let payload = self.payload();
        let (Some(id), Some(time_ms), Some(user), Some(kind), Some(payload)) =
            (id, time_ms, user, kind, payload)
        else {
            return Err(self.faults);
        };
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let json = write(id, &user, &kind, time_ms, payload, &self.members);
        Ok(Event { id, user: user.into_owned(), kind: kind.into_owned(), time_ms, json })
    }

    fn fault(&mut self, field: &'static str, detail: impl Into<String>, remedy: &'static str) {
        self.faults.push(Fault { field, detail: detail.into(), remedy, missing: false });
    }

    /// The member under its name, or under the one of producers that write names with underscores.
    fn take(&mut self, (name, other): (&'static str, &'static str)) -> Option<&'a RawValue> {
        self.members.take(name).or_else(|| self.members.take(other))
    }

    fn required(
        &mut self,
        names: (&'static str, &'static str),
        remedy: &'static str,
    ) -> Option<&'a RawValue> {
        let found = self.take(names);
        if found.is_none() {
            let (field, detail) = (names.0, "is missing".to_owned());
            self.faults.push(Fault { field, detail, remedy, missing: true });
        }
        found
    }

    fn is_assigned(&mut self, names: (&'static str, &'static str)) {
        if self.take(names).is_some() {
            self.fault(names.0, "is assigned here", ASSIGNED);
        }
    }

    fn text(&mut self, names: (&'static str, &'static str), remedy: &'static str) -> Option<Cow<'a, str>> {
        let raw = self.required(names, remedy)?.get();
        let text = text_of(raw);
        if text.is_none() {
            self.fault(names.0, "is no text", remedy);
        }
        text
    }

    fn bounded(
        &mut self,
        names: (&'static str, &'static str),
        remedy: &'static str,
        bytes_max: usize,
    ) -> Option<Cow<'a, str>> {
        let text = self.text(names, remedy)?;
        match text.len() {
            0 => self.fault(names.0, "is empty", remedy),
            bytes if bytes > bytes_max => {
                self.fault(names.0, format!("has {bytes} bytes, the bound is {bytes_max}"), remedy);
            }
            _ => return Some(text),
        }
        None
    }

    fn id(&mut self, text: &str) -> Option<Uuid> {
        let id = Uuid::try_parse(text).ok();
        if id.is_none() {
            self.fault(ID.0, "is no UUID", ID_REMEDY);
        }
        id
    }

    fn time(&mut self, record_ms: i64) -> Option<i64> {
        let Some(raw) = self.take(TIME) else { return Some(record_ms) };
        let time = text_of(raw.get()).and_then(|text| clock::parse(&text));
        if time.is_none() {
            self.fault(TIME.0, "is no time", TIME_REMEDY);
        }
        time
    }

    fn payload(&mut self) -> Option<&'a RawValue> {
        let raw = self.required(PAYLOAD, PAYLOAD_REMEDY)?;
        if raw.get().starts_with('{') {
            return Some(raw);
        }
        self.fault(PAYLOAD.0, "is no object", PAYLOAD_REMEDY);
        None
    }
}

fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    // An escape makes it another text than the one that is written.
    match raw.strip_prefix('"')?.strip_suffix('"')? {
        plain if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str(raw).ok().map(Cow::Owned),
    }
}

fn write(id: Uuid, user: &str, kind: &str, time_ms: i64, payload: &RawValue, further: &Members<'_>) -> Json {
    let mut out = String::with_capacity(payload.get().len() + user.len() + kind.len() + 160);
    out.push_str(&format!("{{\"eventId\":\"{id}\",\"userId\":"));
    push_json_string(&mut out, user);
    out.push_str(",\"eventType\":");
    push_json_string(&mut out, kind);
    out.push_str(&format!(",\"timestamp\":\"{}\",\"payload\":{}", clock::iso(time_ms), payload.get()));
    for (name, value) in &further.0 {
        out.push(',');
        push_json_string(&mut out, name);
        out.push(':');
        out.push_str(value.get());
    }
    out.push('}');
    Json::from_checked(&out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { user_bytes_max: 16, type_bytes_max: 8 };
    const ID_TEXT: &str = "0190f3a2-7c1e-7b6a-9c3f-3d2b1a0f9e8d";

    fn of_record(text: &str) -> Result<Event, Vec<Fault>> {
        read(text, From::Record { time_ms: 5 }, BOUNDS)
    }

    fn fields(faults: &[Fault]) -> Vec<&'static str> {
        faults.iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn both_spellings_are_kept_alike_with_every_further_member() {
        let camel = format!(
            r#"{{"payload":{{"n":1.50}},"eventId":"{}","userId":"u\u00e9","eventType":"click","timestamp":"2026-11-21T11:00:00+01:00","x":[1]}}"#,
            ID_TEXT.to_uppercase()
        );
        let snake = format!(
            r#"{{"event_id":"{ID_TEXT}","user_id":"ué","event_type":"click","payload":{{"n":1.50}},"x":[1],"timestamp":"2026-11-21T10:00:00"}}"#
        );
        let event = of_record(&camel).expect("event");
        assert_eq!(event, of_record(&snake).expect("event"));
        assert_eq!(
            (event.user.as_str(), event.kind.as_str(), event.id.to_string().as_str()),
            ("ué", "click", ID_TEXT)
        );
        assert_eq!(
            event.json.text(),
            format!(
                r#"{{"eventId":"{ID_TEXT}","userId":"ué","eventType":"click","timestamp":"2026-11-21T10:00:00.000Z","payload":{{"n":1.50}},"x":[1]}}"#
            )
        );
        assert_eq!(of_record(event.json.text()).expect("what is kept is an event"), event);
    }

    #[test]
    fn without_a_time_the_records_own_counts() {
        let text = format!(r#"{{"eventId":"{ID_TEXT}","userId":"u","eventType":"t","payload":{{}}}}"#);
        assert_eq!(of_record(&text).expect("event").time_ms, 5);
    }

    #[test]
    fn every_fault_is_named_at_once_and_no_value_is_told() {
        let faults = of_record(r#"{"userId":"","event_type":7,"timestamp":"secret","payload":[1]}"#);
        let faults = faults.expect_err("faults");
        assert_eq!(fields(&faults), ["eventId", "timestamp", "userId", "eventType", "payload"]);
        let poison = poison(&faults);
        assert_eq!(poison.reason, Reason::SchemaInvalid);
        assert!(!poison.detail.contains("secret"), "{}", poison.detail);
        let missing = of_record("{}").expect_err("faults");
        assert_eq!(super::poison(&missing).reason, Reason::MissingField);
        assert_eq!(fields(&missing), ["eventId", "userId", "eventType", "payload"]);
        assert_eq!(fields(&of_record("[1]").expect_err("faults")), ["body"]);
        let long = format!(
            r#"{{"eventId":"{ID_TEXT}","userId":"{}","eventType":"123456789","payload":{{}}}}"#,
            "u".repeat(17)
        );
        assert_eq!(fields(&of_record(&long).expect_err("faults")), ["userId", "eventType"]);
        assert_eq!(
            fields(&of_record(&long.replace(ID_TEXT, "no")).expect_err("faults")),
            ["eventId", "userId", "eventType"]
        );
    }

    #[test]
    fn the_door_assigns_id_and_time() {
        let door = From::Door { id: Uuid::nil(), now_ms: 0 };
        let event =
            read(r#"{"userId":"u","eventType":"t","payload":{},"from":"app"}"#, door, BOUNDS).expect("event");
        assert_eq!(
            event.json.text(),
            r#"{"eventId":"00000000-0000-0000-0000-000000000000","userId":"u","eventType":"t","timestamp":"1970-01-01T00:00:00.000Z","payload":{},"from":"app"}"#
        );
        let faults = read(r#"{"eventId":"x","timestamp":"y"}"#, door, BOUNDS).expect_err("faults");
        assert_eq!(fields(&faults), ["eventId", "timestamp", "userId", "eventType", "payload"]);
    }

    proptest! {
        #[test]
        fn no_object_breaks_the_reader(text in r#"\{("(eventId|userId|payload|x)":("a"|1|\{\}|null),?){0,4}\}"#) {
            let _ = of_record(&text);
        }
    }
}
