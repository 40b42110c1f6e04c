//! The engine: consumers, writers, broadcaster, and the generations they live in.

pub mod api;
pub mod assignment;
pub mod batch;
pub mod dead_letter;
pub mod edge;
pub mod fold;
pub mod gate;
pub mod generation;
pub mod news;
pub mod partition_consumer;
pub mod progress;
pub mod protocol;
pub mod shard_writer;
pub mod stream;
pub mod supervisor;
pub mod view;
pub mod waiters;
pub mod watermark;
pub mod write;
