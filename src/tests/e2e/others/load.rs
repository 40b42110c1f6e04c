//! Writers that go on until they are ended.
//!
//! Invariant: a key belongs to one writer, so its versions are in the order it was written in.

use super::place::{Place, value};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

pub struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many writers, each over its own share of the keys, as fast as the door takes it; every ninth write removes.
    pub fn start(
        place: &Arc<Place>,
        stream: &'static str,
        keys: &[String],
        writers: usize,
        bytes: usize,
    ) -> Load {
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let share = |writer| keys.iter().skip(writer).step_by(writers).cloned().collect::<Vec<_>>();
        let writers = (0..writers).map(|writer| {
            let (place, keys, stop, written) = (place.clone(), share(writer), stop.clone(), written.clone());
            tokio::spawn(async move {
                for (n, key) in (0..).zip(keys.iter().cycle()) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    match n % 9 {
                        8 => place.remove(stream, key).await,
                        _ => place.put(stream, key, &value(n, bytes)).await,
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Load { writers: writers.collect(), stop, written }
    }

    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Waits until so many more are written.
    pub async fn goes_on(&self, by: u64) {
        let until = self.written() + by;
        while self.written() < until {
            assert!(self.writers.iter().all(|one| !one.is_finished()), "a writer failed");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.expect("every write was taken");
        }
    }
}
