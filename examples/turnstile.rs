//! A stream of one's own, in Rust: how many people are in each hall, from the records of its turnstiles.
//!
//!     cargo run --example turnstile
//!     curl -d '{"turn":"in"}' ...     docs/architecture.md, "Add your own stream", says how to write to it
//!
//! A record of the topic `turnstile` is keyed by the hall: {"turn": "in"} or {"turn": "out"}. Nobody can leave a hall that is
//! empty: that record is refused, which is a rule of the app and no dead letter.

use serde::{Deserialize, Serialize};
use statecast::{
    app::{App, At, Poison, Reason, Refused, RefusedKind, Reject, Step},
    apps,
    config::{Config, Stream, streams},
    engine::{api::Kind, stream::StreamSpec},
    record::Record,
    serve,
};
use std::{process::ExitCode, sync::Arc};

/// What a record reports.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "turn", rename_all = "lowercase")]
enum Turn {
    In,
    Out,
}

/// What is known of one hall.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Hall {
    inside: u64,
    entered: u64,
}

struct Turnstile;

impl App for Turnstile {
    type Event = Turn;
    type Entity = Hall;

    fn decode(&self, record: &Record<'_>) -> Result<Turn, Poison> {
        let value = record.value.unwrap_or_default();
        serde_json::from_slice(value)
            .map_err(|_| Poison::new(Reason::SchemaInvalid, "turn must be in or out"))
    }

    fn check(&self, was: Option<&Hall>, turn: &Turn, _: &At<'_>) -> Result<(), Reject> {
        match (turn, was.map_or(0, |hall| hall.inside)) {
            (Turn::Out, 0) => {
                let detail = "nobody is inside".to_owned();
                Err(Reject::Refused(Refused { kind: RefusedKind::Rule, detail }))
            }
            _ => Ok(()),
        }
    }

    fn step(&self, was: Option<Hall>, turn: Turn, _: &At<'_>) -> Step<Hall> {
        let mut hall = was.unwrap_or_default();
        match turn {
            Turn::In => {
                hall.inside += 1;
                hall.entered += 1;
            }
            Turn::Out => hall.inside = hall.inside.saturating_sub(1),
        }
        Step::keep(hall)
    }
}

const STREAM: &str = "turnstile";

/// Statecast's defaults, and the stream.
fn config() -> Config {
    let mut config = Config::default();
    config.streams.insert(STREAM.into(), Stream::default());
    config
}

/// The streams of Statecast itself, and this one.
fn register(config: &Config) -> Vec<StreamSpec> {
    let mut specs = apps::register(config);
    let own = streams::enabled(config).into_iter().find(|stream| stream.name == STREAM);
    specs.extend(own.map(|own| apps::keyed(config, own, STREAM, Kind::App, Arc::new(Turnstile))));
    specs
}

fn main() -> ExitCode {
    match serve::run_with(config(), register) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("turnstile: {fault}");
            fault.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statecast::{
        adapters::memory::{MemoryLog, MemoryStore},
        engine::{api::Outcome, run},
        ports::{Log, Ports},
        record::NewRecord,
    };
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn halls_count_who_is_inside() {
        let (log, store, config) =
            (Arc::new(MemoryLog::default()), Arc::new(MemoryStore::default()), config());
        log.create_topics(&streams::topics(&config)).await.expect("topics");
        let ports = Ports { log, store: store.clone(), readers: store };
        let live = run::start(&config, ports, register(&config), "example".into()).await.expect("engine");
        let turn = async |turn: &str| {
            let value = format!("{{\"turn\":\"{turn}\"}}").into_bytes();
            let record =
                NewRecord { key: Some(b"north".to_vec()), value: Some(value), ..NewRecord::default() };
            live.engine.append_and_wait(STREAM, record).await.expect("told").1
        };
        assert!(matches!(turn("out").await, Outcome::Refused { kind: RefusedKind::Rule, .. }));
        assert!(matches!(turn("up").await, Outcome::Poisoned { reason: Reason::SchemaInvalid, .. }));
        for way in ["in", "in", "out"] {
            assert!(matches!(turn(way).await, Outcome::Stored(_)), "{way}");
        }
        let read = live.engine.read(STREAM, "north").await.expect("read").expect("there");
        let hall: Hall = serde_json::from_str(read.shown.value.expect("value").text()).expect("hall");
        assert_eq!(hall, Hall { inside: 1, entered: 2 });
        assert!(live.stop(Duration::from_secs(10)).await);
    }
}
