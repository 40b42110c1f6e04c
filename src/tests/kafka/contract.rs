//! The behaviour suite of logs, on Kafka.

use crate::{
    ports::Log,
    tests::{
        contract::log::{LogFactory, log_suite},
        services,
    },
};
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

struct Kafka {
    brokers: String,
}

async fn kafka() -> Option<Kafka> {
    services::kafka().map(|brokers| Kafka { brokers })
}

impl LogFactory for Kafka {
    fn log(&self) -> Arc<dyn Log> {
        super::log(&self.brokers)
    }

    fn delete_topic<'a>(&'a self, topic: &'a str) -> Option<BoxFuture<'a, ()>> {
        Some(Box::pin(async move {
            let admin = super::admin(&self.brokers);
            let deleted = admin.delete_topics(&[topic], &super::patient()).await.expect("delete");
            assert_eq!(deleted, [Ok(topic.to_owned())]);
            let log = self.log();
            while log.identity(topic).await.expect("identity").is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }
}

log_suite!(kafka);
