//! The running process: engine, listeners, and the way down.
//!
//! Invariant: stop order is intake, clients, writers, offsets, connections; whatever a part does not finish by its
//! deadline is cut, and a process that is only half alive ends (exit 70).
//! Not here: opening dependencies (`start`).

use super::{Fault, Listeners};
use crate::{
    adapters::socketio,
    apps,
    cli::Exit,
    clock,
    config::Config,
    engine::{
        api::Engine,
        broadcaster::{Broadcaster, Parts, hub::Settings},
        live::Live,
        run::{self, Running},
        stream::StreamSpec,
    },
    http::{self, Context, counted, ops, serve::Accept, stream},
    metrics,
    ports::Ports,
    telemetry,
};
use std::{io::Write as _, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

/// Telling clients that the service stops takes no longer than this of the deadline.
const GOODBYE_MAX: Duration = Duration::from_secs(1);
/// A process that is only half alive has no time to lose.
const FAULT_DEADLINE: Duration = Duration::from_millis(300);
/// Whatever hangs, the process is gone so long after its deadline.
const AFTER_DEADLINE: Duration = Duration::from_millis(700);
/// How often the supervisor's own pulse is felt.
const FEEL_EVERY: Duration = Duration::from_millis(500);
/// The broadcaster shows itself on its beat, which is this long at most.
const BEAT_MS: u64 = 1_000;
/// In so long everybody comes round who can.
const ROUND: Duration = Duration::from_secs(1);
const LOOK_READY_EVERY: Duration = Duration::from_millis(20);

/// Runs the engine behind the open listeners until a signal or a fault.
pub async fn run(
    config: Config,
    specs: Vec<StreamSpec>,
    listeners: Listeners,
    ports: Ports,
    logging: &telemetry::Logging,
    asked: CancellationToken,
) -> Result<(), Fault> {
    let config = Arc::new(config);
    let internal = |error: &dyn std::fmt::Display| Fault::new(Exit::Internal, error.to_string());
    let recorder = metrics::install().map_err(|error| internal(&error))?;
    let instance = uuid::Uuid::new_v4().simple().to_string();
    let mut running = run::start(&config, ports, specs, instance).await.map_err(|error| internal(&error))?;
    let stop = CancellationToken::new();
    let live = broadcaster(&config, &running)?;
    let outside = stream::routes(live.clone(), &config).merge(socketio::routes(live.clone(), &config));
    let context = Context { engine: running.engine.clone(), config: config.clone(), stop: stop.clone() };
    let outside = OpenApiRouter::from(outside).merge(apps::doors(&config).with_state(context.clone()));
    let tools = ops::Tools { metrics: recorder.clone(), log_level: Some(Arc::new(logging.levels.clone())) };
    tokio::spawn(ops::upkeep(recorder, stop.clone()));
    let (public, admin) = (tokio_listener(listeners.public)?, tokio_listener(listeners.admin)?);
    let options = counted::Options::from(&config.live);
    let public = tokio::spawn(http::serve::run(
        public,
        http::public(&context, outside),
        Accept::public(&config.server),
        move |socket| counted::Connection::new(socket, options),
        stop.clone(),
    ));
    let admin = tokio::spawn(http::serve::run(
        admin,
        http::admin(&context, tools),
        Accept::admin(&config.server),
        http::serve::plain,
        stop.clone(),
    ));
    tokio::spawn(count_lost_lines(logging.levels.clone(), stop.clone()));
    tokio::spawn(tell_ready(context.engine.clone(), stop.clone()));
    let ended = until_end(&mut running, &live, &config, asked).await;
    down(&config, running, &live, stop, ended.is_ok()).await;
    let _ = tokio::join!(public, admin);
    ended
}

/// The one broadcaster, on a thread of the pipeline.
fn broadcaster(config: &Config, running: &Running) -> Result<Live, Fault> {
    let parts = Parts {
        engine: running.engine.clone(),
        news: running.news.clone(),
        settings: Settings::from(config),
        runtime: tokio::runtime::Handle::current(),
    };
    let none = || Fault::new(Exit::Internal, "there is no thread for the broadcaster");
    Ok(Broadcaster::start_on(running.arbiters.last().ok_or_else(none)?, parts))
}

fn tokio_listener(listener: std::net::TcpListener) -> Result<tokio::net::TcpListener, Fault> {
    tokio::net::TcpListener::from_std(listener).map_err(|e| Fault::new(Exit::Internal, e.to_string()))
}

/// Waits until asked to stop (`Ok`), or for a reason that the process cannot go on.
async fn until_end(
    running: &mut Running,
    live: &Live,
    config: &Config,
    asked: CancellationToken,
) -> Result<(), Fault> {
    let mut feel = tokio::time::interval(FEEL_EVERY);
    feel.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut felt = clock::instant();
    let mut judges_from = felt;
    loop {
        tokio::select! {
            () = asked.cancelled() => return Ok(()),
            Some(fatal) = running.fatal.recv() => return Err(Fault::new(Exit::Internal, fatal.0)),
            _ = feel.tick() => {
                // Who was stopped as a whole finds every pulse old: all get a round before they are judged.
                let now = clock::instant();
                if now - std::mem::replace(&mut felt, now) > 2 * FEEL_EVERY {
                    judges_from = now + ROUND;
                }
                if now < judges_from {
                    continue;
                }
                if !running.is_alive() {
                    return Err(Fault::new(Exit::Internal, "the supervisor does not come round"));
                }
                if live.is_gone() {
                    return Err(Fault::new(Exit::Internal, "the broadcaster is gone"));
                }
                if live.silent_ms() > config.engine.wedge_after_ms + BEAT_MS {
                    return Err(Fault::new(Exit::Internal, "the broadcaster does not come round"));
                }
            }
        }
    }
}

/// One line, once: what scripts wait for.
async fn tell_ready(engine: Arc<dyn Engine>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK_READY_EVERY);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        if engine.health().ready {
            let mut stdout = std::io::stdout();
            let _ = writeln!(stdout, "ready").and_then(|()| stdout.flush()); // who reads our output may be gone
            return;
        }
    }
}

async fn count_lost_lines(levels: telemetry::Levels, stop: CancellationToken) {
    let mut beat = tokio::time::interval(FEEL_EVERY);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        metrics::LOG_DROPPED.counter(&[]).absolute(levels.dropped() as u64);
    }
}

/// Drains to the deadline. A process that ends for a fault leaves at once: replay makes it whole.
async fn down(config: &Config, running: Running, live: &Live, stop: CancellationToken, clean: bool) {
    let deadline = Duration::from_millis(config.server.stop_deadline_ms);
    tracing::info!(clean, "stopping");
    let deadline = if clean { deadline } else { FAULT_DEADLINE };
    hurry(deadline);
    if tokio::time::timeout(GOODBYE_MAX, live.goodbye("stop")).await.is_err() {
        tracing::warn!("clients were not told of the stop in time");
    }
    stop.cancel();
    let drained = running.stop(deadline).await;
    tracing::info!(drained, "stopped");
}

/// Whatever hangs, the process is gone a little after its deadline. A second signal ends it at once.
fn hurry(deadline: Duration) {
    tokio::spawn(async move {
        let second = async {
            let Ok(mut terminate) = signal(SignalKind::terminate()) else {
                return std::future::pending().await;
            };
            terminate.recv().await;
        };
        tokio::select! {
            () = second => {}
            () = tokio::time::sleep(deadline + AFTER_DEADLINE) => {}
        }
        tracing::error!("process ends without having finished its stop");
        std::process::exit(Exit::Internal.code().into());
    });
}
