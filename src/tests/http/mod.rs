//! The HTTP outside over real sockets, against an engine in memory.

mod admin;
mod bad_input;
mod description;
mod entities;
mod fake;
mod letters;
mod listener;
mod pages;
mod writes;

use crate::{
    apps,
    config::Config,
    http::{self, Context, counted, ops::Tools, serve, serve::Accept},
};
use axum::Router;
use fake::Fake;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

/// Both listeners, serving.
struct Door {
    fake: Arc<Fake>,
    public: SocketAddr,
    admin: SocketAddr,
    level: Arc<Level>,
    stop: CancellationToken,
    serving: JoinHandle<usize>,
    client: reqwest::Client,
}

/// A log level somebody may change.
#[derive(Default)]
struct Level(Mutex<String>);

impl http::ops::LogLevel for Level {
    fn get(&self) -> String {
        self.0.lock().expect("level").clone()
    }

    fn set(&self, directives: &str) -> Result<(), String> {
        if directives.contains(' ') {
            return Err("a space stands in it".into());
        }
        *self.0.lock().expect("level") = directives.into();
        Ok(())
    }
}

/// With the defaults, but short waits.
async fn door() -> Door {
    door_with(|_| {}, Router::new()).await
}

async fn door_with(change: impl FnOnce(&mut Config), extra: Router) -> Door {
    let mut config = Config::default();
    config.engine.wait_timeout_ms = 300;
    config.server.stop_deadline_ms = 500;
    change(&mut config);
    let fake = Fake::new(Duration::from_millis(config.engine.wait_timeout_ms));
    let stop = CancellationToken::new();
    let context = Context { engine: fake.clone(), config: Arc::new(config), stop: stop.clone() };
    let level = Arc::new(Level(Mutex::new("info".into())));
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let tools = Tools { metrics, log_level: Some(level.clone()) };
    let (public, admin) = (bind().await, bind().await);
    let addresses = (public.local_addr().expect("address"), admin.local_addr().expect("address"));
    let options = counted::Options::from(&context.config.live);
    let accept = Accept::public(&context.config.server);
    let router = http::public(&context, outside(&context, extra));
    let wrap = move |socket| counted::Connection::new(socket, options);
    let serving = tokio::spawn(serve::run(public, router, accept, wrap, stop.clone()));
    let accept = Accept::admin(&context.config.server);
    tokio::spawn(serve::run(admin, http::admin(&context, tools), accept, serve::plain, stop.clone()));
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.no_proxy().build().expect("client");
    Door { fake, public: addresses.0, admin: addresses.1, level, stop, serving, client }
}

/// What is served beside the engine's own paths: `extra`, and the paths of the apps.
fn outside(context: &Context, extra: Router) -> OpenApiRouter {
    OpenApiRouter::from(extra).merge(apps::doors(&context.config).with_state(context.clone()))
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("bind")
}

impl Door {
    fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().expect("method");
        self.client.request(method, format!("http://{}{path}", self.public))
    }

    fn ask_admin(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().expect("method");
        self.client.request(method, format!("http://{}{path}", self.admin))
    }

    async fn get(&self, path: &str) -> Response {
        self.ask("GET", path).send().await.expect("answer")
    }

    /// Writes and gives the position.
    async fn put(&self, path: &str, body: &str) -> String {
        let answer = self.ask("PUT", path).body(body.to_owned()).send().await.expect("answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "PUT {path}");
        text(&json(answer).await, "position")
    }
}

async fn json(answer: Response) -> Value {
    serde_json::from_str(&answer.text().await.expect("body")).expect("json")
}

fn text(json: &Value, name: &str) -> String {
    json[name].as_str().unwrap_or_else(|| panic!("{name} in {json}")).to_owned()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("text")
}

/// Sends and expects a whole problem of this status and code.
async fn problem(request: RequestBuilder, status: u16, code: &str) -> Value {
    let answer = request.send().await.expect("answer");
    whole_problem(answer, status, code).await
}

async fn whole_problem(answer: Response, status: u16, code: &str) -> Value {
    let url = answer.url().clone();
    assert_eq!(header(&answer, "content-type"), "application/problem+json", "{url}");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    let (found, problem) = (answer.status().as_u16(), json(answer).await);
    let read: http::schema::ProblemBody = serde_json::from_value(problem.clone()).expect("a problem");
    assert_eq!(
        (found, read.status, &*read.r#type),
        (status, status, &*format!("/problems/{code}")),
        "{url}: {problem}"
    );
    assert!(!read.title.is_empty() && !read.detail.is_empty(), "{problem}");
    assert!(!problem.to_string().contains("10.0.0."), "something internal leaks: {problem}");
    problem
}

/// The fields a problem names, each with its remedy.
fn fields(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().expect("errors");
    errors.iter().inspect(|e| assert!(!text(e, "remedy").is_empty())).map(|e| text(e, "field")).collect()
}
