//! What clients are told, and its JSON: the same text for Socket.IO and SSE.
//!
//! Invariant: a packet's text is made once, however many clients get it; entities are never parsed again.
//! Not here: framing (`adapters::socketio`, `http::stream`).

use super::rooms::{Label, change::Change};
use crate::{clock, document::push_json_string};
use serde_json::value::RawValue;
use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

/// One packet to one client.
#[derive(Debug, Clone, Copy)]
pub enum Packet<'a> {
    Changes(&'a Changes),
    /// What the client holds of this room is void; this is the truth now.
    Resync(&'a Snapshot, Reason),
    Heartbeat(&'a Heartbeat),
    /// Before a planned stop.
    Goodbye {
        reason: &'a str,
        retry_ms: u64,
    },
}

/// Why a room is sent anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The tombstone was forgotten; the key's version may start again.
    Forgotten,
    /// The key was begun again.
    Replaced,
    /// News were left out.
    Gapped,
    /// More waited for this client than may.
    Overflow,
    /// Partitions came or went.
    Rebalanced,
    /// The stream is consumed elsewhere, and has more keys than can be followed in the store.
    Unfollowed,
}

impl Reason {
    pub fn code(self) -> &'static str {
        match self {
            Reason::Forgotten => "forgotten",
            Reason::Replaced => "replaced",
            Reason::Gapped => "gapped",
            Reason::Overflow => "overflow",
            Reason::Rebalanced => "rebalanced",
            Reason::Unfollowed => "unfollowed",
        }
    }
}

/// A change as one client gets it.
#[derive(Debug, Clone)]
pub struct Told {
    pub room: Arc<Label>,
    pub change: Arc<Change>,
    pub skipped: u64,
}

impl Told {
    /// `{"room":"kv/user-1",ENTITY,"skipped":0}`
    pub fn push_json(&self, out: &mut String) {
        let _ = write!(out, "{{{},{},\"skipped\":{}}}", self.room.member, self.change.members, self.skipped);
    }

    /// Bytes of its JSON, nearly.
    pub fn bytes(room: &Label, change: &Change) -> usize {
        room.member.len() + change.members.len() + 20
    }

    fn is_same(&self, other: &Told) -> bool {
        self.skipped == other.skipped
            && Arc::ptr_eq(&self.change, &other.change)
            && Arc::ptr_eq(&self.room, &other.room)
    }
}

/// Everything that changed for a client since its last packet.
#[derive(Debug, Default)]
pub struct Changes {
    pub items: Vec<Told>,
    /// Positions of the rooms of streams and apps that are whole with this packet.
    pub positions: Vec<(Arc<Label>, String)>,
    text: OnceLock<Option<Text>>,
}

#[derive(Debug)]
struct Text {
    items: Box<RawValue>,
    positions: Option<Box<RawValue>>,
}

impl Changes {
    pub fn new(items: Vec<Told>, positions: Vec<(Arc<Label>, String)>) -> Self {
        Changes { items, positions, text: OnceLock::new() }
    }

    /// Whether a packet of the same content has these very changes.
    pub fn is_same(&self, other: &Changes) -> bool {
        self.items.len() == other.items.len()
            && self.items.iter().zip(&other.items).all(|(a, b)| a.is_same(b))
            && self.positions.len() == other.positions.len()
            && self.positions.iter().zip(&other.positions).all(|(a, b)| Arc::ptr_eq(&a.0, &b.0) && a.1 == b.1)
    }

    /// The arguments of `changes`: the list, and the positions where there are any. `None`: an entity that is no JSON.
    pub fn arguments(&self) -> Option<(&RawValue, Option<&RawValue>)> {
        let text = self.text.get_or_init(|| {
            let positions = self.positions_json().map(RawValue::from_string).transpose().ok()?;
            Some(Text { items: RawValue::from_string(self.items_json()).ok()?, positions })
        });
        text.as_ref().map(|text| (&*text.items, text.positions.as_deref()))
    }

    fn items_json(&self) -> String {
        let bytes: usize = self.items.iter().map(|told| Told::bytes(&told.room, &told.change) + 1).sum();
        let mut out = String::with_capacity(bytes + 2);
        push_list(&mut out, &self.items, |out, told| told.push_json(out));
        out
    }

    fn positions_json(&self) -> Option<String> {
        if self.positions.is_empty() {
            return None;
        }
        let mut out = String::from("{");
        for (i, (room, position)) in self.positions.iter().enumerate() {
            out.push_str(if i == 0 { "" } else { "," });
            push_json_string(&mut out, &room.name);
            out.push(':');
            push_json_string(&mut out, position);
        }
        out.push('}');
        Some(out)
    }
}

/// What a room shows now.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub room: Arc<Label>,
    pub content: Content,
    /// `None`: a key never seen.
    pub position: Option<String>,
}

#[derive(Debug, Clone)]
pub enum Content {
    /// `None`: never seen, or nothing to give since the client is told by `changes`.
    Entity(Option<Arc<Change>>),
    /// A page of a stream's room; `next` asks for the one after it.
    Page { items: Vec<Arc<Change>>, next: Option<String> },
}

impl Content {
    fn push_members(&self, out: &mut String) {
        match self {
            Content::Entity(None) => out.push_str("\"entity\":null"),
            Content::Entity(Some(change)) => {
                let _ = write!(out, "\"entity\":{{{}}}", change.members);
            }
            Content::Page { items, next } => {
                out.push_str("\"items\":");
                push_list(out, items, |out, change| {
                    let _ = write!(out, "{{{}}}", change.members);
                });
                out.push_str(",\"next\":");
                push_text_or_null(out, next.as_deref());
            }
        }
    }

    /// Bytes of its JSON, nearly.
    pub fn bytes(&self) -> usize {
        match self {
            Content::Entity(entity) => entity.as_ref().map_or(0, |change| change.members.len()) + 16,
            Content::Page { items, .. } => {
                items.iter().map(|change| change.members.len() + 3).sum::<usize>() + 32
            }
        }
    }
}

impl Snapshot {
    fn push_members(&self, out: &mut String) {
        let _ = write!(out, "{},", self.room.member);
        self.content.push_members(out);
        out.push_str(",\"position\":");
        push_text_or_null(out, self.position.as_deref());
    }

    /// The data of `resync`.
    pub fn resync_json(&self, reason: Reason) -> String {
        let mut out = String::with_capacity(self.content.bytes() + 128);
        out.push('{');
        self.push_members(&mut out);
        let _ = write!(out, ",\"reason\":\"{}\"}}", reason.code());
        out
    }
}

/// One room of an answer to `subscribe`.
#[derive(Debug, Clone)]
pub struct Joined {
    pub snapshot: Snapshot,
    /// What was missed since `since` follows as `changes`.
    pub resumed: bool,
    /// The room is fed from the store, since its partition is consumed elsewhere.
    pub from_store: bool,
    /// The entity did not fit into this answer and follows as the first change.
    pub follows: bool,
}

impl Joined {
    /// The data of SSE's `snapshot`, and an element of the ack's `rooms`.
    pub fn push_json(&self, out: &mut String) {
        let _ = write!(out, "{{\"resumed\":{},", self.resumed);
        self.snapshot.push_members(out);
        if self.from_store {
            out.push_str(",\"feed\":\"store\"");
        }
        if self.follows {
            out.push_str(",\"follows\":true");
        }
        out.push('}');
    }
}

/// When something was said, and for how long the store has been away by then.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    pub at_ms: i64,
    pub stale_s: Option<u64>,
}

impl Freshness {
    fn push_members(&self, out: &mut String) {
        let _ = write!(out, "\"at\":\"{}\"", clock::iso(self.at_ms));
        if let Some(stale_s) = self.stale_s {
            let _ = write!(out, ",\"stale_s\":{stale_s}");
        }
    }
}

/// The answer to `subscribe`.
#[derive(Debug, Clone)]
pub struct Subscribed {
    pub rooms: Vec<Joined>,
    pub freshness: Freshness,
}

impl Subscribed {
    /// The ack.
    pub fn json(&self) -> String {
        let bytes: usize = self.rooms.iter().map(|joined| joined.snapshot.content.bytes() + 160).sum();
        let mut out = String::with_capacity(bytes + 64);
        out.push_str("{\"ok\":true,\"rooms\":");
        push_list(&mut out, &self.rooms, |out, joined| joined.push_json(out));
        out.push(',');
        self.freshness.push_members(&mut out);
        out.push('}');
        out
    }
}

/// The answer to `page`.
#[derive(Debug, Clone)]
pub struct Paged {
    pub room: Arc<Label>,
    pub content: Content,
    pub freshness: Freshness,
}

impl Paged {
    /// The ack.
    pub fn json(&self) -> String {
        let mut out = String::with_capacity(self.content.bytes() + 128);
        let _ = write!(out, "{{\"ok\":true,{},", self.room.member);
        self.content.push_members(&mut out);
        out.push(',');
        self.freshness.push_members(&mut out);
        out.push('}');
        out
    }

    /// The data of SSE's further `snapshot` events.
    pub fn snapshot_json(&self) -> String {
        let mut out = String::with_capacity(self.content.bytes() + 128);
        let _ = write!(out, "{{{},", self.room.member);
        self.content.push_members(&mut out);
        out.push('}');
        out
    }
}

/// The newest position of each of a client's rooms, behind everything that waited for it.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    pub rooms: Vec<(Arc<Label>, Option<String>)>,
    pub freshness: Freshness,
}

impl Heartbeat {
    pub fn rooms_json(&self) -> String {
        let mut out = String::with_capacity(self.rooms.len() * 64);
        push_list(&mut out, &self.rooms, |out, (room, position)| {
            let _ = write!(out, "{{{},\"position\":", room.member);
            push_text_or_null(out, position.as_deref());
            out.push(',');
            self.freshness.push_members(out);
            out.push('}');
        });
        out
    }
}

/// The data of `goodbye`.
pub fn goodbye_json(reason: &str, retry_ms: u64) -> String {
    let mut out = String::from("{\"reason\":");
    push_json_string(&mut out, reason);
    let _ = write!(out, ",\"retry_ms\":{retry_ms}}}");
    out
}

fn push_list<T>(out: &mut String, items: &[T], push: impl Fn(&mut String, &T)) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        push(out, item);
    }
    out.push(']');
}

fn push_text_or_null(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => push_json_string(out, text),
        None => out.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Json, Shown};

    fn told(room: &Arc<Label>, change: &Arc<Change>, skipped: u64) -> Told {
        Told { room: room.clone(), change: change.clone(), skipped }
    }

    fn change() -> Arc<Change> {
        let positions = "0.3.1041".parse().expect("position");
        let value = Some(Json::from_checked("{\"a\":1.50}"));
        let shown =
            Shown { key: "user-1".into(), version: 7, created_ms: 0, updated_ms: 1, positions, value };
        Change::of("kv", &shown)
    }

    const ENTITY: &str = r#""stream":"kv","key":"user-1","value":{"a":1.50},"version":7,"created":"1970-01-01T00:00:00.000Z","updated":"1970-01-01T00:00:00.001Z","position":"0.3.1041""#;

    #[test]
    fn changes_read_as_wire_md_says() {
        let (key, stream, change) =
            (Label::new("kv".into(), "kv/user-1"), Label::new("kv".into(), "kv"), change());
        let items = vec![told(&key, &change, 2), told(&stream, &change, 0)];
        let changes = Changes::new(items, vec![(stream.clone(), "0.3.1041".into())]);
        let (items, positions) = changes.arguments().expect("text");
        assert_eq!(
            items.get(),
            format!(r#"[{{"room":"kv/user-1",{ENTITY},"skipped":2}},{{"room":"kv",{ENTITY},"skipped":0}}]"#)
        );
        assert_eq!(positions.expect("positions").get(), r#"{"kv":"0.3.1041"}"#);
    }

    #[test]
    fn answers_are_json_of_the_right_shape() {
        let freshness = Freshness { at_ms: 0, stale_s: Some(3) };
        let content = Content::Entity(Some(change()));
        let snapshot = Snapshot {
            room: Label::new("kv".into(), "kv/user-1"),
            content,
            position: Some("0.3.1041".into()),
        };
        let joined = Joined { snapshot: snapshot.clone(), resumed: false, from_store: true, follows: false };
        assert_eq!(
            Subscribed { rooms: vec![joined], freshness }.json(),
            format!(
                r#"{{"ok":true,"rooms":[{{"resumed":false,"room":"kv/user-1","entity":{{{ENTITY}}},"position":"0.3.1041","feed":"store"}}],"at":"1970-01-01T00:00:00.000Z","stale_s":3}}"#
            )
        );
        assert_eq!(
            snapshot.resync_json(Reason::Forgotten),
            format!(
                r#"{{"room":"kv/user-1","entity":{{{ENTITY}}},"position":"0.3.1041","reason":"forgotten"}}"#
            )
        );
        let content = Content::Page { items: vec![change()], next: Some("user-1".into()) };
        let paged = Paged { room: Label::new("kv".into(), "kv"), content, freshness };
        assert_eq!(
            paged.json(),
            format!(
                r#"{{"ok":true,"room":"kv","items":[{{{ENTITY}}}],"next":"user-1","at":"1970-01-01T00:00:00.000Z","stale_s":3}}"#
            )
        );
    }

    #[test]
    fn packets_of_the_same_changes_are_known_by_it() {
        let (room, change) = (Label::new("kv".into(), "kv/user-1"), change());
        let one = |skipped| Changes::new(vec![told(&room, &change, skipped)], Vec::new());
        assert!(one(0).is_same(&one(0)));
        assert!(!one(0).is_same(&one(1)));
    }
}
