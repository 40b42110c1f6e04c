//! Seeded runs of the hub against clients that mind every promise: whatever is interleaved, nobody is ever shown a lower
//! version, nothing twice, and at rest everyone holds what the store holds.

use super::{stage::Stage, viewer::Viewer};
use crate::engine::news::News;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Write {
        key: u8,
        remove: bool,
    },
    /// News of one shard (keys are spread over three) reach the box, and perhaps the hub.
    Announce {
        shard: u8,
        many: u8,
    },
    Take,
    Subscribe {
        viewer: u8,
        room: u8,
    },
    Leave {
        viewer: u8,
        room: u8,
    },
    Cut {
        viewer: u8,
    },
    Shut {
        viewer: u8,
    },
    Open {
        viewer: u8,
    },
    Full {
        viewer: u8,
    },
    Page {
        viewer: u8,
    },
    Hear {
        viewer: u8,
    },
    BeginReads,
    Look {
        at: u8,
    },
    EndRead {
        at: u8,
    },
    Tick,
    Beat,
    Gap,
    /// A partition goes to another instance, or comes back.
    Own {
        partition: u8,
        owned: bool,
    },
}

const KEYS: u8 = 12;
const VIEWERS: usize = 3;

fn op() -> impl Strategy<Value = Op> {
    let (key, viewer, room) = (0..KEYS, 0..VIEWERS as u8, 0..KEYS + 4);
    prop_oneof![
        10 => (key, prop::bool::weighted(0.2)).prop_map(|(key, remove)| Op::Write { key, remove }),
        6 => (0..3u8, 1..8u8).prop_map(|(shard, many)| Op::Announce { shard, many }),
        6 => Just(Op::Take),
        3 => (viewer.clone(), room.clone()).prop_map(|(viewer, room)| Op::Subscribe { viewer, room }),
        1 => (viewer.clone(), room).prop_map(|(viewer, room)| Op::Leave { viewer, room }),
        1 => viewer.clone().prop_map(|viewer| Op::Cut { viewer }),
        1 => viewer.clone().prop_map(|viewer| Op::Shut { viewer }),
        1 => viewer.clone().prop_map(|viewer| Op::Full { viewer }),
        2 => viewer.clone().prop_map(|viewer| Op::Open { viewer }),
        3 => viewer.clone().prop_map(|viewer| Op::Page { viewer }),
        3 => viewer.prop_map(|viewer| Op::Hear { viewer }),
        6 => Just(Op::BeginReads),
        4 => any::<u8>().prop_map(|at| Op::Look { at }),
        5 => any::<u8>().prop_map(|at| Op::EndRead { at }),
        4 => Just(Op::Tick),
        1 => Just(Op::Beat),
        1 => Just(Op::Gap),
        1 => (0..3u8, any::<bool>()).prop_map(|(partition, owned)| Op::Own { partition, owned }),
    ]
}

struct Run {
    stage: Stage,
    viewers: Vec<Viewer>,
    /// Stored, not announced yet, in the order each shard confirmed.
    shards: [Vec<News>; 3],
    value: u64,
}

fn room_of(room: u8) -> String {
    if room < KEYS { format!("kv/{}", key_of(room)) } else { "kv".into() }
}

fn key_of(key: u8) -> String {
    format!("key-{key:02}")
}

impl Run {
    fn new(gaps: bool) -> Self {
        let mut stage = Stage::new(&[("kv", 3)], |config| {
            // A page holds about three entities, histories and buffers are small, so that every bound is met.
            config.live.page_bytes_max = 500;
            config.live.history_changes_max = 4;
            config.live.history_bytes_max = 12_000;
            config.live.unsent_bytes_max = 900;
            config.live.waiting_keys_max = if gaps { 4 } else { 1_000 };
            config.live.reads_max = 2;
            config.live.read_keys_max = 3;
            // A client that is shut for long is not what this is about.
            config.live.stalled_after_ms = 100_000_000;
        });
        let viewers = (0..VIEWERS).map(|_| Viewer::new(&mut stage)).collect();
        Run { stage, viewers, shards: Default::default(), value: 0 }
    }

    fn carry_out(&mut self, op: &Op) {
        let Run { stage, viewers, shards, value } = self;
        match op {
            Op::Write { key, remove } => {
                *value += 1;
                let text = format!("{{\"n\":{value}}}");
                let news = stage.engine.write("kv", &key_of(*key), (!remove).then_some(text.as_str()));
                // What another instance stores is told there.
                if stage.engine.is_owned("kv", news.partition) {
                    shards[usize::from(*key) % 3].push(news);
                }
            }
            Op::Announce { shard, many } => {
                let shard = &mut shards[usize::from(*shard)];
                let many = usize::from(*many).min(shard.len());
                stage.news_box.offer(shard.drain(..many));
            }
            Op::Take => stage.tell([]),
            Op::Subscribe { viewer, room } => viewers[usize::from(*viewer)].ask(stage, &[&room_of(*room)]),
            Op::Leave { viewer, room } => viewers[usize::from(*viewer)].leave(stage, &room_of(*room)),
            Op::Cut { viewer } => viewers[usize::from(*viewer)].reconnect(stage),
            Op::Shut { viewer } => viewers[usize::from(*viewer)].line.shut(),
            Op::Full { viewer } => viewers[usize::from(*viewer)].line.set_full(true),
            Op::Open { viewer } => {
                viewers[usize::from(*viewer)].line.set_full(false);
                viewers[usize::from(*viewer)].line.open();
            }
            Op::Page { viewer } => viewers[usize::from(*viewer)].page(stage),
            Op::Hear { viewer } => drop(viewers[usize::from(*viewer)].hear()),
            Op::BeginReads => drop(stage.begin_reads()),
            Op::Look { at } => stage.look(usize::from(*at) % 2),
            Op::EndRead { at } => stage.end_read(usize::from(*at) % 2),
            Op::Tick => stage.tick(5),
            Op::Beat => stage.beat(1_000),
            Op::Own { partition, owned } => stage.engine.set_owned("kv", u32::from(*partition), *owned),
            Op::Gap => {
                shards.iter_mut().for_each(Vec::clear);
                let mut taken = stage.news_box.take();
                taken.news.clear();
                taken.gapped = true;
                stage.hub.news(taken, stage.now);
                stage.hub.flush(stage.now);
            }
        }
    }

    fn end(mut self) {
        for shard in &mut self.shards {
            self.stage.news_box.offer(shard.drain(..));
        }
        self.stage.tell([]);
        for viewer in &mut self.viewers {
            viewer.line.set_full(false);
        }
        self.stage.settle(&mut self.viewers);
        for viewer in &mut self.viewers {
            viewer.assert_holds(&self.stage.engine);
            let most = viewer.line.most_unsent();
            assert!(most < 900 + 1_500, "no more than the bound and one packet is handed over: {most}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_interleaved_viewers_end_at_the_store(ops in prop::collection::vec(op(), 1..160)) {
        let mut run = Run::new(false);
        for op in ops.iter().filter(|op| !matches!(op, Op::Gap | Op::Own { .. })) {
            run.carry_out(op);
        }
        run.end();
    }

    #[test]
    fn nor_do_partitions_that_are_consumed_elsewhere(ops in prop::collection::vec(op(), 1..160)) {
        let mut run = Run::new(false);
        for op in ops.iter().filter(|op| !matches!(op, Op::Gap)) {
            run.carry_out(op);
        }
        run.end();
    }

    #[test]
    fn nor_do_gaps_and_overflows_leave_a_hole(ops in prop::collection::vec(op(), 1..160)) {
        let mut run = Run::new(true);
        for op in &ops {
            run.carry_out(op);
        }
        run.end();
    }
}
