//! The systems that run on the engine, one folder each, and the register of them.
//!
//! Invariant: this is the only place that knows the apps by name; the engine gets each as a `StreamSpec`.

pub mod kv;

use crate::{
    app::App,
    config::{self, Config},
    engine::{api::Kind, fold::Fold, stream::StreamSpec},
    ports::TopicSpec,
};
use std::{sync::Arc, time::Duration};

/// Every stream of this process, in the order they are shown: the built-in ones that are enabled, then declared ones.
pub fn register(config: &Config) -> Vec<StreamSpec> {
    let mut specs = Vec::new();
    if let Some(settings) = enabled(config, "kv") {
        specs.push(spec(config, "kv", &settings, "kv", Kind::Latest, kv::Kv));
    }
    specs
}

/// Names that belong to built-in streams.
pub const BUILT_IN: &[&str] = &["kv"];

fn enabled(config: &Config, stream: &str) -> Option<config::Stream> {
    let settings = config.streams.get(stream).cloned().unwrap_or_default();
    settings.enabled.then_some(settings)
}

/// A stream whose entities are keyed by the record's key.
fn spec<A: App>(
    config: &Config,
    name: &str,
    settings: &config::Stream,
    app_name: &str,
    kind: Kind,
    app: A,
) -> StreamSpec {
    let app = Arc::new(app);
    StreamSpec {
        name: name.into(),
        kind,
        app: Some(app_name.to_owned()),
        topic: topic(config, name, settings),
        group: group(config, name, settings),
        by_partition: false,
        rows: Vec::new(),
        has_row_ids: false,
        rooms: Vec::new(),
        write_hint: None,
        merge: None,
        fold: Box::new(move |settings| Box::new(Fold::new(app.clone(), settings))),
    }
}

fn topic(config: &Config, name: &str, settings: &config::Stream) -> TopicSpec {
    TopicSpec {
        name: if settings.topic.is_empty() { name.to_owned() } else { settings.topic.clone() },
        partitions: settings.partitions,
        retention: (settings.retention_s > 0).then(|| Duration::from_secs(settings.retention_s)),
        replication: config.kafka.replication,
    }
}

fn group(config: &Config, name: &str, settings: &config::Stream) -> String {
    if settings.group.is_empty() {
        format!("{}-{name}", config.kafka.group_prefix)
    } else {
        settings.group.clone()
    }
}

/// Every topic the streams need: their own and the one of their dead letters.
pub fn topics(specs: &[StreamSpec]) -> Vec<TopicSpec> {
    specs
        .iter()
        .flat_map(|spec| {
            let name = crate::engine::dead_letter::topic_of(&spec.topic.name);
            [spec.topic.clone(), TopicSpec { name, retention: None, ..spec.topic.clone() }]
        })
        .collect()
}
