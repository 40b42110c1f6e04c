//! Calls of Socket.IO clients: read, given to the live side, answered by ack.
//!
//! Invariant: calls of one client reach the live side in the order they came. The library runs each handler in a task of
//! its own, where two may change places; so the work is done while a call's argument is extracted, which is in order.
//! Not here: what a call means (`engine::broadcaster`).

use super::line::Line;
use crate::{
    engine::live::{ClientId, Live, Refusal, Wanted},
    http::{problem::Problem, refusal},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use socketioxide::{
    adapter::LocalAdapter,
    extract::{AckSender, TryData},
    handler::{FromMessage, FromMessageParts, Value},
    socket::Socket,
};
use std::{collections::HashMap, convert::Infallible, sync::Arc};

/// A client of the live side, as its socket carries it.
#[derive(Clone)]
pub struct Session {
    pub live: Live,
    pub client: ClientId,
    pub line: Arc<Line>,
}

/// The argument of `subscribe`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    pub rooms: Vec<String>,
    #[serde(default)]
    pub since: Option<HashMap<String, Option<String>>>,
}

/// The argument of `page`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub room: String,
    #[serde(default)]
    pub after: Option<String>,
}

/// The argument of `unsubscribe`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unsubscribe {
    pub rooms: Vec<String>,
}

/// An event that was carried out while it was extracted.
pub struct Subscribed;
pub struct Paged;
pub struct Unsubscribed;

/// What an event's argument has to be.
const SUBSCRIBE: &str = r#"{"rooms":[ROOM],"since":{ROOM:POSITION}}"#;
const PAGE: &str = r#"{"room":STREAM,"after":NEXT}"#;
const UNSUBSCRIBE: &str = r#"{"rooms":[ROOM]}"#;

impl FromMessage<LocalAdapter> for Subscribed {
    type Error = Infallible;

    fn from_message(socket: Arc<Socket>, data: Value, ack: Option<i64>) -> Result<Self, Infallible> {
        with_call(&socket, data, ack, SUBSCRIBE, |session, call: Subscribe, ack| {
            let since = call.since.unwrap_or_default().into_iter();
            let since = since.filter_map(|(room, at)| Some((room, at?))).collect();
            let wanted = Wanted { rooms: call.rooms, since };
            let reply = move |answer: Result<_, _>| {
                ack.send(
                    answer.map_or_else(refused, |answer: crate::engine::packet::Subscribed| answer.json()),
                )
            };
            session.live.subscribe(session.client, wanted, Box::new(reply));
        });
        Ok(Subscribed)
    }
}

impl FromMessage<LocalAdapter> for Paged {
    type Error = Infallible;

    fn from_message(socket: Arc<Socket>, data: Value, ack: Option<i64>) -> Result<Self, Infallible> {
        with_call(&socket, data, ack, PAGE, |session, call: Page, ack| {
            let reply = move |answer: Result<_, _>| {
                ack.send(answer.map_or_else(refused, |answer: crate::engine::packet::Paged| answer.json()))
            };
            session.live.page(session.client, call.room, call.after, Box::new(reply));
        });
        Ok(Paged)
    }
}

impl FromMessage<LocalAdapter> for Unsubscribed {
    type Error = Infallible;

    fn from_message(socket: Arc<Socket>, data: Value, ack: Option<i64>) -> Result<Self, Infallible> {
        with_call(&socket, data, ack, UNSUBSCRIBE, |session, call: Unsubscribe, ack| {
            let reply = move |answer: Result<(), _>| {
                ack.send(answer.map_or_else(refused, |()| "{\"ok\":true}".to_owned()))
            };
            session.live.unsubscribe(session.client, call.rooms, Box::new(reply));
        });
        Ok(Unsubscribed)
    }
}

/// Reads a call and carries it out; one that cannot be read is answered at once.
fn with_call<T: DeserializeOwned>(
    socket: &Arc<Socket>,
    mut data: Value,
    ack: Option<i64>,
    shape: &'static str,
    carry_out: impl FnOnce(Session, T, Ack),
) {
    // A socket without a session was refused, and is about to end.
    let Some(session) = socket.extensions.get::<Session>() else { return };
    let Ok(sender) = AckSender::from_message_parts(socket, &mut data, &ack);
    let ack = Ack { sender, line: session.line.clone() };
    let Ok(TryData(read)) = TryData::<T>::from_message_parts(socket, &mut data, &None);
    match read {
        Ok(call) => carry_out(session, call, ack),
        Err(error) => {
            ack.send(not_ok(&refusal::malformed(shape, &error.to_string())));
        }
    }
}

/// The way back of one call.
struct Ack {
    sender: AckSender,
    line: Arc<Line>,
}

impl Ack {
    /// Answers with this JSON; returns the bytes handed over.
    fn send(self, json: String) -> usize {
        // 43NUMBER[JSON]
        let bytes = json.len() + 5;
        let sent = RawValue::from_string(json)
            .map_err(|error| error.to_string())
            .and_then(|raw| self.sender.send(&(&*raw,)).map_err(|error| error.to_string()));
        match sent {
            Ok(()) => self.line.handed(bytes),
            // An answer that is lost would be waited for in vain; the client has to come back.
            Err(error) => {
                tracing::debug!(error, "answer not handed over");
                self.line.end();
                0
            }
        }
    }
}

fn refused(refusal: Refusal) -> String {
    not_ok(&Problem::from(refusal))
}

fn not_ok(problem: &Problem) -> String {
    format!("{{\"ok\":false,\"problem\":{}}}", problem.json())
}
