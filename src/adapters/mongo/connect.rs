//! From a connection string to a store: two clients, and what the deployment at the other end can do.
//!
//! Invariant: no text made here holds a user, a password or a token.
//! Not here: trying again; an `Unavailable` start is the caller's to repeat (`start_timeout_ms`).

use super::{MongoStore, call::Door, errors, pack::Terms};
use crate::{config::Mongodb, ports::StoreError};
use bson::{Document, rawdoc};
use mongodb::{Client, options::ClientOptions};
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a call looks for a primary. `serverSelectionTimeoutMS` in the connection string overrides it.
const SELECTION: Duration = Duration::from_secs(4);
/// How often each node is asked for its state, and with `CONNECT` how soon a frozen one is given up, which ends the calls
/// that wait for it: the driver has no time-out of its own for a reply. `heartbeatFrequencyMS` overrides it.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// `connectTimeoutMS` overrides it.
const CONNECT: Duration = Duration::from_secs(5);

/// MongoDB 5.0: nested names may start with a dollar.
const WIRE_VERSION_MIN: i32 = 13;

impl MongoStore {
    /// Connects two clients, so that readers can never take the connections writers need, and asks what is there.
    pub async fn connect(config: &Mongodb) -> Result<Self, StoreError> {
        let options = options(&config.uri.0).await?;
        let for_readers = (config.pool_max / 2).max(1);
        let for_writers = config.pool_max.saturating_sub(for_readers).max(1);
        let door = |connections_max| {
            let options = with_pool(&options, connections_max);
            let client = Client::with_options(options).map_err(|error| errors::of_driver(&error))?;
            Ok::<_, StoreError>(Door {
                database: client.database(&config.database),
                runtime: Handle::current(),
                call_timeout: Duration::from_millis(config.call_timeout_ms),
            })
        };
        let (writers, readers) = (door(for_writers)?, door(for_readers)?);
        let deployment = Deployment::read(&writers.command(rawdoc! { "hello": 1 }).await?)?;
        let terms = Terms {
            write_concern: match deployment {
                Deployment::Replicated => rawdoc! { "w": "majority", "j": true },
                Deployment::Standalone => rawdoc! { "w": 1, "j": true },
            },
            statements_max: config.statements_max.max(1),
            time_max_ms: i64::try_from(config.call_timeout_ms).unwrap_or(i64::MAX),
        };
        let (confirmed, newest) = deployment.read_concerns();
        Ok(MongoStore { writers, readers, terms, confirmed, newest })
    }
}

async fn options(uri: &str) -> Result<ClientOptions, StoreError> {
    if uri.is_empty() {
        return Err(StoreError::Fatal("mongodb.uri is empty".into()));
    }
    let parsed = ClientOptions::parse(uri).await.map_err(|error| match errors::of_driver(&error) {
        away @ StoreError::Unavailable(_) => away,
        _ => StoreError::Fatal(format!("mongodb.uri is no connection string{}", why(uri, &error))),
    });
    let mut options = parsed?;
    options.app_name.get_or_insert_with(|| "statecast".into());
    options.server_selection_timeout.get_or_insert(SELECTION);
    options.heartbeat_freq.get_or_insert(HEARTBEAT);
    options.connect_timeout.get_or_insert(CONNECT);
    // Both would repeat calls behind the engine's back; writes would need a replica set on top.
    options.retry_writes = Some(false);
    options.retry_reads = Some(false);
    Ok(options)
}

/// What the driver found wrong, unless the text it quotes could hold credentials.
fn why(uri: &str, error: &mongodb::error::Error) -> String {
    let quotable = !uri.contains('@') && !uri.to_ascii_lowercase().contains("authmechanismproperties");
    if quotable { format!(": {}", error.kind) } else { String::new() }
}

fn with_pool(options: &ClientOptions, connections_max: u32) -> ClientOptions {
    let mut options = options.clone();
    options.max_pool_size = Some(connections_max);
    options.min_pool_size = None;
    options
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deployment {
    /// A replica set, or a cluster of them behind a router.
    Replicated,
    Standalone,
}

impl Deployment {
    fn read(hello: &Document) -> Result<Self, StoreError> {
        let wire_version = hello.get_i32("maxWireVersion").unwrap_or_default();
        if wire_version < WIRE_VERSION_MIN {
            return Err(StoreError::Fatal("MongoDB 5.0 or newer is needed".into()));
        }
        let replicated = hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|m| m == "isdbgrid");
        Ok(if replicated { Deployment::Replicated } else { Deployment::Standalone })
    }

    /// What readers and writers may see, and what the register of epochs must see.
    ///
    /// `majority` rather than `local`: a primary that has been deposed and does not know it yet still shows what a fenced-out
    /// owner wrote to it last. Such a write is rolled back later; had we taken it for "already seen", its record would be
    /// lost. A majority read can at worst be a moment old after an election, and the guard turns away what is folded from
    /// an old document. It misses nothing that `write` told of: even a command that changed nothing returns only when all
    /// it saw is held by a majority.
    fn read_concerns(self) -> (&'static str, &'static str) {
        match self {
            Deployment::Replicated => ("majority", "linearizable"),
            Deployment::Standalone => ("local", "local"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::doc;

    #[test]
    fn the_deployment_is_told_by_hello() {
        let of = |hello: Document| Deployment::read(&hello).ok();
        assert_eq!(of(doc! { "maxWireVersion": 17, "setName": "rs0" }), Some(Deployment::Replicated));
        assert_eq!(of(doc! { "maxWireVersion": 17, "msg": "isdbgrid" }), Some(Deployment::Replicated));
        assert_eq!(of(doc! { "maxWireVersion": 13 }), Some(Deployment::Standalone));
        let too_old = Deployment::read(&doc! { "maxWireVersion": 9, "setName": "rs0" });
        assert!(matches!(too_old, Err(StoreError::Fatal(text)) if text.contains("5.0")));
    }

    #[tokio::test]
    async fn a_wrong_connection_string_is_fatal_and_shows_no_secret() {
        for uri in [
            "",
            "localhost:27017",
            "mongodb://",
            "http://host/",
            "mongodb://user:s3cret/with@host/",
            "mongodb://user:s3cret@host:port/",
            "mongodb://user:s3cret@host/?w=-5&authMechanism=NO",
            "mongodb://host/?authMechanism=NO&authMechanismProperties=AWS_SESSION_TOKEN:s3cret",
        ] {
            let error = options(uri).await.expect_err(uri);
            assert!(matches!(error, StoreError::Fatal(_)), "{uri}: {error}");
            let text = error.to_string();
            assert!(!text.contains("s3cret") && !text.contains('\n'), "{uri}: {text}");
        }
    }

    #[tokio::test]
    async fn the_connection_string_overrides_our_waits() {
        let ours = options("mongodb://host/").await.expect("options");
        assert_eq!(ours.server_selection_timeout, Some(SELECTION));
        assert_eq!((ours.retry_writes, ours.app_name.as_deref()), (Some(false), Some("statecast")));
        let theirs =
            options("mongodb://host/?serverSelectionTimeoutMS=50&appName=mine").await.expect("options");
        assert_eq!(theirs.server_selection_timeout, Some(Duration::from_millis(50)));
        assert_eq!(theirs.app_name.as_deref(), Some("mine"));
    }
}
