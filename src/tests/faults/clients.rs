//! The cases about who is connected: who does not read, who is cut and comes back, who sends what is no request.

use super::{
    feed::Mix,
    oracle,
    proxy::Proxy,
    scene::{Outcome, Scene, Setup, VIEWERS},
};
use crate::{
    metrics,
    tests::e2e::{binary::Statecast, eventually, within},
};
use futures_util::{SinkExt, StreamExt, future::join_all, stream};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// Who is cut at once, and under how many the process is stopped and started.
const CUT: usize = 1_000;
const CROWD: usize = 5_000;
/// What a crowd is shown costs this test more than it costs what is tested: most records are of a key it does not look at.
const CALM: Mix = Mix {
    bad_percent: 1,
    strange: false,
    hot_percent: 95,
    fresh_percent: 0,
    forbidden_percent: 0,
    forbidden_last: false,
};
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// Of the viewers of every case, those over server-sent events, or by websocket.
const OF_ONE_TRANSPORT: u64 = VIEWERS as u64 / 3 + 1;
const BY_SSE: &str = "transport=\"sse\"";
const BY_WEBSOCKET: &str = "transport=\"websocket\"";

fn address(base: &str) -> String {
    base.trim_start_matches("http://").to_owned()
}

/// How long a plain request takes at worst, of twenty.
async fn slowest_request(statecast: &Statecast) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        let answer = statecast.get("/api/streams/kv/k0").await;
        assert!(matches!(answer.status().as_u16(), 200 | 404), "{answer:?}");
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

async fn same_process(statecast: &Statecast) {
    let pipeline = statecast.pipeline().await;
    assert_eq!(pipeline["streams"][0]["generation"], 1, "{pipeline}");
    assert!(!statecast.has_said("panicked"), "{}", statecast.said());
}

/// They open a room, and never read of it.
pub async fn not_reading(seed: u64) -> Outcome {
    const COUNT: usize = 1_000;
    let (scene, statecast) = Scene::begin("f30", seed, &[]).await;
    let mut silent = Vec::new();
    for _ in 0..COUNT {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
        let mut socket =
            socket.connect(address(&statecast.base).parse().expect("an address")).await.expect("connected");
        socket.write_all(b"GET /live?room=kv HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("asked");
        silent.push(socket);
    }
    within(BACK_WITHIN, "all of them are clients", async || {
        let clients = statecast.labelled(metrics::CLIENTS, BY_SSE).await;
        if clients >= COUNT as u64 { Ok(()) } else { Err(clients) }
    })
    .await;
    let start = Instant::now();
    // By the kernel, or by us: whoever finds it first.
    within(Duration::from_secs(150), "who does not read is removed", async || {
        let clients = statecast.labelled(metrics::CLIENTS, BY_SSE).await;
        if clients <= OF_ONE_TRANSPORT { Ok(()) } else { Err(clients) }
    })
    .await;
    let took = start.elapsed();
    let removed = statecast.total(metrics::CLIENTS_REMOVED).await;
    assert!(removed >= COUNT as u64, "{removed} were counted as removed");
    drop(silent);
    let recovery = scene.recovered().await;
    same_process(&statecast).await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", {COUNT} removed in {:.1} s", took.as_secs_f64()));
    outcome
}

/// Everybody comes by a proxy that cuts them all at once, and lets nobody in for a while.
pub async fn cut_and_back(seed: u64) -> Outcome {
    // What went by polls is missed after two pings.
    let pings = ["live.ping_interval_ms=5000", "live.ping_timeout_ms=5000"].map(str::to_owned);
    let setup = Setup { settings: pings.to_vec(), viewers: 0, mix: CALM, ..Setup::default() };
    let (mut scene, statecast) = Scene::begin_with("f31", seed, setup).await;
    let proxy = Proxy::before(address(&statecast.base), seed).await;
    scene.go_to(format!("http://{}", proxy.at));
    scene.watch(CUT);
    all_are_there(&scene, 0, &[]).await;
    proxy.mode.shut.store(true, Ordering::Relaxed);
    proxy.cut_all();
    within(BACK_WITHIN, "they are gone", async || {
        let clients = statecast.total(metrics::CLIENTS).await;
        if clients == 0 { Ok(()) } else { Err(clients) }
    })
    .await;
    let before = scene.connections();
    sleep(Duration::from_secs(10)).await;
    proxy.mode.shut.store(false, Ordering::Relaxed);
    let took = all_are_there(&scene, 0, &before).await;
    let recovery = scene.recovered().await;
    same_process(&statecast).await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", all back in {:.1} s", took.as_secs_f64()));
    outcome
}

/// Waits until every viewer of a crowd is answered once more than before. `first`: those before it come and go by habit, and
/// one who reads slowly may still read what an instance sent that is gone.
async fn all_are_there(scene: &Scene, first: usize, before: &[u64]) -> Duration {
    let start = Instant::now();
    within(BACK_WITHIN, "everybody is connected", async || {
        let now = scene.connections().into_iter().enumerate().skip(first);
        let missing = now.filter(|(viewer, now)| *now <= before.get(*viewer).copied().unwrap_or(0));
        let missing: Vec<(usize, u64)> = missing.collect();
        if missing.is_empty() { Ok(()) } else { Err((missing.len(), missing)) }
    })
    .await;
    start.elapsed()
}

pub async fn restarted_under_a_crowd(seed: u64) -> Outcome {
    let setup = Setup { mix: CALM, ..Setup::default() };
    let (mut scene, statecast) = Scene::begin_with("f32", seed, setup).await;
    scene.watch(CROWD);
    all_are_there(&scene, VIEWERS, &[]).await;
    let before = scene.connections();
    let (status, took) = statecast.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "it took {took:?} to stop");
    let statecast = scene.start().await;
    let back = all_are_there(&scene, VIEWERS, &before).await;
    let recovery = scene.recovered().await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    let repeated = oracle::repeated(&outcome);
    assert!(repeated.is_none(), "{repeated:?}\n{}", statecast.said());
    outcome.note.push_str(&format!(", all back in {:.1} s", back.as_secs_f64()));
    outcome
}

/// Connections that never come to a request.
pub async fn half_requests(seed: u64) -> Outcome {
    const COUNT: usize = 600;
    const HALVES: [&[u8]; 4] = [
        b"",
        b"GET /health/live HTTP/1.1\r\nHost: loc",
        b"PUT /api/streams/kv/y HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf",
        b"PUT /api/streams/kv/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ];
    let (scene, statecast) = Scene::begin("f34", seed, &[]).await;
    let at: SocketAddr = address(&statecast.base).parse().expect("an address");
    let open = async || {
        // Beyond what the kernel holds of connections that are not accepted yet, it takes some for open that are not.
        let all = stream::iter(0..COUNT).map(|number| async move {
            let mut socket = TcpStream::connect(at).await.expect("connected");
            socket.write_all(HALVES[number % HALVES.len()]).await.expect("sent");
            socket
        });
        all.buffer_unordered(50).collect::<Vec<_>>().await
    };
    let mut held = open().await;
    eventually("they are held", async || {
        let open = statecast.total(metrics::HTTP_CONNECTIONS).await;
        if open * 10 >= COUNT as u64 * 9 { Ok(()) } else { Err(open) }
    })
    .await;
    let (start, slowest) = (Instant::now(), slowest_request(&statecast).await);
    assert!(slowest < Duration::from_secs(2), "a request took {slowest:?} beside them");
    let ends = held.iter_mut().map(|socket| async {
        let mut rest = Vec::new();
        timeout(Duration::from_secs(40), socket.read_to_end(&mut rest)).await.is_ok()
    });
    let ended = join_all(ends).await.into_iter().filter(|ended| *ended).count();
    assert_eq!(ended, COUNT, "some were never closed");
    let closed = start.elapsed();
    let huge = huge_head(&statecast).await;
    assert!(huge.starts_with("HTTP/1.1 431"), "{huge}");
    same_process(&statecast).await;
    let (held, polls) = (open().await, half_polls(&statecast).await);
    let (status, took) = statecast.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "it took {took:?} to stop");
    drop((held, polls));
    let statecast = scene.start().await;
    let recovery = scene.recovered().await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    let (ms, took) = (slowest.as_millis(), took.as_secs_f64());
    outcome.note.push_str(&format!(
        ", {COUNT} half requests closed in {:.1} s, {ms} ms for a whole one beside them, a stop beside them in {took:.1} s",
        closed.as_secs_f64()
    ));
    outcome
}

/// Of sessions that poll: the body of a request that does not come to its end.
async fn half_polls(statecast: &Statecast) -> Vec<TcpStream> {
    let path = "/socket.io/?EIO=4&transport=polling";
    let mut held = Vec::new();
    for _ in 0..10 {
        let open = statecast.get(path).await.text().await.expect("text");
        let open: Value = serde_json::from_str(open.trim_start_matches('0')).expect("JSON");
        let sid = open["sid"].as_str().expect("a session");
        let mut socket = TcpStream::connect(address(&statecast.base)).await.expect("connected");
        let half = format!("POST {path}&sid={sid} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n4");
        socket.write_all(half.as_bytes()).await.expect("sent");
        held.push(socket);
    }
    held
}

async fn huge_head(statecast: &Statecast) -> String {
    let mut socket = TcpStream::connect(address(&statecast.base)).await.expect("connected");
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Huge: {}\r\n\r\n", "x".repeat(256 << 10));
    // It may be refused while it is still being sent.
    let _ = socket.write_all(head.as_bytes()).await;
    let mut answer = vec![0; 100];
    let read =
        timeout(Duration::from_secs(20), socket.read(&mut answer)).await.expect("in time").unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// What no Socket.IO client would send.
pub async fn bad_packets(seed: u64) -> Outcome {
    const ROUNDS: usize = 300;
    let mut dice = StdRng::seed_from_u64(seed);
    let (scene, statecast) = Scene::begin("f35", seed, &[]).await;
    let http = reqwest::Client::new();
    for query in [
        "EIO=3&transport=polling",
        "EIO=4&transport=polling&sid=none",
        "transport=polling",
        "EIO=4&transport=x",
    ] {
        let answer =
            http.get(format!("{}/socket.io/?{query}", statecast.base)).send().await.expect("an answer");
        assert!(answer.status().is_client_error(), "{query}: {answer:?}");
    }
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", address(&statecast.base));
    let mut closed = 0;
    for round in 0..ROUNDS {
        let Ok((mut socket, _)) = connect_async(&url).await else { panic!("nobody is let in any more") };
        let _ = socket.next().await;
        if round % 2 == 0 {
            let _ = socket.send(Message::text("40")).await;
            let _ = socket.next().await;
        }
        let _ = socket.send(bad_packet(round, &mut dice)).await;
        let mut is_closed = false;
        while let Ok(said) = timeout(Duration::from_millis(50), socket.next()).await {
            is_closed |= !matches!(said, Some(Ok(ref message)) if !message.is_close());
            if is_closed {
                break;
            }
        }
        closed += u32::from(is_closed);
    }
    assert!(closed > 0, "nothing was taken for bad");
    eventually("nobody of them is left", async || {
        let clients = statecast.labelled(metrics::CLIENTS, BY_WEBSOCKET).await;
        if clients <= OF_ONE_TRANSPORT { Ok(()) } else { Err(clients) }
    })
    .await;
    let recovery = scene.recovered().await;
    same_process(&statecast).await;
    let mut outcome = scene.judge(&statecast, recovery).await;
    outcome.note.push_str(&format!(", {closed} of {ROUNDS} connections closed over what they sent"));
    outcome
}

fn bad_packet(round: usize, dice: &mut StdRng) -> Message {
    let noise =
        |dice: &mut StdRng, length: usize| (0..length).map(|_| dice.random::<u8>()).collect::<Vec<_>>();
    match round % 12 {
        0 => Message::text("4510000-[\"subscribe\",{\"_placeholder\":true,\"num\":0}]"),
        1 => Message::text("42[\"subscribe\",{\"rooms\":"),
        2 => Message::text("421[\"subscribe\",{\"rooms\":[1,null,{}]}]"),
        3 => Message::text("x".repeat(8 << 20)),
        4 => Message::binary(noise(dice, 200_000)),
        5 => Message::text("40{bad"),
        6 => Message::text("42/elsewhere,[\"subscribe\"]"),
        7 => Message::text(format!("42{}", "[".repeat(30_000))),
        8 => Message::text("ü".repeat(100)),
        9 => Message::text(""),
        10 => Message::text("429999999999999999999999[\"subscribe\"]"),
        _ => {
            let length = dice.random_range(1..200);
            Message::text(String::from_utf8_lossy(&noise(dice, length)).into_owned())
        }
    }
}
