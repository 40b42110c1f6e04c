//! The behaviour suites of the two ports: plain functions over a factory, run by every implementation.
//!
//! Invariant: a function here knows only the traits of `ports`, so that no implementation can drift from another.
//! An implementation runs a suite by one line in a module of its own:
//! `log_suite!(factory)` or `store_suite!(factory)`, where `factory` is a function `async fn() -> Option<impl Factory>`
//! and `None` skips (`tests::services`).

pub mod groups;
pub mod log;
pub mod member;
pub mod refusals;
pub mod scans;
pub mod store;

mod embedded;
mod memory;
mod mongo;

/// Makes one test of each named function of a suite.
macro_rules! suite {
    ($module:ident, $factory:path, $($name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            if let Some(factory) = $factory().await {
                $crate::tests::contract::$module::$name(&factory).await;
            }
        }
    )*};
}
pub(crate) use suite;

/// A name nobody used before, so that runs against one service do not meet.
pub fn unique(stem: &str) -> String {
    format!("{stem}-{}", uuid::Uuid::new_v4().simple())
}
