//! The rows of the table, in order.

use crate::{
    Fault, Setting,
    process::{Cost, Statecast, cost},
    produce, table,
};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::sleep,
};

/// A new broker compiles while it works; so many records go through it before anything is measured.
const WARM_UP: u64 = 1_000_000;
const CLIENTS: u64 = 1_000;
const LIVE_WARM_UP_S: u64 = 20;
const LIVE_S: u64 = 20;

pub async fn all() -> Result<(), Fault> {
    let setting = Setting::read()?;
    println!("warming up the broker");
    produce::topic(&setting.kafka, "warm").await?;
    fill(&setting, "warm", WARM_UP, 1000).await?;
    table::head();
    if setting.wants("keys") {
        throughput(&setting, "many", setting.records).await?;
        throughput(&setting, "few", 1_000).await?;
    }
    if setting.wants("embedded") {
        embedded(&setting).await?;
    }
    if setting.wants("live") {
        table::live_head();
        live(&setting, 5_000, [5.0, 25.0, 40.0]).await?;
        live(&setting, 20_000, [12.0, 100.0, 14.0]).await?;
    }
    Ok(())
}

async fn fill(setting: &Setting, topic: &str, records: u64, keys: u64) -> Result<(), Fault> {
    let (brokers, topic) = (setting.kafka.clone(), topic.to_owned());
    tokio::task::spawn_blocking(move || produce::fill(&brokers, &topic, records, keys)).await?
}

/// One topic, three readers of it one after the other: the bare loop, Statecast, Statecast on a store that does nothing.
async fn throughput(setting: &Setting, name: &str, keys: u64) -> Result<(), Fault> {
    let records = setting.records;
    produce::topic(&setting.kafka, name).await?;
    fill(setting, name, records, keys).await?;
    let what = format!("{records} records, {keys} keys");
    let bare = bare(setting, name, &what).await?;
    let own = statecast(setting, name, &what, "mongodb").await?;
    statecast(setting, name, &what, "null").await?;
    table::ratio(&format!("{what}: of the bare driver"), own / bare, 0.8);
    Ok(())
}

async fn bare(setting: &Setting, topic: &str, what: &str) -> Result<f64, Fault> {
    let records = setting.records.to_string();
    let database = format!("bare-{topic}");
    let mut child = itself(&["bare", &setting.kafka, topic, &setting.mongodb, &database, &records])?;
    let store_before = store_cpu_s(setting);
    let seconds: f64 = line(&mut child).await?.trim().parse()?;
    let own = child.id().map(cost).unwrap_or_default();
    table::row(&format!("bare driver, {what}"), setting.records, seconds, &own, spent(setting, store_before));
    drop(child.stdin.take());
    child.wait().await?;
    Ok(setting.records as f64 / seconds)
}

fn itself(arguments: &[&str]) -> Result<Child, Fault> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command.spawn()?)
}

async fn line(child: &mut Child) -> Result<String, Fault> {
    let output = child.stdout.as_mut().ok_or("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).await?;
    Ok(line)
}

fn store_cpu_s(setting: &Setting) -> Option<f64> {
    setting.mongod.map(|pid| cost(pid).cpu_s)
}

fn spent(setting: &Setting, before: Option<f64>) -> Option<f64> {
    Some(store_cpu_s(setting)? - before?)
}

fn on_kafka(setting: &Setting, topic: &str, store: &str) -> Vec<(&'static str, String)> {
    vec![
        ("log.kind", "kafka".into()),
        ("kafka.brokers", setting.kafka.clone()),
        ("kafka.group_prefix", format!("bench-{store}")),
        ("streams.kv.topic", topic.to_owned()),
        ("store.kind", store.to_owned()),
        ("mongodb.uri", setting.mongodb.clone()),
        ("mongodb.database", format!("bench-{topic}")),
    ]
}

async fn statecast(setting: &Setting, topic: &str, what: &str, store: &str) -> Result<f64, Fault> {
    let store_before = store_cpu_s(setting);
    let process = Statecast::start(setting, &on_kafka(setting, topic, store)).await?;
    let seconds = process.until_stored(setting.records).await?;
    let own = process.cost();
    let name = format!("statecast, {store}, {what}");
    table::row(&name, setting.records, seconds, &own, spent(setting, store_before));
    process.stop().await?;
    Ok(setting.records as f64 / seconds)
}

/// The embedded log, filled before through the door's own log, and read by a new process.
async fn embedded(setting: &Setting) -> Result<(), Fault> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().join("data");
    let fjall_per_s = crate::bare::fjall(&folder.path().join("raw"), setting.records).await?;
    crate::bare::fill_embedded(&data_dir, setting.records).await?;
    let process = Statecast::start(setting, &[("embedded.data_dir", data_dir.display().to_string())]).await?;
    let seconds = process.until_stored(setting.records).await?;
    let own = process.cost();
    table::row(
        &format!("statecast, embedded, {} keys", setting.records),
        setting.records,
        seconds,
        &own,
        None,
    );
    process.stop().await?;
    let reached = setting.records as f64 / seconds;
    println!("{:<44} {fjall_per_s:>10.0}", "fjall itself, batches of 1000 with fsync");
    table::ratio("embedded: of fjall's own rate", reached / fjall_per_s, 0.7);
    Ok(())
}

async fn live(setting: &Setting, per_s: u64, goals: [f64; 3]) -> Result<(), Fault> {
    floor(setting, per_s).await?;
    let topic = format!("live-{per_s}");
    produce::topic(&setting.kafka, &topic).await?;
    let process = Statecast::start(setting, &on_kafka(setting, &topic, "mongodb")).await?;
    let clients = Watch::start(&["clients", &process.url, &CLIENTS.to_string()]).await?;
    let live = measure(setting, &topic, per_s, clients, || process.cost()).await?;
    table::live(&format!("{per_s} records/s, statecast"), &live);
    let [p50, p99, cpu] = goals;
    println!("  to reach: p50 {p50} ms, p99 {p99} ms, {cpu} CPU-s per million");
    process.stop().await
}

/// What Kafka alone takes, on this machine at this moment.
async fn floor(setting: &Setting, per_s: u64) -> Result<(), Fault> {
    let topic = format!("floor-{per_s}");
    produce::topic(&setting.kafka, &topic).await?;
    let reader = Watch::start(&["floor", &setting.kafka, &topic]).await?;
    let pid = reader.pid().ok_or("no process")?;
    let live = measure(setting, &topic, per_s, reader, || cost(pid)).await?;
    table::live(&format!("{per_s} records/s, read and no more"), &live);
    Ok(())
}

/// Produces at a steady rate; returns what `watch` saw, and what that cost.
async fn measure(
    setting: &Setting,
    topic: &str,
    per_s: u64,
    mut watch: Watch,
    cost: impl Fn() -> Cost,
) -> Result<table::Live, Fault> {
    let (brokers, topic) = (setting.kafka.clone(), topic.to_owned());
    let producer = tokio::task::spawn_blocking(move || {
        produce::steadily(&brokers, &topic, per_s, CLIENTS, LIVE_WARM_UP_S + LIVE_S)
    });
    sleep(Duration::from_secs(LIVE_WARM_UP_S)).await;
    let (before, store_before) = (cost(), store_cpu_s(setting));
    watch.say("measure").await?;
    producer.await??;
    sleep(Duration::from_millis(500)).await;
    watch.say("end").await?;
    let (after, store_cpu_s) = (cost(), spent(setting, store_before));
    let answer = watch.line().await?;
    let figures: Vec<f64> = answer.split(' ').filter_map(|n| n.parse().ok()).collect();
    let [p50, p99, p999, _] = figures.as_slice() else { return Err(answer.into()) };
    let own = Cost { cpu_s: after.cpu_s - before.cpu_s, peak_mib: after.peak_mib };
    watch.end().await?;
    Ok(table::Live { quantiles_ms: [*p50, *p99, *p999], records: per_s * LIVE_S, own, store_cpu_s })
}

/// A process that watches, and answers with what it saw.
struct Watch {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    /// Returns once it is ready.
    async fn start(arguments: &[&str]) -> Result<Self, Fault> {
        let mut child = itself(arguments)?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let input = child.stdin.take().ok_or("no input")?;
        let mut watch = Watch { child, input, output };
        watch.line().await?;
        Ok(watch)
    }

    fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    async fn say(&mut self, word: &str) -> Result<(), Fault> {
        Ok(self.input.write_all(format!("{word}\n").as_bytes()).await?)
    }

    async fn line(&mut self) -> Result<String, Fault> {
        Ok(self.output.next_line().await?.ok_or("a watcher ended early")?)
    }

    async fn end(self) -> Result<(), Fault> {
        let Watch { mut child, input, .. } = self;
        drop(input);
        child.kill().await.map_err(Into::into)
    }
}
