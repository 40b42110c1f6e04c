//! The systems that run on the engine, one folder each, and the register of them.
//!
//! Invariant: this is the only place that knows the apps by name; the engine gets each as a `StreamSpec`.

pub mod kv;

use crate::{
    app::App,
    config::{Config, Stream, streams::Wanted},
    engine::{api::Kind, fold::Fold, stream::StreamSpec},
    ports::TopicSpec,
};
use std::sync::Arc;

/// A stream that is there without being configured, with the settings it has then.
pub struct BuiltIn {
    pub stream: &'static str,
    pub settings: fn() -> Stream,
    spec: fn(&Config, Wanted) -> StreamSpec,
}

/// The built-in streams, in the order they are shown.
pub const BUILT_IN: &[BuiltIn] = &[BuiltIn {
    stream: "kv",
    settings: Stream::default,
    spec: |config, wanted| keyed(config, wanted, "kv", Kind::Latest, kv::Kv),
}];

/// Every enabled stream of this process.
pub fn register(config: &Config) -> Vec<StreamSpec> {
    let spec = |wanted: Wanted| {
        let built_in = BUILT_IN.iter().find(|built_in| built_in.stream == wanted.name)?;
        Some((built_in.spec)(config, wanted))
    };
    crate::config::streams::enabled(config).into_iter().filter_map(spec).collect()
}

/// A stream whose entities are keyed by the record's key.
fn keyed<A: App>(config: &Config, wanted: Wanted, app_name: &str, kind: Kind, app: A) -> StreamSpec {
    let app = Arc::new(app);
    StreamSpec {
        name: wanted.name.into(),
        kind,
        app: Some(app_name.to_owned()),
        topic: TopicSpec {
            name: wanted.topic,
            partitions: wanted.partitions,
            retention: wanted.retention,
            replication: config.kafka.replication,
        },
        group: wanted.group,
        by_partition: false,
        rows: Vec::new(),
        has_row_ids: false,
        rooms: Vec::new(),
        write_hint: None,
        merge: None,
        fold: Box::new(move |settings| Box::new(Fold::new(app.clone(), settings))),
    }
}
