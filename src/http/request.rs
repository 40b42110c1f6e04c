//! What is read of a request before anybody acts on it: path, query, body.
//!
//! Invariant: a body takes no more memory than its bound and no more time than its bound, nor does it hold up a stop, and a
//! key that is no key is refused here.
//! Not here: what a body means.

use super::{
    Context,
    problem::{Kind, Problem},
    query::Query,
};
use axum::{
    body::{Body, BodyDataStream},
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{HeaderMap, HeaderValue, Uri, header, request::Parts},
};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{Either, select},
};
use std::{pin::pin, time::Duration};
use tokio::time::{sleep, timeout};

/// A body that is on its way when a stop begins has so long to come.
const LAST_BODY: Duration = Duration::from_secs(1);

/// The segments a path has names for, decoded.
#[derive(Debug, Default)]
pub struct Target {
    pub stream: String,
    pub key: String,
    /// `{position}`, `{partition}` or `{code}`.
    pub item: String,
}

impl FromRequestParts<Context> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, context).await.map_err(|_| not_utf8())?;
        let mut target = Target::default();
        for (name, value) in &params {
            match name {
                "stream" => value.clone_into(&mut target.stream),
                "key" => {
                    check_key(value, context.config.engine.key_bytes_max)?;
                    value.clone_into(&mut target.key);
                }
                _ => value.clone_into(&mut target.item),
            }
        }
        Ok(target)
    }
}

/// Refuses what cannot be a key.
pub fn check_key(key: &str, bytes_max: usize) -> Result<(), Problem> {
    let detail = match key.len() {
        0 => "the key is empty".to_owned(),
        len if len > bytes_max => format!("the key has {len} bytes"),
        _ => return Ok(()),
    };
    let remedy = format!("1 to {bytes_max} bytes of UTF-8");
    Err(Problem::new(Kind::InvalidKey, detail.clone()).field("key", detail, remedy))
}

impl FromRequestParts<Context> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Context) -> Result<Self, Problem> {
        Query::parse(parts.uri.query().unwrap_or_default()).ok_or_else(not_utf8)
    }
}

fn not_utf8() -> Problem {
    malformed_path("it is not UTF-8 once decoded")
}

fn malformed_path(detail: &str) -> Problem {
    Problem::new(Kind::MalformedPath, detail).field("path", detail, Kind::MalformedPath.remedy())
}

/// Refuses a `%` that begins no byte: decoders differ on what it would mean.
pub fn check_encoding(uri: &Uri) -> Result<(), Problem> {
    let text = uri.path_and_query().map_or("", |both| both.as_str());
    let sound = text.split('%').skip(1).all(|rest| {
        rest.as_bytes().first_chunk::<2>().is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
    });
    if sound { Ok(()) } else { Err(malformed_path("a % is not followed by two hex digits")) }
}

/// A whole body that says it is JSON, or does not say what it is.
#[derive(Debug)]
pub struct JsonBody(pub Bytes);

impl FromRequest<Context> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, context: &Context) -> Result<Self, Problem> {
        let limits = &context.config.limits;
        let reader = Reader {
            bytes_max: limits.body_bytes_max,
            drain_bytes_max: limits.drain_bytes_max,
            time_max: Duration::from_millis(context.config.server.body_timeout_ms),
        };
        let (parts, body) = request.into_parts();
        let too_late = async {
            context.stop.cancelled().await;
            sleep(LAST_BODY).await;
        };
        let read = match select(pin!(reader.read(&parts.headers, body)), pin!(too_late)).await {
            Either::Left((read, _)) => read?,
            Either::Right(_) => return Err(Reader::stopping()),
        };
        // After reading: an answer while the sender still writes is lost with its connection.
        check_type(&parts.headers)?;
        Ok(JsonBody(read))
    }
}

/// curl says `x-www-form-urlencoded` of whatever it sends, so that is taken for what it turns out to be.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    const FIELD: &str = "content-type";
    let remedy = Kind::UnsupportedMediaType.remedy();
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let detail = "the body is compressed";
        let problem = Problem::new(Kind::UnsupportedMediaType, detail);
        return Err(problem.field("content-encoding", detail, "send it plain"));
    }
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    let json = kind == "application/json"
        || kind == "application/x-www-form-urlencoded"
        || (kind.starts_with("application/") && kind.ends_with("+json"));
    if json {
        return Ok(());
    }
    let detail = "the body is of a type that is not read";
    Err(Problem::new(Kind::UnsupportedMediaType, detail).field(FIELD, detail, remedy))
}

/// Reads bodies within bounds.
struct Reader {
    bytes_max: usize,
    drain_bytes_max: usize,
    time_max: Duration,
}

impl Reader {
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
        let too_large = announced.is_some_and(|len: u64| len > self.bytes_max as u64);
        // Whoever asks first has not sent anything yet.
        if too_large && headers.contains_key(header::EXPECT) {
            return Err(self.too_large());
        }
        let mut chunks = body.into_data_stream();
        match timeout(self.time_max, self.collect(&mut chunks, too_large)).await {
            Ok(read) => read,
            Err(_) if too_large => Err(self.too_large()),
            Err(_) => Err(self.too_slow()),
        }
    }

    async fn collect(&self, chunks: &mut BodyDataStream, too_large: bool) -> Result<Bytes, Problem> {
        if too_large {
            return self.drain(chunks).await;
        }
        let mut whole = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| {
                Problem::new(Kind::IncompleteBody, "the body ended before its announced length")
            })?;
            if whole.len() + chunk.len() > self.bytes_max {
                return self.drain(chunks).await;
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.into())
    }

    /// Reads and forgets, since a connection closed under a sender takes our answer with it.
    async fn drain(&self, chunks: &mut BodyDataStream) -> Result<Bytes, Problem> {
        let mut drained = 0;
        while drained < self.drain_bytes_max {
            match chunks.next().await {
                Some(Ok(chunk)) => drained += chunk.len(),
                _ => break,
            }
        }
        Err(self.too_large())
    }

    fn too_large(&self) -> Problem {
        let detail = format!("the body is larger than {} bytes", self.bytes_max);
        Problem::new(Kind::TooLarge, detail.clone()).field("body", detail, Kind::TooLarge.remedy())
    }

    fn stopping() -> Problem {
        let detail = "this instance stops, and the body was not complete yet: nothing was done";
        let problem = Problem::new(Kind::Stopping, detail).retry();
        problem.header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    fn too_slow(&self) -> Problem {
        let detail = format!("the body was not complete after {} ms", self.time_max.as_millis());
        Problem::new(Kind::BodyTimeout, detail).header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_begins_a_byte() {
        for good in ["/a/%2F%c3%A9", "/a?x=%25", "/"] {
            assert!(check_encoding(&good.parse().expect("uri")).is_ok(), "{good}");
        }
        for bad in ["/a/%", "/a/%2", "/a/%zz", "/a?x=%2x", "/%%20"] {
            assert!(check_encoding(&bad.parse().expect("uri")).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_bounded_in_bytes() {
        assert!(check_key("é", 2).is_ok());
        assert!(check_key("éa", 2).is_err());
        assert!(check_key("", 2).is_err());
    }
}
