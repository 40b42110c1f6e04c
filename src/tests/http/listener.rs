//! The accept loop: slow clients, the cap, panics, and a stop that ends.

use super::*;
use axum::routing::{any, get};
use std::{sync::atomic::Ordering, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const SECOND: Duration = Duration::from_secs(1);

async fn connect(door: &Door) -> TcpStream {
    TcpStream::connect(door.public).await.expect("connect")
}

/// Sends bytes and reads to the end of the connection.
pub async fn raw(door: &Door, bytes: &[u8]) -> String {
    let mut socket = connect(door).await;
    socket.write_all(bytes).await.expect("write");
    read_all(&mut socket).await
}

async fn read_all(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(5 * SECOND, socket.read_to_end(&mut text)).await.expect("the connection ends");
    read.expect("read");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let door = door_with(|config| config.server.header_timeout_ms = 200, Router::new()).await;
    for part in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let began = Instant::now();
        let mut socket = connect(&door).await;
        socket.write_all(part.as_bytes()).await.expect("write");
        read_all(&mut socket).await;
        assert!(began.elapsed() < SECOND, "{part:?} took {:?}", began.elapsed());
    }
    let mut socket = connect(&door).await;
    let dripped = async {
        for byte in b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n" {
            socket.write_all(&[*byte]).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::io::Result::Ok(())
    };
    let refused = dripped.await.is_err() || !read_all(&mut socket).await.contains("200 OK");
    assert!(refused, "a byte now and then does not keep a connection");
}

#[tokio::test]
async fn a_head_beyond_its_bound_is_431() {
    let door = door_with(|config| config.server.header_bytes_max = 8 << 10, Router::new()).await;
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Much: {}\r\n\r\n", "a".repeat(16 << 10));
    let answer = raw(&door, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let door = door_with(|config| config.server.body_timeout_ms = 200, Router::new()).await;
    let began = Instant::now();
    let half = b"PUT /api/streams/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[1, 2";
    let answer = raw(&door, half).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("/problems/body-timeout"), "{answer}");
    assert!(began.elapsed() < 2 * SECOND);
    assert!(door.fake.appended().is_empty());
}

#[tokio::test]
async fn who_asks_before_sending_too_much_is_told_at_once() {
    let door = door().await;
    let answer = raw(
        &door,
        b"PUT /api/streams/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10485760\r\nExpect: 100-continue\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("/problems/too-large"), "{answer}");
}

#[tokio::test]
async fn requests_and_connections_are_measured_by_route_and_never_by_key() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _here = ::metrics::set_default_local_recorder(&recorder);
    let door = door_with(|config| config.server.connections_max = 1, Router::new()).await;
    door.put("/api/streams/kv/some-key", "1").await;
    problem(door.ask("GET", "/no/such/path"), 404, "not-found").await;
    let mut over = connect(&door).await;
    assert!(!alive(&mut over).await);
    let told = recorder.handle().render();
    for line in [
        "route=\"/api/streams/{stream}/{*key}\",method=\"PUT\",status=\"202\"",
        "route=\"none\",method=\"GET\",status=\"404\"",
        "statecast_http_connections{listener=\"public\"} 1",
        "statecast_http_connections_refused_total{listener=\"public\"} 1",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert!(!told.contains("some-key") && !told.contains("such"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_taken_for_whole() {
    let door = door().await;
    let mut socket = connect(&door).await;
    let half = b"PUT /api/streams/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n12";
    socket.write_all(half).await.expect("write");
    socket.shutdown().await.expect("shutdown");
    read_all(&mut socket).await;
    assert!(door.fake.appended().is_empty());
}

#[tokio::test]
async fn connections_beyond_the_cap_are_closed_at_once() {
    let door = door_with(|config| config.server.connections_max = 20, Router::new()).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut socket = connect(&door).await;
        assert!(alive(&mut socket).await, "the first twenty are served");
        held.push(socket);
    }
    for _ in 0..2_000 {
        let mut socket = connect(&door).await;
        let mut byte = [0];
        let read = timeout(SECOND, socket.read(&mut byte)).await.expect("closed at once");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    assert!(alive(&mut held[0]).await, "who is in is served on");
    held.pop();
    let admitted = async {
        while !alive(&mut connect(&door).await).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SECOND, admitted).await.expect("a place that is free again is given");
}

async fn alive(socket: &mut TcpStream) -> bool {
    if socket.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.is_err() {
        return false;
    }
    let mut answer = [0; 1_024];
    match timeout(SECOND, socket.read(&mut answer)).await {
        Ok(Ok(read)) => answer[..read].starts_with(b"HTTP/1.1 200"),
        _ => false,
    }
}

#[tokio::test]
async fn a_stop_ends_by_its_deadline_whatever_is_open() {
    let door = door_with(|config| config.server.stop_deadline_ms = 400, Router::new()).await;
    let since = door.put("/api/streams/kv/a", "1").await;
    let mut idle = connect(&door).await;
    assert!(alive(&mut idle).await);
    let poll = door.ask("GET", &format!("/api/streams/kv/a?wait=60s&since={since}")).send();
    let poll = tokio::spawn(poll);
    let mut half = connect(&door).await;
    let head = b"POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"key\"";
    half.write_all(head).await.expect("write");
    while door.fake.polls.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    door.stop.cancel();
    whole_problem(poll.await.expect("task").expect("answer"), 503, "stopping").await;
    assert!(began.elapsed() < Duration::from_millis(300), "a poll does not wait for the deadline");
    let cut = timeout(SECOND, door.serving).await.expect("the stop ends").expect("task");
    assert_eq!(cut, 1, "only the half-sent POST had to be cut");
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(TcpStream::connect(door.public).await.is_err(), "nobody listens any more");
    read_all(&mut idle).await;
}

#[tokio::test]
async fn a_stop_waits_for_no_request_that_has_not_come() {
    let patient = |config: &mut Config| {
        (config.server.stop_deadline_ms, config.server.header_timeout_ms) = (60_000, 60_000);
        config.server.body_timeout_ms = 60_000;
    };
    let door = door_with(patient, Router::new()).await;
    let mut held = Vec::new();
    for half in [
        "",
        "GET / HT",
        "PUT /api/streams/kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[1, 2",
        "PUT /api/streams/kv/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let mut socket = connect(&door).await;
        socket.write_all(half.as_bytes()).await.expect("write");
        held.push(socket);
    }
    let mut kept = connect(&door).await;
    assert!(alive(&mut kept).await);
    kept.write_all(b"GET /health/li").await.expect("write");
    held.push(kept);
    assert!(alive(&mut connect(&door).await).await, "all before are accepted");
    let began = Instant::now();
    door.stop.cancel();
    let cut = timeout(30 * SECOND, door.serving).await.expect("the stop ends").expect("task");
    assert_eq!(cut, 0, "nothing had to be cut after {:?}", began.elapsed());
    let mut told = Vec::new();
    for mut socket in held {
        told.push(read_all(&mut socket).await);
    }
    let answers: Vec<&str> = told.iter().filter_map(|text| text.get(..12)).collect();
    assert_eq!(answers, ["HTTP/1.1 503", "HTTP/1.1 503"], "who had begun to ask is told");
    assert!(door.fake.appended().is_empty());
}

#[tokio::test]
async fn a_stop_lets_a_write_under_way_have_its_answer() {
    let door = door_with(
        |config| (config.engine.wait_timeout_ms, config.server.stop_deadline_ms) = (3_000, 3_000),
        Router::new(),
    )
    .await;
    door.fake.hold_fold();
    let write = tokio::spawn(door.ask("PUT", "/api/streams/kv/a?wait=stored").body("1").send());
    while door.fake.appended().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    door.stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    door.fake.release_fold();
    let answer = write.await.expect("task").expect("answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(timeout(SECOND, door.serving).await.expect("the stop ends").expect("task"), 0);
}

#[tokio::test]
async fn a_panic_is_a_problem_that_leaks_nothing_and_ends_nothing() {
    let door = door().await;
    door.fake.panics.store(true, Ordering::Relaxed);
    problem(door.ask("GET", "/api/streams/kv/a"), 500, "internal").await;
    door.fake.panics.store(false, Ordering::Relaxed);
    door.put("/api/streams/kv/a", "1").await;
}

#[tokio::test]
async fn a_merged_router_has_the_same_guards_and_knows_its_socket() {
    async fn probe(request: axum::extract::Request) -> String {
        let counter = request.extensions().get::<Arc<counted::Counter>>();
        let peer = request.extensions().get::<axum::extract::ConnectInfo<SocketAddr>>();
        format!("{} {}", counter.is_some(), peer.is_some())
    }
    let extra = Router::new()
        .route("/live", get(probe))
        .route("/socket.io/", any(async |body: String| body))
        .route("/panics", get(async || -> () { panic!("at 10.0.0.7") }));
    let door = door_with(|config| config.server.body_timeout_ms = 200, extra).await;
    let answer = door.get("/live").await;
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    assert_eq!(answer.text().await.expect("body"), "true true");
    let foreign = door.ask("POST", "/socket.io/").header("origin", "http://evil.example").body("x");
    problem(foreign, 403, "foreign-origin").await;
    problem(door.ask("GET", "/panics"), 500, "internal").await;
    problem(door.ask("GET", "/nope"), 404, "not-found").await;
    problem(door.ask("POST", "/live"), 405, "method-not-allowed").await;
    let half = b"POST /socket.io/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx";
    let began = Instant::now();
    raw(&door, half).await;
    assert!(began.elapsed() < SECOND, "its bodies are bounded in time too");
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_place() {
    async fn upgrade(mut request: axum::extract::Request) -> axum::response::Response {
        let upgrading = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = upgrading.await.expect("upgrade");
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(io);
        });
        let head = [("connection", "upgrade"), ("upgrade", "echo")];
        axum::response::IntoResponse::into_response((StatusCode::SWITCHING_PROTOCOLS, head))
    }
    let extra = Router::new().route("/up", get(upgrade));
    let door = door_with(|config| config.server.connections_max = 1, extra).await;
    let mut socket = connect(&door).await;
    let head = b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    socket.write_all(head).await.expect("write");
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.expect("read");
    assert_eq!(&answer, b"HTTP/1.1 101");
    assert!(!alive(&mut connect(&door).await).await, "it still counts");
    read_all(&mut socket).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(alive(&mut connect(&door).await).await, "its place is free again");
}
