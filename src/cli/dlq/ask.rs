//! One running instance, asked over HTTP.
//!
//! Invariant: every request has a deadline, and trouble says who has to act: the caller, or whoever runs the instance.
//! Not here: TLS, which the admin listener does not speak.

use crate::cli::Exit;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;
use std::time::Duration;

/// A replay waits for the log's acknowledgement and for the store's.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// The arguments do not make sense.
    #[error("{0}")]
    Wrong(String),
    /// Nobody answers there, or not in time.
    #[error("{0}")]
    Away(String),
    /// The instance understood and said no; `code` is the last segment of the problem's type.
    #[error("{text}")]
    Refused { status: u16, code: String, text: String },
    /// What answers there is no admin listener of Statecast.
    #[error("what answers there is not the admin listener of an instance")]
    Foreign,
}

impl Trouble {
    pub fn foreign() -> Self {
        Trouble::Foreign
    }

    pub fn exit(&self) -> Exit {
        match self {
            Trouble::Wrong(_) | Trouble::Foreign => Exit::Configuration,
            Trouble::Away(_) => Exit::Unavailable,
            Trouble::Refused { code, .. } if code == "no-dead-letter" => Exit::Partly,
            Trouble::Refused { status, .. } if *status >= 500 => Exit::Unavailable,
            Trouble::Refused { .. } => Exit::Configuration,
        }
    }
}

pub struct Instance {
    http: Client,
    base: Url,
}

impl Instance {
    pub fn at(admin: &str) -> Result<Self, Trouble> {
        let wrong = |why: &str| Trouble::Wrong(format!("--admin must be like http://127.0.0.1:9090; {why}"));
        let base = Url::parse(admin).map_err(|error| wrong(&error.to_string()))?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(wrong("the admin listener speaks plain HTTP"));
        }
        // A proxy that is set for the web knows nothing of this machine.
        let http =
            Client::builder().no_proxy().connect_timeout(CONNECT_WITHIN).timeout(ANSWER_WITHIN).build();
        let http = http.map_err(|error| Trouble::Wrong(error.to_string()))?;
        Ok(Instance { http, base })
    }

    /// GET of `/admin/dlq/SEGMENTS`.
    pub async fn get(&self, segments: &[&str], query: &[(&str, String)]) -> Result<Value, Trouble> {
        self.ask(Method::GET, segments, query).await
    }

    pub async fn post(&self, segments: &[&str], query: &[(&str, String)]) -> Result<Value, Trouble> {
        self.ask(Method::POST, segments, query).await
    }

    async fn ask(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<Value, Trouble> {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["admin", "dlq"]).extend(segments);
        }
        let answer = self.http.request(method, url).query(query).send().await.map_err(|e| self.away(&e))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| self.away(&error))?;
        let body = serde_json::from_slice::<Value>(&body).map_err(|_| Trouble::Foreign)?;
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    fn away(&self, error: &reqwest::Error) -> Trouble {
        let (host, port) = (self.base.host_str().unwrap_or_default(), self.base.port_or_known_default());
        let at = format!("{host}:{}", port.unwrap_or_default());
        Trouble::Away(if error.is_timeout() {
            format!("the instance at {at} did not answer in time; what was asked may have been done")
        } else if error.is_connect() {
            format!("no instance answers at {at}; is it running, and is this its admin listener?")
        } else {
            format!("the instance at {at} broke off its answer; what was asked may have been done")
        })
    }
}

/// The problem in one line, with the fields it names.
fn refused(status: StatusCode, problem: &Value) -> Trouble {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    let code = text("type").rsplit(['/', '#']).next().unwrap_or_default().to_owned();
    if code.is_empty() {
        return Trouble::Foreign;
    }
    let mut line = [text("title"), text("detail")].join(": ");
    let errors = problem.get("errors").and_then(Value::as_array).into_iter().flatten();
    for remedy in errors.filter_map(|error| error.get("remedy")?.as_str()) {
        line.push_str(&format!("; {remedy}"));
    }
    Trouble::Refused { status: status.as_u16(), code, text: line }
}
