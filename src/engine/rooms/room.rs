//! One room: its name, what it is of, how it hears of changes, who is in it.
//!
//! Invariant: its name is made into JSON once; its position is its entity's where it is of a key, else its own.
//! Not here: opening, closing and feeding rooms (`Rooms`), what a room shows and remembers (`one`, `many`).

use super::{
    follow::Follow,
    many::Many,
    name::{self, Target},
    one::One,
};
use crate::{
    document::push_json_string,
    engine::{api::StreamName, live::ClientId},
    record::Key,
};
use std::sync::Arc;

/// A room's name, and the same as a member of a JSON object.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    pub stream: StreamName,
    pub name: Box<str>,
    /// `"room":"kv/user-1"`
    pub member: Box<str>,
    /// It is the room of one key, so that its position is its entity's.
    pub is_key: bool,
}

impl Label {
    pub fn new(stream: StreamName, name: &str) -> Arc<Self> {
        let mut member = String::with_capacity(name.len() + 9);
        member.push_str("\"room\":");
        push_json_string(&mut member, name);
        let is_key = matches!(name::parse(name, usize::MAX), Ok(Target::Key { .. }));
        Arc::new(Label { stream, name: name.into(), member: member.into(), is_key })
    }
}

/// What a room is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    Key(Key),
    Stream,
    App(Arc<str>),
}

/// How a room hears of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Feed {
    /// Every change is told here, since the partition is consumed here.
    #[default]
    Local,
    /// The partition is consumed elsewhere: the store is read on a beat (semantics 18).
    Store,
}

#[derive(Debug)]
pub enum State {
    One(One),
    Many(Many),
}

#[derive(Debug)]
pub struct Room {
    pub label: Arc<Label>,
    pub stream: StreamName,
    pub of: Of,
    pub feed: Feed,
    /// A stream's room that is fed from the store.
    pub follow: Option<Box<Follow>>,
    /// Nothing was left out of it. While it is not whole, nobody is given its position.
    pub whole: bool,
    pub state: State,
    pub(super) members: Vec<ClientId>,
    /// The number of the leaving, while nobody is in it.
    pub(super) left: Option<u64>,
    pub(super) left_bytes: usize,
}

impl Room {
    pub fn members(&self) -> &[ClientId] {
        &self.members
    }

    pub fn one(&self) -> Option<&One> {
        if let State::One(one) = &self.state { Some(one) } else { None }
    }

    pub fn many(&self) -> Option<&Many> {
        if let State::Many(many) = &self.state { Some(many) } else { None }
    }

    /// Whether `changes` and `heartbeat` carry the room's own position.
    pub fn has_own_position(&self) -> bool {
        !self.label.is_key
    }

    /// The newest position, as it stands in acks and heartbeats; `None`: a key never seen, or a stream without a change.
    pub fn position(&self) -> Option<String> {
        match &self.state {
            State::One(one) => one.head().map(|head| head.positions.to_string()),
            State::Many(many) => {
                let positions = many.positions();
                (!positions.0.is_empty()).then(|| positions.to_string())
            }
        }
    }
}
