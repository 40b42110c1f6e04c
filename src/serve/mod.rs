//! Puts the parts together and runs them until told to stop.
//!
//! Invariant: whatever cannot be had ends in a `Fault` that says in one sentence what, and by its exit who has to act.
//! Not here: what any part does.

mod listeners;
mod process;
mod start;

pub use listeners::Listeners;
pub use start::{log, ports, topics};

use crate::{
    apps,
    cli::Exit,
    config::{Config, streams},
    engine::stream::StreamSpec,
    ports::{Ports, TopicSpec},
    telemetry, verify,
};
use std::{fmt::Write as _, io, time::Duration};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// How long calls under way may go on after everything has ended.
const LAST_CALLS: Duration = Duration::from_millis(500);

/// Why the process cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    pub exit: Exit,
    /// A sentence without its full stop. May hold words of libraries: mask secrets before it is printed.
    pub why: String,
}

impl Fault {
    pub fn new(exit: Exit, why: impl Into<String>) -> Self {
        Fault { exit, why: why.into() }
    }
}

/// Serves until told to stop. Opens, in this order: logging, ports, log and store, topics, engine.
pub fn run(config: Config) -> Result<(), Fault> {
    run_with(config, apps::register)
}

/// As `run`, with the streams that `register` makes of the configuration: a program with streams of its own.
pub fn run_with(config: Config, register: fn(&Config) -> Vec<StreamSpec>) -> Result<(), Fault> {
    let logging = start_logging(&config)?;
    let listeners = Listeners::open(&config.server)?;
    // Who reads our output may be gone; that is no reason not to serve.
    let _ = listeners.announce(io::stdout());
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let asked = asked_to_stop()?;
        // A stop during the start finds nothing to drain.
        let Some(ports) = asked.run_until_cancelled(dependencies(&config)).await else { return Ok(()) };
        let specs = register(&config);
        process::run(config, specs, listeners, ports?, &logging, asked).await
    });
    // A call that never returns is not waited for.
    runtime.shutdown_timeout(LAST_CALLS);
    ended
}

/// Log and store, reached, with every topic in place.
async fn dependencies(config: &Config) -> Result<Ports, Fault> {
    let ports = ports(config).await?;
    topics(config, &*ports.log, &streams::topics(config)).await?;
    Ok(ports)
}

/// Cancelled by the first SIGTERM or SIGINT.
fn asked_to_stop() -> Result<CancellationToken, Fault> {
    let signals = signal(SignalKind::terminate()).and_then(|t| Ok((t, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) =
        signals.map_err(|error| Fault::new(Exit::Internal, format!("signals cannot be heard: {error}")))?;
    let asked = CancellationToken::new();
    let heard = asked.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        heard.cancel();
    });
    Ok(asked)
}

/// Computes the streams of this name again from the log; says every difference from what is stored.
pub fn verify(config: &Config, name: &str) -> Result<(Exit, String), Fault> {
    let _logging = start_logging(config)?;
    let chosen = verify::chosen(apps::register(config), name)?;
    runtime()?.block_on(async {
        let ports = ports(config).await?;
        let (mut exit, mut said) = (Exit::Clean, String::new());
        for spec in &chosen {
            let report = verify::stream(config, &ports, spec).await?;
            if !report.is_same() {
                exit = Exit::Differs;
            }
            let _ = writeln!(said, "{report}");
        }
        Ok((exit, said))
    })
}

/// Creates the topics that the enabled streams need; says which those are and how they stand.
pub fn apply_topics(config: &Config) -> Result<String, Fault> {
    let _logging = start_logging(config)?;
    let wanted = streams::topics(config);
    runtime()?.block_on(async {
        let log = log(config).await?;
        let before = start::partitions(config, &*log, &wanted).await?;
        start::create(config, &*log, &wanted).await?;
        let after = start::partitions(config, &*log, &wanted).await?;
        let standing = wanted.iter().zip(before).zip(after);
        Ok(standing.fold(String::new(), |mut out, ((topic, before), after)| {
            let _ = writeln!(out, "{}", told(topic, before, after));
            out
        }))
    })
}

/// One topic before and after.
fn told(topic: &TopicSpec, before: Option<u32>, after: Option<u32>) -> String {
    let name = &topic.name;
    let many = |count: u32| format!("{count} partition{}", if count == 1 { "" } else { "s" });
    match (before, after) {
        (_, None) => format!("{name}: not there"),
        (None, Some(now)) => format!("{name}: created, {}, kept {}", many(now), kept(topic)),
        (Some(_), Some(now)) if now == topic.partitions => format!("{name}: as it was, {}", many(now)),
        (Some(_), Some(now)) => {
            format!("{name}: as it was, {} though {} are configured", many(now), topic.partitions)
        }
    }
}

fn kept(topic: &TopicSpec) -> String {
    topic.retention.map_or("for ever".into(), |retention| format!("{} s", retention.as_secs()))
}

fn start_logging(config: &Config) -> Result<telemetry::Logging, Fault> {
    telemetry::start(&config.telemetry).map_err(|error| Fault::new(Exit::Internal, error.to_string()))
}

fn runtime() -> Result<Runtime, Fault> {
    Runtime::new().map_err(|error| Fault::new(Exit::Internal, format!("no threads can be started: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_topic_is_told_as_it_stands() {
        let topic = |retention| TopicSpec { name: "kv".into(), partitions: 4, retention, replication: -1 };
        let hour = topic(Some(Duration::from_secs(3600)));
        assert_eq!(told(&topic(None), None, Some(4)), "kv: created, 4 partitions, kept for ever");
        assert_eq!(told(&hour, None, Some(4)), "kv: created, 4 partitions, kept 3600 s");
        assert_eq!(told(&hour, Some(4), Some(4)), "kv: as it was, 4 partitions");
        assert_eq!(told(&hour, Some(1), Some(1)), "kv: as it was, 1 partition though 4 are configured");
        assert_eq!(told(&hour, Some(2), Some(2)), "kv: as it was, 2 partitions though 4 are configured");
    }
}
