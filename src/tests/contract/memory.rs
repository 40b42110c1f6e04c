//! The suites over the in-memory twin.

use super::store::{StoreFactory, store_suite};
use crate::{adapters::memory::MemoryStore, ports::Store};
use futures_util::future::{BoxFuture, FutureExt, ready};
use std::sync::Arc;

struct Memory(Arc<MemoryStore>);

impl StoreFactory for Memory {
    fn store(&self) -> Arc<dyn Store> {
        self.0.clone()
    }

    fn reopened(&self, _: Arc<dyn Store>) -> BoxFuture<'_, Option<Arc<dyn Store>>> {
        ready(None).boxed()
    }
}

async fn memory() -> Option<impl StoreFactory> {
    Some(Memory(Arc::default()))
}

store_suite!(memory);
