//! `GET /live`: the same rooms over server-sent events.
//!
//! Invariant: the events carry what Socket.IO carries, each `id` is a cursor over all rooms as they are after it, and what
//! is handed over is bounded like any client's; pages come by themselves, as fast as they are read.
//! Not here: rooms (`engine`), guards and headers (`http`).

pub mod cursor;
mod listener;

use self::{
    cursor::Cursor,
    listener::{EVENTS_MAX, SseListener},
};
use super::{
    counted::Counter,
    guard,
    problem::{Kind, Problem},
};
use crate::{
    config::Config,
    engine::{
        live::{ClientId, Live, Refusal, Wanted},
        packet::Subscribed,
    },
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{Extensions, HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What a silent line carries, so that proxies and clients see that it is alive.
const COMMENT: &[u8] = b":\n\n";

#[derive(Clone)]
struct Stream {
    live: Live,
    origins: Arc<[String]>,
    comment: Duration,
}

/// The route of `/live`. Each request's extensions carry the `Arc<Counter>` of its connection.
pub fn routes(live: Live, config: &Config) -> Router {
    let stream = Stream {
        live,
        origins: config.security.allowed_origins.as_slice().into(),
        comment: Duration::from_millis(config.live.sse_comment_ms),
    };
    Router::new().route("/live", get(open)).with_state(stream)
}

/// What the request asks for.
struct Asked {
    rooms: Vec<String>,
    cursor: Cursor,
}

async fn open(
    State(stream): State<Stream>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, Problem> {
    if !guard::origin_allowed(&headers, &stream.origins) {
        let detail = "the page's origin is neither this host nor allow-listed";
        return Err(Problem::new(Kind::ForeignOrigin, detail).field(
            "origin",
            detail,
            Kind::ForeignOrigin.remedy(),
        ));
    }
    let asked = ask(query, &headers)?;
    let (events, received) = mpsc::channel(EVENTS_MAX);
    let ended = CancellationToken::new();
    let counter = extensions.get::<Arc<Counter>>().cloned();
    let listener = SseListener::new(events, counter, ended.clone());
    let client = stream.live.connect(listener.clone())?;
    // From here on dropping it disconnects the client.
    let seat = Seat { live: stream.live.clone(), client };
    subscribe(&seat, asked, &listener).await?;
    Ok(answer(received, seat, ended, stream.comment))
}

/// A client for as long as its answer is read.
struct Seat {
    live: Live,
    client: ClientId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.disconnect(self.client);
    }
}

/// Joins the rooms; the snapshots are on their way when this returns.
async fn subscribe(seat: &Seat, asked: Asked, listener: &Arc<SseListener>) -> Result<(), Problem> {
    let (done, joined) = oneshot::channel();
    let listener = listener.clone();
    let reply = move |answer: Result<Subscribed, Refusal>| {
        let (outcome, bytes) = match answer {
            Ok(answer) => (Ok(()), listener.snapshots(&answer)),
            Err(refusal) => (Err(refusal), 0),
        };
        // Nobody waits for it any more: then the client is about to be disconnected.
        done.send(outcome).ok();
        bytes
    };
    let wanted = Wanted { rooms: asked.rooms, since: asked.cursor.into_since() };
    seat.live.subscribe(seat.client, wanted, Box::new(reply));
    match joined.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(refusal.into()),
        Err(_) => Err(Refusal::Stopping.into()),
    }
}

fn ask(query: Vec<(String, String)>, headers: &HeaderMap) -> Result<Asked, Problem> {
    let (mut rooms, mut cursor) = (Vec::new(), None);
    for (name, value) in query {
        match name.as_str() {
            "room" => rooms.push(value),
            "cursor" => cursor = Some(("cursor", value)),
            _ => return Err(parameter(&name, "there is no such parameter", "room, repeated, and cursor")),
        }
    }
    if rooms.is_empty() {
        return Err(parameter("room", "it is missing", "one room or several: ?room=kv/a&room=kv/b"));
    }
    // A browser that comes back has the newest cursor here, and still the oldest in its address.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let cursor = last.map(|id| ("Last-Event-ID", id.to_owned())).or(cursor);
    let cursor = match cursor {
        None => Cursor::default(),
        Some((field, text)) => Cursor::parse(&text)
            .ok_or_else(|| parameter(field, "it is no cursor", "an id that an event of /live had"))?,
    };
    Ok(Asked { rooms, cursor })
}

fn parameter(field: &str, detail: &str, remedy: &str) -> Problem {
    Problem::new(Kind::InvalidParameter, format!("{field}: {detail}")).field(field, detail, remedy)
}

fn answer(
    events: mpsc::Receiver<Bytes>,
    seat: Seat,
    ended: CancellationToken,
    comment: Duration,
) -> Response {
    let body = stream::unfold((events, seat), move |(mut events, seat)| {
        let ended = ended.clone();
        async move {
            let next = ended.run_until_cancelled(timeout(comment, events.recv())).await;
            let chunk = match next? {
                Ok(chunk) => chunk?,
                Err(_silent) => Bytes::from_static(COMMENT),
            };
            Some((Ok::<_, Infallible>(chunk), (events, seat)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that gather answers would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}
