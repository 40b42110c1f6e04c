//! An event of a user: how it comes, and how it is kept.
//!
//! Invariant: what is kept is a function of what came: the five members under their own names, in a fixed order, then
//! every further member as it was written. Every fault is named at once.
//! Not here: whether it was seen before (`App::check`), what it counts for (`totals`).

use super::Activity;
use crate::{
    clock,
    document::{Json, push_json_string},
    event::{Faults, Fields, Names, string},
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
#[derive(Clone, Copy)]
pub enum From<'a> {
    /// A record of any producer, which has the id; without a time the record's own counts.
    Record { time_ms: i64 },
    /// Our own door, which assigns both, the id by whose event it is.
    Door { id: &'a dyn Fn(&str) -> Uuid, now_ms: i64 },
}

const ID: Names = ["eventId", "event_id"];
const USER: Names = ["userId", "user_id"];
const TYPE: Names = ["eventType", "event_type"];
const TIME: Names = ["timestamp", "time_stamp"];
const PAYLOAD: Names = ["payload", "payload"];

/// Reads an event from the text of an object that obeys the engine's limits.
pub fn read(text: &str, from: From<'_>, bounds: &Activity) -> Result<Event, Faults> {
    let mut fields = Fields::of(text)?;
    let (own_id, time_ms) = match from {
        From::Record { time_ms } => (id(&mut fields), time(&mut fields).unwrap_or(time_ms)),
        From::Door { now_ms, .. } => {
            for names in [ID, TIME] {
                if fields.take(names).is_some() {
                    fields.wrong(names, "is assigned here");
                }
            }
            (Uuid::nil(), now_ms)
        }
    };
    let user = bounded(&mut fields, USER, bounds.user_bytes_max);
    let kind = bounded(&mut fields, TYPE, bounds.type_bytes_max);
    let payload = payload(&mut fields);
    let further = fields.finish()?;
    let id = if let From::Door { id, .. } = from { id(&user) } else { own_id };
    let json = write(id, &user, &kind, time_ms, payload, &further);
    Ok(Event { id, user: user.into_owned(), kind: kind.into_owned(), time_ms, json })
}

fn id(fields: &mut Fields<'_>) -> Uuid {
    let Some(text) = fields.string(ID) else { return Uuid::nil() };
    Uuid::try_parse(&text).unwrap_or_else(|_| {
        fields.wrong(ID, "is no UUID");
        Uuid::nil()
    })
}

/// `None`: it has no time of its own.
fn time(fields: &mut Fields<'_>) -> Option<i64> {
    let raw = fields.take(TIME)?;
    let time = string(raw).and_then(|text| clock::parse(&text));
    if time.is_none() {
        fields.wrong(TIME, "is no time");
    }
    time
}

fn bounded<'a>(fields: &mut Fields<'a>, names: Names, bytes_max: usize) -> Cow<'a, str> {
    let text = fields.string(names);
    match text.as_ref().map(|text| text.len()) {
        Some(0) => fields.wrong(names, "is empty"),
        Some(bytes) if bytes > bytes_max => {
            fields.wrong(names, format!("has {bytes} bytes, the bound is {bytes_max}"));
        }
        _ => {}
    }
    text.unwrap_or_default()
}

fn payload<'a>(fields: &mut Fields<'a>) -> &'a RawValue {
    let Some(raw) = fields.required(PAYLOAD) else { return RawValue::NULL };
    if !raw.get().starts_with('{') {
        fields.wrong(PAYLOAD, "is no object");
    }
    raw
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
    use crate::app::{Poison, Reason};
    use proptest::prelude::*;

    const BOUNDS: Activity = Activity { user_bytes_max: 16, type_bytes_max: 8, types_max: 1 };
    const ID_TEXT: &str = "0190f3a2-7c1e-7b6a-9c3f-3d2b1a0f9e8d";

    fn of_record(text: &str) -> Result<Event, Faults> {
        read(text, From::Record { time_ms: 5 }, &BOUNDS)
    }

    fn fields(faults: &Faults) -> Vec<&'static str> {
        faults.0.iter().map(|fault| fault.field).collect()
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
        let poison = Poison::from(faults);
        assert_eq!(poison.reason, Reason::SchemaInvalid);
        assert!(!poison.detail.contains("secret"), "{}", poison.detail);
        let missing = of_record("{}").expect_err("faults");
        assert_eq!(Poison::from(missing.clone()).reason, Reason::MissingField);
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
        let door = From::Door { id: &|_| Uuid::nil(), now_ms: 0 };
        let event = read(r#"{"userId":"u","eventType":"t","payload":{},"from":"app"}"#, door, &BOUNDS)
            .expect("event");
        assert_eq!(
            event.json.text(),
            r#"{"eventId":"00000000-0000-0000-0000-000000000000","userId":"u","eventType":"t","timestamp":"1970-01-01T00:00:00.000Z","payload":{},"from":"app"}"#
        );
        let faults = read(r#"{"eventId":"x","timestamp":"y"}"#, door, &BOUNDS).expect_err("faults");
        assert_eq!(fields(&faults), ["eventId", "timestamp", "userId", "eventType", "payload"]);
    }

    #[test]
    fn the_id_that_is_assigned_is_made_of_the_user_in_both_spellings() {
        let of_user = |text: &str| {
            let id = |user: &str| Uuid::from_u128(user.bytes().map(u128::from).sum());
            read(text, From::Door { id: &id, now_ms: 0 }, &BOUNDS).expect("event").id
        };
        let ann = of_user(r#"{"userId":"ann","eventType":"t","payload":{}}"#);
        assert_eq!(of_user(r#"{"x":1,"payload":{},"eventType":"t","user_id":"ann"}"#), ann);
        assert_ne!(of_user(r#"{"userId":"bob","eventType":"t","payload":{}}"#), ann);
    }

    proptest! {
        #[test]
        fn no_object_breaks_the_reader(text in r#"\{("(eventId|userId|payload|x)":("a"|1|\{\}|null),?){0,4}\}"#) {
            let _ = of_record(&text);
        }
    }
}
