//! A connection as the accept loop holds it: its socket, its place under the cap, and what it is doing.
//!
//! Invariant: a request is under way from the moment its head was read until all of its answer was handed to the socket, so
//! a connection that does nothing owes nobody anything.
//! Not here: when that matters (`serve`), what a socket has unsent (`counted`).

use crate::metrics;
use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};

/// What a connection is doing.
#[derive(Debug, Default)]
pub struct Doing {
    requests: AtomicUsize,
    unflushed: AtomicBool,
}

impl Doing {
    /// A head was read.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::AcqRel);
        UnderWay(self.clone())
    }

    /// No request is under way, and every answer has gone to the socket. Asked only while the connection is not polled.
    pub fn nothing(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0 && !self.unflushed.load(Ordering::Acquire)
    }
}

/// A request that is under way for as long as this lives.
#[derive(Debug)]
pub struct UnderWay(Arc<Doing>);

impl UnderWay {
    /// Until this body of its answer has gone.
    pub fn until_sent(self, body: Body) -> Answer {
        Answer { body, _under_way: self }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A place under the cap, given back when the connection is closed.
pub struct Place {
    listener: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    pub fn taken(permit: OwnedSemaphorePermit, listener: &'static str) -> Self {
        metrics::HTTP_CONNECTIONS.gauge(&[("listener", listener.into())]).increment(1.0);
        Place { listener, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::HTTP_CONNECTIONS.gauge(&[("listener", self.listener.into())]).decrement(1.0);
    }
}

/// A socket together with its place, since an upgrade takes the socket out of our hands.
pub struct Held<I> {
    io: I,
    doing: Arc<Doing>,
    _place: Place,
}

impl<I> Held<I> {
    pub fn new(io: I, place: Place) -> Self {
        Held { io, doing: Arc::default(), _place: place }
    }

    pub fn doing(&self) -> Arc<Doing> {
        self.doing.clone()
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Held<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Held<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.doing.unflushed.store(true, Ordering::Release);
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.doing.unflushed.store(true, Ordering::Release);
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready() {
            self.doing.unflushed.store(false, Ordering::Release);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
