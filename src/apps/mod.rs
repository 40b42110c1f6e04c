//! The systems that run on the engine, one folder each, and the register of them.
//!
//! Invariant: this is the only place that knows the apps by name; the engine gets each as a `StreamSpec`.

pub mod agents;
pub mod declared;
pub mod kv;

use self::declared::{
    Declared,
    declaration::{Declaration, Project},
};
use crate::{
    app::App,
    config::{Config, Stream, streams::Wanted},
    engine::{api::Kind, fold::Fold, shows::Typed, stream::StreamSpec},
    http::Context,
    ports::TopicSpec,
};
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

/// A stream that is there without being configured, with the settings it has then.
pub struct BuiltIn {
    pub stream: &'static str,
    pub settings: fn() -> Stream,
    spec: fn(&Config, Wanted) -> StreamSpec,
}

/// The built-in streams, in the order they are shown.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        stream: "agents-routing",
        settings: || off("agent-routing-decisions"),
        spec: |config, wanted| agents(config, wanted, "summary", agents::Routing),
    },
    BuiltIn {
        stream: "agents-actions",
        settings: || off("agent-actions"),
        spec: |config, wanted| agents(config, wanted, "actions", agents::Actions),
    },
    BuiltIn {
        stream: "agents-transformations",
        settings: || off("agent-transformation-events"),
        spec: |config, wanted| agents(config, wanted, "transformations", agents::Transformations),
    },
    BuiltIn {
        stream: "agents-performance",
        settings: || off("router-performance-metrics"),
        spec: |config, wanted| agents(config, wanted, "performance", agents::RouterPerformance),
    },
    BuiltIn {
        stream: "kv",
        settings: Stream::default,
        spec: |config, wanted| keyed(config, wanted, "kv", Kind::Latest, Arc::new(kv::Kv)),
    },
];

/// Paths of the apps' own, beside those every stream has.
pub fn routes() -> OpenApiRouter<Context> {
    OpenApiRouter::default().merge(agents::routes::routes())
}

/// A built-in stream that is there once it is enabled.
fn off(topic: &str) -> Stream {
    Stream { enabled: false, topic: topic.to_owned(), ..Stream::default() }
}

/// A stream of the agents: partials, of which one room shows the whole.
fn agents<A: App>(config: &Config, wanted: Wanted, room: &str, app: A) -> StreamSpec {
    let hint = format!("it is written by the topic {}", wanted.topic);
    let app = Arc::new(app);
    StreamSpec {
        rooms: vec![room.to_owned()],
        rooms_show_all: true,
        rooms_under: Some(agents::APP.into()),
        write_hint: Some(hint),
        ..spec(config, wanted, agents::APP, Kind::App, app, true)
    }
}

/// Every enabled stream of this process: the built-in ones, and those that the configuration declares.
pub fn register(config: &Config) -> Vec<StreamSpec> {
    let spec = |wanted: Wanted| match BUILT_IN.iter().find(|built_in| built_in.stream == wanted.name) {
        Some(built_in) => Some((built_in.spec)(config, wanted)),
        None => declare(config, wanted),
    };
    crate::config::streams::enabled(config).into_iter().filter_map(spec).collect()
}

/// A stream of the configuration's own. One that cannot be understood was a fault of the configuration before.
fn declare(config: &Config, wanted: Wanted) -> Option<StreamSpec> {
    let declaration = Declaration::read(config.streams.get(&wanted.name)?).ok()?;
    let kind = match &declaration.projection {
        Project::Latest => Kind::Latest,
        Project::Log { .. } => Kind::Log,
        Project::Recent { .. } => Kind::Recent,
        Project::Aggregate { .. } => Kind::Aggregate,
    };
    let (by_partition, is_log) = (declaration.by_partition(), kind == Kind::Log);
    let rooms = declaration.rooms.iter().map(|(room, _)| room.clone()).collect();
    let app = Arc::new(Declared(declaration));
    let mut spec = spec(config, wanted, "", kind, app, by_partition);
    spec.app = None;
    spec.rooms = rooms;
    if is_log {
        spec.rows = vec![declared::EVENTS.to_owned()];
        spec.has_row_ids = true;
    }
    Some(spec)
}

/// A stream whose entities are keyed by the record's key. `app_name`: the system it belongs to.
pub fn keyed<A: App>(config: &Config, wanted: Wanted, app_name: &str, kind: Kind, app: Arc<A>) -> StreamSpec {
    spec(config, wanted, app_name, kind, app, false)
}

fn spec<A: App>(
    config: &Config,
    wanted: Wanted,
    app_name: &str,
    kind: Kind,
    app: Arc<A>,
    by_partition: bool,
) -> StreamSpec {
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
        by_partition,
        rows: Vec::new(),
        has_row_ids: false,
        rooms: Vec::new(),
        rooms_show_all: false,
        rooms_under: None,
        write_hint: None,
        shows: Box::new(Typed::new(app.clone(), by_partition)),
        check: {
            let app = app.clone();
            Box::new(move |record| app.decode(record).map(|_| ()))
        },
        fold: Box::new(move |settings| Box::new(Fold::new(app.clone(), settings))),
    }
}
