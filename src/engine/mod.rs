//! The engine: consumers, writers, broadcaster, and the generations they live in.
//!
//! Plain: `watermark`, `batch`, `fold`, `dead_letter`, `view`, `board`, `shows`, `list`, `news`, `waiters`, `gate`. Actors:
//! `partition_consumer`, `shard_writer`, `assignment`, `supervisor`. Between them: `protocol`, and `edge`, the only way to
//! send. Beside: `seeded`, which is empty in what ships. Outside sees `api`. Invariant: nothing here knows an app by name, a database, or HTTP.

pub mod api;
pub mod app_rooms;
pub mod assignment;
pub mod batch;
pub mod board;
pub mod broadcaster;
pub mod clients;
pub mod dead_letter;
pub mod desk;
pub mod edge;
pub mod fold;
pub mod gate;
pub mod generation;
pub mod handle;
pub mod list;
pub mod live;
pub mod news;
pub mod observer;
pub mod packet;
pub mod partition_consumer;
pub mod progress;
pub mod protocol;
pub mod read;
pub mod rooms;
pub mod run;
pub mod seeded;
pub mod shard_writer;
pub mod shows;
pub mod status;
pub mod stream;
pub mod supervisor;
pub mod view;
pub mod waiters;
pub mod watermark;
pub mod write;
