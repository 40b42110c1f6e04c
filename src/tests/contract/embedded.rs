//! The suites over the folder.

use super::{
    log::{LogFactory, log_suite},
    store::{StoreFactory, store_suite},
    suite,
};
use crate::{
    adapters::embedded::{Embedded, EmbeddedLog, EmbeddedStore},
    config,
    ports::{Log, Store},
};
use futures_util::future::{BoxFuture, FutureExt};
use std::sync::{Arc, Mutex};

struct Folder {
    config: config::Embedded,
    open: Mutex<Option<Open>>,
    _dir: tempfile::TempDir,
}

struct Open {
    log: Arc<EmbeddedLog>,
    store: Arc<EmbeddedStore>,
}

impl Open {
    fn new(config: &config::Embedded) -> Self {
        let embedded = Embedded::open(config).expect("open");
        Open { log: Arc::new(embedded.log()), store: Arc::new(embedded.store()) }
    }
}

impl Folder {
    fn with<T>(&self, get: impl FnOnce(&Open) -> T) -> T {
        get(self.open.lock().unwrap().as_ref().expect("open"))
    }
}

impl LogFactory for Folder {
    fn log(&self) -> Arc<dyn Log> {
        self.with(|open| open.log.clone())
    }

    fn delete_topic<'a>(&'a self, topic: &'a str) -> Option<BoxFuture<'a, ()>> {
        let log = self.with(|open| open.log.clone());
        Some(async move { log.delete_topic(topic).await.expect("delete") }.boxed())
    }
}

impl StoreFactory for Folder {
    fn store(&self) -> Arc<dyn Store> {
        self.with(|open| open.store.clone())
    }

    fn reopened(&self, store: Arc<dyn Store>) -> BoxFuture<'_, Option<Arc<dyn Store>>> {
        async move {
            drop((store, self.open.lock().unwrap().take()));
            *self.open.lock().unwrap() = Some(Open::new(&self.config));
            Some(self.store())
        }
        .boxed()
    }
}

async fn folder() -> Option<Folder> {
    let dir = tempfile::tempdir().expect("folder");
    let config = config::Embedded { data_dir: dir.path().join("data"), ..config::Embedded::default() };
    let open = Mutex::new(Some(Open::new(&config)));
    Some(Folder { config, open, _dir: dir })
}

log_suite!(folder);
store_suite!(folder);
// A broker waits for the session to end; groups of one process need not.
suite!(groups, folder, a_member_that_is_dropped_makes_room);
