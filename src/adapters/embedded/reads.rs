//! Reading on threads that may wait for the disk.
//!
//! Invariant: no more of them read at once for the pipeline than there are cores, and as many for who asks from outside,
//! however many ask: more would read no faster, and the allocator keeps memory for each thread that ever read. The two
//! wait in lines of their own, so that long listings hold up no stream.

use std::{sync::Arc, thread::available_parallelism};
use tokio::{
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
};

/// So many where nobody can say how many cores there are.
const READERS: usize = 2;

/// Who may read, of the pipeline and from outside.
#[derive(Default)]
pub struct Readers {
    /// Pulls, loads, and looks before writes.
    pub pipeline: Reads,
    /// Pages, rows and marks.
    pub listings: Reads,
}

/// One line.
#[derive(Clone)]
pub struct Reads(Arc<Semaphore>);

impl Default for Reads {
    fn default() -> Self {
        let cores = available_parallelism().map_or(READERS, std::num::NonZero::get);
        Reads(Arc::new(Semaphore::new(cores)))
    }
}

impl Reads {
    /// Runs `read` on such a thread, when it is its turn.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // Never closed. The permit goes along: a read whose caller has gone still takes its thread.
        let permit = self.0.clone().acquire_owned().await;
        spawn_blocking(move || {
            let done = read();
            drop(permit);
            done
        })
        .await
    }
}
