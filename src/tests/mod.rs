//! The crate's one test binary for what needs more than one module: behaviour suites, services, the whole engine.
//!
//! Invariant: one binary, so that librdkafka and OpenSSL are linked once.

mod activity;
mod cli;
pub mod contract;
mod declared;
mod e2e;
mod engine;
mod examples;
mod faults;
mod http;
mod kafka;
mod kill;
mod letters;
mod live;
mod mongo;
mod mongo_load;
mod partials;
mod services;
mod sim;
mod tidy;

use crate::{apps::BUILT_IN, config::Stream};
use std::collections::BTreeMap;

/// Settings under which these of the built-in streams are there and no others.
pub fn only(streams: &[&str]) -> BTreeMap<String, Stream> {
    let others = BUILT_IN.iter().filter(|built_in| !streams.contains(&built_in.stream));
    others.map(|other| (other.stream.to_owned(), Stream { enabled: false, ..(other.settings)() })).collect()
}
