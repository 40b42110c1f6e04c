//! Real sockets: the routes of the live side on a listener, over the fake engine, and the stock client under Node.

use super::fake::FakeEngine;
use crate::{
    adapters::socketio,
    config::Config,
    engine::{
        broadcaster::{Broadcaster, Parts, hub::Settings},
        live::Live,
        news::{News, NewsBox},
    },
    http::{counted, serve, stream},
};
use serde_json::{Value, json};
use std::{process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Whatever a test waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Served {
    pub engine: Arc<FakeEngine>,
    pub live: Live,
    pub url: String,
    news: Arc<NewsBox>,
    system: actix_rt::System,
    stop: CancellationToken,
    serving: JoinHandle<usize>,
}

impl Served {
    pub async fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let engine = FakeEngine::new(&[("kv", 2)]);
        let news = Arc::new(NewsBox::new(config.live.news_keys_max));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runner = actix_rt::System::new();
            let arbiter = actix_rt::Arbiter::new().handle();
            assert!(sender.send((actix_rt::System::current(), arbiter)).is_ok());
            runner.run().expect("system");
        });
        let (system, arbiter) = receiver.await.expect("system");
        let parts = Parts {
            engine: engine.clone(),
            news: news.clone(),
            settings: Settings::from(&config),
            runtime: tokio::runtime::Handle::current(),
        };
        let live = Broadcaster::start_on(&arbiter, parts);
        let router = stream::routes(live.clone(), &config).merge(socketio::routes(live.clone(), &config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listener");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let (stop, options) = (CancellationToken::new(), counted::Options::from(&config.live));
        let accept = serve::Accept::public(&config.server);
        let wrap = move |socket| counted::Connection::new(socket, options);
        let serving = tokio::spawn(serve::run(listener, router, accept, wrap, stop.clone()));
        Served { engine, live, url, news, system, stop, serving }
    }

    /// Stores a value and tells it.
    pub fn write(&self, key: &str, value: Option<&str>) -> News {
        let news = self.engine.write("kv", key, value);
        self.news.offer([news.clone()]);
        news
    }

    /// Stops as the process does; how many connections had to be cut at the deadline.
    pub async fn end(&mut self) -> usize {
        self.live.goodbye("stop").await;
        self.stop.cancel();
        timeout(PATIENCE, &mut self.serving).await.expect("the stop ends").expect("no panic")
    }

    /// Waits until there are so many clients.
    pub async fn until_clients(&self, wanted: usize) {
        let clients = || self.live.stats().clients.load(std::sync::atomic::Ordering::Relaxed);
        let count = async {
            while clients() != wanted {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, count).await.unwrap_or_else(|_| panic!("{} clients, not {wanted}", clients()));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        self.system.stop();
    }
}

/// The stock client in a process of its own.
pub struct Stock {
    _process: Child,
    orders: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    calls: u64,
    /// Said, and not looked at yet.
    kept: Vec<Value>,
    /// The beginning of every line said.
    heard: Vec<String>,
}

impl Stock {
    pub async fn connect(served: &Served, how: &str) -> Self {
        let mut client = Stock::start(served, how, None);
        client.wait("connected").await;
        client
    }

    pub fn start(served: &Served, how: &str, origin: Option<&str>) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
        assert!(
            std::path::Path::new(folder).join("node_modules").is_dir(),
            "the stock client is not installed: npm ci --prefix tests/clients"
        );
        let mut command = Command::new("node");
        command.arg("socket.mjs").arg(&served.url).arg(how).current_dir(folder).kill_on_drop(true);
        if let Some(origin) = origin {
            command.env("ORIGIN", origin);
        }
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node is installed");
        let orders = process.stdin.take().expect("stdin");
        let said = BufReader::new(process.stdout.take().expect("stdout")).lines();
        Stock { _process: process, orders, said, calls: 0, kept: Vec::new(), heard: Vec::new() }
    }

    async fn order(&mut self, order: Value) {
        let line = format!("{order}\n");
        self.orders.write_all(line.as_bytes()).await.expect("the client listens");
    }

    pub async fn act(&mut self, act: &str) {
        self.order(json!({"do": act})).await;
        self.wait("done").await;
    }

    pub async fn call(&mut self, event: &str, data: Value) -> Value {
        let id = self.start_call(event, data).await;
        self.ack(id).await
    }

    pub async fn start_call(&mut self, event: &str, data: Value) -> u64 {
        self.calls += 1;
        self.order(json!({"call": event, "data": data, "id": self.calls})).await;
        self.calls
    }

    pub async fn ack(&mut self, id: u64) -> Value {
        self.wait_for(|line| line.get("ack").is_some() && line["id"] == id).await["ack"].clone()
    }

    pub async fn emit(&mut self, event: &str, data: Value) {
        self.order(json!({"emit": event, "data": data})).await;
    }

    /// Waits for a line with this member.
    pub async fn wait(&mut self, member: &str) -> Value {
        self.wait_for(|line| line.get(member).is_some()).await
    }

    /// Waits for an event of this name, and gives its arguments.
    pub async fn event(&mut self, name: &str) -> Value {
        self.wait_for(|line| line["event"] == name).await["args"].clone()
    }

    async fn wait_for(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.kept.iter().position(&is_it) {
            return self.kept.remove(at);
        }
        loop {
            let line = self.next().await;
            if is_it(&line) {
                return line;
            }
            self.kept.push(line);
        }
    }

    async fn next(&mut self) -> Value {
        let line = timeout(PATIENCE, self.said.next_line()).await;
        let line = line.unwrap_or_else(|_| {
            panic!(
                "the client said nothing more; heard {} lines, the last: {:#?}",
                self.heard.len(),
                self.heard.iter().rev().take(3).collect::<Vec<_>>()
            )
        });
        let line = line.expect("stdout").expect("the client goes on");
        self.heard.push(line.chars().take(300).collect());
        serde_json::from_str(&line).expect("JSON")
    }

    /// Waits until changes said that the key is at this version; gives all of them.
    pub async fn until_version(&mut self, key: &str, version: u64) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let args = self.event("changes").await;
            let items = args[0].as_array().expect("items").clone();
            let reached = items.iter().any(|item| item["key"] == key && item["version"] == version);
            seen.extend(items);
            if reached {
                return seen;
            }
        }
    }
}
