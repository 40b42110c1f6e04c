//! What points outside: addresses, brokers, the database, origins, and what is logged.

use super::Check;
use crate::{
    config::{
        Config, LogKind, Secret, StoreKind, names,
        value::{nearest, one_of},
    },
    telemetry,
};
use mongodb::{
    error::ErrorKind,
    options::{Acknowledgment, ConnectionString},
};
use rdkafka::{ClientConfig, error::KafkaError};
use std::{net::SocketAddr, path::Path};

const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const PARTITIONERS: [&str; 7] =
    ["consistent", "consistent_random", "fnv1a", "fnv1a_random", "murmur2", "murmur2_random", "random"];
const FORMATS: [&str; 2] = ["text", "json"];
/// Properties of librdkafka that are decided here, with what to do instead or why.
const OWNED: [(&str, &str); 21] = [
    ("acks", "a write is answered only when every replica in sync has it"),
    ("auto.offset.reset", "a new group starts at the earliest record"),
    ("bootstrap.servers", "set kafka.brokers"),
    ("check.crcs", "a broken batch must be noticed"),
    ("enable.auto.commit", "an offset is committed only after the store confirmed"),
    ("enable.auto.offset.store", "an offset is committed only after the store confirmed"),
    ("enable.partition.eof", "it would be taken for a fault"),
    ("enable.idempotence", "a repeated write must keep its place"),
    ("group.id", "set kafka.group_prefix or streams.NAME.group"),
    ("group.instance.id", "two processes of one name would end each other"),
    ("group.protocol", "the client's newer protocol ends a member that it should not"),
    ("metadata.broker.list", "set kafka.brokers"),
    ("partition.assignment.strategy", "partitions move one by one, which all members must agree on"),
    ("partitioner", "set kafka.partitioner"),
    ("request.required.acks", "a write is answered only when every replica in sync has it"),
    ("sasl.mechanism", "set kafka.sasl_mechanism"),
    ("sasl.mechanisms", "set kafka.sasl_mechanism"),
    ("sasl.password", "set kafka.sasl_password, which is never printed"),
    ("security.protocol", "set kafka.security_protocol"),
    ("session.timeout.ms", "set kafka.session_timeout_ms"),
    ("transactional.id", "a record is not part of a transaction"),
];

pub(super) fn addresses(config: &Config, check: &mut Check) {
    let server = &config.server;
    let listen = address("server.listen", &server.listen, check);
    let admin = address("server.admin_listen", &server.admin_listen, check);
    if let (Some(listen), Some(admin)) = (listen, admin) {
        let everywhere = listen.ip().is_unspecified() || admin.ip().is_unspecified();
        let same_host = everywhere || listen.ip() == admin.ip();
        let clash = listen.port() == admin.port() && listen.port() != 0 && same_host;
        let why =
            "server.admin_listen must differ from server.listen: what operators see is not for everyone";
        check.that(!clash, &["server.admin_listen", "server.listen"], why);
    }
    for (setting, url) in [("server.admin_url", &server.admin_url), ("server.public_url", &server.public_url)]
    {
        let why = format!("{setting} must begin with http:// or https://, or be empty");
        check.that(url.is_empty() || is_web(url), &[setting], why);
    }
}

fn address(setting: &str, text: &str, check: &mut Check) -> Option<SocketAddr> {
    let address = text.parse().ok();
    let why = format!("{setting} must be IP:PORT, like 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080");
    check.that(address.is_some(), &[setting], why);
    address
}

fn is_web(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

pub(super) fn kafka(config: &Config, check: &mut Check) {
    let kafka = &config.kafka;
    one("kafka.security_protocol", &kafka.security_protocol, &PROTOCOLS, check);
    one("kafka.partitioner", &kafka.partitioner, &PARTITIONERS, check);
    let why = names::group(&kafka.group_prefix).err().unwrap_or_default();
    check.that(why.is_empty(), &["kafka.group_prefix"], format!("kafka.group_prefix {why}"));
    check.that(
        kafka.replication == -1 || (1..=i32::from(i16::MAX)).contains(&kafka.replication),
        &["kafka.replication"],
        "kafka.replication must be -1 (the broker's default) or 1 and more",
    );
    check.that(
        kafka.linger_ms <= kafka.delivery_timeout_ms,
        &["kafka.linger_ms", "kafka.delivery_timeout_ms"],
        "kafka.linger_ms must be at most kafka.delivery_timeout_ms: a record must be sent before it is given up",
    );
    properties(config, check);
    if config.log.kind == LogKind::Kafka {
        brokers(&kafka.brokers, check);
        sasl(config, check);
        let ca = &kafka.ssl_ca_location;
        let why = "kafka.ssl_ca_location names a file that is not there";
        check.that(ca.is_empty() || Path::new(ca).is_file(), &["kafka.ssl_ca_location"], why);
    }
}

fn brokers(brokers: &str, check: &mut Check) {
    const SETTING: [&str; 1] = ["kafka.brokers"];
    if brokers.trim().is_empty() {
        let why = "kafka.brokers is required where log.kind is kafka: HOST:PORT, comma separated";
        return check.that(false, &["kafka.brokers", "log.kind"], why);
    }
    for broker in brokers.split(',').map(str::trim) {
        let parts = broker.rsplit_once(':');
        let good =
            parts.is_some_and(|(host, port)| is_host(host) && port.parse().is_ok_and(|port: u16| port > 0));
        // What is no host may be a URL with a password in it.
        let shown = if broker.contains(['@', '/']) { "one of them" } else { broker };
        check.that(
            good,
            &SETTING,
            format!("kafka.brokers must be HOST:PORT, comma separated; {shown:?} is not"),
        );
    }
}

fn is_host(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(host) = bracketed {
        return host.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.chars().all(plain)
}

fn sasl(config: &Config, check: &mut Check) {
    let kafka = &config.kafka;
    let wanted = kafka.security_protocol.starts_with("sasl");
    let given = !kafka.sasl_mechanism.is_empty();
    if given {
        one("kafka.sasl_mechanism", &kafka.sasl_mechanism, &MECHANISMS, check);
    }
    check.that(
        !wanted || given,
        &["kafka.sasl_mechanism", "kafka.security_protocol"],
        format!(
            "kafka.sasl_mechanism is required where kafka.security_protocol is {}",
            kafka.security_protocol
        ),
    );
    let why =
        "kafka.sasl_mechanism has no effect unless kafka.security_protocol is sasl_plaintext or sasl_ssl";
    check.that(wanted || !given, &["kafka.sasl_mechanism", "kafka.security_protocol"], why);
    let why = "kafka.sasl_username is required where kafka.sasl_mechanism is set";
    check.that(
        !given || !kafka.sasl_username.is_empty(),
        &["kafka.sasl_username", "kafka.sasl_mechanism"],
        why,
    );
    let why = "kafka.sasl_password is required where kafka.sasl_mechanism is set";
    check.that(
        !given || !kafka.sasl_password.0.is_empty(),
        &["kafka.sasl_password", "kafka.sasl_mechanism"],
        why,
    );
}

/// Asks librdkafka itself, property by property, so that every fault is told.
fn properties(config: &Config, check: &mut Check) {
    for (name, value) in &config.kafka.properties {
        let setting = format!("kafka.properties.{name}");
        if let Some((_, why)) = OWNED.iter().find(|(owned, _)| owned == name) {
            check.that(false, &[&setting], format!("{setting} is not for you to set: {why}"));
            continue;
        }
        let known = ClientConfig::new().set(name, value).create_native_config();
        if let Err(KafkaError::ClientConfig(_, reason, ..)) = known {
            let reason = config.redact(&reason);
            check.that(false, &[&setting], format!("{setting} is refused by librdkafka: {reason}"));
        }
    }
}

pub(super) fn mongodb(config: &Config, check: &mut Check) {
    let mongodb = &config.mongodb;
    let why = names::database(&mongodb.database).err().unwrap_or_default();
    check.that(why.is_empty(), &["mongodb.database"], format!("mongodb.database {why}"));
    let statements = ("what the server takes in one command", 100_000);
    check.at_most(("mongodb.statements_max", mongodb.statements_max), statements, "it refuses more");
    if config.store.kind != StoreKind::Mongodb {
        return;
    }
    let why = "mongodb.uri is required where store.kind is mongodb: mongodb://HOST:PORT/";
    check.that(!mongodb.uri.0.is_empty(), &["mongodb.uri", "store.kind"], why);
    if mongodb.uri.0.is_empty() {
        return;
    }
    match ConnectionString::parse(&mongodb.uri.0) {
        Err(error) => {
            let reason = unparsed(&mongodb.uri, &error.kind);
            check.that(false, &["mongodb.uri"], format!("mongodb.uri cannot be parsed: {reason}"));
        }
        Ok(parsed) => {
            let concern = parsed.write_concern.unwrap_or_default();
            let confirmed = concern.w != Some(Acknowledgment::Nodes(0)) && concern.journal != Some(false);
            let why = "mongodb.uri must not say w=0 or journal=false: an offset is committed only after the store \
                       confirmed durably";
            check.that(confirmed, &["mongodb.uri"], why);
        }
    }
}

/// The driver's reason may quote a piece of the password, so it is passed on only where there can be none.
fn unparsed(uri: &Secret, kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidArgument { message, .. } if !uri.0.contains(['@', '?']) => message.clone(),
        _ => "it must read mongodb://[USER:PASSWORD@]HOST[:PORT]/[?OPTIONS], with / : @ % of user and password \
              percent-encoded"
            .into(),
    }
}

pub(super) fn pages(config: &Config, check: &mut Check) {
    for origin in &config.security.allowed_origins {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let good =
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', '*', '?', '#', ' ']));
        let why = match origin.as_str() {
            "*" => "security.allowed_origins must name each origin: * would let any page act for its visitor"
                .into(),
            _ => format!("security.allowed_origins must hold SCHEME://HOST[:PORT]; {origin:?} is not"),
        };
        check.that(good, &["security.allowed_origins"], config.redact(&why));
    }
    for host in &config.security.admin_hosts {
        let why = format!("security.admin_hosts must hold names without scheme or port; {host:?} is not one");
        check.that(is_host(host), &["security.admin_hosts"], config.redact(&why));
    }
    let url = &config.redis.url.0;
    let good = url.is_empty() || url.starts_with("redis://") || url.starts_with("rediss://");
    check.that(good, &["redis.url"], "redis.url must begin with redis:// or rediss://, or be empty");
    let embedded = config.log.kind == LogKind::Embedded || config.store.kind == StoreKind::Embedded;
    let empty = config.embedded.data_dir.as_os_str().is_empty();
    let why = "embedded.data_dir is required where log.kind or store.kind is embedded";
    check.that(!embedded || !empty, &["embedded.data_dir"], why);
}

pub(super) fn telemetry(config: &Config, check: &mut Check) {
    let telemetry = &config.telemetry;
    one("telemetry.log_format", &telemetry.log_format, &FORMATS, check);
    if let Err(why) = telemetry::levels(&telemetry.log_level) {
        check.that(false, &["telemetry.log_level"], format!("telemetry.log_level {why}"));
    }
}

fn one(setting: &str, text: &str, known: &[&str], check: &mut Check) {
    let mut why = format!("{setting} must be {}, not {text:?}", one_of(known));
    if let Some(near) = nearest(known, text) {
        why.push_str(&format!("; did you mean {near}?"));
    }
    check.that(known.contains(&text), &[setting], why);
}
