//! B8: a handler throws in the client.

use super::{everywhere, line::Transport, place::value, watcher::Watcher};

/// Written at once behind the one that has the handler throw, so that by polling several packets come in one answer.
const BURST: u64 = 40;

/// The stock client's own affair, so over its transports alone: a reader of `/live` is no client of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_packets_after_a_handler_threw_still_arrive() {
    everywhere("b8", &[], &Transport::SOCKETIO, async |place, transport| {
        let stream = transport.name();
        let mut watcher = Watcher::connect(&place.statecast.base, transport).await;
        watcher.join(&[stream]).await;
        for round in 1..=3 {
            watcher.throw_next().await;
            for n in 0..BURST {
                place.put(stream, &format!("k{}", n % 5), &value(n, 10)).await;
            }
            watcher.until("the handler threw", |w| w.threw == round).await;
            watcher.holds(stream, &place.written(stream)).await;
        }
        place.put(stream, "after", &value(0, 10)).await;
        watcher.sees(stream, "after", 1).await;
    })
    .await;
}
