//! One reader of `/live`: packets become events.
//!
//! Invariant: events of one packet go as one chunk whose last event has the cursor, so a reader that is cut between two
//! chunks comes back to exactly there. What is unsent is what was handed over minus what the connection has written.
//! Not here: the answer that carries the chunks (`stream`).

use super::cursor::Cursor;
use crate::{
    engine::{
        live::{Listener, Refusal, Reply, Undelivered},
        packet::{Changes, Content, Heartbeat, Packet, Paged, Reason, Snapshot, Subscribed, goodbye_json},
        rooms::Label,
    },
    http::counted::Counter,
};
use axum::body::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Chunks between the broadcaster and the answer. The bound that counts is the one in bytes.
pub const EVENTS_MAX: usize = 64;

/// How soon a reader that was cut comes back, unless a goodbye says otherwise.
const RETRY_MS: u64 = 1_000;

pub struct SseListener {
    events: mpsc::Sender<Bytes>,
    counter: Option<Arc<Counter>>,
    ended: CancellationToken,
    state: Mutex<State>,
    me: Weak<Self>,
}

#[derive(Debug, Default)]
struct State {
    cursor: Cursor,
    /// Rooms in pages, with the position their cursor gets with the last page.
    paging: Vec<(Arc<Label>, Option<String>)>,
    handed: u64,
    begun: bool,
}

impl SseListener {
    pub fn new(
        events: mpsc::Sender<Bytes>,
        counter: Option<Arc<Counter>>,
        ended: CancellationToken,
    ) -> Arc<Self> {
        let handed = counter.as_ref().map_or(0, |counter| counter.written());
        let state = Mutex::new(State { handed, ..State::default() });
        Arc::new_cyclic(|me| SseListener { events, counter, ended, state, me: me.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self, state: &mut State, chunk: Events) -> Result<usize, Undelivered> {
        let chunk = Bytes::from(chunk.0);
        // Chunked transfer adds the length in hexadecimal and two line ends.
        let bytes = chunk.len() + (chunk.len().max(1).ilog(16) as usize + 1) + 4;
        match self.events.try_send(chunk) {
            Ok(()) => {
                state.handed += bytes as u64;
                Ok(bytes)
            }
            Err(mpsc::error::TrySendError::Full(_)) => Err(Undelivered::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Undelivered::Closed),
        }
    }

    /// What cannot be waited for is followed by the end: the reader comes back with its last cursor.
    fn hand_or_end(&self, state: &mut State, chunk: Events) -> usize {
        self.hand(state, chunk).unwrap_or_else(|_| {
            self.ended.cancel();
            0
        })
    }

    /// The answer to `subscribe`: an event `snapshot` per room.
    pub fn snapshots(&self, answer: &Subscribed) -> usize {
        let mut state = self.state();
        let mut events = Events::default();
        if !std::mem::replace(&mut state.begun, true) {
            events.0.push_str(&format!("retry: {RETRY_MS}\n\n"));
        }
        for (index, joined) in answer.rooms.iter().enumerate() {
            state.stands_at(&joined.snapshot);
            let id = (index + 1 == answer.rooms.len()).then(|| state.cursor.text());
            let mut json = String::with_capacity(joined.snapshot.content.bytes() + 128);
            joined.push_json(&mut json);
            events.push("snapshot", &json, id.as_deref());
        }
        self.hand_or_end(&mut state, events)
    }

    fn page(&self, answer: Result<Paged, Refusal>) -> usize {
        // A page that could not be read is read again by whoever asks for it.
        let Ok(paged) = answer else { return 0 };
        let mut state = self.state();
        if matches!(paged.content, Content::Page { next: None, .. }) {
            state.is_whole(&paged.room);
        }
        let id = state.cursor.text();
        let mut events = Events::default();
        events.push("snapshot", &paged.snapshot_json(), Some(&id));
        self.hand_or_end(&mut state, events)
    }

    fn changes(&self, changes: &Changes) -> Result<usize, Undelivered> {
        let mut state = self.state();
        let mut events = Events::default();
        let before = state.cursor.clone();
        for told in changes.items.iter().filter(|told| told.room.is_key) {
            state.cursor.set(&told.room.name, &told.change.positions.to_string());
        }
        for (room, position) in &changes.positions {
            state.cursor.set(&room.name, position);
        }
        let id = state.cursor.text();
        for (index, told) in changes.items.iter().enumerate() {
            let mut json = String::with_capacity(told.change.members.len() + 64);
            told.push_json(&mut json);
            events.push("change", &json, (index + 1 == changes.items.len()).then_some(id.as_str()));
        }
        let handed = self.hand(&mut state, events);
        if handed.is_err() {
            state.cursor = before;
        }
        handed
    }

    fn resync(&self, snapshot: &Snapshot, reason: Reason) -> Result<usize, Undelivered> {
        let mut state = self.state();
        let before = (state.cursor.clone(), state.paging.clone());
        state.stands_at(snapshot);
        let id = state.cursor.text();
        let mut events = Events::default();
        events.push("resync", &snapshot.resync_json(reason), Some(&id));
        let handed = self.hand(&mut state, events);
        if handed.is_err() {
            (state.cursor, state.paging) = before;
        }
        handed
    }

    fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<usize, Undelivered> {
        let mut events = Events::default();
        events.push("heartbeat", &heartbeat.rooms_json(), None);
        self.hand(&mut self.state(), events)
    }

    fn goodbye(&self, reason: &str, retry_ms: u64) -> Result<usize, Undelivered> {
        let mut events = Events(format!("retry: {retry_ms}\n"));
        events.push("goodbye", &goodbye_json(reason, retry_ms), None);
        self.hand(&mut self.state(), events)
    }
}

impl State {
    /// A room was shown; if that is only its first page, it is in the cursor once all pages are.
    fn stands_at(&mut self, snapshot: &Snapshot) {
        let Snapshot { room, content, position } = snapshot;
        self.paging.retain(|(paging, _)| !Arc::ptr_eq(paging, room));
        if matches!(content, Content::Page { next: Some(_), .. }) {
            self.cursor.remove(&room.name);
            self.paging.push((room.clone(), position.clone()));
            return;
        }
        match position {
            Some(position) => self.cursor.set(&room.name, position),
            None => self.cursor.remove(&room.name),
        }
    }

    fn is_whole(&mut self, room: &Arc<Label>) {
        let Some(at) = self.paging.iter().position(|(paging, _)| Arc::ptr_eq(paging, room)) else { return };
        if let (_, Some(position)) = self.paging.swap_remove(at) {
            self.cursor.set(&room.name, &position);
        }
    }
}

impl Listener for SseListener {
    fn send(&self, packet: Packet<'_>) -> Result<usize, Undelivered> {
        match packet {
            Packet::Changes(changes) => self.changes(changes),
            Packet::Resync(snapshot, reason) => self.resync(snapshot, reason),
            Packet::Heartbeat(heartbeat) => self.heartbeat(heartbeat),
            Packet::Goodbye { reason, retry_ms } => self.goodbye(reason, retry_ms),
        }
    }

    fn unsent_bytes(&self) -> usize {
        let Some(counter) = &self.counter else { return 0 };
        let mut state = self.state();
        let written = counter.written();
        state.handed = state.handed.max(written);
        (state.handed - written) as usize
    }

    fn is_open(&self) -> bool {
        !self.events.is_closed() && !self.ended.is_cancelled()
    }

    fn is_given_up(&self) -> bool {
        self.counter.as_ref().is_some_and(|counter| counter.is_given_up())
    }

    /// Ends the answer; a connection whose writer is blocked is cut.
    fn close(&self) {
        self.ended.cancel();
        if self.unsent_bytes() > 0
            && let Some(counter) = &self.counter
        {
            counter.cut();
        }
    }

    fn transport(&self) -> &'static str {
        "sse"
    }

    fn pages(&self) -> Option<Reply<Paged>> {
        let me = self.me.clone();
        Some(Box::new(move |answer| me.upgrade().map_or(0, |me| me.page(answer))))
    }
}

/// Events in the making.
#[derive(Debug, Default)]
struct Events(String);

impl Events {
    /// A line end in JSON can only stand between its parts, where a space does as well.
    fn push(&mut self, event: &str, json: &str, id: Option<&str>) {
        let out = &mut self.0;
        out.reserve(json.len() + 64);
        out.push_str("event: ");
        out.push_str(event);
        out.push_str("\ndata: ");
        match json.contains(['\n', '\r']) {
            true => out.push_str(&json.replace(['\n', '\r'], " ")),
            false => out.push_str(json),
        }
        if let Some(id) = id {
            out.push_str("\nid: ");
            out.push_str(id);
        }
        out.push_str("\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_data_whatever_the_json_looks_like() {
        let mut events = Events::default();
        events.push("change", "{\n  \"a\": 1\r\n}", Some("e30"));
        assert_eq!(events.0, "event: change\ndata: {   \"a\": 1  }\nid: e30\n\n");
    }
}
