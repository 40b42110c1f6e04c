//! Somebody who watches pays attention for a while: what has to have reached him by then, long before everything is at rest.
//!
//! Invariant: nothing here changes what is stored; time passes for the watcher's instance alone, and faults wait meanwhile.
//! Not here: what is never to be shown (`watch`, `tests::live::viewer`).

use super::{
    instance::{Consumer, Instance},
    model::Fate,
    run::{PARTITIONS, Run},
    watch::Watcher,
    world::{Inner, World},
};

/// What a watcher pays attention to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attention {
    /// What its instance has finished is told.
    Told,
    /// Whoever stored it, and told or not: the next look into the store finds it.
    Synced,
}

/// Longer than `sync_interval_ms`.
const SYNC_MS: u64 = 10_000;

impl Run<'_> {
    pub(super) fn attend(&mut self, at: usize, attention: Attention) {
        let home = self.watchers[at].home;
        let Some(instance) = self.instances.iter_mut().flatten().find(|instance| instance.id == home) else {
            return self.watch(at); // it goes elsewhere
        };
        let (watcher, world) = (&mut self.watchers[at], &self.world);
        match attention {
            Attention::Told => {
                instance.tell_news();
                watcher.catch_up(&mut instance.stage);
                let what = "what is finished was told";
                let inner = world.inner();
                watcher.assert_keys(&inner.model, |key| finished(instance, &inner, key), what);
                drop(inner);
                // A room that cannot know what it told is sent anew once news are whole again.
                for _ in 0..2 {
                    instance.stage.beat(1_000);
                    watcher.catch_up(&mut instance.stage);
                }
                let inner = world.inner();
                watcher.assert_streams(&inner.model, |key| finished(instance, &inner, key), what);
            }
            Attention::Synced => {
                watcher.catch_up(&mut instance.stage);
                let before = watcher.held();
                instance.stage.beat(SYNC_MS);
                watcher.catch_up(&mut instance.stage);
                let mut inner = world.inner();
                inner.seen.synced += u64::from(watcher.held() != before);
                let stored = |key: &str| stored(world, key);
                watcher.assert_keys(&inner.model, stored, "the look into the store found the newest");
            }
        }
    }
}

impl Run<'_> {
    /// Time may have passed for everybody who is where this one is.
    pub(super) fn grow_old(&mut self, at: usize) {
        let home = self.watchers[at].home;
        self.watchers.iter_mut().filter(|watcher| watcher.home == home).for_each(Watcher::grow_old);
    }
}

impl Instance {
    /// What the writers left reaches the rooms.
    pub fn tell_news(&mut self) {
        let news = self.stream.shared.news.take();
        self.stage.tell(news.news);
    }
}

/// The version that a key has in the store.
fn stored(world: &World, key: &str) -> u64 {
    world.document(key).map_or(0, |document| document.version)
}

/// The version of a key as of all that this instance has finished since it was given the key's partition.
fn finished(instance: &Instance, inner: &Inner, key: &str) -> u64 {
    let of_partition = |partition: &u32| instance.consumers.get(partition).map(|held| (*partition, held));
    let consumers = (0..PARTITIONS as u32).collect::<Vec<_>>();
    let newest = consumers.iter().filter_map(of_partition).filter_map(|(partition, consumer)| {
        let Consumer { from, watermark, .. } = consumer;
        let offsets = (*from..watermark.confirmed()?).rev();
        let fates = offsets.filter_map(|offset| inner.model.fates.get(&(partition, offset)));
        let mut versions = fates.filter_map(|fate| match fate {
            Fate::Stored(document) if &*document.key == key => Some(document.version),
            _ => None,
        });
        versions.next()
    });
    newest.max().unwrap_or(0)
}
