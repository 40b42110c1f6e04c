//! Where records go: a stream's HTTP door, or a topic.
//!
//! Invariant: a record counts as sent once the log has it (202, or the brokers' acknowledgement).

use crate::{Fault, data::Data};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use std::{collections::BTreeSet, fmt};

/// Keys that are named to who runs this.
const NAMED: usize = 5;

pub enum To {
    Http { client: reqwest::Client, base: String, stream: String },
    Kafka { producer: FutureProducer, topic: String },
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            To::Http { base, stream, .. } => write!(f, "stream {stream} at {base}"),
            To::Kafka { topic, .. } => write!(f, "topic {topic}"),
        }
    }
}

impl To {
    pub fn open(kafka: Option<&str>, base: &str, stream: &str) -> Result<To, Fault> {
        let Some(brokers) = kafka else {
            let base = base.trim_end_matches('/').to_owned();
            return Ok(To::Http { client: reqwest::Client::new(), base, stream: stream.to_owned() });
        };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("acks", "all").set("enable.idempotence", "true");
        // As Java clients place keys, and as Statecast's own door does.
        config.set("partitioner", "murmur2_random").set("linger.ms", "5");
        Ok(To::Kafka { producer: config.create()?, topic: stream.to_owned() })
    }

    /// Pages that move with this.
    pub fn say_where_to_look(&self, records: &[Data]) {
        let To::Http { base, stream, .. } = self else { return };
        let keys: BTreeSet<&str> = records.iter().map(|record| record.key.as_str()).collect();
        eprintln!("look at {base}/streams/{stream}");
        for key in keys.into_iter().take(NAMED) {
            eprintln!("     or {}", page(base, stream, key));
        }
    }

    pub async fn send(&self, record: &Data) -> Result<(), Fault> {
        match self {
            To::Http { client, base, stream } => {
                let url = format!("{base}/api/streams/{stream}/{}", encoded(&record.key));
                let put = client.put(url).header("content-type", "application/json");
                let answer = put.body(record.value.clone()).send().await?;
                if answer.status() == 202 {
                    return Ok(());
                }
                Err(format!("{}: {}", record.key, answer.text().await?).into())
            }
            To::Kafka { producer, topic } => {
                let sent = FutureRecord::to(topic).key(&record.key).payload(&record.value);
                producer.send(sent, Timeout::Never).await.map_err(|(error, _)| error)?;
                Ok(())
            }
        }
    }
}

fn page(base: &str, stream: &str, key: &str) -> String {
    match stream {
        "kv" => format!("{base}/viewer/{}", encoded(key)),
        _ => format!("{base}/streams/{stream}/{}", encoded(key)),
    }
}

fn encoded(key: &str) -> String {
    percent_encoding::utf8_percent_encode(key, percent_encoding::NON_ALPHANUMERIC).to_string()
}
