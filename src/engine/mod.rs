//! The engine: consumers, writers, broadcaster, and the generations they live in.

pub mod api;
pub mod dead_letter;
pub mod edge;
pub mod fold;
pub mod news;
pub mod watermark;
