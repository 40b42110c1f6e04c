//! The systems that run on the engine, one folder each, and the register of them.
//!
//! Invariant: this is the only place that knows the apps by name; the engine gets each as a `StreamSpec`.

pub mod activity;
pub mod agents;
pub mod declared;
pub mod kv;

use self::declared::Declared;
use crate::{
    app::{App, EVENTS},
    config::{
        Config, Projection, Stream,
        declaration::{Declaration, Project},
        streams::Wanted,
    },
    engine::{api::Kind, fold::Fold, shows::Typed, stream::StreamSpec},
    http::{Context, doors},
    ports::TopicSpec,
};
use std::{collections::BTreeSet, sync::Arc};
use utoipa_axum::router::OpenApiRouter;

/// A stream that is there without being configured, with the settings it has then.
pub struct BuiltIn {
    pub stream: &'static str,
    /// The app it belongs to; one app may have several streams.
    pub app: &'static str,
    pub settings: fn() -> Stream,
    spec: fn(&Config, Wanted) -> StreamSpec,
    /// HTTP of the app's own, beside what every stream has; all streams of an app have the same.
    door: Option<fn() -> OpenApiRouter<Context>>,
}

/// The built-in streams, in the order they are shown.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        stream: "kv",
        app: "kv",
        settings: Stream::default,
        spec: |config, wanted| keyed(config, wanted, "kv", Kind::Latest, Arc::new(kv::Kv)),
        door: None,
    },
    BuiltIn {
        stream: "agents-routing",
        app: agents::APP,
        settings: || on("agent-routing-decisions"),
        spec: |config, wanted| agents(config, wanted, "summary", agents::Routing),
        door: Some(doors::agents::routes),
    },
    BuiltIn {
        stream: "agents-actions",
        app: agents::APP,
        settings: || on("agent-actions"),
        spec: |config, wanted| agents(config, wanted, "actions", agents::Actions),
        door: Some(doors::agents::routes),
    },
    BuiltIn {
        stream: "agents-transformations",
        app: agents::APP,
        settings: || on("agent-transformation-events"),
        spec: |config, wanted| agents(config, wanted, "transformations", agents::Transformations),
        door: Some(doors::agents::routes),
    },
    BuiltIn {
        stream: "agents-performance",
        app: agents::APP,
        settings: || on("router-performance-metrics"),
        spec: |config, wanted| agents(config, wanted, "performance", agents::RouterPerformance),
        door: Some(doors::agents::routes),
    },
    BuiltIn {
        stream: activity::STREAM,
        app: activity::STREAM,
        settings: activity::settings,
        spec: |config, wanted| StreamSpec {
            rows: vec![EVENTS.into()],
            has_row_ids: true,
            write_hint: Some("POST /events/generate, or produce an event to the topic".into()),
            ..spec(
                config,
                wanted,
                activity::STREAM,
                Kind::App,
                Arc::new(activity::Activity::new(config)),
                true,
            )
        },
        door: Some(doors::activity::routes),
    },
];

/// A built-in stream of this topic.
fn on(topic: &str) -> Stream {
    Stream { topic: topic.to_owned(), ..Stream::default() }
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

/// A stream of the configuration's own. One that cannot be understood was a fault of the configuration before; one without
/// a projection belongs to a program with streams of its own.
fn declare(config: &Config, wanted: Wanted) -> Option<StreamSpec> {
    let declared = config.streams.get(&wanted.name).filter(|stream| stream.projection != Projection::Own)?;
    let declaration = Declaration::read(declared).ok()?;
    let kind = match &declaration.projection {
        Project::Latest => Kind::Latest,
        Project::Log { .. } => Kind::Log,
        Project::Recent(_) => Kind::Recent,
        Project::Aggregate(_) => Kind::Aggregate,
    };
    let (by_partition, is_log) = (declaration.by_partition(), kind == Kind::Log);
    let rooms = declaration.rooms.iter().map(|(room, _)| room.clone()).collect();
    let app = Arc::new(Declared(declaration));
    let mut spec = spec(config, wanted, "", kind, app, by_partition);
    spec.app = None;
    spec.rooms = rooms;
    if is_log {
        spec.rows = vec![EVENTS.to_owned()];
        spec.has_row_ids = true;
    }
    Some(spec)
}

/// The paths of the apps whose streams are enabled, each app's once, and of declared logs.
pub fn doors(config: &Config) -> OpenApiRouter<Context> {
    let enabled = crate::config::streams::enabled(config);
    let mut seen = BTreeSet::new();
    let is_enabled = |built_in: &&BuiltIn| enabled.iter().any(|wanted| wanted.name == built_in.stream);
    let first = BUILT_IN.iter().filter(is_enabled).filter(|built_in| seen.insert(built_in.app));
    let mut open: Vec<_> = first.filter_map(|built_in| built_in.door).collect();
    let is_log = |wanted: &Wanted| {
        config.streams.get(&wanted.name).is_some_and(|stream| stream.projection == Projection::Log)
    };
    if enabled.iter().any(is_log) {
        open.push(doors::logs::routes);
    }
    open.into_iter().fold(OpenApiRouter::default(), |all, door| all.merge(door()))
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
