//! Reading view and store for rooms, away from the broadcaster's thread.
//!
//! Invariant: a read changes nothing, and its answer has an entry for everything that was asked.
//! Not here: when to read (`reads`), what it means (`brought`).

use super::reads::{Job, KeysJob};
use crate::{
    document::Shown,
    engine::api::{Engine, ListPage, ListQuery, Read, ReadError},
    record::Key,
};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// What a read brought.
#[derive(Debug)]
pub enum Brought {
    Keys(Vec<Result<Option<Read>, ReadError>>),
    Room(Result<Option<Read>, ReadError>),
    Page(Result<ListPage, ReadError>),
    Gone(Result<Vec<Shown>, ReadError>),
}

pub async fn bring(engine: Arc<dyn Engine>, job: Job) -> Brought {
    match &job {
        Job::Keys(job) if job.stored => Brought::Keys(stored(&*engine, job).await),
        Job::Keys(job) => Brought::Keys(engine.read_many(&job.stream, &job.keys).await),
        Job::Merges(job) => {
            let keys: Vec<Key> = job.merges.iter().map(|merge| merge.key.clone()).collect();
            Brought::Keys(engine.read_many(&job.stream, &keys).await)
        }
        Job::Room(job) => Brought::Room(engine.read_room(&job.stream, &job.name).await),
        Job::Page(job) => {
            Brought::Page(list(&*engine, &job.stream, job.after.as_deref(), job.items_max).await)
        }
        Job::Part(job) => {
            Brought::Page(list(&*engine, &job.stream, job.after.as_deref(), job.items_max).await)
        }
        Job::Gone(job) => Brought::Gone(engine.read_stored(&job.stream, &job.keys).await),
    }
}

async fn list(
    engine: &dyn Engine,
    stream: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<ListPage, ReadError> {
    // The first key after the last one of the page before, in the order of bytes.
    let from = after.map(|after| format!("{after}\0"));
    engine.list(stream, ListQuery { from, limit, ..ListQuery::default() }).await
}

async fn stored(engine: &dyn Engine, job: &KeysJob) -> Vec<Result<Option<Read>, ReadError>> {
    match engine.read_stored(&job.stream, &job.keys).await {
        Err(error) => job.keys.iter().map(|_| Err(error.clone())).collect(),
        Ok(found) => {
            let mut found: FxHashMap<_, _> = found.into_iter().map(|s| (s.key.clone(), s)).collect();
            let of = |key| Ok(found.remove(key).map(|shown| Read { shown, age_ms: 0 }));
            job.keys.iter().map(of).collect()
        }
    }
}

/// The answer of a read that ended without one.
pub fn failed(job: &Job, cause: &str) -> Brought {
    let error = || ReadError::Internal(cause.to_owned());
    match job {
        Job::Keys(job) => Brought::Keys(job.keys.iter().map(|_| Err(error())).collect()),
        Job::Merges(job) => Brought::Keys(job.merges.iter().map(|_| Err(error())).collect()),
        Job::Room(_) => Brought::Room(Err(error())),
        Job::Page(_) | Job::Part(_) => Brought::Page(Err(error())),
        Job::Gone(_) => Brought::Gone(Err(error())),
    }
}
