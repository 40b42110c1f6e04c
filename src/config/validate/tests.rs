//! Each rule, broken once.

use super::*;
use crate::config::{Secret, Stream};

/// What the rules say about the default configuration after `change`.
fn after(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let mut config = Config::default();
    change(&mut config);
    faults(&config).into_iter().map(|broken| broken.why).collect()
}

/// Exactly one rule is broken, and its sentence begins so.
#[track_caller]
fn breaks(start: &str, change: impl FnOnce(&mut Config)) {
    let found = after(change);
    assert!(found.len() == 1 && found[0].starts_with(start), "{start}: {found:#?}");
}

fn kafka(config: &mut Config) -> &mut crate::config::Kafka {
    config.log.kind = LogKind::Kafka;
    config.kafka.brokers = "host:9092".into();
    &mut config.kafka
}

fn mongodb(config: &mut Config, uri: &str) {
    config.store.kind = StoreKind::Mongodb;
    config.mongodb.uri = Secret(uri.into());
}

fn stream(config: &mut Config, name: &str, change: impl FnOnce(&mut Stream)) {
    change(config.streams.entry(name.into()).or_default());
}

#[test]
fn the_default_breaks_no_rule() {
    assert_eq!(after(|_| {}), [""; 0]);
    assert_eq!(after(|config| kafka(config).linger_ms = 1), [""; 0]);
    assert_eq!(
        after(|config| mongodb(config, "mongodb://bob:p%40ss@db1,db2:27018/?replicaSet=rs0")),
        [""; 0]
    );
}

#[test]
fn every_bound_but_the_named_ones_is_over_zero() {
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut zeroed = 0;
    for (path, setting) in crate::config::setting::all() {
        let (section, field) = path.split_once('.').unwrap_or((&path, ""));
        if !matches!(setting.shape, crate::config::setting::Shape::Number { .. }) {
            continue;
        }
        let mut config = defaults.clone();
        config[section][field] = 0.into();
        let config: Config = serde_json::from_value(config).unwrap();
        let told = faults(&config).iter().any(|broken| broken.why == format!("{path} must be over 0"));
        assert_eq!(told, !MAY_BE_ZERO.contains(&path.as_str()), "{path}");
        zeroed += 1;
    }
    assert!(zeroed > 50, "{zeroed}");
}

#[test]
fn addresses_parse_and_differ() {
    for bad in ["8080", ":8080", "host:8080", "127.0.0.1", "127.0.0.1:99999", ""] {
        breaks("server.listen must be IP:PORT", |config| config.server.listen = bad.into());
    }
    breaks("server.admin_listen must be IP:PORT", |config| config.server.admin_listen = "x".into());
    for (listen, admin) in
        [("127.0.0.1:1", "127.0.0.1:1"), ("0.0.0.0:1", "127.0.0.1:1"), ("[::1]:1", "[::]:1")]
    {
        breaks("server.admin_listen must differ", |config| {
            config.server.listen = listen.into();
            config.server.admin_listen = admin.into();
        });
    }
    for (listen, admin) in
        [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:1", "127.0.0.2:1"), ("0.0.0.0:1", "0.0.0.0:2")]
    {
        let found = after(|config| {
            config.server.listen = listen.into();
            config.server.admin_listen = admin.into();
        });
        assert_eq!(found, [""; 0], "{listen} {admin}");
    }
    breaks("server.admin_url must begin", |config| config.server.admin_url = "ops.example".into());
    breaks("server.public_url must begin", |config| config.server.public_url = "shop.example".into());
}

#[test]
fn a_stop_and_a_rebalance_drain_in_time() {
    breaks("server.stop_deadline_ms (10000) must be under 10000", |config| {
        config.server.stop_deadline_ms = 10_000
    });
    breaks("engine.drain_deadline_ms (9000) must be at most server.stop_deadline_ms (8000)", |config| {
        config.engine.drain_deadline_ms = 9_000;
    });
    breaks(
        "engine.drain_deadline_ms (5000) must be under half of kafka.session_timeout_ms (5000)",
        |config| {
            kafka(config).session_timeout_ms = 10_000;
        },
    );
    let embedded = after(|config| config.kafka.session_timeout_ms = 10_000);
    assert_eq!(embedded, [""; 0], "without Kafka there is no session");
    breaks("engine.restart_wait_ms", |config| config.engine.restart_wait_ms = 20_000);
    breaks("produce.wait_ms", |config| config.produce.wait_ms = 3_000);
    breaks("live.feed_interval_ms", |config| config.live.feed_interval_ms = 20_000);
}

#[test]
fn sizes_fit_into_each_other() {
    breaks("engine.batch_bytes_max (12000001) must be at most what one command", |config| {
        config.engine.batch_bytes_max = 12_000_001;
        config.engine.in_flight_bytes_max = 16 << 20;
    });
    breaks("engine.entity_bytes_max", |config| config.engine.entity_bytes_max = 12_000_001);
    breaks(
        "engine.batch_bytes_max (4194304) must be at most engine.in_flight_bytes_max (2097152)",
        |config| {
            config.engine.in_flight_bytes_max = 2 << 20;
        },
    );
    breaks("engine.slice_bytes_max", |config| config.engine.slice_bytes_max = 17 << 20);
    breaks("engine.value_bytes_max", |config| config.engine.value_bytes_max = 9 << 20);
    breaks("engine.slice_records_max", |config| config.engine.slice_records_max = 40_000);
    breaks("engine.batch_keys_max", |config| config.engine.batch_keys_max = 40_000);
    breaks("engine.key_bytes_max", |config| config.engine.key_bytes_max = 513);
    breaks("engine.depth_max", |config| config.engine.depth_max = 101);
    breaks("engine.shards", |config| config.engine.shards = 257);
    breaks("engine.threads", |config| config.engine.threads = 257);
    breaks("engine.poison_share_max", |config| config.engine.poison_share_max = 1_001);
    breaks("limits.page_items_max", |config| config.limits.page_items_max = 1_001);
    breaks("live.page_bytes_max", |config| config.live.page_bytes_max = 1 << 20);
    breaks("live.clients_max", |config| config.live.clients_max = 20_001);
}

#[test]
fn the_embedded_storage_gets_what_it_needs() {
    breaks(
        "embedded.group_bytes_max (33554432) must be at most embedded.queue_bytes_max (16777216)",
        |config| {
            config.embedded.group_bytes_max = 32 << 20;
        },
    );
    breaks("engine.wedge_after_ms (999) must be at least 1000", |config| config.engine.wedge_after_ms = 999);
    breaks("embedded.journal_bytes_max must be at least", |config| {
        config.embedded.journal_bytes_max = 63 << 20
    });
}

#[test]
fn all_bounds_together_stay_in_the_budget() {
    let found = after(|config| config.engine.cache_bytes_max = 65 << 20);
    assert_eq!(
        found,
        ["engine.in_flight_bytes_max, engine.cache_bytes_max, engine.view_bytes_max, \
          engine.board_bytes_max, engine.board_waiting_bytes_max, live.history_bytes_max, embedded.cache_bytes_max, embedded.queue_bytes_max come to 135266304 bytes together, over \
          limits.memory_bytes_max (134217728)"]
    );
    let raised = after(|config| {
        config.engine.cache_bytes_max = 65 << 20;
        config.limits.memory_bytes_max = 129 << 20;
    });
    assert_eq!(raised, [""; 0]);
    let every_buffer = after(|config| kafka(config).linger_ms = 1);
    assert_eq!(every_buffer, [""; 0], "also a log on Kafka with an embedded store");
    let unused = after(|config| config.kafka.prefetch_bytes_max = 1 << 30);
    assert_eq!(unused, [""; 0], "what is not in use does not count");
    let sum_of_sums = after(|config| config.engine.cache_bytes_max = usize::MAX);
    assert_eq!(sum_of_sums.len(), 1, "no overflow: {sum_of_sums:?}");
}

#[test]
fn kafka_is_told_where_and_how() {
    breaks("kafka.brokers is required where log.kind is kafka", |config| kafka(config).brokers.clear());
    for bad in ["host", "host:", "host:0", "host:99999", ":9092", "a:1,,b:2", "kafka://host:9092", "[zz]:1"] {
        breaks("kafka.brokers must be HOST:PORT", |config| kafka(config).brokers = bad.into());
    }
    for good in ["a:1, b.example:2,c-d_e:3", "[::1]:9092", "10.0.0.1:9092"] {
        assert_eq!(after(|config| kafka(config).brokers = good.into()), [""; 0], "{good}");
    }
    let found = after(|config| kafka(config).brokers = "bob:hunter2@host:9092".into());
    assert!(found.len() == 1 && !found[0].contains("hunter2"), "{found:?}");
    breaks(
        "kafka.security_protocol must be one of plaintext, ssl, sasl_plaintext, sasl_ssl, not \"SSL\"; did you mean ssl?",
        |config| {
            kafka(config).security_protocol = "SSL".into();
        },
    );
    breaks("kafka.partitioner must be one of", |config| kafka(config).partitioner = "murmur3".into());
    breaks("kafka.group_prefix must be", |config| kafka(config).group_prefix = "a b".into());
    breaks("kafka.replication must be", |config| kafka(config).replication = -2);
    breaks("kafka.linger_ms must be at most", |config| kafka(config).linger_ms = 20_000);
    breaks("kafka.ssl_ca_location names a file that is not there", |config| {
        kafka(config).ssl_ca_location = "/no/such/ca.pem".into();
    });
}

#[test]
fn sasl_is_whole_or_not_at_all() {
    let sasl = |config: &mut Config| {
        let kafka = kafka(config);
        kafka.security_protocol = "sasl_ssl".into();
        kafka.sasl_mechanism = "SCRAM-SHA-512".into();
        kafka.sasl_username = "bob".into();
        kafka.sasl_password = Secret("hunter2".into());
    };
    assert_eq!(after(sasl), [""; 0]);
    let without = |change: fn(&mut crate::config::Kafka)| {
        move |config: &mut Config| {
            sasl(config);
            change(&mut config.kafka);
        }
    };
    breaks("kafka.sasl_mechanism is required", without(|kafka| kafka.sasl_mechanism.clear()));
    breaks("kafka.sasl_mechanism must be one of", without(|kafka| kafka.sasl_mechanism = "SCRAM".into()));
    breaks("kafka.sasl_mechanism has no effect", without(|kafka| kafka.security_protocol = "ssl".into()));
    breaks("kafka.sasl_username is required", without(|kafka| kafka.sasl_username.clear()));
    breaks("kafka.sasl_password is required", without(|kafka| kafka.sasl_password.0.clear()));
}

#[test]
fn properties_are_known_and_not_ours() {
    let with = |name: &'static str, value: &'static str| {
        move |config: &mut Config| drop(config.kafka.properties.insert(name.into(), value.into()))
    };
    assert_eq!(after(with("fetch.min.bytes", "10")), [""; 0]);
    breaks(
        "kafka.properties.enable.auto.commit is not for you to set: an offset",
        with("enable.auto.commit", "true"),
    );
    breaks("kafka.properties.fetch.min.byte is refused by librdkafka: No such", with("fetch.min.byte", "10"));
    breaks("kafka.properties.fetch.min.bytes is refused by librdkafka: ", with("fetch.min.bytes", "many"));
}

#[test]
fn mongodb_is_told_where_and_confirms_what_it_takes() {
    breaks("mongodb.uri is required where store.kind is mongodb", |config| mongodb(config, ""));
    breaks("mongodb.uri cannot be parsed: ", |config| mongodb(config, "localhost:27017"));
    for raw in
        ["mongodb://bob:hunter2/x@db/", "mongodb://bob:hunter2@db:port/", "mongodb://bob:hunter2@:1@db/"]
    {
        let found = after(|config| mongodb(config, raw));
        assert!(
            found.len() == 1 && !found[0].contains("hunter2") && !found[0].contains("port"),
            "{raw}: {found:?}"
        );
    }
    for weak in ["mongodb://db/?w=0", "mongodb://db/?journal=false"] {
        breaks("mongodb.uri must not say", |config| mongodb(config, weak));
    }
    breaks("mongodb.database must be", |config| config.mongodb.database = "a.b".into());
    breaks("mongodb.statements_max", |config| config.mongodb.statements_max = 100_001);
}

#[test]
fn who_may_connect_is_named() {
    for bad in ["*", "example.org", "https://", "https://*.example.org", "https://a.example/path"] {
        breaks("security.allowed_origins must", |config| config.security.allowed_origins = vec![bad.into()]);
    }
    let good = ["https://a.example", "http://localhost:5173"].map(String::from);
    assert_eq!(after(|config| config.security.allowed_origins = good.into()), [""; 0]);
    breaks("security.admin_hosts must", |config| config.security.admin_hosts = vec!["https://ops".into()]);
    breaks("redis.url must begin", |config| config.redis.url = Secret("cache:6379".into()));
    breaks("embedded.data_dir is required", |config| config.embedded.data_dir = "".into());
}

#[test]
fn logs_have_a_level_and_a_format() {
    breaks("telemetry.log_level must be off, error", |config| config.telemetry.log_level = "inof".into());
    breaks("telemetry.log_format must be one of text, json", |config| {
        config.telemetry.log_format = "xml".into()
    });
}

#[test]
fn streams_have_names_that_fit_everywhere() {
    for bad in ["a/b", "a:b", "Orders", "my_orders", "streams"] {
        let start = format!("streams.{bad}: the name of a stream");
        breaks(&start, |config| stream(config, bad, |_| {}));
    }
    breaks("streams.orders: no stream of this name is built in", |config| stream(config, "orders", |_| {}));
    breaks("streams.kv.topic may hold only", |config| stream(config, "kv", |kv| kv.topic = "a b".into()));
    breaks("streams.kv.group must be", |config| stream(config, "kv", |kv| kv.group = "a b".into()));
    breaks("streams.kv.partitions must be over 0", |config| stream(config, "kv", |kv| kv.partitions = 0));
    let shared = after(|config| stream(config, "orders", |orders| orders.group = "statecast-kv".into()));
    assert!(
        shared.iter().any(|why| why.starts_with("streams.orders.group must differ from that of stream kv"))
    );
}
