//! Rooms in pages while everything changes: they end, are right, and punish nobody (semantics 16, 17; B4, B7, B10).

use super::{stage::Stage, viewer::Viewer};

/// B4: changes roll over the history while pages are read.
#[test]
fn b4_pages_end_and_are_right_while_every_key_changes() {
    let mut stage = Stage::new(&[("kv", 1)], |config| {
        config.live.page_bytes_max = 400;
        config.live.history_bytes_max = 3_000;
    });
    let keys: Vec<String> = (0..30).map(|n| format!("k{n:02}")).collect();
    for key in &keys {
        stage.engine.write("kv", key, Some("0"));
    }
    let mut viewer = Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    let mut turns = 0;
    while viewer.rooms.get("kv").is_none_or(|view| view.next.is_some()) {
        turns += 1;
        assert!(turns < 400, "the pages end");
        stage.begin_reads();
        stage.look(0);
        for key in &keys {
            let news = stage.engine.write("kv", key, Some(&turns.to_string()));
            if turns % 3 == 0 {
                stage.tell([news]);
            }
        }
        stage.end_read(0);
        stage.tick(10);
        viewer.hear();
        viewer.page(&mut stage);
    }
    for key in &keys {
        let news = stage.engine.write("kv", key, Some("-1"));
        stage.tell([news]);
    }
    stage.settle(std::slice::from_mut(&mut viewer));
    viewer.assert_holds(&stage.engine);
}

/// B7: left and joined again in the middle of the pages.
#[test]
fn b7_two_walks_through_the_pages_never_mix() {
    let mut stage = Stage::new(&[("kv", 1)], |config| config.live.page_bytes_max = 400);
    for n in 0..12 {
        stage.engine.write("kv", &format!("k{n:02}"), Some("0"));
    }
    let mut viewer = Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    stage.run_reads();
    viewer.hear();
    viewer.page(&mut stage);
    stage.begin_reads();
    stage.look(0);
    viewer.leave(&mut stage, "kv");
    viewer.ask(&mut stage, &["kv"]);
    let news: Vec<_> = (0..12).map(|n| stage.engine.write("kv", &format!("k{n:02}"), Some("1"))).collect();
    stage.tell(news);
    stage.settle(std::slice::from_mut(&mut viewer));
    viewer.assert_holds(&stage.engine);
    assert_eq!((viewer.acks, viewer.resyncs), (2, 0));
}

/// B10: a snapshot larger than the client's bound comes in pages, and nobody is removed for it.
#[test]
fn b10_a_snapshot_larger_than_the_bound_is_paged() {
    let mut stage = Stage::new(&[("kv", 1)], |config| {
        config.live.page_bytes_max = 10_000;
        config.live.unsent_bytes_max = 20_000;
    });
    let value = format!("\"{}\"", "x".repeat(900));
    for n in 0..200 {
        stage.engine.write("kv", &format!("k{n:03}"), Some(&value));
    }
    let mut viewer = Viewer::new(&mut stage);
    viewer.ask(&mut stage, &["kv"]);
    stage.settle(std::slice::from_mut(&mut viewer));
    viewer.assert_holds(&stage.engine);
    assert!(stage.engine.lists() >= 20, "{} pages", stage.engine.lists());
    assert!(viewer.line.most_unsent() <= 20_000, "{}", viewer.line.most_unsent());
}
