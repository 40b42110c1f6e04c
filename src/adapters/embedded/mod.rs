//! Log and store in one folder of this machine, on fjall: the default, needing no service.
//!
//! Invariant: what was confirmed is synced to disk, and is there after a kill at any moment, with no repair; one process
//! at a time has the folder. Reads never wait for writes.
//! Not here: many machines. The log is one process's; Kafka is for more.

mod append;
mod changes;
mod chunk;
mod commit;
mod document;
mod folder;
mod keys;
mod log;
mod pages;
mod reader;
mod reads;
mod registry;
mod retention;
mod rows;
mod store;
mod stripes;
#[cfg(test)]
mod tests;
mod write;

use crate::config;
use append::Queue;
use commit::Committer;
use folder::Folder;
pub use log::EmbeddedLog;
use reads::Readers;
use registry::Registry;
use retention::{Keeper, Retention};
use std::{path::PathBuf, sync::Arc, time::Duration};
pub use store::EmbeddedStore;
use stripes::Stripes;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the folder is in use by another process: {}", path.display())]
    InUse { path: PathBuf },
    #[error("the folder cannot be used: {}: {detail}", path.display())]
    Unusable { path: PathBuf, detail: String },
}

/// An open folder. It closes when the last handle to its log and its store is dropped.
pub struct Embedded {
    root: Arc<Root>,
}

/// What log and store share. Fields are dropped in order: threads end before the database closes.
struct Root {
    _retention: Retention,
    reads: Readers,
    committer: Arc<Committer>,
    appends: Queue,
    stripes: Arc<Stripes>,
    registry: Arc<Registry>,
    folder: Folder,
}

impl Embedded {
    /// Opens or makes the folder. Blocks: a large journal is read again.
    pub fn open(config: &config::Embedded) -> Result<Self, OpenError> {
        let unusable = |detail: String| OpenError::Unusable { path: config.data_dir.clone(), detail };
        let folder = folder::open(config)?;
        let registry = Arc::new(Registry::load(&folder.spaces).map_err(unusable)?);
        let (db, spaces) = (folder.db.clone(), folder.spaces.clone());
        let committer = Committer::start(db, spaces, config.queue_bytes_max, config.group_bytes_max);
        let committer = Arc::new(committer.map_err(|error| unusable(error.to_string()))?);
        let keeper = Keeper {
            spaces: folder.spaces.clone(),
            registry: registry.clone(),
            committer: Arc::downgrade(&committer),
        };
        let retention = Retention::start(keeper, Duration::from_millis(config.retention_interval_ms));
        let _retention = retention.map_err(|error| unusable(error.to_string()))?;
        let (appends, stripes) = (Queue::default(), Arc::default());
        let root =
            Root { _retention, reads: Readers::default(), committer, appends, stripes, registry, folder };
        Ok(Embedded { root: Arc::new(root) })
    }

    pub fn log(&self) -> EmbeddedLog {
        EmbeddedLog::new(self.root.clone())
    }

    pub fn store(&self) -> EmbeddedStore {
        EmbeddedStore::new(self.root.clone())
    }
}
