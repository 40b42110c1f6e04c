//! One run: what may happen next is listed, the seed chooses, and at the end everything must be as if nothing had happened.
//!
//! Invariant: at every step what is committed is safe, and what is stored is a plain fold of the log; at rest nothing is
//! missing, and nobody who watches was ever shown anything older.

use super::{
    App, Bug, Profile, Seen,
    events::Event,
    instance::Instance,
    produce::Producer,
    wait::Waiting,
    watch::Watcher,
    world::{Act, STREAM, Verdict, World},
};
use crate::{
    apps, clock,
    config::{Config, Stream as StreamConfig},
    engine::{fold::Fold, stream::StreamSpec},
    tests::live::stage::Stage,
};
use futures_util::task::noop_waker_ref;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{collections::VecDeque, sync::Arc, task::Context, time::Duration};

pub const PARTITIONS: usize = 3;
pub const INSTANCES: usize = 2;
/// How long a tombstone is kept, and when a run begins.
pub const KEEP_S: u64 = 3;
const BEGIN_MS: i64 = 1_000;
/// A run that has not come to rest after so many steps stands still.
const STEPS_MAX: usize = 60_000;
/// Longer than the store's breaker ever waits.
const LONG: Duration = Duration::from_secs(10);
const TRACE_SHOWN: usize = 80;

pub struct Run<'p> {
    pub(super) rng: StdRng,
    pub(super) profile: &'p Profile,
    pub(super) world: Arc<World>,
    pub(super) config: Config,
    pub(super) instances: [Option<Instance>; INSTANCES],
    /// Which incarnation has a partition, as the group sees it.
    pub(super) owner: Vec<Option<u64>>,
    pub(super) next_id: u64,
    pub(super) next_assignment: u64,
    pub(super) producer: Producer,
    pub(super) watchers: Vec<Watcher>,
    pub(super) waiting: Vec<Waiting>,
    /// The key and the version that somebody named last.
    pub(super) bound: Option<(String, u64)>,
    pub(super) next_value: u64,
    pub(super) healing: bool,
    pub(super) quiet: usize,
    pub(super) trace: VecDeque<String>,
}

/// Runs a seed; panics with what was broken. Returns which situations came up.
pub fn run(seed: u64, profile: &Profile, bug: Option<Bug>) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut run = Run::new(seed, profile, bug);
        let trace = std::env::var_os("STATECAST_SEED").is_some();
        run.come_to_rest(trace).await;
        run.answer_all().await;
        run.at_rest();
        std::mem::take(&mut run.world.inner().seen)
    })
}

impl Drop for Run<'_> {
    /// The last steps, for whoever looks at a failure.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the last steps:\n  {}", self.trace.make_contiguous().join("\n  "));
        }
    }
}

impl<'p> Run<'p> {
    fn new(seed: u64, profile: &'p Profile, bug: Option<Bug>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        clock::standing::set(BEGIN_MS);
        let mut config = Config::default();
        let engine = &mut config.engine;
        // Small bounds, so that every one of them is met.
        (engine.shards, engine.mailbox_slices_max, engine.in_flight_bytes_max) = (2, 2, 4_096);
        (engine.batch_records_max, engine.batch_keys_max) = (rng.random_range(2..12), 4);
        (engine.key_bytes_max, engine.value_bytes_max, engine.depth_max) = (8, 96, 5);
        (engine.poison_run_max, engine.poison_share_max) = (3, 500);
        engine.tombstone_keep_s = KEEP_S;
        engine.wait_timeout_ms = 3_000;
        engine.cache_bytes_max = if rng.random_bool(0.5) { 400 } else { 1 << 20 };
        let records = rng.random_range(10..profile.records_max);
        let mut run = Run {
            producer: Producer::new(profile, records),
            rng,
            profile,
            world: World::new(PARTITIONS, bug, profile),
            config,
            instances: [None, None],
            owner: vec![None; PARTITIONS],
            next_id: 0,
            next_assignment: 1,
            watchers: Vec::new(),
            waiting: Vec::new(),
            bound: None,
            next_value: 0,
            healing: false,
            quiet: 0,
            trace: VecDeque::new(),
        };
        run.start(0);
        for rooms in profile.rooms {
            let at = run.instances[0].as_mut().expect("started");
            let id = at.id;
            run.watchers.push(Watcher::new(&mut at.stage, id, rooms, profile.forgetting > 0));
        }
        run
    }

    fn spec(&self) -> StreamSpec {
        let mut config = self.config.clone();
        config.streams.insert(STREAM.into(), StreamConfig::default());
        let specs = apps::register(&config);
        let mut spec = specs.into_iter().find(|spec| &*spec.name == STREAM).expect("kv");
        if self.profile.app == App::Tally {
            (spec.rows, spec.has_row_ids) = (vec![super::tally::ROWS.into()], true);
            spec.fold = Box::new(|settings| Box::new(Fold::new(Arc::new(super::tally::Tally), settings)));
        }
        spec
    }

    fn start(&mut self, slot: usize) {
        self.next_id += 1;
        let stage = Stage::new(&[(STREAM, PARTITIONS as u32)], |config| {
            config.live.page_bytes_max = self.profile.page_bytes;
            config.live.history_changes_max = 4;
            config.live.stalled_after_ms = 100_000_000;
        });
        for partition in 0..PARTITIONS as u32 {
            stage.engine.set_owned(STREAM, partition, false);
        }
        {
            let mut inner = self.world.inner();
            inner.mirrors.push(stage.engine.clone());
        }
        let keys: Vec<String> = self.world.inner().model.entities.keys().cloned().collect();
        for document in keys.iter().filter_map(|key| self.world.document(key)) {
            stage.engine.mirror(STREAM, (&document).into());
        }
        let instance = Instance::new(self.next_id, &self.world, &self.config, self.spec(), stage);
        self.instances[slot] = Some(instance);
    }

    async fn come_to_rest(&mut self, trace: bool) {
        for step in 0..STEPS_MAX {
            self.settle().await;
            let events = self.events();
            let total: u32 = events.iter().map(|(weight, _)| weight).sum();
            if total == 0 {
                if self.healing && self.is_at_rest() {
                    return;
                }
                self.heal();
                continue;
            }
            let mut at = self.rng.random_range(0..total);
            let chosen = events.iter().find(|(weight, _)| {
                let here = at < *weight;
                at = at.saturating_sub(*weight);
                here
            });
            let event = chosen.expect("one of them").1;
            if trace {
                eprintln!("{step}: {event:?}");
            }
            if self.trace.len() == TRACE_SHOWN {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("at {step} {event:?}"));
            self.carry_out(event).await;
            if !self.healing && self.producer.is_done() && self.rng.random_bool(0.01) {
                self.heal();
            }
        }
        panic!("it stands still: {:?}", self.events());
    }

    /// From here on nothing fails any more.
    fn heal(&mut self) {
        self.healing = true;
        self.quiet += 1;
        assert!(self.quiet < 400, "it does not come to rest though nothing can happen");
    }

    /// Lets whatever needs no decision go on.
    pub(super) async fn settle(&mut self) {
        let mut cx = Context::from_waker(noop_waker_ref());
        let mut turns = 3;
        while turns > 0 {
            tokio::task::yield_now().await;
            turns -= 1;
            for instance in self.instances.iter_mut().flatten() {
                if instance.poll(&mut cx) {
                    turns = 3;
                }
                instance.show_positions();
            }
            if self.answer_waiting(&mut cx) {
                turns = 3;
            }
        }
    }

    async fn carry_out(&mut self, event: Event) {
        match event {
            Event::Produce => {
                let rec = self.producer.next(&mut self.rng, &self.world.inner());
                let mut inner = self.world.inner();
                inner.model.take(&rec);
                inner.log[rec.partition as usize].push(rec);
            }
            Event::Start(slot) => self.start(slot),
            Event::Crash(slot) => self.crash(slot),
            Event::Sick(slot) => self.sick(slot),
            Event::Assign(partition) => self.assign(partition),
            Event::Move(partition) => self.drain(partition),
            Event::Drained(slot, partition) | Event::Deadline(slot, partition) => {
                self.revoke(slot, partition)
            }
            Event::Lose(partition) => {
                self.world.inner().seen.lost_sessions += 1;
                let was = self.owner[partition as usize].take();
                self.begin_to_lose(partition, was);
                self.assign_to_another(partition, was);
            }
            Event::ToldLost(slot, partition) => {
                self.instance(slot).give_up(partition);
            }
            Event::Decide(at) => self.decide(at),
            Event::Late(at) => {
                let act = self.world.inner().late.remove(at).act;
                self.world.inner().seen.late_writes += u64::from(matches!(act, Act::Write(_)));
                let _ = self.world.carry_out(act); // its caller has long given up
            }
            Event::Watch(at) => {
                self.watch(at);
                self.look_around(at);
            }
            Event::Attend(at, attention) => {
                self.attend(at, attention);
                self.look_around(at);
            }
            Event::Moment => self.moment().await,
            Event::WaitForPosition(slot) => self.wait_for_position(slot),
            Event::WriteBound(slot) => self.write_bound(slot),
            Event::Time => tokio::time::advance(LONG).await,
            Event::Recreate => self.recreate(),
            Event::Notice(slot) => self.notice(slot),
            Event::Register(slot) => self.instance(slot).register(),
            Event::Pass => self.pass(),
            Event::Forget(slot) => self.instance(slot).forget(),
            event => self.move_along(event),
        }
    }

    /// What an instance does by itself.
    fn move_along(&mut self, event: Event) {
        match event {
            Event::Pull(slot, partition) => {
                let many = self.rng.random_range(1..6);
                let instance = self.instances[slot].as_mut().expect("alive");
                let inner = self.world.inner();
                let from = instance.consumers[&partition].next as usize;
                let records: Vec<_> =
                    inner.log[partition as usize].iter().skip(from).take(many).cloned().collect();
                drop(inner);
                instance.pull(partition, &records);
            }
            Event::Offer(slot, partition) => self.instance(slot).offer(partition),
            Event::Release(slot, partition) => {
                let consumer = self.instance(slot).consumers.get_mut(&partition).expect("held");
                consumer.limit.reset();
                consumer.held = false;
            }
            Event::Cut(slot, shard) => {
                let most = self.rng.random_range(1..5);
                self.instance(slot).cut(shard, most);
            }
            Event::Deliver(slot, at) => {
                let reached = self.instance(slot).deliver(at);
                self.world.inner().seen.held += u64::from(reached);
            }
            Event::Commit(slot) => self.instance(slot).commit(),
            Event::Land(slot) => {
                let instance = self.instance(slot);
                let (id, commit) = (instance.id, instance.commits.pop_front());
                if let Some((partition, next)) = commit {
                    self.land(id, partition, next);
                }
            }
            _ => unreachable!("{event:?}"),
        }
    }

    pub(super) fn instance(&mut self, slot: usize) -> &mut Instance {
        self.instances[slot].as_mut().expect("alive")
    }

    fn decide(&mut self, at: usize) {
        let (verdict, part) = self.verdict(at);
        let mut inner = self.world.inner();
        inner.seen.lost_replies += u64::from(matches!(verdict, Verdict::Lost | Verdict::Partly));
        drop(inner);
        self.world.decide(at, verdict, part);
    }

    pub(super) fn watch(&mut self, at: usize) {
        let home = self.watchers[at].home;
        let dice = self.rng.random_range(0..12);
        if let Some(instance) = self.instances.iter_mut().flatten().find(|instance| instance.id == home) {
            instance.tell_news();
            self.watchers[at].step(&mut instance.stage, dice);
            return;
        }
        // Its instance is gone: it comes back to another one with what it holds.
        if let Some(instance) = self.instances.iter_mut().flatten().next() {
            self.watchers[at].move_to(&mut instance.stage, instance.id);
            self.world.inner().seen.watchers_moved += 1;
        }
    }
}
