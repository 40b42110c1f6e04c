//! Somebody who watches pays attention for a while: what has to have reached him by then, long before everything is at rest.
//!
//! Invariant: nothing here changes what is stored; time passes for the watcher's instance alone, and faults wait meanwhile.
//! Not here: what is never to be shown (`watch`, `tests::live::viewer`).

use super::{
    instance::Instance,
    model::Fate,
    produce::{keys, partition_of},
    run::Run,
    watch::Watcher,
    world::{Inner, STREAM, World},
};
use rand::Rng;

/// What a watcher pays attention to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attention {
    /// What its instance has finished is told.
    Told,
    /// Whoever stored it, and told or not: the next look into the store finds it.
    Synced,
    /// What is owned elsewhere comes from the store, each second.
    Fed,
    /// It asks again, and is told what of it comes from the store.
    Asked,
    /// It is cut off for a while.
    Away,
    /// It begins anew, with nothing.
    Anew,
    /// It comes one step nearer to its next page.
    Page,
}

const SECOND_MS: u64 = 1_000;
/// `sync_interval_ms`.
const SYNC_MS: u64 = 10_000;

impl Run<'_> {
    pub(super) fn attend(&mut self, at: usize, attention: Attention) {
        let home = self.watchers[at].home;
        let Some(instance) = self.instances.iter_mut().flatten().find(|instance| instance.id == home) else {
            return self.watch(at); // it goes elsewhere
        };
        let (watcher, world) = (&mut self.watchers[at], &self.world);
        watcher.be_there(&mut instance.stage);
        match attention {
            Attention::Told => told(watcher, instance, world),
            Attention::Synced => synced(watcher, instance, world),
            Attention::Fed => fed(watcher, instance, world),
            Attention::Asked => asked(watcher, instance, world),
            Attention::Page => match self.rng.random_range(0..6) {
                0 => instance.tell_news(),
                1 => drop(instance.stage.begin_reads()),
                2 | 3 => instance.stage.look(0),
                4 => instance.stage.end_read(0),
                _ => watcher.read_on(&mut instance.stage),
            },
            Attention::Away => watcher.go_away(&mut instance.stage),
            Attention::Anew => {
                let live = keys().filter_map(|key| world.document(&key)).filter(|d| d.value.is_some());
                let live = live.map(|document| (document.key.to_string(), document.version));
                watcher.begin_walk(&mut instance.stage, live.collect());
            }
        }
    }

    /// Time may have passed for everybody who is where this one is, and each has been told something.
    pub(super) fn look_around(&mut self, at: usize) {
        let home = self.watchers[at].home;
        let mut inner = self.world.inner();
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.home == home) {
            watcher.grow_old();
            // Of logs that are gone nobody knows any more what changed where.
            if !self.world.recreated {
                watcher.assert_positions(&inner.model);
            }
            let stored = |key: &str| stored(&self.world, key);
            watcher.end_walk(&mut inner, stored);
        }
    }
}

fn told(watcher: &mut Watcher, instance: &mut Instance, world: &World) {
    instance.tell_news();
    watcher.catch_up(&mut instance.stage);
    let what = "what is finished was told";
    let inner = world.inner();
    watcher.assert_keys(&inner.model, |key| finished(instance, &inner, key), what);
    drop(inner);
    // A room that cannot know what it told is sent anew once news are whole again.
    for _ in 0..2 {
        instance.stage.beat(SECOND_MS);
        watcher.catch_up(&mut instance.stage);
    }
    let inner = world.inner();
    watcher.assert_streams(&inner.model, |key| finished(instance, &inner, key), what);
}

fn synced(watcher: &mut Watcher, instance: &mut Instance, world: &World) {
    watcher.catch_up(&mut instance.stage);
    let before = watcher.held();
    instance.stage.beat(SYNC_MS);
    watcher.catch_up(&mut instance.stage);
    let mut inner = world.inner();
    inner.seen.synced += u64::from(watcher.held() != before);
    let stored = |key: &str| stored(world, key);
    watcher.assert_keys(&inner.model, stored, "the look into the store found the newest");
}

fn fed(watcher: &mut Watcher, instance: &mut Instance, world: &World) {
    // It learns who owns what.
    instance.stage.beat(SECOND_MS);
    watcher.catch_up(&mut instance.stage);
    let before = watcher.held();
    for _ in 0..2 {
        instance.stage.beat(SECOND_MS);
        watcher.catch_up(&mut instance.stage);
    }
    let mut inner = world.inner();
    inner.seen.fed += u64::from(watcher.held() != before);
    let (stage, what) = (&instance.stage, "what is owned elsewhere comes from the store");
    let owns = |key: &str| stage.engine.is_owned(STREAM, partition_of(key));
    let elsewhere = |key: &str| if owns(key) { 0 } else { stored(world, key) };
    watcher.assert_keys(&inner.model, elsewhere, what);
    if keys().any(|key| !owns(&key)) {
        watcher.assert_streams(&inner.model, |key| stored(world, key), what);
    }
}

fn asked(watcher: &mut Watcher, instance: &mut Instance, world: &World) {
    instance.stage.beat(SECOND_MS);
    watcher.ask_again(&mut instance.stage);
    watcher.catch_up(&mut instance.stage);
    let owns = |key: &str| instance.stage.engine.is_owned(STREAM, partition_of(key));
    let owns_all = keys().all(|key| owns(&key));
    // Which partition a key belongs to that was never stored nobody knows.
    let is_local = |key: &str| if stored(world, key) == 0 { owns_all } else { owns(key) };
    let elsewhere = watcher.assert_feeds(|key| key.map_or(owns_all, is_local));
    world.inner().seen.asked_elsewhere += u64::from(elsewhere);
}

impl Instance {
    /// What the writers left reaches the rooms.
    pub fn tell_news(&mut self) {
        let news = self.stream.shared.news.take();
        self.stage.tell(news.news);
    }

    /// Rooms of streams begin at what the stream itself says of its last changes.
    pub fn show_positions(&self) {
        self.stage.engine.set_positions(STREAM, self.stream.progress.positions());
    }
}

/// The version that a key has in the store.
fn stored(world: &World, key: &str) -> u64 {
    world.document(key).map_or(0, |document| document.version)
}

/// The version of a key as of all that this instance has finished since it was given the key's partition.
fn finished(instance: &Instance, inner: &Inner, key: &str) -> u64 {
    let partition = partition_of(key);
    let Some(consumer) = instance.consumers.get(&partition) else { return 0 };
    let offsets = consumer.from..consumer.watermark.confirmed().unwrap_or(0);
    let mut fates = offsets.rev().filter_map(|offset| inner.model.fates.get(&(partition, offset)));
    let newest = fates.find_map(|fate| match fate {
        Fate::Stored(document) if &*document.key == key => Some(document.version),
        _ => None,
    });
    newest.unwrap_or(0)
}
