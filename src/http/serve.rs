//! The accept loop: connections under a cap, heads under a time limit, a stop that ends.
//!
//! Invariant: a client can hold neither a connection without sending a request nor a stop beyond its deadline, and a
//! connection counts against the cap for as long as it is open, upgraded or not.
//! Not here: what a request means, limits on bodies (`request`), what a socket has unsent (the `wrap` function).

use crate::{config::Server, metrics};
use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use futures_util::future::{Either, select};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// No file is free for a new connection: others have to end first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The bounds of one listener.
#[derive(Debug, Clone)]
pub struct Accept {
    /// Label of its metrics.
    pub listener: &'static str,
    pub connections_max: usize,
    pub header_timeout: Duration,
    pub header_bytes_max: usize,
    /// After a stop began, what is under way may go on for so long.
    pub stop_deadline: Duration,
}

impl Accept {
    pub fn public(server: &Server) -> Self {
        Accept {
            listener: "public",
            connections_max: server.connections_max,
            header_timeout: Duration::from_millis(server.header_timeout_ms),
            header_bytes_max: server.header_bytes_max,
            stop_deadline: Duration::from_millis(server.stop_deadline_ms),
        }
    }

    pub fn admin(server: &Server) -> Self {
        Accept { listener: "admin", connections_max: server.admin_connections_max, ..Self::public(server) }
    }

    fn http1(&self) -> http1::Builder {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            // hyper's own least, below which it refuses to work.
            .max_buf_size(self.header_bytes_max.max(8 << 10));
        http1
    }
}

/// For listeners whose sockets nobody measures.
pub fn plain(socket: TcpStream) -> (TcpStream, ()) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "socket option not set");
    }
    (socket, ())
}

/// Serves until `stop`, then takes no more and waits for what is under way, at most to the deadline. Returns how many
/// connections had to be cut. Upgraded connections end with whoever holds them.
///
/// `wrap` sees each accepted socket first; what it returns beside goes into the extensions of the connection's requests.
pub async fn run<I, M, W>(
    listener: TcpListener,
    router: Router,
    accept: Accept,
    wrap: W,
    stop: CancellationToken,
) -> usize
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    M: Clone + Send + Sync + 'static,
    W: Fn(TcpStream) -> (I, M),
{
    let free = Arc::new(Semaphore::new(accept.connections_max));
    let (tracker, cut) = (TaskTracker::new(), CancellationToken::new());
    let serving = Arc::new(Serving { http1: accept.http1(), router, stop: stop.clone(), cut: cut.clone() });
    while let Some((socket, peer)) = next(&listener, &stop).await {
        let Ok(permit) = free.clone().try_acquire_owned() else {
            metrics::HTTP_REFUSED.add(&[("listener", accept.listener.into())], 1);
            continue;
        };
        let (io, mark) = wrap(socket);
        let io = Held { io, _place: Place::taken(permit, accept.listener) };
        tracker.spawn(serving.clone().serve(io, mark, peer));
    }
    drop(listener);
    tracker.close();
    if timeout(accept.stop_deadline, tracker.wait()).await.is_ok() {
        return 0;
    }
    let open = tracker.len();
    tracing::warn!(listener = accept.listener, open, "connections cut at the deadline of the stop");
    cut.cancel();
    tracker.wait().await;
    open
}

/// The next connection; `None` when it is time to stop.
async fn next(listener: &TcpListener, stop: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) if gone_before_accepted(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

fn gone_before_accepted(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What all connections of a listener share.
struct Serving {
    http1: http1::Builder,
    router: Router,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl Serving {
    /// Serves one connection to its end: after `stop` only the request under way, after `cut` not even that.
    async fn serve<I, M>(self: Arc<Self>, io: Held<I>, mark: M, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        M: Clone + Send + Sync + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(mark.clone());
            self.router.clone().oneshot(request)
        });
        let mut connection = pin!(self.http1.serve_connection(TokioIo::new(io), service).with_upgrades());
        let ended = match select(connection.as_mut(), pin!(self.stop.cancelled())).await {
            Either::Left((ended, _)) => Some(ended),
            Either::Right(((), _)) => {
                connection.as_mut().graceful_shutdown();
                self.cut.run_until_cancelled(connection).await
            }
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "connection ended early");
        }
    }
}

/// A place under the cap, given back when the connection is closed.
struct Place {
    listener: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn taken(permit: OwnedSemaphorePermit, listener: &'static str) -> Self {
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
struct Held<I> {
    io: I,
    _place: Place,
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
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
