//! An accepted socket that counts what the peer's side has taken, and can be cut from outside.
//!
//! Invariant: `written` counts bytes that the kernel accepted, so what a sender handed over minus that is what is stuck
//! in our own memory. A socket whose peer stops acknowledging ends by itself (`TCP_USER_TIMEOUT`), and `Counter::cut`
//! ends one at once even while its writer is blocked.
//! Not here: the accept loop (`serve`), or what may be handed over (`clients`).
//!
//! The accept loop puts the `Arc<Counter>` into the extensions of every request of the connection.

use crate::config::Live;
use futures_util::task::AtomicWaker;
use socket2::SockRef;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What a connection tells about itself, and the way to end it.
#[derive(Debug, Default)]
pub struct Counter {
    written: AtomicU64,
    cut: AtomicBool,
    given_up: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Counter {
    /// Bytes the kernel has taken since the connection was accepted.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Ends the connection at once: whoever reads or writes it gets an error.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
    }

    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// The kernel has ended it: what was sent was not acknowledged within the time of `Options`.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// The kernel tells whoever reads or writes next, and only once.
    fn watch<T>(&self, done: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(error)) = done
            && error.kind() == io::ErrorKind::TimedOut
        {
            self.given_up.store(true, Ordering::Release);
        }
    }

    /// The waker is registered before the flag is read, so that a cut in between is not missed.
    fn check(&self, waker: &AtomicWaker, cx: &Context<'_>) -> io::Result<()> {
        waker.register(cx.waker());
        if self.is_cut() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// How sockets of live clients are set.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Unacknowledged data older than this ends the connection.
    pub user_timeout: Duration,
    /// What the kernel may hold for a peer that does not read.
    pub send_buffer_bytes: usize,
}

impl From<&Live> for Options {
    fn from(live: &Live) -> Self {
        Options {
            user_timeout: Duration::from_millis(live.stalled_after_ms),
            send_buffer_bytes: live.send_buffer_bytes,
        }
    }
}

impl Options {
    fn set(&self, socket: &TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let socket = SockRef::from(socket);
        socket.set_send_buffer_size(self.send_buffer_bytes)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        Ok(())
    }
}

/// A counted socket.
#[derive(Debug)]
pub struct Connection {
    io: TcpStream,
    counter: Arc<Counter>,
}

impl Connection {
    pub fn new(io: TcpStream, options: Options) -> (Self, Arc<Counter>) {
        if let Err(error) = options.set(&io) {
            tracing::debug!(%error, "socket option not set");
        }
        let counter = Arc::<Counter>::default();
        (Connection { io, counter: counter.clone() }, counter)
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        self.counter.watch(written);
        if let Poll::Ready(Ok(bytes)) = written {
            self.counter.written.fetch_add(*bytes as u64, Ordering::AcqRel);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.counter.check(&self.counter.reader, cx)?;
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.counter.watch(&read);
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.counter.check(&self.counter.writer, cx)?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.count(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.counter.check(&self.counter.writer, cx)?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.count(&written);
        written
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    const OPTIONS: Options = Options { user_timeout: Duration::from_secs(20), send_buffer_bytes: 16 << 10 };

    async fn pair() -> (Connection, Arc<Counter>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let peer = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connect");
        let (connection, counter) = Connection::new(listener.accept().await.expect("accept").0, OPTIONS);
        (connection, counter, peer)
    }

    #[tokio::test]
    async fn what_the_kernel_takes_is_counted() {
        let (mut connection, counter, mut peer) = pair().await;
        connection.write_all(&[7; 1_000]).await.expect("write");
        assert_eq!(counter.written(), 1_000);
        let mut got = [0; 1_000];
        peer.read_exact(&mut got).await.expect("read");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_stops_the_count() {
        let (mut connection, counter, _peer) = pair().await;
        let much = vec![7; 64 << 20];
        let blocked = timeout(Duration::from_millis(300), connection.write_all(&much)).await;
        assert!(blocked.is_err() && counter.written() < much.len() as u64);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_the_kernel_gives_up_is_known_as_such() {
        let options = Options { user_timeout: Duration::from_millis(300), ..OPTIONS };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let _peer = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connect");
        let (mut connection, counter) = Connection::new(listener.accept().await.expect("accept").0, options);
        assert!(!counter.is_given_up());
        let ended = timeout(Duration::from_secs(60), connection.write_all(&vec![7; 64 << 20])).await;
        ended.expect("the kernel ends it").expect_err("nobody reads");
        assert!(counter.is_given_up());
    }

    #[tokio::test]
    async fn a_cut_ends_a_blocked_writer_and_a_waiting_reader() {
        let (connection, counter, _peer) = pair().await;
        let (mut reader, mut writer) = tokio::io::split(connection);
        let writing = tokio::spawn(async move { writer.write_all(&vec![7; 64 << 20]).await });
        let reading = tokio::spawn(async move { reader.read_u8().await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!writing.is_finished() && !reading.is_finished());
        counter.cut();
        let second = Duration::from_secs(1);
        assert!(timeout(second, writing).await.expect("writer ends").expect("task").is_err());
        assert!(timeout(second, reading).await.expect("reader ends").expect("task").is_err());
    }
}
