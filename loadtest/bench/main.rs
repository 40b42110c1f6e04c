//! The table of figures: Statecast beside a bare driver, on the same services, in one run.
//!
//! Invariant: every figure is of one process (its CPU from /proc, its peak memory), and whatever is compared ran on the
//! same topic in the same run. Machines are noisy: read the ratios, and CPU seconds per million records.
//! Run by `make bench`; `ONLY=name` picks rows, `RECORDS=n` sizes them, and `SETS='engine.shards=4 ...'` changes what
//! Statecast is set to. Services come from STATECAST_TEST_KAFKA and STATECAST_TEST_MONGODB.

mod bare;
mod clients;
mod floor;
mod process;
mod produce;
mod rows;
mod table;

use std::process::ExitCode;

/// What every row needs to know.
pub struct Setting {
    pub kafka: String,
    pub mongodb: String,
    pub binary: String,
    /// The process of the database, for its CPU; `None`: not started by the script.
    pub mongod: Option<u32>,
    pub records: u64,
    pub only: String,
}

pub type Fault = Box<dyn std::error::Error + Send + Sync>;

impl Setting {
    fn read() -> Result<Self, Fault> {
        let variable =
            |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set; run `make bench`"));
        Ok(Setting {
            kafka: variable("STATECAST_TEST_KAFKA")?,
            mongodb: variable("STATECAST_TEST_MONGODB")?,
            binary: variable("STATECAST_BIN")?,
            mongod: process::mongod(),
            records: std::env::var("RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000),
            only: std::env::var("ONLY").unwrap_or_default(),
        })
    }

    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || row.contains(&self.only)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => rows::all().await,
        ["bare", rest @ ..] => bare::run(rest).await,
        ["clients", rest @ ..] => clients::run(rest).await,
        ["floor", rest @ ..] => floor::run(rest).await,
        other => Err(format!("unknown arguments: {other:?}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::FAILURE
        }
    }
}
