//! Rules for streams: names that are legal wherever they go, groups of their own, and what declared ones say.

use super::Check;
use crate::{
    apps::BUILT_IN,
    config::{
        Config, Projection, Stream,
        declaration::{self, Declaration},
        names, streams,
        value::nearest,
    },
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
        meaning(name, stream, check);
        if let Err(why) = names::topic(if stream.topic.is_empty() { name } else { &stream.topic }) {
            check.that(false, &[&at("topic"), &section], format!("{} {why}", at("topic")));
        }
        if !stream.group.is_empty()
            && let Err(why) = names::group(&stream.group)
        {
            check.that(false, &[&at("group")], format!("{} {why}", at("group")));
        }
        if let Err(why) =
            names::collection(if stream.collection.is_empty() { name } else { &stream.collection })
        {
            check.that(false, &[&at("collection"), &section], format!("{} {why}", at("collection")));
        }
        let why = format!("{} must be over 0", at("partitions"));
        check.that(stream.partitions > 0, &[&at("partitions")], why);
    }
    let group = |stream: &streams::Wanted| stream.group.clone();
    apart("group", "cannot be the group of two", group, config, check);
    let collection = |stream: &streams::Wanted| stream.collection.clone();
    apart("collection", "cannot keep the state of two", collection, config, check);
}

/// What a declared stream says, or that a built-in one says nothing of the kind.
fn meaning(name: &str, stream: &Stream, check: &mut Check) {
    let section = format!("streams.{name}");
    let at = |field: &str| format!("{section}.{field}");
    let built_in: Vec<_> = BUILT_IN.iter().map(|built_in| built_in.stream).collect();
    if built_in.contains(&name) {
        for field in declaration::set(stream) {
            let why = format!("{} has no effect: the stream {name} is built in", at(field));
            check.that(false, &[&at(field)], why);
        }
        return;
    }
    if stream.projection == Projection::Own {
        let mut why = format!(
            "{section}: no stream of this name is built in, so it must say its projection: latest, log, aggregate or recent"
        );
        if let Some(near) = nearest(&built_in, name) {
            why.push_str(&format!("; did you mean streams.{near}?"));
        }
        return check.that(false, &[&at("projection"), &section], why);
    }
    for wrong in Declaration::read(stream).err().unwrap_or_default() {
        let setting = at(&wrong.field);
        check.that(false, &[&setting, &section], format!("{setting} {}", wrong.why));
    }
}

/// Two streams in one group would take each other's partitions away, in one collection each other's state.
fn apart(
    field: &str,
    why: &str,
    of: impl Fn(&streams::Wanted) -> String,
    config: &Config,
    check: &mut Check,
) {
    let mut taken = BTreeMap::new();
    for stream in streams::enabled(config) {
        let setting = format!("streams.{}.{field}", stream.name);
        if let Some(other) = taken.insert(of(&stream), stream.name.clone()) {
            let why = format!("{setting} must differ from that of stream {other}: {:?} {why}", of(&stream));
            check.that(false, &[&setting, &format!("streams.{other}.{field}")], why);
        }
    }
}
