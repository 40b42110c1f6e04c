//! An app without its types, as readers need it: what is shown of a key's documents, and what its rooms show.
//!
//! Invariant: pure; the same documents at the same time show the same. Partials are never shown, only their merge.
//! Not here: where the documents come from (`read`, `app_rooms`).

use super::{
    board::{Board, KeptBoard},
    view,
};
use crate::{
    app::App,
    document::{Document, Json, Shown},
    record::Key,
};
use std::sync::Arc;

/// What readers ask of any app.
pub trait Shows: Send + Sync {
    /// What is shown of the documents of one key at `now_ms`; `None`: there are none.
    fn key(&self, documents: &[Document], now_ms: i64) -> Option<Shown>;

    /// Rooms that hear of this key: names after `STREAM:`.
    fn rooms_of(&self, key: &str) -> Vec<String>;

    /// The keys a room is made of: those that begin so.
    fn room_prefix(&self, name: &str) -> String;

    /// What a room shows of these documents, which are in key order; `None`: nothing.
    fn room(&self, name: &str, documents: &[Document], now_ms: i64) -> Option<Json>;

    /// A board that holds all of the stream for its rooms.
    fn board(&self, bytes_max: usize) -> Box<dyn KeptBoard>;
}

/// `Shows` for any app.
pub struct Typed<A: App> {
    app: Arc<A>,
    by_partition: bool,
}

impl<A: App> Typed<A> {
    pub fn new(app: Arc<A>, by_partition: bool) -> Self {
        Typed { app, by_partition }
    }

    fn entities(&self, documents: &[Document]) -> Vec<A::Entity> {
        documents.iter().filter_map(|document| decode(&*self.app, document)).collect()
    }
}

/// The entity of a document that has one. What cannot be read back is our own fault: it is logged and left out.
pub(super) fn decode<A: App>(app: &A, document: &Document) -> Option<A::Entity> {
    let json = document.value.as_ref()?;
    app.from_json(json)
        .inspect_err(|error| tracing::error!(key = &*document.key, %error, "entity cannot be read back"))
        .ok()
}

/// The merge of partials, if there are any.
pub(super) fn merge<A: App>(app: &A, partials: Vec<A::Entity>, now_ms: i64) -> Option<A::Entity> {
    if partials.is_empty() { None } else { app.merge(partials, now_ms) }
}

impl<A: App> Shows for Typed<A> {
    fn key(&self, documents: &[Document], now_ms: i64) -> Option<Shown> {
        let mut shown = view::shown(documents)?;
        if self.by_partition {
            let merged = merge(&*self.app, self.entities(documents), now_ms);
            shown.value = merged.and_then(|entity| {
                let json = self.app.to_json(&entity);
                json.inspect_err(
                    |error| tracing::error!(key = &*shown.key, %error, "entity cannot be written"),
                )
                .ok()
            });
        }
        Some(shown)
    }

    fn rooms_of(&self, key: &str) -> Vec<String> {
        self.app.rooms(key)
    }

    fn room_prefix(&self, name: &str) -> String {
        self.app.room_prefix(name)
    }

    fn room(&self, name: &str, documents: &[Document], now_ms: i64) -> Option<Json> {
        let of_keys = documents.chunk_by(|a, b| a.key == b.key);
        let entity = |documents: &[Document]| -> Option<(Key, A::Entity)> {
            let entity = match self.by_partition {
                true => merge(&*self.app, self.entities(documents), now_ms),
                false => self.entities(documents).pop(),
            };
            Some((documents.first()?.key.clone(), entity?))
        };
        self.app.room(name, of_keys.filter_map(entity).collect(), now_ms)
    }

    fn board(&self, bytes_max: usize) -> Box<dyn KeptBoard> {
        Box::new(Board::new(self.app.clone(), self.by_partition, bytes_max))
    }
}
