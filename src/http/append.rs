//! Appending a record that may be appended twice: again and again, with a growing wait, before anybody hears of a failure;
//! and waiting until it is stored.
//!
//! Invariant: only for records of events that have an id of their own, so that a second one counts nothing; a record is in
//! the log or is not, and what is told of it says which, as far as that is known.
//! Not here: writes of a key's value, where a second record would be a second version (`write`).

use super::{
    Context,
    problem::{Kind, Problem},
};
use crate::{
    clock,
    config::Produce,
    engine::api::WriteError,
    record::{NewRecord, Position},
};
use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::Duration;

/// Where the log has it; else what is known, for a caller who may send it again under the same id.
pub async fn repeatable(context: &Context, stream: &str, record: &NewRecord) -> Result<Position, Problem> {
    let settings = &context.config.produce;
    let deadline = clock::instant() + Duration::from_millis(settings.deadline_ms);
    let (mut waits, mut is_unknown) = (waits(settings), false);
    loop {
        let error = match context.engine.append(stream, record.clone()).await {
            Ok(position) => return Ok(position),
            Err(error) => error,
        };
        is_unknown |= matches!(error, WriteError::Unknown { .. });
        let passes =
            matches!(error, WriteError::Unavailable(_) | WriteError::Unknown { .. } | WriteError::Busy);
        let wait = waits.next().filter(|wait| passes && clock::instant() + *wait < deadline);
        let Some(wait) = wait else { return Err(exhausted(error, is_unknown)) };
        tracing::debug!(stream, %error, wait_ms = wait.as_millis() as u64, "append is made again");
        if context.until_stopped(tokio::time::sleep(wait)).await.is_err() {
            return Err(exhausted(error, is_unknown));
        }
    }
}

/// Waits until the store has what the log has at this position.
pub async fn stored(context: &Context, stream: &str, position: Position) -> Result<(), Problem> {
    let wait = Duration::from_millis(context.config.engine.wait_timeout_ms);
    let reached = context.until_stopped(context.engine.reached(stream, position, wait)).await??;
    if reached {
        return Ok(());
    }
    let problem = Problem::new(Kind::NotReached, "it is in the log, and not stored yet");
    Err(problem.with_text("position", &position.to_string()).retry())
}

/// The waits between attempts: growing, with jitter, one fewer than there are attempts.
fn waits(settings: &Produce) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(settings.wait_ms))
        .with_max_delay(Duration::from_millis(settings.wait_max_ms))
        .with_max_times(settings.attempts_max.saturating_sub(1))
        .with_jitter()
        .build()
}

/// One attempt of unknown outcome makes the whole unknown, whatever the last one said.
fn exhausted(error: WriteError, is_unknown: bool) -> Problem {
    if !is_unknown || matches!(error, WriteError::Unknown { .. }) {
        return Problem::from(error);
    }
    tracing::warn!(cause = %error, "append given up with an unknown outcome");
    Problem::new(Kind::OutcomeUnknown, "it may have been appended; read to know").retry()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_there_is_one_fewer_than_attempts() {
        let settings = Produce { attempts_max: 6, wait_ms: 100, wait_max_ms: 1_000, deadline_ms: 9_000 };
        let waits: Vec<_> = waits(&settings).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits.len(), 5);
        for (wait, least) in waits.iter().zip([100, 200, 400, 800, 1_000]) {
            assert!((least..=2 * least).contains(wait), "{waits:?}");
        }
        assert_eq!(super::waits(&Produce { attempts_max: 1, ..settings }).count(), 0);
    }
}
