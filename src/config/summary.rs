//! Says what a configuration comes to: `check-config`, and the first line of a log.
//!
//! Invariant: no secret in it.

use super::{
    Config, LogKind, StoreKind,
    load::Loaded,
    redact::{self, MASK},
    setting::{self, Shape},
    streams, validate,
};
use std::fmt::Write as _;

/// What a configuration without faults comes to, for `check-config`.
pub fn summary(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let mut out = String::new();
    let _ = writeln!(out, "public   http://{}", config.server.listen);
    let _ = writeln!(out, "admin    http://{}", config.server.admin_listen);
    let _ = writeln!(out, "log      {}", log(config));
    let _ = writeln!(out, "store    {}", store(config));
    let streams: Vec<_> = streams::enabled(config).into_iter().map(|stream| stream.name).collect();
    let _ = writeln!(out, "streams  {}", streams.join(", "));
    let bytes: u64 = validate::memory_bounds(config).iter().map(|(_, bytes)| bytes).sum();
    let budget = config.limits.memory_bytes_max >> 20;
    let _ = writeln!(out, "memory   {} MiB of {budget} MiB promised to buffers and caches", bytes >> 20);
    given(&mut out, loaded);
    out
}

fn log(config: &Config) -> String {
    match config.log.kind {
        LogKind::Embedded => format!("embedded in {}", config.embedded.data_dir.display()),
        LogKind::Kafka => format!("kafka at {}", config.kafka.brokers),
        LogKind::Memory => "in memory, lost with the process".into(),
    }
}

fn store(config: &Config) -> String {
    match config.store.kind {
        StoreKind::Embedded => format!("embedded in {}", config.embedded.data_dir.display()),
        StoreKind::Mongodb => {
            let hosts = redact::hosts(&config.mongodb.uri.0);
            format!("mongodb, database {} at {hosts}", config.mongodb.database)
        }
        StoreKind::Memory => "in memory, lost with the process".into(),
        StoreKind::Null => "none: everything is confirmed and nothing kept".into(),
    }
}

/// What differs from the defaults, with who set it.
fn given(out: &mut String, loaded: &Loaded) {
    let of = |config| toml::Value::try_from(config).unwrap_or(toml::Value::Boolean(false));
    let (config, defaults) = (of(&loaded.config), of(&Config::default()));
    let mut lines = Vec::new();
    for (path, source) in &loaded.sources {
        let value = find_value(&config, path).filter(|value| !value.is_table());
        if let Some(value) = value.filter(|value| find_value(&defaults, path) != Some(value)) {
            lines.push((format!("{path} = {}", shown(path, value)), source));
        }
    }
    let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or_default().min(60);
    if !lines.is_empty() {
        out.push_str("\nset, beside the defaults:\n");
    }
    for (line, source) in lines {
        let _ = writeln!(out, "  {line:width$}  {source}");
    }
}

fn find_value<'a>(config: &'a toml::Value, path: &str) -> Option<&'a toml::Value> {
    if let Some(property) = path.strip_prefix("kafka.properties.") {
        return config.get("kafka")?.get("properties")?.get(property);
    }
    path.split('.').try_fold(config, |at, name| at.get(name))
}

fn shown(path: &str, value: &toml::Value) -> String {
    let property = path.strip_prefix("kafka.properties.");
    let secret = match property {
        Some(property) => redact::is_secret(property),
        None => setting::at(path).is_some_and(|setting| setting.shape == Shape::Secret),
    };
    if secret { MASK.into() } else { value.to_string() }
}
