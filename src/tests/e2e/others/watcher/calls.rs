//! Calls by Socket.IO, without waiting for what becomes of them.
//!
//! Invariant: what was asked is remembered, so that each answer is to something. Not here: answers (`words`).

use super::{Call, Line, Watcher};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Watcher {
    /// From where it stands in those rooms that it holds.
    pub async fn ask_join(&mut self, rooms: &[&str]) {
        let whole = |room: &&&str| self.rooms.get(**room).filter(|view| view.next.is_none());
        let since = rooms.iter().filter_map(|room| Some((*room, whole(&room)?.position.clone()?)));
        let since: BTreeMap<_, _> = since.collect();
        let data = json!({"rooms": rooms, "since": since});
        self.call("subscribe", data, Call::Subscribe).await;
    }

    /// As a page that holds nothing.
    pub async fn ask_join_anew(&mut self, room: &str) {
        self.call("subscribe", json!({"rooms": [room]}), Call::Subscribe).await;
    }

    pub async fn ask_leave(&mut self, room: &str) {
        let data = json!({"rooms": [room]});
        self.call("unsubscribe", data, Call::Unsubscribe(vec![room.to_owned()])).await;
    }

    pub async fn ask_page(&mut self, room: &str) {
        let Some(next) = self.rooms.get(room).and_then(|view| view.next.clone()) else { return };
        self.call("page", json!({"room": room, "after": next}), Call::Page).await;
    }

    async fn call(&mut self, event: &str, data: Value, call: Call) {
        let Line::Node(node) = &mut self.line else { panic!("SSE has no calls") };
        self.calls += 1;
        self.asked.insert(self.calls, call);
        node.tell(json!({"id": self.calls, "emit": event, "data": data})).await;
    }

    pub async fn throw_next(&mut self) {
        let Line::Node(node) = &mut self.line else { panic!("what a handler throws is not ours to see") };
        let throws = self.throws;
        node.tell(json!({"do": "throw"})).await;
        self.until("the next handler throws", |w| w.throws > throws).await;
    }
}
