//! One viewer over Socket.IO, on the wire of its protocol: what the stock client would do, without a process for each.
//!
//! Not here: what may be shown (`watcher`); stock clients are in `e2e`.

use super::watcher::{Base, Habit, Shown};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Mutex, time::Duration};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The server pings every 25 s; one that says nothing for so long is gone.
const SILENT_MAX: Duration = Duration::from_secs(40);
/// Between the packets of one answer to a poll.
const SEPARATOR: char = '\u{1e}';

/// What carries the packets of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    WebSocket,
    Polling,
}

/// One connection, to its end.
pub async fn watch(carrier: Carrier, base: &Base, rooms: &[String], habit: Habit, shown: &Mutex<Shown>) {
    let base = base.lock().expect("base").clone();
    let Ok(Some(mut wire)) = timeout(ANSWERS_WITHIN, Wire::open(carrier, &base)).await else { return };
    let is_in = wire.send("40").await.is_some()
        && wire.next(ANSWERS_WITHIN).await.is_some_and(|said| said.starts_with("40{"));
    let call = json!(["subscribe", {"rooms": rooms, "since": shown.lock().expect("shown").since}]);
    let mut calls = 1_u64;
    if !is_in || wire.send(&format!("42{calls}{call}")).await.is_none() {
        return;
    }
    let mut said_count = 0_u32;
    while let Some(said) = wire.next(SILENT_MAX).await {
        match take(&said, calls, shown) {
            Then::Refused => return,
            Then::Nothing => {}
            Then::Page { room, after } => {
                calls += 1;
                let call = json!(["page", {"room": room, "after": after}]);
                if wire.send(&format!("42{calls}{call}")).await.is_none() {
                    return;
                }
            }
        }
        said_count += 1;
        if said_count.is_multiple_of(20) && matches!(habit, Habit::Slow) {
            sleep(Duration::from_secs(2)).await;
        }
    }
}

enum Wire {
    WebSocket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
    Polling { http: reqwest::Client, url: String, said: VecDeque<String> },
}

impl Wire {
    /// A session. Each of these ends with `None` once there is no session any more.
    async fn open(carrier: Carrier, base: &str) -> Option<Wire> {
        let host = base.trim_start_matches("http://");
        let mut wire = match carrier {
            Carrier::WebSocket => {
                let url = format!("ws://{host}/socket.io/?EIO=4&transport=websocket");
                Wire::WebSocket(Box::new(connect_async(url).await.ok()?.0))
            }
            Carrier::Polling => {
                let url = format!("http://{host}/socket.io/?EIO=4&transport=polling");
                Wire::Polling { http: reqwest::Client::new(), url, said: VecDeque::new() }
            }
        };
        let open = wire.hear().await?;
        let open: Value = serde_json::from_str(open.strip_prefix('0')?).ok()?;
        if let Wire::Polling { url, .. } = &mut wire {
            url.push_str(&format!("&sid={}", open["sid"].as_str()?));
        }
        Some(wire)
    }

    async fn send(&mut self, packet: &str) -> Option<()> {
        match self {
            Wire::WebSocket(socket) => socket.send(Message::text(packet)).await.ok(),
            Wire::Polling { http, url, .. } => {
                let post = http.post(url.as_str()).timeout(ANSWERS_WITHIN).body(packet.to_owned());
                (post.send().await.ok()?.status() == 200).then_some(())
            }
        }
    }

    /// The next packet that is no ping; pings are answered.
    async fn next(&mut self, within: Duration) -> Option<String> {
        loop {
            let said = timeout(within, self.hear()).await.ok()??;
            if said != "2" {
                return Some(said);
            }
            self.send("3").await?;
        }
    }

    async fn hear(&mut self) -> Option<String> {
        match self {
            Wire::WebSocket(socket) => match socket.next().await {
                Some(Ok(message)) if !message.is_close() => message.to_text().ok().map(str::to_owned),
                _ => None,
            },
            Wire::Polling { http, url, said } => {
                if said.is_empty() {
                    let answer = http.get(url.as_str()).send().await.ok()?;
                    let packets = (answer.status() == 200).then_some(answer)?.text().await.ok()?;
                    said.extend(packets.split(SEPARATOR).map(str::to_owned));
                }
                said.pop_front()
            }
        }
    }
}

/// What a client does about what it is told.
enum Then {
    Nothing,
    /// Its call was refused: it comes back.
    Refused,
    /// It was shown a page that is not the last: what lies behind is told to it only once it has asked for it.
    Page {
        room: Value,
        after: Value,
    },
}

/// `calls`: the number of its newest call; what the answers before it lead to is overtaken.
fn take(said: &str, calls: u64, shown: &Mutex<Shown>) -> Then {
    let mut shown = shown.lock().expect("shown");
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    if let Some((number, ack)) = said.strip_prefix("43").and_then(|ack| ack.split_at_checked(ack.find('[')?))
    {
        let (number, ack): (u64, _) = (number.parse().expect("a number"), json(ack));
        if ack[0]["ok"] != true {
            return Then::Refused;
        }
        shown.connections += u64::from(number == 1);
        let pages = if number == 1 { &ack[0]["rooms"] } else { &ack[0] };
        shown.take("snapshot", None, pages);
        return if number == calls { next_page(pages) } else { Then::Nothing };
    }
    let Some(event) = said.strip_prefix("42").map(json) else { return Then::Nothing };
    match event[0].as_str() {
        Some("changes") => {
            shown.take("change", None, &event[1]);
            for (room, position) in event[2].as_object().into_iter().flatten() {
                shown.stands_at(room, position);
            }
        }
        Some("resync") => {
            shown.take("resync", None, &event[1]);
            return next_page(&event[1]);
        }
        _ => {}
    }
    Then::Nothing
}

/// Nobody here is in more than one room that comes in pages.
fn next_page(snapshots: &Value) -> Then {
    let each = snapshots.as_array().map_or(std::slice::from_ref(snapshots), Vec::as_slice);
    let more = each.iter().find(|snapshot| snapshot["next"].is_string());
    more.map_or(Then::Nothing, |more| Then::Page { room: more["room"].clone(), after: more["next"].clone() })
}
