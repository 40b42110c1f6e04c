//! The pages: what the web build left in `web/dist`, inside the binary.
//!
//! Invariant: a page answers under a policy that runs nothing but our own files, and only a file whose name holds its
//! hash is kept without asking.
//! Not here: what a page does.

use super::problem::{Kind, Problem};
use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rust_embed::RustEmbed;
use std::borrow::Cow;

/// What a page may load and do: files of its own origin, and talk to it.
pub const PAGE_POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
                               form-action 'self'; frame-ancestors 'none'";

/// The build names these after their content.
const HASHED: &str = "assets/";

#[derive(RustEmbed)]
#[folder = "web/dist/"]
#[allow_missing = true]
struct Dist;

/// All streams, live
#[utoipa::path(get, path = "/", operation_id = "page_home", tag = "pages",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn home(headers: HeaderMap) -> Response {
    page(&headers)
}

/// One key of kv, live
#[utoipa::path(get, path = "/viewer/{*key}", operation_id = "page_viewer", tag = "pages", params(super::schema::KeyPath),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn viewer(headers: HeaderMap) -> Response {
    page(&headers)
}

/// Every key of a stream, live
#[utoipa::path(get, path = "/streams/{stream}", operation_id = "page_stream", tag = "pages", params(super::schema::StreamPath),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn stream(headers: HeaderMap) -> Response {
    page(&headers)
}

/// One key of a stream, live
#[utoipa::path(get, path = "/streams/{stream}/{*key}", operation_id = "page_entity", tag = "pages",
    params(super::schema::StreamPath, super::schema::KeyPath),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn entity(headers: HeaderMap) -> Response {
    page(&headers)
}

/// The agents' dashboard
#[utoipa::path(get, path = "/agents", operation_id = "page_agents", tag = "pages",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn agents(headers: HeaderMap) -> Response {
    page(&headers)
}

/// The product catalogue
#[utoipa::path(get, path = "/products", operation_id = "page_products", tag = "pages",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn products(headers: HeaderMap) -> Response {
    page(&headers)
}

/// Tasks
#[utoipa::path(get, path = "/tasks", operation_id = "page_tasks", tag = "pages",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn tasks(headers: HeaderMap) -> Response {
    page(&headers)
}

/// Inside the pipeline
#[utoipa::path(get, path = "/pipeline", operation_id = "page_pipeline", tag = "pages",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn pipeline(headers: HeaderMap) -> Response {
    page(&headers)
}

/// Dead letters
#[utoipa::path(get, path = "/dlq", operation_id = "page_dead_letters", tag = "pages",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub async fn dead_letters(headers: HeaderMap) -> Response {
    page(&headers)
}

/// The admin listener begins at the pipeline.
pub async fn to_pipeline() -> Redirect {
    Redirect::to("/pipeline")
}

/// What no route took: a file of the build, or nothing.
pub async fn file_or_nothing(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let readable = method == Method::GET || method == Method::HEAD;
    match Dist::get(path).filter(|_| readable && !path.is_empty()) {
        Some(file) => answer(&headers, path, file.data, &file.metadata.sha256_hash()),
        None => Problem::new(Kind::NotFound, "no path of this listener is like this").into_response(),
    }
}

fn page(headers: &HeaderMap) -> Response {
    match Dist::get("index.html") {
        Some(file) => answer(headers, "index.html", file.data, &file.metadata.sha256_hash()),
        None => not_built(),
    }
}

/// A file by its path in the build, with the head its kind wants.
fn answer(headers: &HeaderMap, path: &str, data: Cow<'static, [u8]>, hash: &[u8]) -> Response {
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash));
    let keep = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let charset = if kind.type_() == mime_guess::mime::TEXT { "; charset=utf-8" } else { "" };
    let own = [
        (header::CONTENT_TYPE, HeaderValue::from_str(&format!("{}{charset}", kind.essence_str()))),
        (header::ETAG, HeaderValue::from_str(&etag)),
        (header::CACHE_CONTROL, Ok(HeaderValue::from_static(keep))),
        (header::CONTENT_SECURITY_POLICY, Ok(HeaderValue::from_static(PAGE_POLICY))),
    ];
    let mut answer = if super::conditions::held(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        data.into_response()
    };
    for (name, value) in own {
        if let Ok(value) = value {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

fn not_built() -> Response {
    const PAGE: &str = "<!doctype html><html lang=\"en\"><title>Statecast</title><h1>The pages were not built</h1>\
        <p>This binary was compiled without its pages. Everything else works: <a href=\"/docs\">/docs</a> lists it.</p>\
        <p>To have the pages, run <code>npm ci &amp;&amp; npm run build</code> in the folder <code>web</code>, then \
        build the binary again; <code>make run</code> does both.</p></html>";
    let policy = [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::SERVICE_UNAVAILABLE, policy, Html(PAGE)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str, headers: &HeaderMap) -> (StatusCode, [String; 3]) {
        let answer = answer(headers, path, Cow::Borrowed(b"content"), &[7; 32]);
        let text = |name: header::HeaderName| answer.headers()[name].to_str().expect("text").to_owned();
        (answer.status(), [header::CONTENT_TYPE, header::CACHE_CONTROL, header::ETAG].map(text))
    }

    #[test]
    fn only_what_is_named_after_its_content_is_kept_without_asking() {
        let (status, [kind, keep, _]) = head("assets/index-Dq2f.js", &HeaderMap::new());
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/javascript; charset=utf-8"));
        assert_eq!(keep, "public, max-age=31536000, immutable");
        let (_, [kind, keep, _]) = head("index.html", &HeaderMap::new());
        assert_eq!((kind.as_str(), keep.as_str()), ("text/html; charset=utf-8", "no-cache"));
        assert_eq!(head("favicon.svg", &HeaderMap::new()).1[0], "image/svg+xml");
    }

    #[test]
    fn a_file_that_is_held_already_is_304() {
        let etag = head("index.html", &HeaderMap::new()).1[2].clone();
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, etag.parse().expect("value"));
        assert_eq!(head("index.html", &headers).0, StatusCode::NOT_MODIFIED);
    }
}
