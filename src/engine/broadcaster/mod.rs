//! The actor that owns all rooms and clients. It moves orders, news, reads and ticks in and out of the hub; the thinking
//! is there.
//!
//! Invariant: nothing here waits for a client, a store or a writer; orders come over a bounded channel whose senders are
//! refused when it is full; news come newest per key (`NewsBox`); reads run elsewhere and are bounded in number.
//! Not here: transports.

mod answers;
mod beat;
mod brought;
mod calls;
mod flush;
mod following;
pub mod hub;
mod latency;
pub(crate) mod reading;
pub(crate) mod reads;
mod summary;
mod telling;

use self::{
    hub::{Hub, Settings},
    reads::Job,
};
use super::{
    api::Engine,
    live::{Live, Order, Stats},
    news::NewsBox,
    seeded,
};
use crate::clock;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, StreamHandler, fut::wrap_future};
use actix_rt::ArbiterHandle;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use tokio::{runtime::Handle, sync::mpsc};

/// Orders that are carried out before anything is handed over.
const ORDERS_AT_ONCE: usize = 64;

/// What the broadcaster stands on.
pub struct Parts {
    pub engine: Arc<dyn Engine>,
    pub news: Arc<NewsBox>,
    pub settings: Settings,
    /// Where reads run.
    pub runtime: Handle,
}

pub struct Broadcaster {
    hub: Hub,
    news: Arc<NewsBox>,
    orders: Option<mpsc::Receiver<Order>>,
    runtime: Handle,
    ticking: bool,
}

/// News wait in the box.
struct Woken;

impl Broadcaster {
    /// Starts the broadcaster on an arbiter. It ends when every handle is dropped.
    pub fn start_on(arbiter: &ArbiterHandle, parts: Parts) -> Live {
        let (orders, received) = mpsc::channel(parts.settings.live.calls_waiting_max);
        let stats = Arc::<Stats>::default();
        let live = Live::new(orders, stats.clone(), parts.settings.live.clients_max);
        Broadcaster::start_in_arbiter(arbiter, move |_| {
            let mut hub = Hub::new(parts.engine, parts.settings, stats, clock::instant());
            hub.tell_interest(parts.news.interest.clone());
            let orders = Some(received);
            Broadcaster { hub, news: parts.news, orders, runtime: parts.runtime, ticking: false }
        });
        live
    }

    /// Hands over what came of this turn, begins the reads it wants, and sees to the next tick.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        seeded::end_point("broadcaster");
        self.hub.flush(clock::instant());
        while let Some(job) = self.hub.begin_read() {
            self.read(job, ctx);
        }
        if !self.ticking
            && let Some(tick) = self.hub.next_tick()
        {
            self.ticking = true;
            ctx.run_later(tick, |broadcaster, ctx| {
                broadcaster.ticking = false;
                broadcaster.hub.tick(clock::instant());
                broadcaster.settle(ctx);
            });
        }
    }

    /// Runs a read in a task of its own: a future of a store's client must not be dropped half way.
    fn read(&self, job: Job, ctx: &mut Context<Self>) {
        let reading = self.runtime.spawn(reading::bring(self.hub.engine(), job.clone()));
        let read = wrap_future::<_, Self>(reading).map(move |brought, broadcaster, ctx| {
            let brought = brought.unwrap_or_else(|error| reading::failed(&job, &error.to_string()));
            broadcaster.hub.take_in_read(job, brought, clock::instant());
            broadcaster.settle(ctx);
        });
        ctx.spawn(read);
    }
}

impl Actor for Broadcaster {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(mut orders) = self.orders.take() {
            let orders = stream::poll_fn(move |cx| orders.poll_recv(cx)).ready_chunks(ORDERS_AT_ONCE);
            <Self as StreamHandler<Vec<Order>>>::add_stream(orders, ctx);
        }
        let woken = stream::unfold(self.news.clone(), |news| async move {
            news.woken().await;
            Some((Woken, news))
        });
        <Self as StreamHandler<Woken>>::add_stream(woken, ctx);
        ctx.run_interval(self.hub.beat_interval(), |broadcaster, ctx| {
            broadcaster.hub.beat(clock::instant());
            broadcaster.settle(ctx);
        });
    }
}

impl StreamHandler<Vec<Order>> for Broadcaster {
    fn handle(&mut self, orders: Vec<Order>, ctx: &mut Self::Context) {
        let now = clock::instant();
        for order in orders {
            self.hub.order(order, now);
        }
        self.settle(ctx);
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl StreamHandler<Woken> for Broadcaster {
    fn handle(&mut self, Woken: Woken, ctx: &mut Self::Context) {
        self.hub.news(self.news.take(), clock::instant());
        self.settle(ctx);
    }
}
