//! The streams a configuration asks for, with every name filled in.
//!
//! Invariant: what serves a stream and what creates its topics read the same list.

use super::{Config, Stream, names::DEAD_LETTER_SUFFIX};
use crate::{apps::BUILT_IN, ports::TopicSpec};
use std::{collections::BTreeMap, time::Duration};

/// A stream with nothing left to default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub topic: String,
    pub group: String,
    pub partitions: u32,
    /// `None`: for ever.
    pub retention: Option<Duration>,
    /// Where its state is kept.
    pub collection: String,
    /// `None`: for ever.
    pub ttl: Option<Duration>,
}

/// Every enabled stream, in the order of names.
pub fn enabled(config: &Config) -> Vec<Wanted> {
    let built_in = BUILT_IN.iter().map(|built_in| (built_in.stream.to_owned(), (built_in.settings)()));
    let mut streams: BTreeMap<_, _> = built_in.collect();
    streams.extend(config.streams.clone());
    let streams = streams.into_iter().filter(|(_, stream)| stream.enabled);
    streams.map(|(name, stream)| wanted(config, name, stream)).collect()
}

fn wanted(config: &Config, name: String, stream: Stream) -> Wanted {
    let or = |text: String, default: String| if text.is_empty() { default } else { text };
    // A built-in stream of which something else is set keeps the names that its producers know.
    let built_in = BUILT_IN.iter().find(|built_in| built_in.stream == name);
    let known = built_in.map(|built_in| (built_in.settings)()).unwrap_or_default();
    Wanted {
        topic: or(stream.topic, or(known.topic, name.clone())),
        group: or(stream.group, or(known.group, format!("{}-{name}", config.kafka.group_prefix))),
        partitions: stream.partitions,
        retention: (stream.retention_s > 0).then(|| Duration::from_secs(stream.retention_s)),
        collection: or(stream.collection, name.clone()),
        ttl: (stream.ttl_s > 0).then(|| Duration::from_secs(stream.ttl_s)),
        name,
    }
}

/// The topics those streams need: each its own, and one for its dead letters, kept for ever.
pub fn topics(config: &Config) -> Vec<TopicSpec> {
    let mut topics = BTreeMap::new();
    for stream in enabled(config) {
        let replication = config.kafka.replication;
        let dead_letters = format!("{}{DEAD_LETTER_SUFFIX}", stream.topic);
        // Dead letters are few, and whoever looks at them reads them all: one partition.
        let own = (stream.topic, stream.partitions, stream.retention);
        for (name, partitions, retention) in [own, (dead_letters, 1, None)] {
            let spec = TopicSpec { name, partitions, retention, replication };
            topics.entry(spec.name.clone()).or_insert(spec);
        }
    }
    topics.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::only;

    #[test]
    fn without_configuration_there_is_kv_and_its_dead_letters() {
        let mut config = Config::default();
        let all = enabled(&config);
        assert_eq!(all.len(), BUILT_IN.len());
        config.streams = only(&["kv"]);
        let kv = Wanted {
            name: "kv".into(),
            topic: "kv".into(),
            group: "statecast-kv".into(),
            partitions: 4,
            retention: None,
            collection: "kv".into(),
            ttl: None,
        };
        assert_eq!(enabled(&config), [kv]);
        let spec = |name: &str, partitions| TopicSpec {
            name: name.into(),
            partitions,
            retention: None,
            replication: -1,
        };
        assert_eq!(topics(&config), [spec("kv", 4), spec("kv.dlq", 1)]);
    }

    #[test]
    fn a_built_in_stream_keeps_its_topic_where_another_is_not_named() {
        let mut config = Config { streams: only(&["agents-actions", "agents-routing"]), ..Config::default() };
        config.streams.insert("agents-routing".into(), Stream::default());
        config.streams.insert("agents-actions".into(), Stream { topic: "a.v2".into(), ..Stream::default() });
        let topics: Vec<_> = enabled(&config).into_iter().map(|stream| stream.topic).collect();
        assert_eq!(topics, ["a.v2", "agent-routing-decisions"]);
    }

    #[test]
    fn a_built_in_stream_keeps_the_names_its_producers_know() {
        let mut config = Config { streams: only(&["activity"]), ..Config::default() };
        config.streams.insert("activity".into(), Stream { partitions: 9, ..Stream::default() });
        let found = enabled(&config).remove(0);
        let names = (found.topic.as_str(), found.group.as_str(), found.partitions);
        assert_eq!(names, ("user-activity-events", "user-activity-consumer-group", 9));
        let own = Stream { topic: "t".into(), group: "g".into(), ..Stream::default() };
        config.streams.insert("activity".into(), own);
        let found = enabled(&config).remove(0);
        assert_eq!((found.topic.as_str(), found.group.as_str()), ("t", "g"));
    }

    #[test]
    fn settings_of_a_stream_reach_its_topics() {
        let mut config = Config { streams: only(&[]), ..Config::default() };
        config.kafka.group_prefix = "prod".into();
        config.kafka.replication = 3;
        config.streams.insert("kv".into(), Stream { enabled: false, ..Stream::default() });
        let hour =
            Stream { topic: "orders.v1".into(), partitions: 12, retention_s: 3600, ..Stream::default() };
        config.streams.insert("orders".into(), hour);
        let found = enabled(&config);
        assert_eq!(found.len(), 1, "a disabled stream is not there");
        assert_eq!((found[0].group.as_str(), found[0].topic.as_str()), ("prod-orders", "orders.v1"));
        let topics = topics(&config);
        assert_eq!(topics[0].retention, Some(Duration::from_secs(3600)));
        assert_eq!((topics[1].name.as_str(), topics[1].retention), ("orders.v1.dlq", None));
        assert_eq!((topics[1].partitions, topics[1].replication), (1, 3));
    }
}
