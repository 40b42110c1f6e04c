//! The suites over the in-memory twin.

use super::{
    log::{LogFactory, log_suite},
    store::{StoreFactory, store_suite},
    suite,
};
use crate::{
    adapters::memory::{MemoryLog, MemoryStore},
    app::{Poison, Reason},
    ports::{Log, Store},
};
use futures_util::future::{BoxFuture, FutureExt, ready};
use std::sync::Arc;

struct Memory {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
}

impl LogFactory for Memory {
    fn log(&self) -> Arc<dyn Log> {
        self.log.clone()
    }

    fn delete_topic<'a>(&'a self, topic: &'a str) -> Option<BoxFuture<'a, ()>> {
        self.log.delete_topic(topic);
        Some(ready(()).boxed())
    }
}

impl StoreFactory for Memory {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn reopened(&self, _: Arc<dyn Store>) -> BoxFuture<'_, Option<Arc<dyn Store>>> {
        ready(None).boxed()
    }

    fn refuse_bad<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
        self.store.refuse(|document| {
            let is_bad = document.value.as_ref().is_some_and(|value| value.text() == "\"bad\"");
            is_bad.then(|| Poison::new(Reason::StoreRefused, "a rule of the test's"))
        });
        ready(true).boxed()
    }
}

async fn memory() -> Option<Memory> {
    Some(Memory { log: Arc::default(), store: Arc::default() })
}

log_suite!(memory);
store_suite!(memory);
// A broker waits for the session to end; groups of one process need not.
suite!(groups, memory, a_member_that_is_dropped_makes_room);
