//! Who waits for the outcome of a record, and who for the next change of a key.
//!
//! Invariant: bounded by `waiters_max`; a waiter that gave up leaves nothing behind; a lost outcome is told as unknown,
//! never guessed (semantics 19). Not here: deciding outcomes (`fold`), or looking into the store (`handle`).

use super::{api::StreamName, fold::Waited};
use crate::record::Key;
use dashmap::DashMap;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};
use tokio::sync::{Notify, oneshot};

/// Outcomes by token. The header on the record names instance and token, so that only the instance which asked answers.
#[derive(Debug)]
pub struct Waiters {
    instance: String,
    waiters_max: usize,
    next: AtomicU64,
    /// With the stream that is waited for: another one of the same topic decides about the record too.
    waiting: DashMap<u64, (StreamName, oneshot::Sender<Waited>)>,
}

/// A place in the waiters; dropping it gives the place back.
#[derive(Debug)]
pub struct Waiting {
    waiters: Arc<Waiters>,
    token: u64,
    outcome: oneshot::Receiver<Waited>,
}

impl Waiters {
    /// `instance`: unique over all processes that share a log.
    pub fn new(instance: String, waiters_max: usize) -> Self {
        Waiters { instance, waiters_max, next: AtomicU64::new(1), waiting: DashMap::new() }
    }

    /// `None`: too many wait already.
    pub fn wait(self: &Arc<Self>, stream: &StreamName) -> Option<Waiting> {
        if self.waiting.len() >= self.waiters_max {
            return None;
        }
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, outcome) = oneshot::channel();
        self.waiting.insert(token, (stream.clone(), sender));
        Some(Waiting { waiters: self.clone(), token, outcome })
    }

    /// Gives a stream's outcome to who waits for it, if it is one of ours.
    pub fn tell(&self, stream: &StreamName, name: &str, waited: Waited) {
        let token = name.split_once('/').filter(|(instance, _)| *instance == self.instance);
        let token = token.and_then(|(_, token)| token.parse().ok());
        let told = token.and_then(|token: u64| self.waiting.remove_if(&token, |_, (of, _)| of == stream));
        if let Some((_, (_, sender))) = told {
            let _ = sender.send(waited); // who waited may have gone
        }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Waiting {
    /// The value of the header `statecast-wait`.
    pub fn header(&self) -> String {
        format!("{}/{}", self.waiters.instance, self.token)
    }

    /// `None`: the outcome is lost.
    pub async fn outcome(&mut self) -> Option<Waited> {
        (&mut self.outcome).await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiters.waiting.remove(&self.token);
    }
}

/// Long polls by key.
#[derive(Debug, Default)]
pub struct Watchers {
    by_key: DashMap<Key, (Arc<Notify>, usize)>,
    count: AtomicUsize,
}

/// One long poll's interest in a key.
#[derive(Debug)]
pub struct Watching {
    watchers: Arc<Watchers>,
    key: Key,
    notify: Arc<Notify>,
}

impl Watchers {
    pub fn watch(self: &Arc<Self>, key: &str) -> Watching {
        let key: Key = key.into();
        let mut entry = self.by_key.entry(key.clone()).or_default();
        entry.1 += 1;
        self.count.fetch_add(1, Ordering::AcqRel);
        Watching { watchers: self.clone(), notify: entry.0.clone(), key }
    }

    /// Costs one load while nobody polls.
    pub fn changed(&self, key: &str) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(entry) = self.by_key.get(key) {
            entry.0.notify_waiters();
        }
    }
}

impl Watching {
    /// Ready from the moment this is called: enable it before looking, so that no change falls between.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watchers.count.fetch_sub(1, Ordering::AcqRel);
        if let dashmap::Entry::Occupied(mut entry) = self.watchers.by_key.entry(self.key.clone()) {
            entry.get_mut().1 -= 1;
            if entry.get().1 == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app::Reason, engine::api::Outcome};

    #[tokio::test]
    async fn an_outcome_reaches_the_one_who_asked_and_leaves_nothing_behind() {
        let waiters = Arc::new(Waiters::new("me".into(), 2));
        let (kv, log): (StreamName, StreamName) = ("kv".into(), "log".into());
        let (mut one, two) = (waiters.wait(&kv).expect("place"), waiters.wait(&kv).expect("place"));
        assert!(waiters.wait(&kv).is_none(), "bounded");
        waiters.tell(&kv, &two.header().replace("me", "other"), Waited::Seen);
        let refused = Waited::Known(Outcome::Poisoned { reason: Reason::StepRejected, detail: "no".into() });
        waiters.tell(&log, &one.header(), refused); // which reads the same topic
        waiters.tell(&kv, &one.header(), Waited::Seen);
        assert_eq!(one.outcome().await, Some(Waited::Seen));
        drop((one, two));
        assert!(waiters.is_empty());
    }

    #[tokio::test]
    async fn a_poll_hears_of_its_key_and_leaves_nothing_behind() {
        let watchers = Arc::new(Watchers::default());
        let (watching, other) = (watchers.watch("a"), watchers.watch("a"));
        let notified = watching.notified();
        watchers.changed("a");
        notified.await;
        drop((watching, other));
        assert!(watchers.by_key.is_empty());
    }
}
