//! The accept loop: connections under a cap, heads under a time limit, a stop that ends.
//!
//! Invariant: a client can hold neither a connection without sending a request nor a stop beyond its deadline, and a
//! connection counts against the cap for as long as it is open, upgraded or not.
//! Not here: what a request means, limits on bodies (`request`), what a socket has unsent (the `wrap` function).

use super::held::{Doing, Held, Place};
use crate::{config::Server, metrics};
use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use futures_util::future::{Either, poll_fn, select};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// No file is free for a new connection: others have to end first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A head that is on its way when a stop begins has so long to come.
const LAST_HEAD: Duration = Duration::from_millis(500);

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
        let io = Held::new(io, Place::taken(permit, accept.listener));
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
    /// Serves one connection to its end: after `stop` only requests whose head has come, after `cut` not even these.
    async fn serve<I, M>(self: Arc<Self>, io: Held<I>, mark: M, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        M: Clone + Send + Sync + 'static,
    {
        let doing = io.doing();
        let service = service_fn(|request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(mark.clone());
            let (request, under_way) = (self.router.clone().oneshot(request), doing.begin());
            async move { request.await.map(|answer| answer.map(|body| under_way.until_sent(body))) }
        });
        let mut connection = pin!(self.http1.serve_connection(TokioIo::new(io), service).with_upgrades());
        let ended = match select(connection.as_mut(), pin!(self.stop.cancelled())).await {
            Either::Left((ended, _)) => Some(ended),
            Either::Right(((), _)) => {
                connection.as_mut().graceful_shutdown();
                self.cut.run_until_cancelled(last_answers(connection, &doing)).await.flatten()
            }
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "connection ended early");
        }
    }
}

/// Goes on while a request is under way. hyper itself would wait for a head that has begun, or never began, until that is
/// given up. `None`: nothing was under way any more.
async fn last_answers<C, E>(mut connection: Pin<&mut C>, doing: &Doing) -> Option<Result<(), E>>
where
    C: Future<Output = Result<(), E>>,
{
    if let Ok(ended) = timeout(LAST_HEAD, connection.as_mut()).await {
        return Some(ended);
    }
    poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if doing.nothing() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}
