//! The HTTP outside: two routers against one trait.
//!
//! Invariant: nothing here knows an app, a log or a store, only `engine::api`; every answer that is no success is
//! problem+json, every answer has the security headers, and a panic in one request leaks nothing and ends nothing else.
//! Not here: Socket.IO and `/live` (`live`), which come as a router to be merged.

pub mod append;
pub mod assets;
pub mod conditions;
pub mod counted;
pub mod dlq;
pub mod doors;
pub mod entities;
pub mod guard;
mod held;
pub mod idempotency;
pub mod openapi;
pub mod ops;
pub mod problem;
pub mod query;
pub mod refusal;
pub mod request;
pub mod rows;
pub mod schema;
pub mod serve;
pub mod stream;
pub mod write;

use crate::{config::Config, engine::api::Engine, metrics};
use axum::{
    Router,
    extract::{Extension, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::any,
};
use problem::{Kind, Problem};
use std::{any::Any, fmt, future::Future, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    timeout::RequestBodyTimeoutLayer,
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What every handler has.
#[derive(Clone)]
pub struct Context {
    pub engine: Arc<dyn Engine>,
    pub config: Arc<Config>,
    /// Cancelled when the stop begins: waits end.
    pub stop: CancellationToken,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Context {
    /// Waits for something that nobody loses by not hearing: a stop ends it with 503.
    pub async fn until_stopped<T>(&self, wait: impl Future<Output = T>) -> Result<T, Problem> {
        let stopping = || Problem::new(Kind::Stopping, "the wait ended with this instance").retry();
        self.stop.run_until_cancelled(wait).await.ok_or_else(stopping)
    }
}

/// The public listener. `extra` (live, apps; routes only, no fallback) is merged with what it says of itself, and gets the
/// same guards and headers.
pub fn public(context: &Context, extra: impl Into<OpenApiRouter>) -> Router {
    let (routes, mut document) = public_routes().split_for_parts();
    let (extra, more) = extra.into().split_for_parts();
    document.merge(openapi::live());
    document.merge(more);
    let body_timeout = Duration::from_millis(context.config.server.body_timeout_ms);
    let extra = extra.layer(RequestBodyTimeoutLayer::new(body_timeout));
    let origins = &context.config.security.allowed_origins;
    let guard = Guard { origins: origins.as_slice().into(), admin_names: None };
    let router = openapi::serve(without_key(routes), document).with_state(context.clone()).merge(extra);
    let router = finish(router, guard);
    if origins.is_empty() { router } else { router.layer(cors(origins)) }
}

/// The admin listener: the pages `/pipeline` and `/dlq`, what they ask and order, and metrics.
pub fn admin(context: &Context, tools: ops::Tools) -> Router {
    let (routes, document) = admin_routes().split_for_parts();
    let url = &context.config.server.admin_url;
    let mut names = context.config.security.admin_hosts.clone();
    names.extend(url.parse::<axum::http::Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)));
    let origins: Vec<_> = Some(url.clone()).filter(|url| !url.is_empty()).into_iter().collect();
    let guard = Guard { origins: origins.into(), admin_names: Some(names.into()) };
    let routes = routes.route("/", any(assets::to_pipeline));
    let router = openapi::serve(routes, document).with_state(context.clone()).layer(Extension(tools));
    finish(router, guard)
}

fn public_routes() -> OpenApiRouter<Context> {
    openapi::begin()
        .routes(routes!(entities::streams))
        .routes(routes!(entities::list))
        .routes(routes!(entities::read, write::replace, write::remove))
        .routes(routes!(doors::kv::add))
        .routes(routes!(doors::kv::get, doors::kv::remove))
        .routes(routes!(ops::live))
        .routes(routes!(ops::ready))
        .routes(routes!(assets::home))
        .routes(routes!(assets::viewer))
        .routes(routes!(assets::stream))
        .routes(routes!(assets::entity))
        .routes(routes!(assets::agents))
        .routes(routes!(assets::products))
        .routes(routes!(assets::tasks))
        .merge(openapi::description())
}

fn admin_routes() -> OpenApiRouter<Context> {
    openapi::begin()
        .routes(routes!(entities::streams))
        .routes(routes!(ops::live))
        .routes(routes!(ops::ready))
        .routes(routes!(ops::metrics))
        .routes(routes!(ops::pipeline))
        .routes(routes!(ops::log_level, ops::set_log_level))
        .routes(routes!(dlq::summary))
        .routes(routes!(dlq::list))
        .routes(routes!(dlq::replay_all))
        .routes(routes!(dlq::show))
        .routes(routes!(dlq::replay))
        .routes(routes!(dlq::discard))
        .routes(routes!(dlq::release))
        .routes(routes!(assets::pipeline))
        .routes(routes!(assets::dead_letters))
        .merge(openapi::description())
}

/// Paths that end where a key should stand: the router takes no empty segment for one.
fn without_key(router: Router<Context>) -> Router<Context> {
    async fn empty_key(State(context): State<Context>) -> Problem {
        let refused = request::check_key("", context.config.engine.key_bytes_max);
        refused.err().unwrap_or_else(|| Problem::new(Kind::InvalidKey, "the key is empty"))
    }
    router
        .route("/api/streams/{stream}/", any(empty_key))
        .route("/get/", any(empty_key))
        .route("/viewer/", any(empty_key))
}

/// Whom a listener refuses before it looks at the path.
#[derive(Clone)]
struct Guard {
    origins: Arc<[String]>,
    /// Only the admin listener minds its name, and forms.
    admin_names: Option<Arc<[String]>>,
}

impl Guard {
    fn check(&self, request: &Request) -> Result<(), Problem> {
        let (method, headers) = (request.method(), request.headers());
        if let Some(names) = &self.admin_names {
            guard::check_host(headers, names)?;
            guard::check_form(method, headers)?;
        }
        guard::check_origin(method, headers, &self.origins)?;
        request::check_encoding(request.uri())
    }
}

/// What both listeners have around their routes, from the inside out.
fn finish(router: Router, guard: Guard) -> Router {
    router
        .fallback(assets::file_or_nothing)
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "the Allow header lists the methods this path takes")
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(guard, around))
}

/// Guards a request, and gives its answer the headers and the metric of every answer.
async fn around(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let began = crate::clock::instant();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let mut answer = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    secure(&mut answer);
    let labels = [
        ("route", route.unwrap_or_else(|| "none".into())),
        ("method", label(&method)),
        ("status", answer.status().as_u16().to_string()),
    ];
    metrics::HTTP_SECONDS.observe(&labels, began.elapsed().as_secs_f64());
    answer
}

/// A closed set: any token may stand as a method.
fn label(method: &Method) -> String {
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS];
    if known.contains(method) { method.to_string() } else { "other".into() }
}

fn secure(answer: &mut Response) {
    const HEADERS: [(HeaderName, &str); 3] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request panicked");
    Problem::new(Kind::Internal, "the request was not carried out").into_response()
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter(|origin| *origin != "*");
    let origins = origins.filter_map(|origin| HeaderValue::from_str(origin.trim_end_matches('/')).ok());
    let traceparent = HeaderName::from_static("traceparent");
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, header::IF_MATCH, header::IF_NONE_MATCH, traceparent])
        .expose_headers([header::ETAG, entities::POSITION, entities::AGE, entities::STALE])
}
