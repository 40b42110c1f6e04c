//! The systems that run on the engine, one folder each, and the register of them.
//!
//! Invariant: this is the only place that knows the apps by name; the engine gets each as a `StreamSpec`.

pub mod declared;
pub mod kv;

use self::declared::{
    Declared,
    declaration::{Declaration, Project},
};
use crate::{
    app::App,
    config::{Config, Projection, Stream, streams::Wanted},
    document::{Document, Shown},
    engine::{api::Kind, fold::Fold, stream::StreamSpec, view},
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
    spec: |config, wanted| keyed(config, wanted, "kv", Kind::Latest, Arc::new(kv::Kv)),
}];

/// Every enabled stream of this process: the built-in ones, and those that the configuration declares.
pub fn register(config: &Config) -> Vec<StreamSpec> {
    let spec = |wanted: Wanted| match BUILT_IN.iter().find(|built_in| built_in.stream == wanted.name) {
        Some(built_in) => Some((built_in.spec)(config, wanted)),
        None => declare(config, wanted),
    };
    crate::config::streams::enabled(config).into_iter().filter_map(spec).collect()
}

/// A stream of the configuration's own. One that cannot be understood was a fault of the configuration before; one without
/// a projection belongs to a program with streams of its own.
fn declare(config: &Config, wanted: Wanted) -> Option<StreamSpec> {
    let declared = config.streams.get(&wanted.name).filter(|stream| stream.projection != Projection::Own)?;
    let declaration = Declaration::read(declared).ok()?;
    let kind = match &declaration.projection {
        Project::Latest => Kind::Latest,
        Project::Log { .. } => Kind::Log,
        Project::Recent { .. } => Kind::Recent,
        Project::Aggregate { .. } => Kind::Aggregate,
    };
    let (by_partition, is_log) = (declaration.by_partition(), kind == Kind::Log);
    let rooms = declaration.rooms.iter().map(|(room, _)| room.clone()).collect();
    let app = Arc::new(Declared(declaration));
    let mut spec = keyed(config, wanted, "", kind, app.clone());
    spec.app = None;
    spec.by_partition = by_partition;
    spec.merge = by_partition.then(|| merged(app));
    spec.rooms = rooms;
    if is_log {
        spec.rows = vec![declared::EVENTS.to_owned()];
        spec.has_row_ids = true;
    }
    Some(spec)
}

/// A stream whose entities are keyed by the record's key. `app_name`: the system it belongs to.
pub fn keyed<A: App>(config: &Config, wanted: Wanted, app_name: &str, kind: Kind, app: Arc<A>) -> StreamSpec {
    StreamSpec {
        name: wanted.name.into(),
        collection: wanted.collection.into(),
        ttl_ms: wanted.ttl.map(|ttl| ttl.as_millis() as i64),
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
        check: {
            let app = app.clone();
            Box::new(move |record| app.decode(record).map(|_| ()))
        },
        fold: Box::new(move |settings| Box::new(Fold::new(app.clone(), settings))),
    }
}

/// What is shown of partials, by the app that made them.
#[allow(clippy::type_complexity)] // the type of the field it goes to
fn merged<A: App>(app: Arc<A>) -> Box<dyn Fn(&[Document], i64) -> Option<Shown> + Send + Sync> {
    Box::new(move |documents, now_ms| {
        let mut shown = view::shown(documents)?;
        let partials = documents.iter().filter_map(|document| app.from_json(document.value.as_ref()?).ok());
        let partials: Vec<A::Entity> = partials.collect();
        let merged = if partials.is_empty() { None } else { app.merge(partials, now_ms) };
        shown.value = merged.and_then(|entity| app.to_json(&entity).ok());
        Some(shown)
    })
}
