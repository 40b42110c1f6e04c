//! Log lines: to standard error, as text or JSON, at levels that can be changed while running.
//!
//! Invariant: a reader of standard error that stops reading, or a full disk behind it, never holds up the pipeline: lines
//! wait in a bounded queue, and beyond it they are dropped and counted.
//! Not here: metrics (`metrics`), and what is worth a line (each module).

use crate::config::Telemetry;
use std::{
    fs::File,
    io::{self, IsTerminal},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
};
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_log::{AsLog, LogTracer, log};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
};

/// The modules of this crate.
const OURS: &str = env!("CARGO_PKG_NAME");
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Levels by module, from the text of `telemetry.log_level`. A level without a module is ours; what libraries tell beyond
/// warnings is about their inside, and is told where one is named. `Err` ends a sentence that begins with the setting.
pub fn levels(text: &str) -> Result<Targets, String> {
    let mut targets = Targets::new();
    for part in text.split(',').map(str::trim) {
        let (module, name) = part.split_once('=').map_or((None, part), |(module, name)| (Some(module), name));
        let level = LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level);
        targets = match (module, level) {
            (None, Some(level)) => {
                targets.with_target(OURS, level).with_default(level.min(LevelFilter::WARN))
            }
            (Some(module), Some(level)) if is_module(module) => targets.with_target(module, level),
            _ => {
                let known = LEVELS.map(|(name, _)| name).join(", ");
                return Err(format!("must be {known}, or MODULE=LEVEL after a comma; {part:?} is neither"));
            }
        };
    }
    Ok(targets)
}

fn is_module(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

/// Changes levels while running, and says what was lost. Cheap to clone.
#[derive(Clone)]
pub struct Levels {
    filter: reload::Handle<Targets, Registry>,
    text: Arc<Mutex<String>>,
    dropped: ErrorCounter,
}

impl Levels {
    /// As `telemetry.log_level`; takes effect at once for every thread.
    pub fn set(&self, text: &str) -> Result<(), String> {
        let targets = levels(text)?;
        self.filter.reload(targets).map_err(|error| format!("cannot be changed: {error}"))?;
        log::set_max_level(LevelFilter::current().as_log());
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text.to_owned();
        Ok(())
    }

    /// What was set last.
    pub fn get(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lines dropped since the start because nobody read them.
    pub fn dropped(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

/// Logging for as long as this lives. When it is dropped, what waits is written, for a second at most.
pub struct Logging {
    pub levels: Levels,
    _writer: WorkerGuard,
}

/// Logging is already started, or the levels are none (which `config::validate` has told before).
#[derive(Debug, thiserror::Error)]
#[error("logging cannot be started: {0}")]
pub struct NotStarted(String);

/// Makes standard error the end of every log line of this process, of libraries that use `log` as well, and of panics.
pub fn start(config: &Telemetry) -> Result<Logging, NotStarted> {
    // A file of its own: a write that blocks must not hold the lock of `io::stderr`, for which the last words wait.
    let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(|error| NotStarted(error.to_string()))?;
    let ansi = stderr.is_terminal();
    let (writer, guard) = queue(config.log_lines_max, File::from(stderr));
    let dropped = writer.error_counter();
    let (subscriber, filter) = subscriber(config, writer, ansi).map_err(NotStarted)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| NotStarted(error.to_string()))?;
    LogTracer::init().map_err(|error| NotStarted(error.to_string()))?;
    log::set_max_level(LevelFilter::current().as_log());
    std::panic::set_hook(Box::new(panicked));
    let text = Arc::new(Mutex::new(config.log_level.clone()));
    Ok(Logging { levels: Levels { filter, text, dropped }, _writer: guard })
}

fn queue(lines_max: usize, to: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(lines_max);
    queue.thread_name("log").finish(to)
}

fn subscriber<W>(
    config: &Telemetry,
    writer: W,
    ansi: bool,
) -> Result<(impl Subscriber + Send + Sync, reload::Handle<Targets, Registry>), String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(levels(&config.log_level)?);
    let lines = fmt::layer().with_writer(writer).with_ansi(ansi);
    let lines =
        if config.log_format == "json" { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    Ok((tracing_subscriber::registry().with(filter).with(lines), handle))
}

/// The default hook writes to standard error itself, which may block for ever.
fn panicked(info: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(thread, location, why = info.payload_as_str().unwrap_or_default(), "a thread panicked");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::mpsc,
        time::{Duration, Instant},
    };

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn config(level: &str, format: &str) -> Telemetry {
        Telemetry { log_level: level.into(), log_format: format.into(), ..Telemetry::default() }
    }

    #[test]
    fn levels_are_names_or_modules_with_names() {
        for good in ["info", "off", "info,statecast::engine=debug", " warn , rdkafka=off"] {
            assert!(levels(good).is_ok(), "{good}");
        }
        for bad in ["inof", "", "info,", "statecast=loud", "=info", "a b=info", "INFO"] {
            assert!(levels(bad).is_err(), "{bad}");
        }
        assert_eq!(
            levels("inof").unwrap_err(),
            "must be off, error, warn, info, debug, trace, or MODULE=LEVEL after a comma; \"inof\" is neither"
        );
    }

    #[test]
    fn libraries_tell_warnings_unless_they_are_named() {
        let told = |text: &str, target: &str| {
            let targets = levels(text).unwrap();
            LEVELS
                .iter()
                .rev()
                .find(|(_, level)| {
                    level.into_level().is_some_and(|level| targets.would_enable(target, &level))
                })
                .map_or("off", |(name, _)| *name)
        };
        assert_eq!((told("info", "statecast::engine"), told("info", "fjall::db")), ("info", "warn"));
        assert_eq!((told("error", "statecast"), told("error", "fjall")), ("error", "error"));
        assert_eq!(told("off", "fjall"), "off");
        let text = "warn,statecast::engine=trace,fjall=debug";
        assert_eq!(
            (told(text, "statecast::engine::batch"), told(text, "statecast::http")),
            ("trace", "warn")
        );
        assert_eq!((told(text, "fjall::db"), told(text, "rdkafka")), ("debug", "warn"));
    }

    #[test]
    fn the_level_changes_while_running() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, filter) =
            subscriber(&config("info", "text"), move || writer.clone(), false).unwrap();
        let (queue, _guard) = queue(8, io::sink());
        let text = Arc::new(Mutex::new("info".into()));
        let levels = Levels { filter, text, dropped: queue.error_counter() };
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("hidden");
            levels.set("warn,statecast=debug").unwrap();
            tracing::debug!(key = "k", "shown");
            assert!(levels.set("loud").is_err());
            tracing::debug!("still shown");
        });
        assert_eq!(levels.get(), "warn,statecast=debug");
        let text = lines.text();
        assert!(!text.contains("hidden") && text.contains("shown") && text.contains("still shown"), "{text}");
        assert!(text.contains("key=\"k\""), "{text}");
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, _filter) =
            subscriber(&config("info", "json"), move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || tracing::info!(stream = "kv", "started"));
        let line: serde_json::Value = serde_json::from_str(lines.text().trim()).unwrap();
        assert_eq!((line["message"].as_str(), line["stream"].as_str()), (Some("started"), Some("kv")));
    }

    /// A pipe whose reader has stopped.
    struct Stuck(mpsc::Receiver<()>);

    impl io::Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_no_time() {
        let (reader, stuck) = mpsc::channel();
        let (writer, guard) = queue(16, Stuck(stuck));
        let dropped = writer.error_counter();
        let (subscriber, _filter) = subscriber(&config("info", "text"), writer, false).unwrap();
        let start = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            (0..10_000).for_each(|n| tracing::info!(n, "line"));
        });
        assert!(start.elapsed() < Duration::from_secs(5), "logging waited for its reader");
        // One line is in the writer's hands, 16 wait; the writer may have taken its first one early or late.
        assert!((9_982..=9_984).contains(&dropped.dropped_lines()), "{}", dropped.dropped_lines());
        drop(reader);
        drop(guard);
    }
}
