//! The cases about how our process begins and ends: told to stop at any moment, told to do what cannot be done, and with a
//! panic in it.

use super::scene::{Outcome, Scene, Setup};
use crate::{
    engine::seeded,
    tests::e2e::{
        binary::{self, Statecast},
        ground::Ground,
        within,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The deadline of a stop is 8 s, and a process that hangs is ended a little later.
const STOPS_WITHIN: Duration = Duration::from_secs(12);
const SECRET: &str = "hunter2";

/// It ended by itself: 0, or 70 where it said that it had not finished.
fn stopped_in_time((status, took): (ExitStatus, Duration)) {
    assert!(took < STOPS_WITHIN, "it took {took:?} to stop");
    assert!(matches!(status.code(), Some(0 | 70)), "{status:?}");
}

pub async fn stopped_at_bad_moments(seed: u64) -> Outcome {
    let mut dice = StdRng::seed_from_u64(seed);
    let (scene, mut statecast) = Scene::begin("f3", seed, &[]).await;
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
        statecast.signal("TERM");
        sleep(Duration::from_millis(dice.random_range(0..20))).await;
        stopped_in_time(statecast.terminate().await);
        let mut stops = 0;
        for _ in 0..3 {
            let early = scene.launch();
            sleep(Duration::from_millis(dice.random_range(0..1_500))).await;
            let (status, took) = early.terminate().await;
            // Before it has asked for signals the system ends it, and nothing has begun.
            stops += u32::from(status.code() == Some(0));
            if status.signal() != Some(15) {
                stopped_in_time((status, took));
            }
        }
        assert!(stops > 0, "no start was cut after its beginning");
        statecast = scene.start().await;
    }
    for _ in 0..3 {
        // The new one joins while the old one leaves.
        let (next, ()) = tokio::join!(scene.start(), async {
            sleep(Duration::from_millis(dice.random_range(0..1_500))).await;
            stopped_in_time(statecast.terminate().await);
        });
        statecast = next;
    }
    let recovery = scene.recovered().await;
    scene.judge(&statecast, recovery).await
}

pub async fn wrongly_configured(_: u64) -> Outcome {
    const ENDS_WITHIN: Duration = Duration::from_secs(30);
    let ground = Ground::new("f44").await.expect("Kafka and MongoDB; run make faults");
    let with_password = |setting: String| setting.replace("mongodb://", &format!("mongodb://bob:{SECRET}@"));
    let with = |settings: &[&str]| {
        let all = ground.settings().into_iter();
        all.chain(settings.iter().map(|&setting| setting.to_owned())).collect::<Vec<_>>()
    };
    let password = format!("kafka.sasl_password={SECRET}");
    let uri = format!("mongodb.uri=mongo//bob:{SECRET}@127.0.0.1/");
    let wrong = [
        ("a password that MongoDB refuses", 64, ground.settings().into_iter().map(with_password).collect()),
        ("a connection string that is none", 64, with(&[&uri])),
        ("a setting that there is not", 64, with(&["engine.sharts=3", &password])),
        (
            "an authority that is not there",
            64,
            with(&["kafka.security_protocol=ssl", "kafka.ssl_ca_location=/none.pem", &password]),
        ),
        ("a topic that nobody may create", 69, with(&["kafka.create_topics=false", &password])),
        (
            "brokers that are none",
            69,
            with(&["kafka.brokers=127.0.0.1:1", "kafka.start_timeout_ms=3000", &password]),
        ),
    ];
    let mut slowest = Duration::ZERO;
    let cases = wrong.len();
    for (what, code, settings) in wrong {
        let start = Instant::now();
        let free = ["server.listen=127.0.0.1:0", "server.admin_listen=127.0.0.1:0"].map(str::to_owned);
        let ended = binary::run(&["serve"], &free.into_iter().chain(settings).collect::<Vec<_>>()).await;
        assert_eq!(ended.code, Some(code), "{what}: {ended:?}");
        assert!(start.elapsed() < ENDS_WITHIN, "{what} took {:?}", start.elapsed());
        let said = ended.stderr.lines().filter(|line| line.starts_with("statecast: ")).count();
        assert_eq!(said, 1, "{what}: {ended:?}");
        assert!(!format!("{ended:?}").contains(SECRET), "{what} shows a secret");
        slowest = slowest.max(start.elapsed());
    }
    let note = format!(
        "{cases} wrong configurations, each told in one line; the slowest took {:.1} s",
        slowest.as_secs_f64()
    );
    Outcome { note, ..Outcome::default() }
}

/// A panic or a standstill is over so soon.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// How long it took until the process ended over what befell this actor, and said that it had to.
async fn ended_by(actor: &str, statecast: Statecast) -> Duration {
    let start = Instant::now();
    statecast.end_in(actor);
    let status = statecast.ended().await;
    let took = start.elapsed();
    assert!(took < ENDS_WITHIN, "{actor}: it took {took:?} to end");
    assert_eq!(status.code(), Some(70), "{actor}");
    took
}

/// Each actor stands still once, and its thread with it: nothing can be had back of a thread, so the process ends.
pub async fn standing_still(seed: u64) -> Outcome {
    let setup = Setup { seeded: Some(seeded::ENDS), ..Setup::default() };
    let (scene, mut statecast) = Scene::begin_with("f29-still", seed, setup).await;
    let mut slowest = Duration::ZERO;
    for actor in ["partition_consumer", "shard_writer", "assignment", "broadcaster", "supervisor"] {
        let actor = format!("{actor}{}", seeded::STILL);
        slowest = slowest.max(ended_by(&actor, statecast).await);
        statecast = scene.start().await;
        scene.recovered().await;
    }
    let recovery = scene.recovered().await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", the process ended after {:.1} s at most", slowest.as_secs_f64()));
    outcome
}

/// Each actor panics once: its generation ends and the next one runs, or the process ends and says that it had to.
pub async fn panicking(seed: u64) -> Outcome {
    let setup = Setup { seeded: Some(seeded::ENDS), ..Setup::default() };
    let (scene, mut statecast) = Scene::begin_with("f29", seed, setup).await;
    let (mut slowest_generation, mut slowest_process) = (Duration::ZERO, Duration::ZERO);
    for actor in ["partition_consumer", "shard_writer", "assignment"] {
        let (before, start) = (generation(&statecast).await, Instant::now());
        statecast.end_in(actor);
        within(ENDS_WITHIN, "the next generation runs", async || {
            let now = generation(&statecast).await;
            if now > before { Ok(()) } else { Err((actor, now, statecast.said())) }
        })
        .await;
        slowest_generation = slowest_generation.max(start.elapsed());
        scene.recovered().await;
    }
    for actor in ["broadcaster", "supervisor"] {
        slowest_process = slowest_process.max(ended_by(actor, statecast).await);
        statecast = scene.start().await;
        scene.recovered().await;
    }
    let recovery = scene.recovered().await;
    assert_eq!(generation(&statecast).await, 1, "it restarts clean");
    let mut outcome = scene.judge(&statecast, recovery).await;
    let (generation, process) = (slowest_generation.as_secs_f64(), slowest_process.as_secs_f64());
    outcome.note.push_str(&format!(
        ", the next generation after {generation:.1} s at most, the process ended after {process:.1} s at most"
    ));
    outcome
}

async fn generation(statecast: &Statecast) -> u64 {
    statecast.pipeline().await["streams"][0]["generation"].as_u64().expect("a number")
}

/// A process whose files are nearly all in use: what is asked for is refused, what runs goes on.
pub async fn out_of_files(seed: u64) -> Outcome {
    let (scene, statecast) = Scene::begin("f40", seed, &[]).await;
    let files = || std::fs::read_dir(format!("/proc/{}/fd", statecast.pid)).expect("it runs").count();
    let limit = files() + 10;
    limit_files(&statecast, limit);
    let address = statecast.base.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for _ in 0..100 {
        // The system takes connections that the process cannot.
        held.push(tokio::net::TcpStream::connect(&address).await.expect("connected"));
    }
    sleep(Duration::from_secs(1)).await;
    let asked =
        tokio::time::timeout(Duration::from_secs(3), reqwest::get(format!("{}/health/live", statecast.base)));
    assert!(!matches!(asked.await, Ok(Ok(answer)) if answer.status() == 200), "nothing was short");
    assert!(files() >= limit - 1, "{} of {limit} files are in use", files());
    // Everything that lies there now is stored without a free file.
    scene.recovered().await;
    sleep(Duration::from_secs(5)).await;
    drop(held);
    limit_files(&statecast, 4_096);
    let recovery = scene.recovered().await;
    assert_eq!(statecast.get("/health/live").await.status(), 200);
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", {limit} files"));
    outcome
}

fn limit_files(statecast: &Statecast, limit: usize) {
    let (pid, limit) = (format!("--pid={}", statecast.pid), format!("--nofile={limit}:4096"));
    let status = std::process::Command::new("prlimit").args([pid, limit]).status();
    assert!(status.expect("prlimit").success());
}
