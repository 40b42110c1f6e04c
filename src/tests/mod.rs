//! The crate's one test binary for what needs more than one module: behaviour suites, services, the whole engine.
//!
//! Invariant: one binary, so that librdkafka and OpenSSL are linked once.

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
mod live;
mod mongo;
mod mongo_load;
#[allow(unused)]
mod services;
mod sim;
mod tidy;
