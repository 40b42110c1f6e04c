//! Statecast: Kafka topics in, durable current state per key in a store, every change live in the browser.

pub mod adapters;
pub mod aggregate;
pub mod app;
pub mod apps;
pub mod cli;
pub mod clock;
pub mod config;
pub mod document;
pub mod engine;
pub mod event;
pub mod http;
pub mod json;
pub mod metrics;
pub mod origin;
pub mod partitioner;
pub mod ports;
pub mod record;
pub mod serve;
pub mod telemetry;
pub mod verify;
pub mod window;

#[cfg(test)]
mod tests;
