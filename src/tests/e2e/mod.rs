//! Through the real door: the program as a child process, real Kafka, real MongoDB, stock clients.
//!
//! Invariant: each test has a topic, a consumer group and a database of its own, so that all of them run side by side on
//! one Kafka and one MongoDB; nothing is proved by waiting, only by a condition that came within its deadline.
//! Not here: what needs no other process (the modules beside this one).

mod activity;
mod agents;
mod away;
mod bad_input;
pub mod binary;
mod client;
mod configuration;
mod crash;
mod dashboard;
mod day;
mod declared;
mod examples;
pub mod ground;
mod instances;
mod letters;
mod load;
mod node;
mod others;
mod pressure;
mod reads;
mod replay;
mod resume;
pub mod sse;
mod stop;
mod travel;

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// What is waited for comes in a fraction of this on an idle machine; ours may be a busy one.
const SOON: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Looks again and again until `look` gives `Ok`; its last `Err` says what was seen when time was up.
pub async fn eventually<T, E: Debug>(what: &str, look: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(SOON, what, look).await
}

pub async fn within<T, E: Debug>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) if start.elapsed() > deadline => {
                panic!("{what}: not within {} s: {seen:?}", deadline.as_secs())
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// `Ok` when both are the same; else what was found, for `eventually`.
fn same<T: PartialEq>(found: T, wanted: &T) -> Result<T, T> {
    if found == *wanted { Ok(found) } else { Err(found) }
}
