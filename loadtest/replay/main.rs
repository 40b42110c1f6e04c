//! Sends a public data set to Statecast as if it happened now: over HTTP, or through Kafka.
//!
//! Invariant: records go in the order of the data's own time, at the speed asked for, each only after those of its key
//! before it were taken; what is not taken ends the run and is said.
//! Run by `make replay`, which fetches the data. Not here: measuring (`bench`).

mod data;
mod pace;
mod to;

use clap::Parser;
use data::{Data, Known};
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pace::Pace;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use to::To;

pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Records under way at once; those of one key still go one after the other.
const UNDER_WAY_MAX: usize = 64;

/// Sends a public data set to Statecast as if it happened now
#[derive(Debug, Parser)]
struct Arguments {
    /// Which of them.
    #[arg(long, value_enum, default_value_t = Known::Stocks)]
    data: Known,
    /// The folder of the data sets.
    #[arg(long, default_value = "loadtest/replay/node_modules/vega-datasets/data")]
    folder: PathBuf,
    /// Where Statecast listens.
    #[arg(long, default_value = "http://127.0.0.1:8080", conflicts_with = "kafka")]
    to: String,
    /// Through these brokers instead, HOST:PORT.
    #[arg(long)]
    kafka: Option<String>,
    /// The stream, and with --kafka the topic.
    #[arg(long, default_value = "kv")]
    stream: String,
    /// Records a second.
    #[arg(long, default_value_t = 20.0, conflicts_with = "times")]
    rate: f64,
    /// So many times as fast as it happened, by the time in the data.
    #[arg(long)]
    times: Option<f64>,
    /// Send no more than so many.
    #[arg(long)]
    limit: Option<usize>,
    /// Begin anew at the end, until stopped.
    #[arg(long)]
    repeat: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("replay: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Fault> {
    let mut records = arguments.data.read(&arguments.folder)?;
    records.truncate(arguments.limit.unwrap_or(usize::MAX));
    let pace = Pace::new(arguments.times.map_or(Pace::Rate(arguments.rate), Pace::Times), &records)?;
    let to = To::open(arguments.kafka.as_deref(), &arguments.to, &arguments.stream)?;
    eprintln!("{}: {} records to {to}", arguments.data.about(), records.len());
    to.say_where_to_look(&records);
    loop {
        let bar = bar(records.len());
        send(&records, &pace, &to, &bar).await?;
        bar.finish();
        if !arguments.repeat {
            return Ok(());
        }
    }
}

fn bar(records: usize) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let bar = ProgressBar::with_draw_target(Some(records as u64), target);
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {per_sec}  {msg}  left {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Chains of one key each would need a task per key; buckets of keys keep their order with few.
async fn send(records: &[Data], pace: &Pace, to: &To, bar: &ProgressBar) -> Result<(), Fault> {
    let began = tokio::time::Instant::now();
    let mut buckets: Vec<Vec<(Duration, &Data)>> = vec![Vec::new(); UNDER_WAY_MAX];
    for (record, due) in records.iter().zip(pace.due(records)) {
        let bucket = bucket_of(&record.key);
        if let Some(bucket) = buckets.get_mut(bucket) {
            bucket.push((due, record));
        }
    }
    let all = buckets.into_iter().map(|bucket| async move {
        for (due, record) in bucket {
            tokio::time::sleep_until(began + due).await;
            to.send(record).await?;
            bar.set_message(record.day());
            bar.inc(1);
        }
        Ok::<(), Fault>(())
    });
    stream::iter(all).buffer_unordered(UNDER_WAY_MAX).try_collect().await
}

fn bucket_of(key: &str) -> usize {
    let sum = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    sum % UNDER_WAY_MAX
}
