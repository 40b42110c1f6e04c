//! What every case has around it: load, viewers, samples; and the judgement at the end.

use super::{
    feed::{Feed, KEYS, Mix},
    history::History,
    proxy::Proxy,
    sampler::Sampler,
    watcher::{Base, Habit, Transport, Watcher},
};
use crate::tests::e2e::{binary::Statecast, ground::Ground, within};
use std::time::{Duration, Instant};

/// Generous: what it took is in the table.
const RECOVERS_WITHIN: Duration = Duration::from_secs(150);
/// Of these, each transport has as many who read all the time, read slowly, and go and come back.
pub const VIEWERS: usize = 50;
/// The first of them, one of each transport and habit, watch the whole stream; the others some of its keys.
const OF_STREAM: usize = Transport::ALL.len() * Habit::ALL.len();
/// As stock clients come back: after 1 s to 3 s, each after another time.
const CROWD_COMES_WITHIN: Duration = Duration::from_secs(3);

pub struct Scene {
    pub ground: Ground,
    pub feed: Feed,
    pub sampler: Sampler,
    pub history: History,
    /// By which every instance comes to MongoDB, unless it comes there directly; who judges does not.
    pub store: Proxy,
    pub direct: bool,
    base: Base,
    /// With the keys they watch; none: the whole stream.
    pub watchers: Vec<(Watcher, Vec<String>)>,
    settings: Vec<String>,
    seeded: Option<&'static str>,
    pub patience: Duration,
}

/// What a case wants around it.
pub struct Setup {
    /// For every instance of the scene.
    pub settings: Vec<String>,
    pub viewers: usize,
    pub mix: Mix,
    /// What of `engine::seeded` every instance has in it.
    pub seeded: Option<&'static str>,
    /// Instances come to MongoDB without a proxy, so that nobody sees what they send.
    pub direct: bool,
    /// How long what has to come to rest at the end may take.
    pub patience: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            settings: Vec::new(),
            viewers: VIEWERS,
            mix: Mix::default(),
            seeded: None,
            direct: false,
            patience: RECOVERS_WITHIN,
        }
    }
}

/// What a case that was survived came to.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    pub recovery: Duration,
    pub repeated: u64,
    pub lag_max: u64,
    pub memory_mib: u64,
    pub note: String,
}

impl Scene {
    /// Load on, everybody watching, everything flowing.
    pub async fn begin(case: &str, seed: u64, settings: &[String]) -> (Scene, Statecast) {
        Scene::begin_with(case, seed, Setup { settings: settings.to_vec(), ..Setup::default() }).await
    }

    pub async fn begin_with(case: &str, seed: u64, setup: Setup) -> (Scene, Statecast) {
        let ground = Ground::new(case).await.expect("Kafka and MongoDB; run make faults");
        ground.create_topics().await;
        let base = Base::default();
        let history = History::begin(ground.database()).await;
        let feed = Feed::start(&ground, seed, setup.mix);
        let sampler = Sampler::start(&ground, feed.sent()).await;
        let Setup { mut settings, viewers, seeded, direct, patience, .. } = setup;
        let store = Proxy::before_mongodb(ground.mongodb_host(), seed).await;
        if !direct {
            settings.push(format!("mongodb.uri=mongodb://{}/?directConnection=true", store.at));
        }
        let watchers = Vec::new();
        let mut scene = Scene {
            ground,
            feed,
            sampler,
            history,
            store,
            direct,
            base,
            watchers,
            settings,
            seeded,
            patience,
        };
        let statecast = scene.start().await;
        scene.watch(viewers);
        scene.flows().await;
        (scene, statecast)
    }

    /// An instance, where viewers go from now on.
    pub async fn start(&self) -> Statecast {
        let statecast = self.start_beside().await;
        self.go_to(statecast.base.clone());
        statecast
    }

    /// Where viewers go when they connect the next time.
    pub fn go_to(&self, base: String) {
        *self.base.lock().expect("base") = base;
    }

    pub async fn start_beside(&self) -> Statecast {
        self.start_so(&[]).await
    }

    /// An instance with settings of its own.
    pub async fn start_so(&self, settings: &[&str]) -> Statecast {
        let settings: Vec<&str> =
            self.settings.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        let settings = self.ground.settings_and(&settings);
        let statecast = match self.seeded {
            Some(bug) => Statecast::start_seeded(bug, &settings).await,
            None => Statecast::start(&settings).await,
        };
        self.sampler.pids.lock().expect("pids").push(statecast.pid);
        statecast
    }

    /// An instance that is not waited for.
    pub fn launch(&self) -> Statecast {
        let settings: Vec<String> = self.ground.settings().into_iter().chain(self.settings.clone()).collect();
        Statecast::launch(&settings)
    }

    /// So many more viewers: of a crowd, most look at one key that seldom changes.
    pub fn watch(&mut self, count: usize) {
        for viewer in self.watchers.len()..self.watchers.len() + count {
            if viewer >= VIEWERS {
                self.watch_key(&format!("k{}", 10 + viewer % (KEYS - 10)), 1);
                continue;
            }
            let of_stream = viewer < OF_STREAM;
            let keys = (0..4).map(|at| format!("k{}", (viewer + at * 9) % KEYS));
            let keys: Vec<String> = keys.filter(|_| !of_stream).collect();
            let rooms = match of_stream {
                true => vec!["kv".to_owned()],
                false => keys.iter().map(|key| format!("kv/{key}")).collect(),
            };
            let transport = Transport::ALL[viewer % Transport::ALL.len()];
            let habit = Habit::ALL[viewer / Transport::ALL.len() % Habit::ALL.len()];
            self.watchers.push((Watcher::start(&self.base, rooms, habit, transport, Duration::ZERO), keys));
        }
    }

    pub fn watch_key(&mut self, key: &str, count: usize) {
        for viewer in self.watchers.len()..self.watchers.len() + count {
            let transport = Transport::ALL[viewer % 2];
            let rooms = vec![format!("kv/{key}")];
            let watcher = Watcher::start(&self.base, rooms, Habit::Fast, transport, CROWD_COMES_WITHIN);
            self.watchers.push((watcher, vec![key.to_owned()]));
        }
    }

    /// Connections of each viewer so far.
    pub fn connections(&self) -> Vec<u64> {
        self.watchers.iter().map(|(watcher, _)| watcher.shown.lock().expect("shown").connections).collect()
    }

    /// Waits until what is in the log now is committed; how long that took.
    pub async fn recovered(&self) -> Duration {
        let start = Instant::now();
        let looks = self.sampler.now().looks;
        let mut wanted: Option<Vec<u64>> = None;
        within(RECOVERS_WITHIN, "what lay in the log is committed", async || {
            let now = self.sampler.now();
            if now.looks > looks && wanted.is_none() {
                wanted = Some(now.ends.clone());
            }
            let done = wanted.as_ref().is_some_and(|ends| {
                now.committed.len() == ends.len()
                    && now.committed.iter().zip(ends).all(|(next, end)| next >= end)
            });
            if done { Ok(()) } else { Err((now.committed, wanted.clone(), now.ends)) }
        })
        .await;
        start.elapsed()
    }

    pub async fn flows(&self) {
        self.recovered().await;
    }
}
