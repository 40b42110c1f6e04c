//! The dependencies at the start: waited for to a deadline, or told apart by who has to act.
//!
//! Invariant: a dependency that is away is tried again until its deadline (exit 69); what trying again cannot mend, such as
//! rights or a locked folder, ends the start at once (exit 64).
//! Not here: a dependency that goes away later (the engine).

use super::Fault;
use crate::{
    adapters::{
        embedded::{Embedded, OpenError},
        kafka::KafkaLog,
        memory::{MemoryLog, MemoryStore},
        mongo::MongoStore,
        null::NullStore,
    },
    cli::Exit,
    config::{Config, LogKind, StoreKind, redact},
    ports::{Log, LogError, Ports, Store, StoreError, TopicSpec},
};
use backon::{ExponentialBuilder, Retryable};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Log and store as configured, both reached.
pub async fn ports(config: &Config) -> Result<Ports, Fault> {
    let folder = folder(config)?;
    let (log, (store, readers)) =
        tokio::try_join!(log_of(config, folder.as_ref()), stores(config, folder.as_ref()))?;
    Ok(Ports { log, store, readers })
}

/// The log as configured, reached.
pub async fn log(config: &Config) -> Result<Arc<dyn Log>, Fault> {
    let folder = if config.log.kind == LogKind::Embedded { folder(config)? } else { None };
    log_of(config, folder.as_ref()).await
}

/// The folder that an embedded log and an embedded store share.
fn folder(config: &Config) -> Result<Option<Embedded>, Fault> {
    if config.log.kind != LogKind::Embedded && config.store.kind != StoreKind::Embedded {
        return Ok(None);
    }
    let wrong = |error: OpenError| Fault::new(Exit::Configuration, format!("embedded.data_dir: {error}"));
    Embedded::open(&config.embedded).map(Some).map_err(wrong)
}

fn no_folder() -> Fault {
    Fault::new(Exit::Internal, "the embedded folder was not opened")
}

async fn log_of(config: &Config, folder: Option<&Embedded>) -> Result<Arc<dyn Log>, Fault> {
    match (config.log.kind, folder) {
        (LogKind::Embedded, Some(folder)) => Ok(Arc::new(folder.log())),
        (LogKind::Embedded, None) => Err(no_folder()),
        (LogKind::Memory, _) => Ok(Arc::new(MemoryLog::default())),
        (LogKind::Kafka, _) => kafka(config).await,
    }
}

async fn stores(
    config: &Config,
    folder: Option<&Embedded>,
) -> Result<(Arc<dyn Store>, Arc<dyn Store>), Fault> {
    let store: Arc<dyn Store> = match (config.store.kind, folder) {
        (StoreKind::Embedded, Some(folder)) => Arc::new(folder.store()),
        (StoreKind::Embedded, None) => return Err(no_folder()),
        (StoreKind::Memory, _) => Arc::new(MemoryStore::default()),
        (StoreKind::Null, _) => Arc::new(NullStore),
        (StoreKind::Mongodb, _) => return mongodb(config).await,
    };
    Ok((store.clone(), store))
}

async fn kafka(config: &Config) -> Result<Arc<dyn Log>, Fault> {
    let name = format!("Kafka at {}", config.kafka.brokers);
    let wrong = |error: LogError| Fault::new(Exit::Configuration, format!("{name} cannot be used: {error}"));
    let log = Arc::new(KafkaLog::new(&config.kafka).map_err(wrong)?);
    let deadline = Duration::from_millis(config.kafka.start_timeout_ms);
    reached(config, &name, deadline, || async { Ok(log.ping().await?) }).await?;
    Ok(log)
}

async fn mongodb(config: &Config) -> Result<(Arc<dyn Store>, Arc<dyn Store>), Fault> {
    let name = format!("MongoDB at {}", redact::hosts(&config.mongodb.uri.0));
    let attempt = || async {
        let store = MongoStore::connect(&config.mongodb).await?;
        store.ping().await?;
        Ok(store)
    };
    let deadline = Duration::from_millis(config.mongodb.start_timeout_ms);
    let store = reached(config, &name, deadline, attempt).await?;
    let readers = store.for_readers();
    Ok((Arc::new(store), Arc::new(readers)))
}

/// Makes the topics that are missing; where that is not ours to do, names them.
pub async fn topics(config: &Config, log: &dyn Log, wanted: &[TopicSpec]) -> Result<(), Fault> {
    if config.log.kind != LogKind::Kafka || config.kafka.create_topics {
        return create(config, log, wanted).await;
    }
    let found = partitions(config, log, wanted).await?;
    let missing = wanted.iter().zip(found).filter(|(_, found)| found.is_none());
    let missing: Vec<_> = missing.map(|(topic, _)| topic.name.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "these topics are not there: {}; create them by `statecast topics apply`, or set kafka.create_topics = true",
        missing.join(", ")
    );
    Err(Fault::new(Exit::Unavailable, why))
}

/// Makes the topics that are missing.
pub async fn create(config: &Config, log: &dyn Log, wanted: &[TopicSpec]) -> Result<(), Fault> {
    let deadline = Duration::from_millis(config.kafka.start_timeout_ms);
    reached(config, "the log", deadline, || async { Ok(log.create_topics(wanted).await?) }).await
}

/// How many partitions each of these topics has; `None`: it is not there.
pub async fn partitions(
    config: &Config,
    log: &dyn Log,
    topics: &[TopicSpec],
) -> Result<Vec<Option<u32>>, Fault> {
    let deadline = Duration::from_millis(config.kafka.start_timeout_ms);
    let mut found = Vec::with_capacity(topics.len());
    for topic in topics {
        let attempt = || async { Ok(log.identity(&topic.name).await?) };
        let identity = reached(config, "the log", deadline, attempt).await?;
        found.push(identity.map(|identity| identity.partitions));
    }
    Ok(found)
}

/// Why a dependency could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    /// Trying again may help.
    Away(String),
    /// Somebody has to act.
    Wrong(String),
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(_) | LogError::Unknown(_) => Trouble::Away(error.to_string()),
            LogError::Refused(_) | LogError::Corrupt(_) | LogError::Fatal(_) => {
                Trouble::Wrong(error.to_string())
            }
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Trouble::Away(error.to_string()),
            StoreError::Refused(_) | StoreError::RefusedDocuments(_) | StoreError::Fatal(_) => {
                Trouble::Wrong(error.to_string())
            }
        }
    }
}

/// Tries until it succeeds, until trying is no use, or until the deadline.
async fn reached<T, F>(
    config: &Config,
    name: &str,
    deadline: Duration,
    attempt: impl FnMut() -> F,
) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Trouble>>,
{
    let mut last = None;
    let waits = ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_max_delay(WAIT_MAX);
    let attempts = attempt
        .retry(waits.with_jitter().without_max_times())
        .sleep(sleep)
        .when(|trouble| matches!(trouble, Trouble::Away(_)))
        .notify(|trouble, _| {
            let (Trouble::Away(why) | Trouble::Wrong(why)) = trouble;
            if last.is_none() {
                let why = config.redact(why);
                tracing::warn!(dependency = name, why, "dependency is away, trying again");
            }
            last = Some(why.clone());
        });
    match timeout(deadline, attempts).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Trouble::Away(why) | Trouble::Wrong(why))) => {
            Err(Fault::new(Exit::Configuration, format!("{name} cannot be used: {why}")))
        }
        Err(_) => {
            let seconds = deadline.as_secs_f32();
            let last = last.unwrap_or_else(|| "no answer".into());
            Err(Fault::new(Exit::Unavailable, format!("{name} did not come in {seconds} s: {last}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::time::Instant;

    fn spec(name: &str) -> TopicSpec {
        TopicSpec { name: name.into(), partitions: 4, retention: None, replication: -1 }
    }

    fn kafka_that_creates(create_topics: bool) -> Config {
        let mut config = Config::default();
        config.log.kind = LogKind::Kafka;
        config.kafka.create_topics = create_topics;
        config
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_had() {
        let tries = Cell::new(0);
        let attempt = || async {
            tries.set(tries.get() + 1);
            if tries.get() < 5 { Err(Trouble::Away("starting".into())) } else { Ok(tries.get()) }
        };
        let got = reached(&Config::default(), "the store", Duration::from_secs(25), attempt).await;
        assert_eq!(got, Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_ends_the_start_at_its_deadline() {
        let start = Instant::now();
        let attempt = || async { Err::<(), _>(Trouble::Away("connection refused".into())) };
        let fault =
            reached(&Config::default(), "the store", Duration::from_secs(25), attempt).await.unwrap_err();
        assert_eq!(
            fault,
            Fault::new(Exit::Unavailable, "the store did not come in 25 s: connection refused")
        );
        assert_eq!(start.elapsed(), Duration::from_secs(25));
        let silent = || std::future::pending::<Result<(), Trouble>>();
        let fault =
            reached(&Config::default(), "the store", Duration::from_secs(25), silent).await.unwrap_err();
        assert_eq!(fault, Fault::new(Exit::Unavailable, "the store did not come in 25 s: no answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waiting_cannot_mend_ends_the_start_at_once() {
        let start = Instant::now();
        let attempt = || async { Err::<(), _>(StoreError::Fatal("wrong password".into()).into()) };
        let fault =
            reached(&Config::default(), "the store", Duration::from_secs(25), attempt).await.unwrap_err();
        assert_eq!(fault.exit, Exit::Configuration);
        assert!(fault.why.contains("wrong password"), "{fault}");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn missing_topics_are_made_or_named() {
        let log = MemoryLog::default();
        let wanted = [spec("kv"), spec("kv.dlq")];
        log.create_topics(&wanted[..1]).await.unwrap();
        let fault = topics(&kafka_that_creates(false), &log, &wanted).await.unwrap_err();
        assert_eq!(fault.exit, Exit::Unavailable);
        assert!(fault.why.starts_with("these topics are not there: kv.dlq; create them"), "{fault}");
        topics(&kafka_that_creates(true), &log, &wanted).await.unwrap();
        assert_eq!(partitions(&Config::default(), &log, &wanted).await, Ok(vec![Some(4), Some(4)]));
        topics(&kafka_that_creates(false), &log, &wanted).await.unwrap();
    }
}
