//! What a client of librdkafka has to complain about, told once per change of state instead of once per event.
//!
//! Invariant: an error that repeats is logged when it begins, and its end is logged once; nothing is logged per retry.
//! Not here: what an error means (`errors`), or acting on it.

use super::errors::{self, Class};
use rdkafka::{
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// An error that goes on is told again after so long, with how often it came.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Different codes remembered; there are a few hundred in all.
const CODES_MAX: usize = 64;

/// The complaints of one client.
pub struct Faults {
    client: String,
    troubled: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    unreachable: bool,
    seen: BTreeMap<i32, Seen>,
    last: Option<(Code, String)>,
}

struct Seen {
    told: Instant,
    since_then: u64,
}

impl Faults {
    /// `client` names it in the logs: `producer`, `member GROUP`.
    pub fn new(client: impl Into<String>) -> Self {
        Faults { client: client.into(), troubled: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Something went wrong; `what` says where, in fixed words.
    pub fn note(&self, what: &'static str, code: Code, detail: &str) {
        self.troubled.store(true, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if code == Code::AllBrokersDown {
            if !std::mem::replace(&mut state.unreachable, true) {
                tracing::warn!(client = %self.client, detail, "no kafka broker is reachable");
            }
            return;
        }
        let Some(repeats) = state.tell(code) else { return };
        drop(state);
        match errors::class(code) {
            Class::Fatal | Class::Corrupt => {
                tracing::error!(client = %self.client, what, ?code, detail, repeats, "kafka client error");
            }
            Class::Passing | Class::Refused => {
                tracing::warn!(client = %self.client, what, ?code, detail, repeats, "kafka client error");
            }
        }
    }

    /// Something went well. Costs one load unless there was trouble before.
    pub fn well(&self) {
        if self.troubled.load(Ordering::Relaxed) && self.troubled.swap(false, Ordering::Relaxed) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.last = None;
            if std::mem::take(&mut state.unreachable) {
                tracing::info!(client = %self.client, "kafka is reachable again");
            }
        }
    }

    /// What was wrong with the connection last, if nothing went well since: why a question timed out.
    pub fn last(&self) -> Option<(Code, String)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    /// Statistics of the client: a broker that is up ends the trouble of an idle client.
    pub fn statistics(&self, json: &[u8]) {
        if self.troubled.load(Ordering::Relaxed)
            && serde_json::from_slice::<Statistics>(json).is_ok_and(|s| s.some_broker_is_up())
        {
            self.well();
        }
    }

    /// A log line of librdkafka.
    pub fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let client = self.client.as_str();
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(client, facility, line, "librdkafka");
            }
            // Failed connections arrive as errors too, which are told once.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Info if facility == "FAIL" => {
                tracing::debug!(client, facility, line, "librdkafka");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(client, facility, line, "librdkafka");
            }
            _ => tracing::debug!(client, facility, line, "librdkafka"),
        }
    }

    /// An error event that librdkafka sends to the client as a whole.
    pub fn event(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" follows each failed connection and says less than that did.
        if code != Code::AllBrokersDown || state.last.is_none() {
            state.last = Some((code, reason.to_owned()));
        }
        drop(state);
        self.note("client", code, reason);
    }
}

impl State {
    /// How often it came since it was told last, when it is to be told now.
    fn tell(&mut self, code: Code) -> Option<u64> {
        let now = crate::clock::instant();
        if let Some(seen) = self.seen.get_mut(&(code as i32)) {
            seen.since_then += 1;
            if now.duration_since(seen.told) < REPEAT_AFTER {
                return None;
            }
            seen.told = now;
            return Some(std::mem::take(&mut seen.since_then));
        }
        if self.seen.len() >= CODES_MAX {
            self.seen.clear();
        }
        self.seen.insert(code as i32, Seen { told: now, since_then: 0 });
        Some(0)
    }
}

/// The part of librdkafka's statistics that says whether a broker is connected.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
}

#[derive(Deserialize)]
struct Broker {
    #[serde(default)]
    nodeid: i64,
    #[serde(default)]
    state: String,
}

impl Statistics {
    fn some_broker_is_up(&self) -> bool {
        self.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_error_that_repeats_is_told_once_a_minute() {
        let mut state = State::default();
        assert_eq!(state.tell(Code::NotCoordinator), Some(0));
        for _ in 0..9 {
            assert_eq!(state.tell(Code::NotCoordinator), None);
        }
        assert_eq!(state.tell(Code::RequestTimedOut), Some(0), "another error is told at once");
        tokio::time::advance(REPEAT_AFTER).await;
        assert_eq!(state.tell(Code::NotCoordinator), Some(10));
    }

    #[test]
    fn trouble_ends_when_a_broker_is_up() {
        let faults = Faults::new("test");
        faults.event(&KafkaError::Global(Code::BrokerTransportFailure), "connection refused");
        faults.event(&KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(faults.last(), Some((Code::BrokerTransportFailure, "connection refused".into())));
        faults.statistics(
            br#"{"brokers":{"b":{"nodeid":-1,"state":"UP"},"c":{"nodeid":1,"state":"CONNECT"}}}"#,
        );
        assert!(faults.last().is_some(), "bootstrap and connecting brokers prove nothing");
        faults.statistics(br#"{"brokers":{"b":{"nodeid":1,"state":"UP"}},"x":1}"#);
        assert_eq!(faults.last(), None);
    }
}
