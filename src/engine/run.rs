//! Build, run, drain: from declared streams to a running engine and back.
//!
//! Invariant: the pipeline's actors live on threads of their own (arbiters of one actix system); store, log and the outside
//! run on the caller's runtime, and only `Send` handles cross.

use super::{
    api::{DeadLetters, Engine},
    app_rooms,
    desk::Desk,
    handle::Handle,
    news::NewsBox,
    observer,
    protocol::{ReleaseHeld, StopAll},
    stream::{Bounds, LogHealth, Shared, Stream, StreamSpec},
    supervisor::{Fatal, Pulse, Supervisor},
    waiters::Waiters,
};
use crate::{config::Config, ports::Ports};
use actix::{Actor, Addr, Arbiter, ArbiterHandle, System};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// A running engine.
pub struct Running {
    pub engine: Arc<dyn Engine>,
    pub news: Arc<NewsBox>,
    supervisor: Addr<Supervisor>,
    pulse: Arc<Pulse>,
    wedge_after_ms: u64,
    /// Reasons for which the process has to end.
    pub fatal: mpsc::Receiver<Fatal>,
    /// The threads of the pipeline, for actors of others (the broadcaster).
    pub arbiters: Vec<ArbiterHandle>,
    system: System,
    /// What runs beside the pipeline until it stops.
    beside: Vec<tokio::task::JoinHandle<()>>,
}

/// Threads for the pipeline where the configuration leaves it open.
const THREADS_MAX: usize = 8;

/// Starts every stream. Returns once the threads run; generations start behind it.
pub async fn start(
    config: &Config,
    ports: Ports,
    specs: Vec<StreamSpec>,
    instance: String,
) -> std::io::Result<Running> {
    let settings = Arc::new(config.engine.clone());
    let news = Arc::new(NewsBox::new(config.live.news_keys_max));
    let streams_max = specs.len().max(1);
    let Ports { log, store, readers } = ports;
    for spec in &specs {
        store.prepare(&spec.collection, &spec.rows).await.map_err(std::io::Error::other)?;
    }
    let shared = Shared {
        log,
        store,
        readers,
        gate: Arc::default(),
        news: news.clone(),
        waiters: Arc::new(Waiters::new(instance, settings.waiters_max)),
        budget: Arc::new(Semaphore::new(settings.in_flight_bytes_max)),
        outside: tokio::runtime::Handle::current(),
        prefetch_bytes_max: config.kafka.prefetch_bytes_max / streams_max,
        log_health: Arc::new(LogHealth::default()),
        feed_interval_ms: config.live.feed_interval_ms,
        settings: settings.clone(),
    };
    let boards_max = specs.iter().filter(|spec| spec.rooms_show_all).count().max(1);
    let bounds = Bounds {
        cache_bytes_max: settings.cache_bytes_max / streams_max,
        view_bytes_max: settings.view_bytes_max / streams_max,
        board_bytes_max: settings.board_bytes_max / boards_max,
        board_waiting_bytes_max: settings.board_waiting_bytes_max / boards_max,
    };
    let streams: Vec<Arc<Stream>> =
        specs.into_iter().map(|spec| Arc::new(Stream::new(spec, shared.clone(), bounds))).collect();
    let (system, arbiters) = threads(settings.threads).await?;
    let (fatal_in, fatal) = mpsc::channel(4);
    let pulse = Arc::new(Pulse::default());
    let supervisor = Supervisor::new(streams.clone(), arbiters.clone(), pulse.clone(), fatal_in);
    let supervisor = Supervisor::start_in_arbiter(system.arbiter(), move |_| supervisor);
    let observer = observer::run(streams.clone(), supervisor.clone().recipient());
    let mut beside = vec![tokio::spawn(observer)];
    beside.extend(streams.iter().map(|stream| tokio::spawn(app_rooms::run(stream.clone()))));
    let desk: Option<Arc<dyn DeadLetters>> = Some(Arc::new(Desk::open(&streams, supervisor.clone())));
    Ok(Running {
        engine: Arc::new(Handle { streams, desk }),
        news,
        supervisor,
        pulse,
        wedge_after_ms: settings.wedge_after_ms,
        fatal,
        arbiters,
        system,
        beside,
    })
}

/// One thread for the supervisor (the system's own), and `wanted` for the pipeline.
async fn threads(wanted: usize) -> std::io::Result<(System, Vec<ArbiterHandle>)> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let count = if wanted == 0 { cores.min(THREADS_MAX) } else { wanted };
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("supervisor".into()).spawn(move || {
        let runner = System::new();
        let arbiters: Vec<ArbiterHandle> = (0..count).map(|_| Arbiter::new().handle()).collect();
        let _ = sender.send((System::current(), arbiters)); // the caller waits for it
        if let Err(error) = runner.run() {
            tracing::error!(%error, "the pipeline's system ended");
        }
    })?;
    receiver.await.map_err(|_| std::io::Error::other("the pipeline's threads did not start"))
}

impl Running {
    /// Whether the supervisor itself still comes round; who asks ends the process if not.
    pub fn is_alive(&self) -> bool {
        self.supervisor.connected() && self.pulse.age_ms() < self.wedge_after_ms as i64
    }

    pub fn release(&self, stream: &str, partition: u32) {
        super::edge::order(&self.supervisor, ReleaseHeld { stream: stream.into(), partition });
    }

    /// Intake ends, writers drain, offsets are committed, groups are left. `true`: all of it in time.
    pub async fn stop(self, deadline: Duration) -> bool {
        let (reply, answer) = oneshot::channel();
        super::edge::order(&self.supervisor, StopAll { deadline, reply });
        let left = tokio::time::timeout(deadline, answer).await;
        self.beside.iter().for_each(tokio::task::JoinHandle::abort);
        self.system.stop();
        matches!(left, Ok(Ok(true)))
    }
}
