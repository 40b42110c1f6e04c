//! The Socket.IO outside: stock clients of v4, by websocket and polling, on the default namespace.
//!
//! Invariant: handlers are there before a client hears that it is connected, so no early event is lost; nothing a client
//! sends or fails to read takes more memory than configured, nor holds up a stop; a page of a foreign origin opens no session.
//! Not here: rooms, answers, pace (`engine`).

pub mod calls;
pub mod line;
mod listener;

use self::{
    calls::{Paged, Session, Subscribed, Unsubscribed},
    line::{Line, Lines},
    listener::SocketListener,
};
use crate::{
    config::Config,
    engine::live::{Live, Refusal},
    http::{
        counted::Counter,
        guard,
        problem::{Kind, Problem},
    },
};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use socketioxide::{
    ParserConfig, SocketIo, TransportType,
    extract::SocketRef,
    handler::ConnectHandler,
    socket::{DisconnectReason, Sid},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// Attachments carry nothing here; one is let through so that its sender gets an answer instead of a cut.
const ATTACHMENTS_MAX: usize = 1;

/// A request of a session that nobody ended has so long once the service has stopped.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// What engine.io answers for a session it does not know: a stock client then opens a new one.
const UNKNOWN_SESSION: &str = "{\"code\":1,\"message\":\"Session ID unknown\"}";

#[derive(Clone)]
struct Gate {
    live: Live,
    lines: Lines,
    origins: Arc<[String]>,
    /// The body of a request has so long to come.
    body_time_max: Duration,
}

/// The routes of `/socket.io/`.
///
/// Each request's extensions carry the `Arc<Counter>` of its connection; without it nothing is known of what a client has
/// unsent, and it can only be told to leave.
pub fn routes(live: Live, config: &Config) -> Router {
    let ms = Duration::from_millis;
    let bytes_max = config.live.message_bytes_max;
    let parser = ParserConfig::common()
        .max_incoming_binaries(ATTACHMENTS_MAX)
        .max_incoming_binary_buf_size(bytes_max)
        .packet_completion_timeout(ms(config.live.connect_timeout_ms));
    let (service, io) = SocketIo::builder()
        .with_parser(parser)
        .max_payload(bytes_max as u64)
        .ws_max_message_size(bytes_max)
        .ws_max_frame_size(bytes_max)
        .connect_timeout(ms(config.live.connect_timeout_ms))
        .ping_interval(ms(config.live.ping_interval_ms))
        .ping_timeout(ms(config.live.ping_timeout_ms))
        .build_svc();
    let gate = Gate {
        live,
        lines: Lines::default(),
        origins: config.security.allowed_origins.as_slice().into(),
        body_time_max: ms(config.server.body_timeout_ms),
    };
    let admitting = gate.clone();
    let admit = move |socket: SocketRef| {
        let admitted = admitting.admit(&socket);
        async move { admitted }
    };
    io.ns("/", (async |_: SocketRef| {}).with(admit));
    Router::new()
        .route_service("/socket.io/", service.clone())
        .route_service("/socket.io", service)
        .layer(from_fn_with_state(gate, watch))
}

/// Why a connection was not let in; the client gets it as its `connect_error`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Closed(String);

impl Gate {
    /// Takes a client in. This runs before the client hears that it is connected.
    fn admit(&self, socket: &SocketRef) -> Result<(), Closed> {
        let line = self.lines.add(socket.id);
        // Of a session that has upgraded, the first request says nothing: it was a poll.
        if socket.transport_type() == TransportType::Websocket && !line.is_on_websocket() {
            on_websocket(&line, socket.req_parts().extensions.get());
        }
        let listener = Arc::new(SocketListener::new(socket.clone(), line.clone()));
        let client = self.live.connect(listener).map_err(|refusal| {
            self.lines.remove(socket.id);
            closed(refusal)
        })?;
        socket.extensions.insert(Session { live: self.live.clone(), client, line });
        socket.on("subscribe", async |_: Subscribed| {});
        socket.on("page", async |_: Paged| {});
        socket.on("unsubscribe", async |_: Unsubscribed| {});
        let gate = self.clone();
        socket.on_disconnect(async move |socket: SocketRef, reason: DisconnectReason| {
            tracing::debug!(client = client.0, %reason, "client gone");
            gate.lines.remove(socket.id);
            gate.live.disconnect(client);
        });
        Ok(())
    }
}

impl Gate {
    fn too_slow(&self) -> Response {
        let detail = format!("the body was not complete after {} ms", self.body_time_max.as_millis());
        Problem::new(Kind::BodyTimeout, detail).into_response()
    }

    /// `None`: the session has ended meanwhile, or the service has stopped. One that has not joined yet has no line; it is
    /// told of a stop when it joins.
    async fn until_over<T>(&self, line: Option<&Line>, work: impl Future<Output = T>) -> Option<T> {
        let session_ends = async {
            match line {
                Some(line) => line.ended().await,
                None => std::future::pending().await,
            }
        };
        let too_late = async {
            self.live.stopped().await;
            sleep(LAST_REQUEST).await;
        };
        tokio::select! {
            done = work => Some(done),
            () = session_ends => None,
            () = too_late => None,
        }
    }
}

fn closed(refusal: Refusal) -> Closed {
    Closed(Problem::from(refusal).json())
}

/// Minds every request of a session: where it comes from, what of its answers was taken, and whether it has ended.
async fn watch(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if !guard::origin_allowed(request.headers(), &gate.origins) {
        let detail = "the page's origin is neither this host nor allow-listed";
        return Problem::new(Kind::ForeignOrigin, detail)
            .field("origin", detail, Kind::ForeignOrigin.remedy())
            .into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    let part = |name| query.split('&').find_map(|part| part.strip_prefix(name));
    let Some(sid) = part("sid=").and_then(|sid| sid.parse::<Sid>().ok()) else {
        return next.run(request).await;
    };
    let line = gate.lines.get(sid);
    if line.as_ref().is_some_and(|line| line.is_ended()) {
        return unknown_session();
    }
    let counter = request.extensions().get::<Arc<Counter>>().cloned();
    if part("transport=") == Some("websocket") {
        let answer = next.run(request).await;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            match (&counter, &line) {
                (Some(counter), _) => gate.lines.upgrade(sid, counter),
                (None, Some(line)) => line.on_uncounted_websocket(),
                (None, None) => {}
            }
        }
        return answer;
    }
    if request.method() != Method::GET {
        let read = timeout(gate.body_time_max, gate.until_over(line.as_deref(), next.run(request))).await;
        return read.map_or_else(|_| gate.too_slow(), |read| read.unwrap_or_else(unknown_session));
    }
    if let Some(line) = &line {
        line.poll_began(counter.as_ref());
    }
    let Some(answer) = gate.until_over(line.as_deref(), next.run(request)).await else {
        return unknown_session();
    };
    if let Some(line) = &line {
        line.poll_answered(content_length(answer.headers()));
    }
    answer
}

fn on_websocket(line: &Line, counter: Option<&Arc<Counter>>) {
    match counter {
        Some(counter) => line.on_websocket(counter),
        None => line.on_uncounted_websocket(),
    }
}

fn content_length(headers: &HeaderMap) -> u64 {
    headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse().ok()).unwrap_or_default()
}

fn unknown_session() -> Response {
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], UNKNOWN_SESSION).into_response()
}
