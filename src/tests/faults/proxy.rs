//! A TCP proxy that breaks what goes through it: slow, held, cut in the middle of a reply, gone and back.

use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

#[derive(Default)]
pub struct Mode {
    /// Replies, in a thousand, that end the connection in their middle.
    pub cut_per_mille: AtomicU32,
    /// Nothing passes, and nobody is told: a black hole.
    pub hold: AtomicBool,
    pub delay_ms: AtomicU32,
    /// Nobody is let in.
    pub shut: AtomicBool,
    pub cuts: AtomicU64,
}

pub struct Proxy {
    pub at: SocketAddr,
    pub mode: Arc<Mode>,
    cut_all: watch::Sender<u64>,
    accept: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl Proxy {
    pub async fn before(target: String, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (at, mode) = (listener.local_addr().expect("address"), Arc::<Mode>::default());
        let (cut_all, cut) = watch::channel(0);
        let modes = mode.clone();
        let accept = tokio::spawn(async move {
            for number in 0_u64.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let (target, mode, cut) = (target.clone(), modes.clone(), cut.clone());
                if !mode.shut.load(Ordering::Relaxed) {
                    tokio::spawn(through(client, target, mode, cut, seed.wrapping_add(number)));
                }
            }
        });
        Proxy { at, mode, cut_all, accept }
    }

    /// Ends every connection at once.
    pub fn cut_all(&self) {
        self.cut_all.send_modify(|times| *times += 1);
    }
}

async fn through(
    client: TcpStream,
    target: String,
    mode: Arc<Mode>,
    mut cut: watch::Receiver<u64>,
    seed: u64,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    for socket in [&client, &server] {
        // Closed means reset, as a cut line is.
        let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
    }
    cut.mark_unchanged();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pass(from_client, to_server, &mode, None) => {}
        () = pass(from_server, to_client, &mode, Some(StdRng::seed_from_u64(seed))) => {}
        _ = cut.changed() => {}
    }
}

/// One direction. `dice`: it carries replies, which may be cut.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: &Mode, mut dice: Option<StdRng>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        while mode.hold.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(dice) = &mut dice {
            tokio::time::sleep(Duration::from_millis(mode.delay_ms.load(Ordering::Relaxed).into())).await;
            if dice.random_range(0..1_000) < mode.cut_per_mille.load(Ordering::Relaxed) {
                let _ = to.write_all(&buffer[..dice.random_range(0..read)]).await;
                mode.cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
