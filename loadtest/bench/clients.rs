//! A thousand live clients in one process: plain WebSockets that speak Socket.IO, each in the room of its key.

use crate::{Fault, produce::now_us};
use futures_util::{SinkExt, StreamExt};
use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_tungstenite::{connect_async, tungstenite::Message};

#[derive(Default)]
pub struct Seen {
    joined: AtomicUsize,
    pub measure: AtomicBool,
    latencies_us: Mutex<Vec<u32>>,
}

/// Arguments: url, clients. Prints `joined`, measures from a line on its input to the end of it, then prints quantiles.
pub async fn run(arguments: &[&str]) -> Result<(), Fault> {
    let [url, clients] = arguments else { return Err("clients: url clients".into()) };
    let clients: usize = clients.parse()?;
    let seen = Arc::new(Seen::default());
    let address = format!("{}/socket.io/?EIO=4&transport=websocket", url.replace("http://", "ws://"));
    for number in 0..clients {
        let (address, seen) = (address.clone(), seen.clone());
        tokio::spawn(async move {
            if let Err(fault) = client(&address, number, &seen).await {
                eprintln!("client {number}: {fault}");
            }
        });
        if number % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    while seen.joined.load(Ordering::Acquire) < clients {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    report(&seen).await
}

/// Says that it is ready, measures from a line on the input to the next one, then prints quantiles.
pub async fn report(seen: &Seen) -> Result<(), Fault> {
    println!("joined");
    std::io::stdout().flush()?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    lines.next_line().await?;
    seen.measure.store(true, Ordering::Release);
    lines.next_line().await?;
    println!("{}", quantiles(seen)?);
    Ok(())
}

/// Half, 99 and 99.9 of a hundred, in milliseconds, and how many were measured.
fn quantiles(seen: &Seen) -> Result<String, Fault> {
    let mut latencies = seen.latencies_us.lock().map_err(|_| "a client panicked")?.clone();
    latencies.sort_unstable();
    let quantile = |q: f64| {
        let at = (latencies.len() as f64 * q) as usize;
        latencies
            .get(at.min(latencies.len().saturating_sub(1)))
            .map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
    };
    Ok(format!("{} {} {} {}", quantile(0.5), quantile(0.99), quantile(0.999), latencies.len()))
}

async fn client(address: &str, number: usize, seen: &Seen) -> Result<(), Fault> {
    let (mut socket, _) = connect_async(address).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let text = text.as_str();
        if text.starts_with('0') {
            socket.send(Message::text("40")).await?;
        } else if text.starts_with("40") {
            let order = format!(r#"420["subscribe",{{"rooms":["kv/key-{number}"]}}]"#);
            socket.send(Message::text(order)).await?;
        } else if text.starts_with("430") {
            seen.joined.fetch_add(1, Ordering::AcqRel);
        } else if text == "2" {
            socket.send(Message::text("3")).await?;
        } else if text.starts_with("42[\"changes\"") && seen.measure.load(Ordering::Acquire) {
            take(text, seen)?;
        }
    }
    Ok(())
}

/// Every change of a packet holds the moment it was sent.
pub fn take(text: &str, seen: &Seen) -> Result<(), Fault> {
    let now = now_us();
    let mut latencies = seen.latencies_us.lock().map_err(|_| "a client panicked")?;
    for (at, mark) in text.match_indices("\"t\":") {
        let digits = text.get(at + mark.len()..).unwrap_or_default();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        if let Ok(sent) = digits.get(..end).unwrap_or_default().parse::<u128>() {
            latencies.push(now.saturating_sub(sent).min(u128::from(u32::MAX)) as u32);
        }
    }
    Ok(())
}
