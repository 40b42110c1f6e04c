//! Relations between settings: what would break a promise later is refused before anything opens, with the reason.
//!
//! Invariant: pure but for one look whether a named file exists; every rule here has a test that breaks it.
//! Not here: types and names (`value`, `layers`), which hold already.

mod outside;
mod streams;
#[cfg(test)]
mod tests;

use super::{Config, LogKind, StoreKind};

/// The store takes 16 MB in one command, of which a batch may fill so much.
const COMMAND_BYTES_MAX: usize = 12_000_000;
/// A stop is over by then, whatever happens (exit 0 within ten seconds).
const STOP_MS: u64 = 10_000;
/// The least the embedded storage takes for its journals.
const JOURNAL_BYTES_MIN: u64 = 64 << 20;
/// Actors give a sign of life several times within it, whatever else they do.
const WEDGE_MS_MIN: u64 = 1_000;
/// Records over which `engine.poison_share_max` is counted.
const POISON_WINDOW: u32 = 1_000;
/// Numbers that mean something at 0; any other at 0 stops what it bounds.
const MAY_BE_ZERO: [&str; 7] = [
    "embedded.cache_bytes_max",
    "engine.threads",
    "engine.view_bytes_max",
    "kafka.linger_ms",
    "live.history_bytes_max",
    "live.history_changes_max",
    "live.tick_ms",
];

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The settings it is about; the first one given says where.
    pub settings: Vec<String>,
    /// A sentence without its full stop.
    pub why: String,
}

/// Every rule that does not hold.
pub fn faults(config: &Config) -> Vec<Broken> {
    let mut check = Check::default();
    check.zeroes(config);
    outside::addresses(config, &mut check);
    outside::kafka(config, &mut check);
    outside::mongodb(config, &mut check);
    outside::pages(config, &mut check);
    outside::telemetry(config, &mut check);
    streams::streams(config, &mut check);
    engine(config, &mut check);
    times(config, &mut check);
    live(config, &mut check);
    embedded(config, &mut check);
    memory(config, &mut check);
    check.0
}

#[derive(Default)]
struct Check(Vec<Broken>);

impl Check {
    /// `why` says what must hold and why, beginning with the setting.
    fn that(&mut self, holds: bool, settings: &[&str], why: impl Into<String>) {
        if !holds {
            let settings = settings.iter().map(|setting| setting.to_string()).collect();
            self.0.push(Broken { settings, why: why.into() });
        }
    }

    /// `less` must not be over `more`.
    fn at_most(&mut self, less: (&str, usize), more: (&str, usize), why: &str) {
        let text = format!("{} ({}) must be at most {} ({}): {why}", less.0, less.1, more.0, more.1);
        self.that(less.1 <= more.1, &[less.0, more.0], text);
    }

    fn zeroes(&mut self, config: &Config) {
        let config = serde_json::to_value(config).unwrap_or_default();
        for (section, fields) in config.as_object().into_iter().flatten() {
            for (field, value) in fields.as_object().into_iter().flatten() {
                let path = format!("{section}.{field}");
                let zero = value.as_i64() == Some(0) && !MAY_BE_ZERO.contains(&path.as_str());
                self.that(!zero, &[&path], format!("{path} must be over 0"));
            }
        }
    }
}

fn engine(config: &Config, check: &mut Check) {
    let engine = &config.engine;
    let command = ("what one command of the store takes", COMMAND_BYTES_MAX);
    let why = "a batch goes in one command";
    check.at_most(("engine.batch_bytes_max", engine.batch_bytes_max), command, why);
    let why = "an entity goes in one command";
    check.at_most(("engine.entity_bytes_max", engine.entity_bytes_max), command, why);

    let in_flight = ("engine.in_flight_bytes_max", engine.in_flight_bytes_max);
    let why = "a batch waits for records that are in flight";
    check.at_most(("engine.batch_bytes_max", engine.batch_bytes_max), in_flight, why);
    let why = "a slice is in flight as a whole";
    check.at_most(("engine.slice_bytes_max", engine.slice_bytes_max), in_flight, why);
    let entity = ("engine.entity_bytes_max", engine.entity_bytes_max);
    let why = "a value becomes an entity";
    check.at_most(("engine.value_bytes_max", engine.value_bytes_max), entity, why);
    let records = ("engine.batch_records_max", engine.batch_records_max);
    let why = "a slice goes into a batch whole";
    check.at_most(("engine.slice_records_max", engine.slice_records_max), records, why);
    let keys = ("engine.batch_keys_max", engine.batch_keys_max);
    check.at_most(keys, records, "every key of a batch has a record in it");

    let limit = ("what a key may have", 512);
    check.at_most(("engine.key_bytes_max", engine.key_bytes_max), limit, "clients rely on it");
    let limit = ("what the store nests", 100);
    check.at_most(("engine.depth_max", engine.depth_max), limit, "deeper values cannot be kept");
    let limit = ("what a machine has use for", 256);
    check.at_most(("engine.shards", engine.shards), limit, "each is an actor with a mailbox");
    check.at_most(("engine.threads", engine.threads), limit, "each is a thread");
    let window = ("the records it is counted over", POISON_WINDOW as usize);
    let share = ("engine.poison_share_max", engine.poison_share_max as usize);
    check.at_most(share, window, "a larger one would never hold a partition");
    let page = ("limits.page_items_max", config.limits.page_items_max);
    check.at_most(page, ("what a page may hold", 1_000), "clients rely on it");
}

fn times(config: &Config, check: &mut Check) {
    let (server, engine, live) = (&config.server, &config.engine, &config.live);
    check.that(
        server.stop_deadline_ms < STOP_MS,
        &["server.stop_deadline_ms"],
        format!(
            "server.stop_deadline_ms ({}) must be under {STOP_MS}: a stop is over in ten seconds",
            server.stop_deadline_ms
        ),
    );
    check.at_most(
        ("engine.drain_deadline_ms", engine.drain_deadline_ms as usize),
        ("server.stop_deadline_ms", server.stop_deadline_ms as usize),
        "a stop drains every partition",
    );
    let half = config.kafka.session_timeout_ms / 2;
    check.that(
        config.log.kind != LogKind::Kafka || engine.drain_deadline_ms < half,
        &["engine.drain_deadline_ms", "kafka.session_timeout_ms"],
        format!(
            "engine.drain_deadline_ms ({}) must be under half of kafka.session_timeout_ms ({half}): a member that drains \
             longer may lose the partition to another before it has committed",
            engine.drain_deadline_ms
        ),
    );
    check.that(
        engine.wedge_after_ms >= WEDGE_MS_MIN,
        &["engine.wedge_after_ms"],
        format!(
            "engine.wedge_after_ms ({}) must be at least {WEDGE_MS_MIN}: an actor that is only busy would pass for stuck",
            engine.wedge_after_ms
        ),
    );
    check.at_most(
        ("engine.restart_wait_ms", engine.restart_wait_ms as usize),
        ("engine.restart_wait_max_ms", engine.restart_wait_max_ms as usize),
        "waits double from the first up to the second",
    );
    let produce = &config.produce;
    check.at_most(
        ("produce.wait_ms", produce.wait_ms as usize),
        ("produce.wait_max_ms", produce.wait_max_ms as usize),
        "waits double from the first up to the second",
    );
    check.at_most(
        ("live.feed_interval_ms", live.feed_interval_ms as usize),
        ("live.sync_interval_ms", live.sync_interval_ms as usize),
        "the feed is the faster look at the store",
    );
}

fn live(config: &Config, check: &mut Check) {
    let live = &config.live;
    check.at_most(
        ("live.page_bytes_max", live.page_bytes_max),
        ("live.unsent_bytes_max", live.unsent_bytes_max),
        "a page must fit what a client may have unread",
    );
    check.at_most(
        ("live.clients_max", live.clients_max),
        ("server.connections_max", config.server.connections_max),
        "each client has a connection",
    );
}

fn embedded(config: &Config, check: &mut Check) {
    let embedded = &config.embedded;
    check.at_most(
        ("embedded.group_bytes_max", embedded.group_bytes_max),
        ("embedded.queue_bytes_max", embedded.queue_bytes_max),
        "what is written with one sync has waited for it",
    );
    check.that(
        embedded.journal_bytes_max >= JOURNAL_BYTES_MIN,
        &["embedded.journal_bytes_max"],
        format!("embedded.journal_bytes_max must be at least {JOURNAL_BYTES_MIN}: the storage refuses less"),
    );
}

/// The byte bounds that count toward `limits.memory_bytes_max`, as configured: only what is in use.
pub fn memory_bounds(config: &Config) -> Vec<(&'static str, u64)> {
    let (kafka, engine) = (&config.kafka, &config.engine);
    let embedded = config.log.kind == LogKind::Embedded || config.store.kind == StoreKind::Embedded;
    let mut bounds = vec![
        ("engine.in_flight_bytes_max", engine.in_flight_bytes_max as u64),
        ("engine.cache_bytes_max", engine.cache_bytes_max as u64),
        ("engine.view_bytes_max", engine.view_bytes_max as u64),
        ("engine.board_bytes_max", engine.board_bytes_max as u64),
        ("engine.board_waiting_bytes_max", engine.board_waiting_bytes_max as u64),
        ("live.history_bytes_max", config.live.history_bytes_max as u64),
    ];
    if config.log.kind == LogKind::Kafka {
        bounds.push(("kafka.prefetch_bytes_max", kafka.prefetch_bytes_max as u64));
        bounds.push(("kafka.produce_bytes_max", kafka.produce_bytes_max as u64));
    }
    if embedded {
        bounds.push(("embedded.cache_bytes_max", config.embedded.cache_bytes_max));
        bounds.push(("embedded.queue_bytes_max", config.embedded.queue_bytes_max as u64));
    }
    bounds
}

fn memory(config: &Config, check: &mut Check) {
    let bounds = memory_bounds(config);
    let sum = bounds.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let budget = config.limits.memory_bytes_max as u64;
    let mut settings: Vec<_> = bounds.iter().map(|(name, _)| *name).collect();
    let names = settings.join(", ");
    settings.push("limits.memory_bytes_max");
    let why = format!("{names} come to {sum} bytes together, over limits.memory_bytes_max ({budget})");
    check.that(sum <= budget, &settings, why);
}
