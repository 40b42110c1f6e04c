//! The lossy edge from the writers to the broadcaster: newest per key, and a wake.
//!
//! Invariant: a writer never waits here, and memory is bounded by `news_keys_max`; what does not fit marks the box as
//! gapped, and the broadcaster then reads its open rooms from the view or the store.
//! Not here: rooms, clients, history.

use super::{api::StreamName, rooms::interest::Interest};
use crate::{document::Shown, record::Key};
use rustc_hash::FxHashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// One change that the store has confirmed.
#[derive(Debug, Clone)]
pub struct News {
    pub stream: StreamName,
    /// The partition the change came from (for a merge: the one that moved).
    pub partition: u32,
    pub shown: Shown,
    /// How many versions this change stands for: 1 + those coalesced away before it.
    pub covers: u64,
    /// App rooms beside the key's and the stream's: names after `STREAM:`.
    pub rooms: Vec<String>,
    pub kind: NewsKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewsKind {
    Change,
    /// The tombstone was forgotten: rooms of this key resync with reason `forgotten`.
    Forgotten,
    /// Read from the store, not folded here: told only if newer than what the room holds, and covers nothing known.
    Read,
    /// One partial of the key moved: whoever shows the key reads the merge; what is `shown` is never told.
    Partial,
    /// What a room shows that shows all of a stream: `stream` is what stands before the `:` of its name, the key the rest.
    Room,
}

/// What the broadcaster takes at once.
#[derive(Debug, Default)]
pub struct Taken {
    pub news: Vec<News>,
    /// Something was left out since the last take.
    pub gapped: bool,
}

#[derive(Debug)]
pub struct NewsBox {
    /// Which keys somebody hears of; news of others need not be made.
    pub interest: Arc<Interest>,
    keys_max: usize,
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    by_key: FxHashMap<(StreamName, Key, bool), usize>,
    news: Vec<News>,
    gapped: bool,
}

impl NewsBox {
    pub fn new(keys_max: usize) -> Self {
        NewsBox { interest: Arc::default(), keys_max, inner: Mutex::default(), wake: Notify::new() }
    }

    /// Lays news into the box: the newest of a key replaces what waits of it.
    pub fn offer(&self, news: impl IntoIterator<Item = News>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for one in news {
            inner.lay(one, self.keys_max);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Waits until there is something to take.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    pub fn take(&self) -> Taken {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.by_key.clear();
        Taken { news: std::mem::take(&mut inner.news), gapped: std::mem::take(&mut inner.gapped) }
    }
}

impl Inner {
    fn lay(&mut self, one: News, keys_max: usize) {
        // A room's name and a key may be the same.
        let id = (one.stream.clone(), one.shown.key.clone(), one.kind == NewsKind::Room);
        match self.by_key.get(&id).copied() {
            Some(at) => self.merge(at, one),
            None if self.news.len() < keys_max => {
                self.by_key.insert(id, self.news.len());
                self.news.push(one);
            }
            None => self.gapped = true,
        }
    }

    fn merge(&mut self, at: usize, mut newer: News) {
        let Some(held) = self.news.get_mut(at) else { return };
        let is_old = match (held.kind, newer.kind) {
            // Made again before who forgot it came to tell.
            (_, NewsKind::Forgotten) => !newer.shown.positions.cover(&held.shown.positions),
            // Its versions begin anew.
            (NewsKind::Forgotten, NewsKind::Read) => held.shown.positions.cover(&newer.shown.positions),
            (_, NewsKind::Read) => newer.shown.version <= held.shown.version,
            _ => false,
        };
        if is_old {
            return;
        }
        newer.covers += held.covers;
        *held = newer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Position;

    fn news(key: &str, version: u64, covers: u64) -> News {
        let position = Position { epoch: 0, partition: 0, offset: version };
        let shown = Shown {
            key: key.into(),
            version,
            created_ms: 0,
            updated_ms: 0,
            positions: position.into(),
            value: None,
        };
        News { stream: "kv".into(), partition: 0, shown, covers, rooms: Vec::new(), kind: NewsKind::Change }
    }

    #[test]
    fn the_newest_of_a_key_stands_for_all_before_it() {
        let news_box = NewsBox::new(10);
        news_box.offer([news("a", 1, 1), news("b", 1, 1), news("a", 4, 3)]);
        let taken = news_box.take();
        let seen: Vec<_> = taken.news.iter().map(|n| (&*n.shown.key, n.shown.version, n.covers)).collect();
        assert_eq!(seen, [("a", 4, 4), ("b", 1, 1)]);
        assert!(!taken.gapped && news_box.take().news.is_empty());
    }

    #[test]
    fn what_is_forgotten_hides_nothing_of_a_key_that_was_made_again() {
        let at = |offset, version, kind| {
            let mut news = News { kind, ..news("a", offset, 1) };
            news.shown.version = version;
            news
        };
        let kept = |offers: [News; 2]| {
            let news_box = NewsBox::new(10);
            news_box.offer(offers);
            let kept = news_box.take().news;
            (kept.len(), kept[0].kind, kept[0].shown.version)
        };
        let (change, read, gone) = (NewsKind::Change, NewsKind::Read, NewsKind::Forgotten);
        assert_eq!(kept([at(9, 1, change), at(5, 2, gone)]), (1, change, 1), "told late");
        assert_eq!(kept([at(5, 2, gone), at(9, 1, change)]), (1, change, 1));
        assert_eq!(kept([at(5, 2, gone), at(9, 1, read)]), (1, read, 1), "made again elsewhere");
        assert_eq!(kept([at(5, 2, gone), at(5, 2, read)]), (1, gone, 2));
        assert_eq!(kept([at(5, 2, change), at(5, 2, gone)]), (1, gone, 2));
    }

    #[test]
    fn what_does_not_fit_marks_the_box_as_gapped() {
        let news_box = NewsBox::new(1);
        news_box.offer([news("a", 1, 1), news("b", 1, 1), news("a", 2, 1)]);
        let taken = news_box.take();
        assert_eq!((taken.news.len(), taken.gapped), (1, true));
        assert!(!news_box.take().gapped);
    }
}
