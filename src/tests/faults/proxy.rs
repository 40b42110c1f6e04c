//! A TCP proxy that breaks what goes through it: slow, held, cut in the middle of a reply, gone and back. Before MongoDB it
//! also reads what is written (`wire`).

use super::wire::{Messages, Wire};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

pub struct Mode {
    /// Replies, in a thousand, that end the connection in their middle.
    pub cut_per_mille: AtomicU32,
    /// Nothing passes, and nobody is told: a black hole.
    pub hold: AtomicBool,
    pub delay_ms: AtomicU32,
    /// Nobody is let in.
    pub shut: AtomicBool,
    pub cuts: AtomicU64,
    /// A request with this API key of Kafka ends its connection; below 0: none does.
    pub refused_api: AtomicI32,
    /// The next `update` of MongoDB comes late by so much: it is let through long after its sender gave it up.
    pub hold_update_ms: AtomicU32,
    pub held: AtomicU64,
    /// What is written to MongoDB; none before anything else.
    wire: Option<Mutex<Wire>>,
}

impl Default for Mode {
    fn default() -> Self {
        Mode {
            cut_per_mille: AtomicU32::default(),
            hold: AtomicBool::default(),
            delay_ms: AtomicU32::default(),
            shut: AtomicBool::default(),
            cuts: AtomicU64::default(),
            refused_api: AtomicI32::new(-1),
            hold_update_ms: AtomicU32::default(),
            held: AtomicU64::default(),
            wire: None,
        }
    }
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
        Proxy::on("127.0.0.1:0", target, seed).await
    }

    pub async fn on(address: &str, target: String, seed: u64) -> Proxy {
        Proxy::with(address, target, seed, Mode::default()).await
    }

    /// One that reads what is written.
    pub async fn before_mongodb(target: String, seed: u64) -> Proxy {
        let mode = Mode { wire: Some(Mutex::default()), ..Mode::default() };
        Proxy::with("127.0.0.1:0", target, seed, mode).await
    }

    async fn with(address: &str, target: String, seed: u64, mode: Mode) -> Proxy {
        let listener = TcpListener::bind(address).await.expect("a port");
        let (at, mode) = (listener.local_addr().expect("address"), Arc::new(mode));
        let (cut_all, cut) = watch::channel(0);
        let modes = mode.clone();
        let accept = tokio::spawn(async move {
            for number in 0_u64.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let (target, mode, mut cut) = (target.clone(), modes.clone(), cut.clone());
                // Before the look at `shut`: who comes between the two is cut.
                cut.mark_unchanged();
                if !mode.shut.load(Ordering::Relaxed) {
                    tokio::spawn(through(client, target, mode, cut, seed.wrapping_add(number)));
                }
            }
        });
        Proxy { at, mode, cut_all, accept }
    }

    /// What was written so far; nothing before anything but MongoDB.
    pub fn wire(&self) -> Wire {
        self.mode.wire.as_ref().map(|wire| wire.lock().expect("wire").clone()).unwrap_or_default()
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
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = pass(from_client, to_server, &mode, None) => {}
        () = pass(from_server, to_client, &mode, Some(StdRng::seed_from_u64(seed))) => {}
        _ = cut.changed() => {}
    }
}

/// One direction. `dice`: it carries replies, which may be cut.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mode: &Mode, mut dice: Option<StdRng>) {
    let (mut buffer, mut requests, mut messages) =
        (vec![0; 16 << 10], Requests::default(), Messages::default());
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        while mode.hold.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(dice) = &mut dice {
            let delay_ms = mode.delay_ms.load(Ordering::Relaxed);
            if delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
            }
            if dice.random_range(0..1_000) < mode.cut_per_mille.load(Ordering::Relaxed) {
                let _ = to.write_all(&buffer[..dice.random_range(0..read)]).await;
                mode.cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
        } else {
            if let Some(wire) = &mode.wire {
                let commands = messages.commands(&buffer[..read]);
                let mut wire = wire.lock().expect("wire");
                commands.iter().for_each(|command| wire.command(command));
            }
            let refused = mode.refused_api.load(Ordering::Relaxed);
            if requests.begun(&buffer[..read]).any(|api| i32::from(api) == refused) {
                mode.cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if buffer[..read].windows(UPDATE.len()).any(|bytes| bytes == UPDATE) {
                let late = mode.hold_update_ms.swap(0, Ordering::Relaxed);
                mode.held.fetch_add(u64::from(late > 0), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(late.into())).await;
            }
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// An `update` of MongoDB begins with this element.
const UPDATE: &[u8] = b"\x02update\0";

/// Which requests begin in what a client of Kafka sends: each is its length, then its API key.
#[derive(Default)]
struct Requests {
    head: Vec<u8>,
    left: usize,
}

impl Requests {
    fn begun(&mut self, mut bytes: &[u8]) -> impl Iterator<Item = i16> + use<> {
        const HEAD: usize = 6;
        let mut begun = Vec::new();
        while !bytes.is_empty() {
            let rest = self.left.min(bytes.len());
            self.left -= rest;
            bytes = &bytes[rest..];
            let wanted = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [a, b, c, d, e, f] = self.head[..] {
                self.left = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(2);
                begun.push(i16::from_be_bytes([e, f]));
                self.head.clear();
            }
        }
        begun.into_iter()
    }
}

#[test]
fn requests_are_seen_however_they_are_cut() {
    let request = |api: u8| [&[0, 0, 0, 5, 0, api][..], b"xyz"].concat();
    let bytes = [request(8), request(12), request(8)].concat();
    for size in 1..bytes.len() {
        let mut requests = Requests::default();
        let begun: Vec<i16> = bytes.chunks(size).flat_map(|chunk| requests.begun(chunk)).collect();
        assert_eq!(begun, [8, 12, 8], "in pieces of {size}");
    }
}
