//! The HTTP outside.

pub mod problem;
