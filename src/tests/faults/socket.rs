//! One viewer over Socket.IO, on the wire of its protocol: what the stock client would do, without a process for each.
//!
//! Not here: what may be shown (`watcher`); stock clients are in `e2e`.

use super::watcher::{Base, Habit, Shown};
use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::{Value, json};
use std::{sync::Mutex, time::Duration};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message},
};

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The server pings every 25 s; one that says nothing for so long is gone.
const SILENT_MAX: Duration = Duration::from_secs(40);

/// One connection, to its end.
pub async fn watch(base: &Base, rooms: &[String], habit: Habit, shown: &Mutex<Shown>) {
    let host = base.lock().expect("base").trim_start_matches("http://").to_owned();
    let url = format!("ws://{host}/socket.io/?EIO=4&transport=websocket");
    let Ok(Ok((mut socket, _))) = timeout(ANSWERS_WITHIN, connect_async(url)).await else { return };
    if next(&mut socket, ANSWERS_WITHIN).await.is_none() || socket.send(Message::text("40")).await.is_err() {
        return;
    }
    let mut said = next(&mut socket, ANSWERS_WITHIN).await;
    // A ping may come before the answer.
    while said.as_deref() == Some("2") {
        if socket.send(Message::text("3")).await.is_err() {
            return;
        }
        said = next(&mut socket, ANSWERS_WITHIN).await;
    }
    let is_in = said.is_some_and(|said| said.starts_with("40{"));
    let call = json!(["subscribe", {"rooms": rooms, "since": shown.lock().expect("shown").since}]);
    if !is_in || socket.send(Message::text(format!("421{call}"))).await.is_err() {
        return;
    }
    let mut said_count = 0_u32;
    while let Some(said) = next(&mut socket, SILENT_MAX).await {
        if said == "2" && socket.send(Message::text("3")).await.is_err() {
            return;
        }
        if !take(&said, shown) {
            return;
        }
        said_count += 1;
        match habit {
            Habit::Slow if said_count.is_multiple_of(20) => sleep(Duration::from_secs(2)).await,
            Habit::Cut if said_count.is_multiple_of(150) => return,
            _ => {}
        }
    }
}

async fn next(
    socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
    within: Duration,
) -> Option<String> {
    match timeout(within, socket.next()).await {
        Ok(Some(Ok(message))) if !message.is_close() => message.to_text().ok().map(str::to_owned),
        _ => None,
    }
}

/// `false`: the call was refused.
fn take(said: &str, shown: &Mutex<Shown>) -> bool {
    let mut shown = shown.lock().expect("shown");
    if let Some(ack) = said.strip_prefix("431") {
        let ack: Value = serde_json::from_str(ack).expect("an ack of JSON");
        if ack[0]["ok"] != true {
            return false;
        }
        shown.connections += 1;
        shown.take("snapshot", None, &ack[0]["rooms"]);
    } else if let Some(event) = said.strip_prefix("42") {
        let event: Value = serde_json::from_str(event).expect("an event of JSON");
        match event[0].as_str() {
            Some("changes") => shown.take("change", None, &event[1]),
            Some("resync") => shown.take("resync", None, &event[1]),
            _ => {}
        }
    }
    true
}
