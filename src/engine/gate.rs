//! The breaker in front of the store: while it is away, one caller probes and all others wait.
//!
//! Invariant: a call whose outcome is unknown is made again as it is, under the guard, until the store answers
//! (semantics 3); nothing above ever sees `Unavailable` from a write. Reads that must not wait ask `is_open` first.
//! Not here: what an error code means (the adapter classifies once).

use super::progress::lock;
use crate::{clock, metrics, ports::StoreError};
use backon::{BackoffBuilder, ExponentialBuilder};
use serde::Serialize;
use std::{
    future::Future,
    sync::atomic::{AtomicI64, AtomicU32, Ordering},
    time::Duration,
};
use tokio::sync::{Mutex, Notify};

/// The first wait before the store is tried again, and the longest.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Gate {
    /// When the store went away, in ms since 1970; 0: it is here.
    open_since_ms: AtomicI64,
    attempt: AtomicU32,
    next_ms: AtomicI64,
    /// Held by the one who waits to probe; the others queue for it.
    turn: Mutex<()>,
    waits: std::sync::Mutex<backon::ExponentialBackoff>,
    closed: Notify,
}

/// The breaker as the pipeline page shows it.
#[derive(Debug, Clone, Serialize)]
pub struct GateStatus {
    /// `closed`: calls pass. `open`: they wait. `half_open`: one is trying.
    pub state: &'static str,
    pub attempt: u32,
    pub next_ms: Option<i64>,
    pub open_s: Option<u64>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            open_since_ms: AtomicI64::new(0),
            attempt: AtomicU32::new(0),
            next_ms: AtomicI64::new(0),
            turn: Mutex::new(()),
            waits: std::sync::Mutex::new(waits()),
            closed: Notify::new(),
        }
    }
}

fn waits() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(WAIT_MIN)
        .with_max_delay(WAIT_MAX)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

impl Gate {
    pub fn is_open(&self) -> bool {
        self.open_since_ms.load(Ordering::Acquire) != 0
    }

    /// Seconds since the store went away.
    pub fn open_s(&self) -> Option<u64> {
        match self.open_since_ms.load(Ordering::Acquire) {
            0 => None,
            since => Some((clock::now_ms() - since).max(0) as u64 / 1000),
        }
    }

    pub fn status(&self) -> GateStatus {
        let next_ms = self.next_ms.load(Ordering::Relaxed) - clock::now_ms();
        let open_s = self.open_s();
        let state = match open_s {
            None => "closed",
            Some(_) if next_ms > 0 => "open",
            Some(_) => "half_open",
        };
        GateStatus {
            state,
            attempt: self.attempt.load(Ordering::Relaxed),
            next_ms: open_s.is_some().then_some(next_ms.max(0)),
            open_s,
        }
    }

    /// Makes a call until the store answers; what it answers other than `Unavailable` is returned.
    pub async fn call<T, F, Fut>(&self, call: F) -> Result<T, StoreError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, StoreError>>,
    {
        loop {
            if self.is_open() {
                self.wait_turn().await;
            }
            match call().await {
                Err(StoreError::Unavailable(why)) => self.failed(&why),
                answer => {
                    self.answered();
                    return answer;
                }
            }
        }
    }

    /// One call, without waiting for a store that is away; it still tells the breaker what it saw.
    pub async fn try_call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.is_open() {
            return Err(StoreError::Unavailable("it does not answer, and is tried again on a beat".into()));
        }
        let answer = call.await;
        if let Err(StoreError::Unavailable(why)) = &answer {
            self.failed(why);
        }
        answer
    }

    /// Asks a store that is away whether it is back. Who only tries waits for nobody and closes nothing, so without this a
    /// breaker that opened while no writer had work would stay open until a record came, and keep generations from
    /// starting, without which none ever does.
    pub async fn probe(&self, ping: impl Future<Output = Result<(), StoreError>>) {
        if !self.is_open() {
            return;
        }
        // Who has something to write asks by writing it, which tells more.
        let Ok(_turn) = self.turn.try_lock() else { return };
        match ping.await {
            Err(StoreError::Unavailable(why)) => self.failed(&why),
            _ => self.answered(),
        }
    }

    /// Returns when the store is back, or when it is this caller's turn to try.
    async fn wait_turn(&self) {
        let back = self.closed.notified();
        tokio::pin!(back);
        back.as_mut().enable();
        if !self.is_open() {
            return;
        }
        tokio::select! {
            () = back => {}
            () = self.next_turn() => {}
        }
    }

    async fn next_turn(&self) {
        let _turn = self.turn.lock().await;
        let wait = lock(&self.waits).next().unwrap_or(WAIT_MAX);
        self.next_ms.store(clock::now_ms() + wait.as_millis() as i64, Ordering::Relaxed);
        tokio::time::sleep(wait).await;
    }

    fn failed(&self, why: &str) {
        self.attempt.fetch_add(1, Ordering::Relaxed);
        metrics::STORE_RETRIES.add(&[], 1);
        let now = clock::now_ms();
        if self.open_since_ms.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            metrics::STORE_OPEN.set(&[], 1.0);
            tracing::warn!(why, "store is away, consuming holds and reads go on from memory");
        }
    }

    /// Waits for nobody: who sleeps before its turn is woken, or the store would be back and each of them still sleep.
    fn answered(&self) {
        if self.open_since_ms.swap(0, Ordering::AcqRel) == 0 {
            return;
        }
        *lock(&self.waits) = waits();
        self.attempt.store(0, Ordering::Relaxed);
        metrics::STORE_OPEN.set(&[], 0.0);
        tracing::info!("store is back");
        self.closed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn callers_wait_while_one_probes_and_all_go_on_when_it_is_back() {
        let gate = Arc::new(Gate::default());
        let calls = Arc::new(AtomicU32::new(0));
        let started = tokio::time::Instant::now();
        let call = |gate: Arc<Gate>, calls: Arc<AtomicU32>| async move {
            gate.call(|| async {
                calls.fetch_add(1, Ordering::Relaxed);
                match started.elapsed() < Duration::from_secs(20) {
                    true => Err(StoreError::Unavailable("away".into())),
                    false => Ok(()),
                }
            })
            .await
        };
        let callers: Vec<_> = (0..50).map(|_| tokio::spawn(call(gate.clone(), calls.clone()))).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(gate.is_open());
        for caller in callers {
            caller.await.expect("joined").expect("stored");
        }
        assert!(!gate.is_open());
        // One probe finds it back, and nobody sleeps on.
        assert!(started.elapsed() < Duration::from_secs(20) + 2 * WAIT_MAX, "{:?}", started.elapsed());
        // 50 first tries, 50 last ones, and in between only one at a time with growing waits.
        assert!(calls.load(Ordering::Relaxed) < 140, "{calls:?}");
    }

    #[tokio::test]
    async fn a_store_that_is_back_is_found_though_nobody_waits_for_it() {
        let gate = Gate::default();
        let away = || async { Err::<(), _>(StoreError::Unavailable("away".into())) };
        gate.try_call(away()).await.unwrap_err();
        gate.try_call(async { Ok(()) }).await.unwrap_err();
        gate.probe(away()).await;
        assert!(gate.is_open());
        gate.probe(async { Ok(()) }).await;
        gate.try_call(async { Ok(()) }).await.expect("it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_no_outage_comes_back_at_once() {
        let gate = Gate::default();
        let answer = gate.call(|| async { Err::<(), _>(StoreError::Refused("no".into())) }).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))));
        assert!(!gate.is_open());
    }
}
