//! The folder: who may use it, how it comes into being, and which keyspaces it holds.
//!
//! Invariant: `data_dir/db` exists whole or not at all. It is built beside and renamed, because a database whose making
//! was cut cannot be opened again. The lock file is held as long as the database is open.

use super::{OpenError, registry};
use crate::config;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions,
    compaction::Leveled,
    config::{FilterPolicy, PartitioningPolicy},
};
use std::{
    fs::{self, File, TryLockError},
    path::Path,
    sync::Arc,
};

/// The keyspaces. Few, because each has a write buffer of its own.
#[derive(Clone)]
pub struct Spaces {
    /// Chunks of records by topic, partition and first offset.
    pub records: Keyspace,
    /// Documents by stream, key and partial.
    pub documents: Keyspace,
    /// Rows by id and by time; tombstones by the time they expire.
    pub rows: Keyspace,
    /// Topics, streams, committed offsets, counts, epochs, marks: small values by readable names.
    pub meta: Keyspace,
}

pub struct Folder {
    pub spaces: Spaces,
    pub db: Database,
    /// Last, so that it is released after the database is closed.
    _lock: File,
}

// Sizes of write buffers. Of each there are two at most: one that fills, one that is being flushed (`commit`).
const RECORDS_BUFFER_BYTES: u64 = 4 << 20;
const DOCUMENTS_BUFFER_BYTES: u64 = 4 << 20;
const ROWS_BUFFER_BYTES: u64 = 4 << 20;
const META_BUFFER_BYTES: u64 = 1 << 20;
/// Small tables, so that a compaction is soon over: flushing waits for it, and with it every write.
const TABLE_BYTES: u64 = 16 << 20;

impl Spaces {
    /// Each keyspace with the size its write buffer may have.
    pub fn buffers(&self) -> [(&Keyspace, u64); 4] {
        [
            (&self.records, RECORDS_BUFFER_BYTES),
            (&self.documents, DOCUMENTS_BUFFER_BYTES),
            (&self.rows, ROWS_BUFFER_BYTES),
            (&self.meta, META_BUFFER_BYTES),
        ]
    }
}

pub fn open(config: &config::Embedded) -> Result<Folder, OpenError> {
    let unusable = |detail: String| OpenError::Unusable { path: config.data_dir.clone(), detail };
    fs::create_dir_all(&config.data_dir).map_err(|error| unusable(error.to_string()))?;
    let lock = File::create(config.data_dir.join("lock")).map_err(|error| unusable(error.to_string()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: config.data_dir.clone() }),
        Err(TryLockError::Error(error)) => return Err(unusable(error.to_string())),
    }
    let whole = config.data_dir.join("db");
    if !whole.try_exists().map_err(|error| unusable(error.to_string()))? {
        build(&config.data_dir, &whole).map_err(unusable)?;
    }
    let db = Database::builder(&whole)
        .cache_size(config.cache_bytes_max)
        .worker_threads(1) // with more, one of them spins while another compacts
        .max_journaling_size(config.journal_bytes_max.max(64 << 20)) // less is refused by a panic
        .open()
        .map_err(|error| unusable(error.to_string()))?;
    let spaces = keyspaces(&db).map_err(|error| unusable(error.to_string()))?;
    Ok(Folder { spaces, db, _lock: lock })
}

/// Makes a database with all its keyspaces under another name, closes it, and gives it its name.
fn build(data_dir: &Path, whole: &Path) -> Result<(), String> {
    let part = data_dir.join("db.part");
    if part.try_exists().map_err(|error| error.to_string())? {
        fs::remove_dir_all(&part).map_err(|error| error.to_string())?;
    }
    let db = Database::builder(&part).open().map_err(|error| error.to_string())?;
    let spaces = keyspaces(&db).map_err(|error| error.to_string())?;
    let id = uuid::Uuid::new_v4().to_string();
    spaces.meta.insert(registry::CLUSTER, id.as_str()).map_err(|error| error.to_string())?;
    db.persist(fjall::PersistMode::SyncAll).map_err(|error| error.to_string())?;
    drop((spaces, db));
    let renamed = fs::rename(&part, whole).and_then(|()| File::open(data_dir)?.sync_all());
    renamed.map_err(|error| error.to_string())
}

fn keyspaces(db: &Database) -> fjall::Result<Spaces> {
    let compaction = || Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES));
    // Index and filter of a table in small parts: as a whole they would push each other out of a small cache, and be
    // read anew for nearly every look.
    let parts = || PartitioningPolicy::all(true);
    let looked_up = || {
        KeyspaceCreateOptions::default()
            .compaction_strategy(compaction())
            .index_block_partitioning_policy(parts())
            .filter_block_partitioning_policy(parts())
    };
    // Read by range only: filters would cost memory and answer nothing.
    let ranged = || looked_up().filter_policy(FilterPolicy::disabled());
    Ok(Spaces {
        records: db.keyspace("records", ranged)?,
        documents: db.keyspace("documents", looked_up)?,
        rows: db.keyspace("rows", looked_up)?,
        meta: db.keyspace("meta", looked_up)?,
    })
}
