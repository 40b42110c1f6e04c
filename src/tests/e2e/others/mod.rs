//! Cases taken from bugs that others had in what is nearest to our rooms: Centrifugo's map subscriptions and the stock
//! client's. Each is one function, run on every store and over every transport.
//!
//! Invariant: a case of one transport has a stream of its own, and each case a program of its own on each store, so that
//! what it makes small is small for it alone. Whatever the case, nobody is removed for being slow or for asking.
//! Not here: B9, since no rooms are bound to who asks; the same cases against the rooms alone (`tests::live`).

mod handler;
mod history;
mod line;
mod load;
mod pages;
mod place;
mod removal;
mod view;
mod watcher;

use crate::metrics;
use futures_util::future::join;
use line::Transport;
use place::{Place, Store};
use std::sync::Arc;

/// Runs a case over a table of stores and transports, both stores at once.
async fn everywhere(
    case: &str,
    settings: &[&str],
    transports: &[Transport],
    run: impl AsyncFn(Arc<Place>, Transport),
) {
    let on = async |store: Store| {
        let Some(place) = Place::start(case, store, settings).await else { return };
        for transport in transports {
            eprintln!("{case}: {store:?}, {transport:?}");
            run(place.clone(), *transport).await;
        }
        assert_eq!(place.statecast.total(metrics::CLIENTS_REMOVED).await, 0, "{case}: {store:?}");
    };
    join(on(Store::Embedded), on(Store::MongoDb)).await;
}
