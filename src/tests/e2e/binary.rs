//! The program under test as a child process.
//!
//! Invariant: a child never outlives its test; what it said is in the test's failure.

use super::within;
use crate::{engine::seeded, metrics::Metric};
use reqwest::{Client, Response};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    time::timeout,
};

const READY_WITHIN: Duration = Duration::from_secs(90);
const END_WITHIN: Duration = Duration::from_secs(60);
/// Lines of output kept for a failure.
const SAID_SHOWN: usize = 40;

/// Every line the child wrote, on which stream.
type Said = Arc<Mutex<Vec<(bool, String)>>>;

/// A running program. Dropping it kills it.
pub struct Statecast {
    child: Child,
    said: Said,
    pub base: String,
    pub admin: String,
    pub pid: u32,
    http: Client,
    /// Where it runs: nothing of the developer's folder is in the way.
    cwd: TempDir,
}

/// How a program that was not to stay ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program: `STATECAST_BIN`, or what was built beside this test.
pub fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("STATECAST_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("this test's path");
    let built = test.parent().and_then(|deps| deps.parent()).expect("target folder").join("statecast");
    assert!(
        built.exists(),
        "{} is not there; cargo build --all-targets, or set STATECAST_BIN",
        built.display()
    );
    built
}

/// The same program with what `engine::seeded` puts in.
fn seeded_path() -> PathBuf {
    let built = path().with_file_name("examples").join("seeded");
    assert!(built.exists(), "{} is not there; make build-seeded", built.display());
    built
}

fn command(program: &Path, arguments: &[String], cwd: &TempDir) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(cwd.path()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        // What a developer has set must not decide what is tested. By its mark `scripts/services run` finds what a test that
        // was cut has left, and kills it.
        if name.to_string_lossy().starts_with("STATECAST_") && name != "STATECAST_TEST_SERVICES_DIR" {
            command.env_remove(name);
        }
    }
    command
}

fn arguments(verb: &[&str], settings: &[String]) -> Vec<String> {
    let settings = settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]);
    verb.iter().map(|&word| word.to_owned()).chain(settings).collect()
}

/// Runs a command that ends by itself.
pub async fn run(verb: &[&str], settings: &[String]) -> Ended {
    let cwd = TempDir::new().expect("folder");
    let output = command(&path(), &arguments(verb, settings), &cwd).output();
    let output = timeout(END_WITHIN, output).await.expect("it ends by itself").expect("it can be run");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Statecast {
    /// Starts it and returns when it is ready.
    pub async fn start(settings: &[String]) -> Statecast {
        Statecast::launch(settings).ready().await
    }

    /// As `start`, with further flags.
    pub async fn start_with(flags: &[&str], settings: &[String]) -> Statecast {
        let verb: Vec<&str> = ["serve"].into_iter().chain(flags.iter().copied()).collect();
        Statecast::spawn(&path(), None, &verb, settings).ready().await
    }

    /// As `start`, with this of `engine::seeded` in it.
    pub async fn start_seeded(bug: &str, settings: &[String]) -> Statecast {
        Statecast::spawn(&seeded_path(), Some(bug), &["serve"], settings).ready().await
    }

    /// Starts it; where it listens is not known yet.
    pub fn launch(settings: &[String]) -> Statecast {
        Statecast::spawn(&path(), None, &["serve"], settings)
    }

    fn spawn(program: &Path, bug: Option<&str>, verb: &[&str], settings: &[String]) -> Statecast {
        let cwd = TempDir::new().expect("folder");
        let free = ["server.listen=127.0.0.1:0", "server.admin_listen=127.0.0.1:0"].map(str::to_owned);
        let settings: Vec<String> = free.into_iter().chain(settings.iter().cloned()).collect();
        let mut command = command(program, &arguments(verb, &settings), &cwd);
        command.envs(bug.map(|bug| ("STATECAST_SEEDED", bug)));
        let mut child = command.spawn().expect("it can be run");
        let said = Said::default();
        hear(child.stdout.take().expect("stdout"), true, said.clone());
        hear(child.stderr.take().expect("stderr"), false, said.clone());
        let pid = child.id().expect("pid");
        // Shorter than the server keeps a silent connection, or it would now and then be closed under a request.
        let http = Client::builder().pool_idle_timeout(Duration::from_secs(5)).build().expect("a client");
        Statecast { child, said, base: String::new(), admin: String::new(), pid, http, cwd }
    }

    async fn ready(mut self) -> Statecast {
        self.wait_ready().await;
        self.base = self.line_after("listening on ");
        self.admin = self.line_after("admin on ");
        self
    }

    async fn wait_ready(&mut self) {
        let start = Instant::now();
        while !self.lines(true).iter().any(|line| line == "ready") {
            let ended = self.child.try_wait().expect("status");
            assert!(ended.is_none(), "it ended with {ended:?} before it was ready:\n{}", self.said());
            assert!(start.elapsed() < READY_WITHIN, "not ready:\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn lines(&self, of_stdout: bool) -> Vec<String> {
        let said = self.said.lock().expect("said");
        said.iter().filter(|(stdout, _)| *stdout == of_stdout).map(|(_, line)| line.clone()).collect()
    }

    fn line_after(&self, prefix: &str) -> String {
        let lines = self.lines(true);
        let found = lines.iter().find_map(|line| line.strip_prefix(prefix));
        found.unwrap_or_else(|| panic!("no line `{prefix}...` before `ready`: {lines:?}")).to_owned()
    }

    /// The last lines it wrote.
    pub fn said(&self) -> String {
        let said = self.said.lock().expect("said");
        let from = said.len().saturating_sub(SAID_SHOWN);
        said[from..].iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// Whether any line it ever wrote holds this.
    pub fn has_said(&self, text: &str) -> bool {
        self.said.lock().expect("said").iter().any(|(_, line)| line.contains(text))
    }

    /// Every line it ever wrote that holds this.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let said = self.said.lock().expect("said");
        said.iter().filter(|(_, line)| line.contains(text)).map(|(_, line)| line.clone()).collect()
    }

    pub fn signal(&self, name: &str) {
        let status =
            std::process::Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(status.expect("kill").success(), "{name} to {}:\n{}", self.pid, self.said());
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }

    /// The actor of this name panics, once; or it stands still, if `seeded::STILL` is behind the name.
    pub fn end_in(&self, actor: &str) {
        // At once and whole: who finds half a name passes it by.
        let half = self.cwd.path().join("half");
        std::fs::write(&half, actor).expect("written");
        std::fs::rename(half, self.cwd.path().join(seeded::END_FILE)).expect("named");
    }

    /// Waits for it to end by itself.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = timeout(END_WITHIN, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.said())).expect("status")
    }

    /// SIGTERM; how it ended, and how long that took.
    pub async fn terminate(mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal("TERM");
        let ended = timeout(END_WITHIN, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not stop:\n{}", self.said()));
        (ended.expect("status"), start.elapsed())
    }

    pub async fn get(&self, path: &str) -> Response {
        self.http.get(format!("{}{path}", self.base)).send().await.expect("an answer")
    }

    /// The entity of a key of `kv`; `None`: 404.
    pub async fn entity(&self, key: &str) -> Option<Value> {
        let answer = self.get(&format!("/api/streams/kv/{key}")).await;
        match answer.status().as_u16() {
            200 => Some(answer.json().await.expect("JSON")),
            404 => None,
            _ => panic!("{key}: {answer:?}"),
        }
    }

    pub async fn pipeline(&self) -> Value {
        let answer = self.http.get(format!("{}/admin/pipeline", self.admin)).send().await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// The partitions of `kv` this instance has, ascending.
    pub async fn partitions(&self) -> Vec<u64> {
        let pipeline = self.pipeline().await;
        let partitions = pipeline["streams"][0]["partitions"].as_array().cloned().unwrap_or_default();
        partitions.iter().filter_map(|one| one["partition"].as_u64()).collect()
    }

    pub async fn has_partitions(&self, count: usize) -> Vec<u64> {
        within(Duration::from_secs(90), "partitions are assigned", async || {
            let partitions = self.partitions().await;
            if partitions.len() == count { Ok(partitions) } else { Err((partitions, self.said())) }
        })
        .await
    }

    /// A metric of the stream `kv`, 0 where it has not been counted yet.
    pub async fn metric(&self, metric: Metric) -> u64 {
        let answer = self.http.get(format!("{}/metrics", self.admin)).send().await.expect("an answer");
        let text = answer.text().await.expect("text");
        let line = text.lines().find(|line| line.starts_with(metric.name) && line.contains("stream=\"kv\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map_or(0, |value| value as u64)
    }

    /// A metric over all its labels.
    pub async fn total(&self, metric: Metric) -> u64 {
        self.labelled(metric, "").await
    }

    /// A metric over all its labels, where they hold this.
    pub async fn labelled(&self, metric: Metric, label: &str) -> u64 {
        let answer = self.http.get(format!("{}/metrics", self.admin)).send().await.expect("an answer");
        let text = answer.text().await.expect("text");
        let value = |line: &str| {
            let (labels, value) = line.strip_prefix(metric.name)?.rsplit_once(' ')?;
            let is_it = (labels.is_empty() || labels.starts_with('{')) && labels.contains(label);
            is_it.then(|| value.parse::<f64>().ok())?
        };
        text.lines().filter_map(value).sum::<f64>() as u64
    }

    /// A metric over those of its series whose labels hold all of these.
    pub async fn sum(&self, metric: Metric, labels: &[&str]) -> u64 {
        let answer = self.http.get(format!("{}/metrics", self.admin)).send().await.expect("an answer");
        let text = answer.text().await.expect("text");
        let is_asked =
            |line: &&str| line.starts_with(metric.name) && labels.iter().all(|label| line.contains(label));
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        text.lines().filter(is_asked).filter_map(value).sum::<f64>() as u64
    }

    /// Resident memory now and at most so far, in MiB.
    pub fn memory_mib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.trim().trim_end_matches(" kB").parse::<u64>().expect(name) >> 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// Reads to the end, so that the child is never held up by a full pipe.
fn hear(stream: impl AsyncRead + Unpin + Send + 'static, is_stdout: bool, said: Said) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            said.lock().expect("said").push((is_stdout, line));
        }
    });
}
