//! `loadtest/replay` through Kafka: the public data it sends are all taken in, and it says how far it is.
//!
//! Invariant: what must come out is counted in the data files themselves.

use super::{
    binary::{self, Statecast},
    eventually,
    ground::Ground,
    same,
};
use crate::tests::services;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};
use tokio::process::Command;

/// As many flights as this are sent.
const FLIGHTS: usize = 400;
/// Runs what follows on a terminal of its own, and gives on what it writes there.
const ON_A_TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
try:
    while more := os.read(fd, 4096):
        os.write(1, more)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

fn data() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/replay/node_modules/vega-datasets/data");
    assert!(folder.exists(), "{} is not there; npm --prefix loadtest/replay ci", folder.display());
    folder
}

/// The records of stocks.csv: symbol and price, as they come.
fn prices() -> Vec<(String, f64)> {
    let text = fs::read_to_string(data().join("stocks.csv")).expect("stocks.csv");
    let row = |line: &str| {
        let mut fields = line.split(',');
        let (symbol, price) = (fields.next()?.to_owned(), fields.nth(1)?);
        Some((symbol, price.trim().parse().ok()?))
    };
    text.lines().skip(1).filter(|line| !line.is_empty()).map(|line| row(line).expect(line)).collect()
}

/// Flights per airport they left, of those that are sent: the first by time.
fn flights() -> BTreeMap<String, u64> {
    let text = fs::read_to_string(data().join("flights-20k.json")).expect("flights");
    let mut flights: Vec<Map<String, Value>> = serde_json::from_str(&text).expect("JSON");
    let text = |flight: &Map<String, Value>, name: &str| flight[name].as_str().expect(name).to_owned();
    // Written so that the order of the text is that of time.
    flights.sort_by_key(|flight| text(flight, "date"));
    let mut count = BTreeMap::new();
    for flight in flights.iter().take(FLIGHTS) {
        *count.entry(text(flight, "origin")).or_default() += 1;
    }
    count
}

/// What `replay` is run with, the program first.
fn replay(data_set: &str, topic: &str, more: &[&str]) -> Vec<String> {
    let program = binary::path().with_file_name("examples").join("replay");
    assert!(program.exists(), "{} is not there; cargo build --examples", program.display());
    let (folder, brokers) = (data(), services::kafka().expect("Kafka"));
    let words = [
        &program.display().to_string(),
        "--folder",
        &folder.display().to_string(),
        "--data",
        data_set,
        "--kafka",
        &brokers,
        "--stream",
        topic,
        "--rate",
        "2000",
    ];
    words.into_iter().chain(more.iter().copied()).map(str::to_owned).collect()
}

async fn run(words: &[String]) -> Output {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).env("TERM", "xterm").kill_on_drop(true);
    let output = tokio::time::timeout(super::SOON, command.output()).await;
    output.expect("it ends in time").expect("it can be run")
}

async fn items(statecast: &Statecast, stream: &str) -> Vec<Value> {
    let list = statecast.get(&format!("/api/streams/{stream}?limit=1000")).await;
    let list: Value = list.json().await.expect("JSON");
    list["items"].as_array().unwrap_or_else(|| panic!("{list}")).clone()
}

/// A figure of each key.
async fn figure<T>(statecast: &Statecast, stream: &str, is: impl Fn(&Value) -> T) -> BTreeMap<String, T> {
    let items = items(statecast, stream).await;
    items.iter().map(|item| (item["key"].as_str().expect("key").to_owned(), is(&item["value"]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_data_go_through_kafka_and_are_all_taken_in() {
    let Some(ground) = Ground::new("replay").await else { return };
    let (prices_topic, flights_topic) =
        (format!("{}-prices", ground.name), format!("{}-flights", ground.name));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/stocks.toml");
    let of_prices = ["stocks", "stock-figures", "stock-ticker"];
    let mut settings = ground.settings();
    settings.extend(of_prices.map(|stream| format!("streams.{stream}.topic={prices_topic}")));
    settings.extend([
        format!("streams.flights.topic={flights_topic}"),
        "streams.flights.projection=aggregate".to_owned(),
        "streams.flights.key=/origin".to_owned(),
        "streams.flights.aggregates.flights=count".to_owned(),
    ]);
    let flags = ["--config", &example.display().to_string()];
    let statecast = Statecast::start_with(&flags, &settings).await;

    // Into a pipe: what is said is lines, and no bar that would be drawn over and over.
    let sent = run(&replay("stocks", &prices_topic, &[])).await;
    let said = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(sent.status.success(), "{said}");
    let all = prices();
    assert!(said.contains(&format!("{} records to topic {prices_topic}\n", all.len())), "{said}");
    assert!(!said.contains(['\r', '\u{1b}']) && said.lines().count() == 1, "{said:?}");
    let (mut count, mut last) = (BTreeMap::new(), BTreeMap::new());
    for (symbol, price) in all {
        *count.entry(symbol.clone()).or_insert(0) += 1;
        // Months of one symbol stand in the file as they followed each other.
        last.insert(symbol, json!(price));
    }
    eventually("every price is counted", async || {
        let counted =
            figure(&statecast, "stock-figures", |value| value["prices"].as_i64().unwrap_or(0)).await;
        same(counted, &count)
    })
    .await;
    eventually("the newest price is shown", async || {
        same(figure(&statecast, "stocks", |value| json!(value["price"].as_f64())).await, &last)
    })
    .await;

    // On a terminal there is a bar, and it comes to its end.
    let words = replay("flights", &flights_topic, &["--limit", &FLIGHTS.to_string()]);
    let python = ["python3", "-c", ON_A_TERMINAL].map(str::to_owned);
    let sent = run(&[python.as_slice(), &words].concat()).await;
    let said = String::from_utf8_lossy(&sent.stdout).into_owned();
    assert!(sent.status.success(), "{said}");
    assert!(said.contains(&format!("{FLIGHTS}/{FLIGHTS}")) && said.contains("/s"), "{said:?}");
    eventually("every flight is counted", async || {
        same(figure(&statecast, "flights", |value| value["flights"].as_u64().unwrap_or(0)).await, &flights())
    })
    .await;
    assert!(statecast.terminate().await.0.success());
}
