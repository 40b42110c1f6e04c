//! Appending: one idempotent producer, each append awaiting its own delivery report.
//!
//! Invariant: `Ok` means all in-sync replicas have the record; an append whose report never came, or says nothing
//! certain, is `Unknown`, never "failed".
//! Not here: retrying (librdkafka does, in order and once, until the delivery timeout).

use super::{errors, faults::Faults, settings::Settings};
use crate::{ports::LogError, record::NewRecord};
use arc_swap::ArcSwap;
use rdkafka::{
    ClientContext, Message,
    client::Client,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::oneshot;

type Report = Result<(u32, u64), LogError>;
type Native = ThreadedProducer<Context>;

/// The client that appends, and through which topics are asked about.
pub struct Producer {
    settings: Arc<Settings>,
    faults: Arc<Faults>,
    native: ArcSwap<Native>,
    renewing: Mutex<()>,
}

impl Producer {
    pub fn new(settings: Arc<Settings>) -> Result<Self, LogError> {
        let faults = Arc::new(Faults::new("producer"));
        let native = ArcSwap::from_pointee(create(&settings, &faults)?);
        Ok(Producer { settings, faults, native, renewing: Mutex::new(()) })
    }

    /// What is wrong with the client now, if anything.
    pub fn trouble(&self) -> Option<(Code, String)> {
        self.faults.last()
    }

    /// Something was heard from a broker.
    pub fn well(&self) {
        self.faults.well();
    }

    /// Runs a question over this client's connections. Blocks as long as the question does.
    pub fn ask<T>(&self, question: impl FnOnce(&Client<Context>) -> T) -> T {
        question(self.native.load_full().client())
    }

    /// Appends one record and waits for its delivery report.
    pub async fn append(&self, topic: &str, record: NewRecord) -> Report {
        let native = self.native.load_full();
        let mut queued = send(&native, topic, &record);
        if queued.as_ref().is_err_and(|error| error.rdkafka_error_code() == Some(Code::UnknownPartition)) {
            // It may have been added since this client last looked.
            self.look_at(&native, topic).await;
            queued = send(&native, topic, &record);
        }
        let report = match queued {
            Ok(reported) => reported.await.unwrap_or_else(|_| {
                Err(LogError::Unknown("the producer was closed before the log answered".into()))
            }),
            Err(error) => Err(not_queued(&error)),
        };
        if report.is_err() {
            self.renew_if_ended(&native);
        }
        report
    }

    /// Has the client learn the topic's partitions anew.
    async fn look_at(&self, native: &Arc<Native>, topic: &str) {
        let (native, topic) = (native.clone(), topic.to_owned());
        let timeout = Duration::from_millis(self.settings.kafka().call_timeout_ms);
        let looked = tokio::task::spawn_blocking(move || {
            native.client().fetch_metadata(Some(&topic), timeout).map(|_| ())
        });
        if let Ok(Err(error)) = looked.await {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            self.faults.note("metadata", code, &error.to_string());
        }
    }

    /// An idempotent producer that lost its place with the brokers is of no use any more: the next append gets a new one.
    fn renew_if_ended(&self, native: &Arc<Native>) {
        let Some((code, why)) = native.client().fatal_error() else { return };
        let _one_at_a_time = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(native, &self.native.load()) {
            return;
        }
        match create(&self.settings, &self.faults) {
            Ok(renewed) => {
                tracing::warn!(?code, why, "the producer ended and was made anew");
                self.native.store(Arc::new(renewed));
            }
            Err(error) => tracing::error!(?code, why, %error, "the producer ended and cannot be made anew"),
        }
    }
}

fn create(settings: &Settings, faults: &Arc<Faults>) -> Result<Native, LogError> {
    Native::from_config_and_context(&settings.producer(), Context { faults: faults.clone() })
        .map_err(|error| errors::creation(&error))
}

/// Hands a record to the client; its report comes by the receiver.
fn send(native: &Native, topic: &str, record: &NewRecord) -> Result<oneshot::Receiver<Report>, KafkaError> {
    let (report, reported) = oneshot::channel();
    native.send(base_record(topic, record, report)).map(|()| reported).map_err(|(error, _)| error)
}

fn base_record<'a>(
    topic: &'a str,
    record: &'a NewRecord,
    report: oneshot::Sender<Report>,
) -> BaseRecord<'a, [u8], [u8], Box<oneshot::Sender<Report>>> {
    let mut base = BaseRecord::with_opaque_to(topic, Box::new(report));
    base.key = record.key.as_deref();
    base.payload = record.value.as_deref();
    base.timestamp = record.time_ms;
    // A partition beyond i32 is none; librdkafka answers so for this one too.
    base.partition = record.partition.map(|p| i32::try_from(p).unwrap_or(i32::MAX));
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        base.headers = Some(headers);
    }
    base
}

/// The record was not even taken into the queue: no log has it.
fn not_queued(error: &KafkaError) -> LogError {
    match error.rdkafka_error_code() {
        Some(code) => errors::append(code, true),
        None => LogError::Refused(error.to_string()),
    }
}

/// The producer's context: delivery reports to who waits, complaints to the log.
pub struct Context {
    faults: Arc<Faults>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.faults.log(level, facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.faults.event(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Report>>;

    fn delivery(&self, delivery: &DeliveryResult<'_>, report: Self::DeliveryOpaque) {
        let result = match delivery {
            Ok(message) => {
                self.faults.well();
                at(message.partition(), message.offset())
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                self.faults.note("append", code, "a record was not delivered");
                Err(errors::append(code, kafka_native::never_sent(message)))
            }
        };
        // Nobody waits any more: the append was given up by its caller.
        let _ = report.send(result);
    }
}

fn at(partition: i32, offset: i64) -> Report {
    match (u32::try_from(partition), u64::try_from(offset)) {
        (Ok(partition), Ok(offset)) => Ok((partition, offset)),
        _ => Err(LogError::Unknown("the log confirmed a record without saying where it is".into())),
    }
}
