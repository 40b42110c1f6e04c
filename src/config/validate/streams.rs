//! Rules for streams: names that are legal wherever they go, and groups of their own.

use super::Check;
use crate::{
    apps::BUILT_IN,
    config::{Config, names, streams},
};
use std::collections::BTreeMap;

pub(super) fn streams(config: &Config, check: &mut Check) {
    for (name, stream) in &config.streams {
        let section = format!("streams.{name}");
        let at = |field: &str| format!("{section}.{field}");
        if let Err(why) = names::stream(name) {
            check.that(false, &[&section], format!("{section}: the name of a stream {why}"));
            continue;
        }
        let known: Vec<_> = BUILT_IN.iter().map(|built_in| built_in.stream).collect();
        let why = format!("{section}: there is no stream of this name, only {}", known.join(", "));
        check.that(known.contains(&name.as_str()), &[&section], why);
        if let Err(why) = names::topic(if stream.topic.is_empty() { name } else { &stream.topic }) {
            check.that(false, &[&at("topic"), &section], format!("{} {why}", at("topic")));
        }
        if !stream.group.is_empty()
            && let Err(why) = names::group(&stream.group)
        {
            check.that(false, &[&at("group")], format!("{} {why}", at("group")));
        }
        let why = format!("{} must be over 0", at("partitions"));
        check.that(stream.partitions > 0, &[&at("partitions")], why);
    }
    groups(config, check);
}

/// Two streams in one group would take each other's partitions away.
fn groups(config: &Config, check: &mut Check) {
    let mut taken = BTreeMap::new();
    for stream in streams::enabled(config) {
        let setting = format!("streams.{}.group", stream.name);
        if let Some(other) = taken.insert(stream.group.clone(), stream.name.clone()) {
            let why = format!(
                "{setting} must differ from that of stream {other}: {:?} cannot be the group of two",
                stream.group
            );
            check.that(false, &[&setting, &format!("streams.{other}.group")], why);
        }
    }
}
