//! B4, B7, B10: rooms that come in pages.

use super::{
    everywhere,
    line::Transport,
    load::Load,
    place::{Place, value},
    watcher::Watcher,
};
use crate::metrics;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;

/// Writes so many keys at once, each a value of so many bytes.
async fn fill(place: &Place, stream: &str, keys: &[String], bytes: usize) {
    for some in keys.chunks(16) {
        join_all(some.iter().map(|key| async { place.put(stream, key, &value(0, bytes)).await })).await;
    }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("k{n:03}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_pages_end_and_are_right_while_the_history_rolls_over() {
    const KEYS: usize = 200;
    const BYTES: usize = 2_000;
    /// Changes of this size that all rooms remember together.
    const REMEMBERED: u64 = 12;
    let history = format!("live.history_bytes_max={}", REMEMBERED as usize * (BYTES + 200));
    let settings = [
        history.as_str(),
        "live.page_bytes_max=16384",
        // What lies on the way is less than the pages are, so that SSE sends them no faster than they are read.
        "live.unsent_bytes_max=32768",
        "live.send_buffer_bytes=16384",
    ];
    everywhere("b4", &settings, &Transport::ALL, async |place, transport| {
        let (stream, keys) = (transport.name(), keys(KEYS));
        fill(&place, stream, &keys, BYTES).await;
        place.settles(stream).await;
        let load = Load::start(&place, stream, &keys, 8, BYTES);
        let mut watcher = Watcher::connect(&place.statecast.base, transport).await;
        watcher.join(&[stream]).await;
        let began = load.written();
        watcher.whole_at(async || load.goes_on(REMEMBERED).await).await;
        let while_paging = load.written() - began;
        assert!(watcher.pages.len() >= 20, "{} pages", watcher.pages.len());
        assert!(while_paging > 10 * REMEMBERED, "it rolled over: {while_paging} writes");
        load.end().await;
        place.settles(stream).await;
        watcher.holds(stream, &place.written(stream)).await;
        assert_eq!(watcher.resyncs, [] as [Value; 0], "load never begins a walk anew");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_leaving_and_entering_in_mid_snapshot_mixes_no_two_walks() {
    const KEYS: usize = 120;
    let settings = ["live.page_bytes_max=2048"];
    everywhere("b7", &settings, &Transport::ALL, async |place: Arc<Place>, transport| {
        let (stream, keys) = (transport.name(), keys(KEYS));
        fill(&place, stream, &keys, 100).await;
        place.settles(stream).await;
        let load = Load::start(&place, stream, &keys, 4, 100);
        let mut watcher = Watcher::connect(&place.statecast.base, transport).await;
        match transport {
            Transport::Sse => reopen(&mut watcher, stream, &load).await,
            _ => strict_mode(&mut watcher, stream, &load).await,
        }
        watcher.whole().await;
        load.goes_on(20).await;
        load.end().await;
        watcher.holds(stream, &place.written(stream)).await;
        place.settles(stream).await;
    })
    .await;
}

/// As effects are run, undone and run again: calls without waiting for their answers, here and there a page on its way.
async fn strict_mode(watcher: &mut Watcher, stream: &str, load: &Load) {
    watcher.join(&[stream]).await;
    for round in 0..8 {
        for _ in 0..round % 4 {
            let pages = watcher.pages.len();
            watcher.ask_page(stream).await;
            watcher.until("a page", |w| w.pages.len() > pages || !w.is_paging()).await;
        }
        // Still on its way when the room is left.
        watcher.ask_page(stream).await;
        let answers = watcher.answers.len();
        for _ in 0..3 {
            watcher.ask_leave(stream).await;
            watcher.ask_join_anew(stream).await;
        }
        load.goes_on(5).await;
        watcher.until("entered for the last time", |w| w.answers.len() == answers + 3).await;
        let last = watcher.answers.last().expect("an answer");
        assert_eq!(last[0]["resumed"], false, "{last:?}");
        assert!(watcher.is_paging(), "each walk begins at the first page");
    }
}

/// `EventSource` is closed and made again; the cursor of a room in its pages is none, so each begins anew.
async fn reopen(watcher: &mut Watcher, stream: &str, load: &Load) {
    watcher.join(&[stream]).await;
    for round in 0..8 {
        for _ in 0..round {
            watcher.hear().await;
        }
        watcher.cut().await;
        let was_paging = watcher.is_paging();
        load.goes_on(5).await;
        let answers = watcher.back().await;
        assert!(!was_paging || answers[0]["resumed"] == false, "nobody holds half of the pages: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b10_a_snapshot_larger_than_what_a_client_may_have_unread_comes_in_pages() {
    const KEYS: usize = 120;
    const PAGE: usize = 16 << 10;
    const UNSENT: usize = 32 << 10;
    let (page, unsent) = (format!("live.page_bytes_max={PAGE}"), format!("live.unsent_bytes_max={UNSENT}"));
    everywhere("b10", &[&page, &unsent], &Transport::ALL, async |place, transport| {
        let (stream, keys) = (transport.name(), keys(KEYS));
        fill(&place, stream, &keys, 4_000).await;
        // Larger than a page, and than all that a client may have unread.
        place.put(stream, "k060-large", &value(0, 3 * UNSENT)).await;
        place.settles(stream).await;
        let mut watcher = Watcher::connect(&place.statecast.base, transport).await;
        watcher.join(&[stream]).await;
        watcher.whole().await;
        assert_eq!(watcher.rooms[stream].present(), place.written(stream), "whole with the last page");
        for (items, bytes) in &watcher.pages {
            assert!(*items == 1 || *bytes <= PAGE + 1_024, "a page of {items} items has {bytes} bytes");
        }
        assert_eq!(watcher.resyncs, [] as [Value; 0]);

        // As many rooms of one key each, in one call.
        let mut many = Watcher::connect(&place.statecast.base, transport).await;
        let rooms: Vec<String> =
            place.written(stream).into_keys().map(|key| format!("{stream}/{key}")).collect();
        let answers = many.join(&rooms.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let bytes = json!(answers).to_string().len();
        assert!(bytes < 3 * UNSENT + PAGE, "an answer of {bytes} bytes");
        for (key, held) in place.written(stream) {
            let room = format!("{stream}/{key}");
            many.sees(&room, &key, held.0).await;
            assert_eq!(many.rooms[&room].keys[&key], held);
        }
        place.put(stream, "k000", &value(1, 10)).await;
        watcher.sees(stream, "k000", 2).await;
        many.sees(&format!("{stream}/k000"), "k000", 2).await;
        assert_eq!(place.statecast.total(metrics::RESYNCS).await, 0);
    })
    .await;
}
