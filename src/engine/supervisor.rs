//! The actor that ends a sick generation and starts the next from what is committed.
//!
//! Invariant: never half alive. A panic closes an actor's mailbox, a wedged thread stops answering, a lost slice leaves
//! offsets open with nobody working on them: each ends the generation, or the process where a thread cannot be had back.
//! Streams fail and restart apart; repeated failures wait longer, then the process exits 70.
//! Not here: what a generation is made of (`generation`).

use super::{
    generation::{Generation, StartError},
    progress::lock,
    protocol::{ReleaseHeld, Sick, StopAll},
    seeded,
    stream::Stream,
};
use crate::{clock, engine::api::State, ports::LogError};
use actix::{Actor, ActorFutureExt, ArbiterHandle, AsyncContext, Context, Handler, WrapFuture};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

const TICK: Duration = Duration::from_millis(250);
/// Who comes round so much later than it should was not running, and neither was what it looks after.
const AWAY_AFTER: Duration = Duration::from_secs(2);
/// A generation that lived so long has forgotten the failures before it.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// The process has to end, and why.
#[derive(Debug, Clone)]
pub struct Fatal(pub String);

/// When each pipeline thread last answered.
#[derive(Debug, Default)]
pub struct Pulse(AtomicI64);

impl Pulse {
    pub fn beat(&self) {
        self.0.store(clock::steady_ms(), Ordering::Release);
    }

    pub fn age_ms(&self) -> i64 {
        match self.0.load(Ordering::Acquire) {
            0 => 0,
            at => clock::steady_ms() - at,
        }
    }
}

pub struct Supervisor {
    managed: Vec<Managed>,
    threads: Vec<(ArbiterHandle, Arc<Pulse>)>,
    /// Beats while this actor runs; the process watches it.
    pulse: Arc<Pulse>,
    /// When it came round last.
    ticked: tokio::time::Instant,
    fatal: mpsc::Sender<Fatal>,
    stopping: bool,
}

struct Managed {
    stream: Arc<Stream>,
    generation: Option<Generation>,
    number: u64,
    failures: u32,
    started: tokio::time::Instant,
    /// A start is under way, or waited for.
    starting: bool,
    /// Partition → (confirmed, since): offsets that stand still though nobody works on them.
    still: BTreeMap<u32, (u64, i64)>,
}

impl Supervisor {
    pub fn new(
        streams: Vec<Arc<Stream>>,
        arbiters: Vec<ArbiterHandle>,
        pulse: Arc<Pulse>,
        fatal: mpsc::Sender<Fatal>,
    ) -> Self {
        let managed = |stream| Managed {
            stream,
            generation: None,
            number: 0,
            failures: 0,
            started: clock::instant(),
            starting: false,
            still: BTreeMap::new(),
        };
        Supervisor {
            managed: streams.into_iter().map(managed).collect(),
            threads: arbiters.into_iter().map(|arbiter| (arbiter, Arc::default())).collect(),
            pulse,
            fatal,
            ticked: clock::instant(),
            stopping: false,
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        seeded::end_point("supervisor");
        self.pulse.beat();
        let away = std::mem::replace(&mut self.ticked, clock::instant()).elapsed();
        if away > AWAY_AFTER {
            return self.pardon();
        }
        self.feel_threads();
        if self.stopping {
            return;
        }
        for at in 0..self.managed.len() {
            let Some(managed) = self.managed.get_mut(at) else { continue };
            let sick = managed.sick();
            if let Some(why) = sick {
                self.end(at, &why, ctx);
            }
        }
    }

    /// This actor itself was away: the process was stopped, or its machine slept. Whoever stood still meanwhile gets a
    /// round before it is judged.
    fn pardon(&mut self) {
        self.threads.iter().for_each(|(_, pulse)| pulse.beat());
        self.managed.iter_mut().for_each(|managed| managed.still.clear());
    }

    /// A thread that does not come round cannot be had back: the process ends and replay makes it whole.
    fn feel_threads(&self) {
        let wedge_after_ms =
            self.managed.first().map_or(u64::MAX, |m| m.stream.shared.settings.wedge_after_ms);
        for (number, (arbiter, pulse)) in self.threads.iter().enumerate() {
            if pulse.age_ms() > wedge_after_ms as i64 {
                self.die(format!("pipeline thread {number} has been busy for {} ms", pulse.age_ms()));
            }
            let pulse = pulse.clone();
            if !arbiter.spawn_fn(move || pulse.beat()) {
                self.die(format!("pipeline thread {number} is gone"));
            }
        }
    }

    fn die(&self, why: String) {
        tracing::error!(why, "process ends");
        let _ = self.fatal.try_send(Fatal(why)); // a second reason adds nothing to the first
    }

    fn start(&mut self, at: usize, ctx: &mut Context<Self>) {
        let arbiters: Vec<ArbiterHandle> = self.threads.iter().map(|(arbiter, _)| arbiter.clone()).collect();
        let Some(managed) = self.managed.get_mut(at) else { return };
        managed.number += 1;
        managed.starting = true;
        *lock(&managed.stream.progress.state) = State::Starting;
        let (stream, number) = (managed.stream.clone(), managed.number);
        let outside = stream.shared.outside.clone();
        let sick = ctx.address().recipient();
        let start = outside.spawn(Generation::start(stream, number, turned(arbiters, at), sick));
        ctx.spawn(start.into_actor(self).map(move |started, supervisor, ctx| {
            let started = started
                .unwrap_or_else(|e| Err(StartError::Log(LogError::Unavailable(format!("start ended: {e}")))));
            supervisor.started_one(at, started, ctx);
        }));
    }

    fn started_one(&mut self, at: usize, started: Result<Generation, StartError>, ctx: &mut Context<Self>) {
        let stopping = self.stopping;
        let Some(managed) = self.managed.get_mut(at) else { return };
        managed.starting = false;
        match started {
            Ok(generation) if stopping => {
                let outside = managed.stream.shared.outside.clone();
                outside.spawn(generation.leave(Duration::from_secs(1)));
            }
            Ok(generation) => {
                managed.started = clock::instant();
                managed.generation = Some(generation);
            }
            Err(error) => {
                tracing::warn!(stream = %managed.stream.name(), %error, "generation could not start");
                let counts = !is_outage(&error);
                self.start_later(at, counts, ctx);
            }
        }
    }

    fn end(&mut self, at: usize, why: &str, ctx: &mut Context<Self>) {
        let Some(managed) = self.managed.get_mut(at) else { return };
        let Some(generation) = managed.generation.take() else { return };
        tracing::error!(
            stream = %managed.stream.name(), generation = generation.number, why, "generation ended"
        );
        generation.abandon();
        managed.stream.progress.end_generation(why);
        managed.still.clear();
        if managed.started.elapsed() > HEALTHY_AFTER {
            managed.failures = 0;
        }
        let deadline = Duration::from_millis(managed.stream.shared.settings.drain_deadline_ms);
        let outside = managed.stream.shared.outside.clone();
        let left = outside.spawn(generation.leave(deadline));
        ctx.spawn(left.into_actor(self).map(move |_, supervisor, ctx| supervisor.start_later(at, true, ctx)));
    }

    /// Starts the next generation after a wait that doubles with each failure; too many end the process.
    fn start_later(&mut self, at: usize, counts: bool, ctx: &mut Context<Self>) {
        let Some(managed) = self.managed.get_mut(at) else { return };
        managed.starting = true;
        managed.failures += u32::from(counts);
        let settings = managed.stream.shared.settings.clone();
        if managed.failures > settings.failures_max {
            let why = format!("stream {} failed {} times in a row", managed.stream.name(), managed.failures);
            return self.die(why);
        }
        let doubled = settings.restart_wait_ms.saturating_mul(1 << managed.failures.min(16));
        let wait = Duration::from_millis(doubled.min(settings.restart_wait_max_ms));
        ctx.run_later(wait, move |supervisor, ctx| {
            if !supervisor.stopping {
                supervisor.start(at, ctx);
            }
        });
    }
}

/// Spreads the streams over the threads: each begins with another one.
fn turned(mut arbiters: Vec<ArbiterHandle>, by: usize) -> Vec<ArbiterHandle> {
    let by = by % arbiters.len().max(1);
    arbiters.rotate_left(by);
    arbiters
}

fn is_outage(error: &StartError) -> bool {
    matches!(
        error,
        StartError::Log(LogError::Unavailable(_) | LogError::Unknown(_))
            | StartError::Store(crate::ports::StoreError::Unavailable(_))
    )
}

impl Managed {
    fn sick(&mut self) -> Option<String> {
        let generation = self.generation.as_ref()?;
        generation.gone().or_else(|| self.lost())
    }

    /// Offsets are open, no writer works and none has anything queued: their slice is lost.
    fn lost(&mut self) -> Option<String> {
        let progress = &self.stream.progress;
        let busy = progress.writers.load().iter().any(|writer| {
            writer.since_ms.load(Ordering::Acquire) != 0 || writer.queued.load(Ordering::Acquire) > 0
        });
        let now = clock::steady_ms();
        let wedge_after_ms = self.stream.shared.settings.wedge_after_ms as i64;
        for (partition, part) in progress.partitions_sorted() {
            let confirmed = part.confirmed.get().unwrap_or(0);
            let open = part.oldest_ms.load(Ordering::Relaxed) != 0;
            let waiting = part.waiting_since_ms.load(Ordering::Relaxed) != 0;
            let since = self.still.entry(partition).or_insert((confirmed, now));
            if busy || waiting || !open || since.0 != confirmed {
                *since = (confirmed, now);
            } else if now - since.1 > wedge_after_ms {
                return Some(format!("partition {partition} has records that nobody works on"));
            }
        }
        None
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for at in 0..self.managed.len() {
            self.start(at, ctx);
        }
        ctx.run_interval(TICK, |supervisor, ctx| supervisor.tick(ctx));
    }
}

impl Handler<Sick> for Supervisor {
    type Result = ();

    fn handle(&mut self, sick: Sick, ctx: &mut Self::Context) {
        let of = |m: &Managed| {
            m.stream.name() == &sick.stream
                && m.generation.as_ref().is_some_and(|g| g.number == sick.generation)
        };
        if !self.stopping
            && let Some(at) = self.managed.iter().position(of)
        {
            self.end(at, &sick.why, ctx);
        }
    }
}

impl Handler<StopAll> for Supervisor {
    type Result = ();

    fn handle(&mut self, stop: StopAll, ctx: &mut Self::Context) {
        self.stopping = true;
        let mut leaving = Vec::new();
        for managed in &mut self.managed {
            *lock(&managed.stream.progress.state) = State::Stopped;
            if let Some(generation) = managed.generation.take() {
                leaving.push(managed.stream.shared.outside.spawn(generation.leave(stop.deadline)));
            }
        }
        let left = futures_util::future::join_all(leaving);
        ctx.spawn(left.into_actor(self).map(|left, _, _| {
            let in_time = left.into_iter().all(|left| left.unwrap_or(false));
            let _ = stop.reply.send(in_time); // past the deadline nobody waits
        }));
    }
}

impl Handler<ReleaseHeld> for Supervisor {
    type Result = ();

    fn handle(&mut self, release: ReleaseHeld, _: &mut Self::Context) {
        let found = self.managed.iter().find(|m| m.stream.name() == &release.stream);
        if let Some(generation) = found.and_then(|m| m.generation.as_ref()) {
            generation.release(release.partition);
        }
    }
}
