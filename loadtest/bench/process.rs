//! Child processes, and what they cost.

use crate::{Fault, Setting};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep},
};

/// CPU seconds used so far, and the most memory held at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub cpu_s: f64,
    pub peak_mib: f64,
}

/// Linux counts CPU time of processes in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

/// The cost of a process, threads included.
pub fn cost(pid: u32) -> Cost {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak_kib = peak.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0);
    Cost { cpu_s: (ticks(11) + ticks(12)) / TICKS_PER_S, peak_mib: peak_kib / 1024.0 }
}

/// The process id of the database that `scripts/services` started.
pub fn mongod() -> Option<u32> {
    let dir = std::env::var("STATECAST_TEST_SERVICES_DIR").ok()?;
    let text = std::fs::read_to_string(format!("{dir}/state.json")).ok()?;
    let state: serde_json::Value = serde_json::from_str(&text).ok()?;
    find_pid(&state)
}

fn find_pid(state: &serde_json::Value) -> Option<u32> {
    match state {
        serde_json::Value::Object(members) => members.iter().find_map(|(name, value)| {
            let pid = value.get("pid").and_then(serde_json::Value::as_u64).filter(|_| name == "mongodb");
            pid.map(|pid| pid as u32).or_else(|| find_pid(value))
        }),
        serde_json::Value::Array(items) => items.iter().find_map(find_pid),
        _ => None,
    }
}

/// A serving Statecast.
pub struct Statecast {
    child: Child,
    pub url: String,
    admin: String,
    http: reqwest::Client,
}

impl Statecast {
    pub async fn start(setting: &Setting, settings: &[(&str, String)]) -> Result<Self, Fault> {
        let mut command = Command::new(&setting.binary);
        command.args([
            "serve",
            "--set",
            "server.listen=127.0.0.1:0",
            "--set",
            "server.admin_listen=127.0.0.1:0",
        ]);
        command.args(["--set", "telemetry.log_level=warn"]);
        for (name, value) in settings {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        for set in std::env::var("SETS").unwrap_or_default().split_whitespace() {
            command.arg("--set").arg(set);
        }
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let (mut url, mut admin) = (String::new(), String::new());
        while let Some(line) = lines.next_line().await? {
            if let Some(at) = line.strip_prefix("listening on ") {
                url = at.to_owned();
            } else if let Some(at) = line.strip_prefix("admin on ") {
                admin = at.to_owned();
            } else if line == "ready" {
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Statecast { child, url, admin, http: reqwest::Client::new() });
            }
        }
        Err("statecast ended before it was ready".into())
    }

    pub fn cost(&self) -> Cost {
        self.child.id().map(cost).unwrap_or_default()
    }

    /// A counter or gauge of `/metrics`, summed over its labels.
    pub async fn metric(&self, name: &str) -> Result<f64, Fault> {
        let text = self.http.get(format!("{}/metrics", self.admin)).send().await?.text().await?;
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Waits until so many records are finished; the time from the first one received to the last one stored.
    pub async fn until_stored(&self, records: u64) -> Result<f64, Fault> {
        let mut begun = None;
        let deadline = Instant::now() + Duration::from_secs(300);
        while Instant::now() < deadline {
            let stored = self.metric("statecast_records_stored_total").await? as u64;
            if begun.is_none() && self.metric("statecast_records_received_total").await? > 0.0 {
                begun = Some(Instant::now());
            }
            if stored >= records {
                return Ok(begun.unwrap_or_else(Instant::now).elapsed().as_secs_f64());
            }
            // Writing the metrics out costs the process a millisecond; ten times a second does not show.
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!("not all of {records} records were stored in time").into())
    }

    pub async fn stop(mut self) -> Result<(), Fault> {
        if let Some(pid) = self.child.id() {
            Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        }
        self.child.wait().await?;
        Ok(())
    }
}
