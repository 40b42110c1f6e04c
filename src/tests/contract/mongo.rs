//! The suites over a real MongoDB.

use super::store::{StoreFactory, store_suite};
use crate::{
    adapters::mongo::MongoStore,
    config::{Mongodb, Secret},
    ports::Store,
    tests::services,
};
use bson::doc;
use futures_util::future::{BoxFuture, FutureExt};
use std::sync::Arc;

struct Mongo {
    config: Mongodb,
    store: Arc<MongoStore>,
}

impl StoreFactory for Mongo {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn reopened(&self, _: Arc<dyn Store>) -> BoxFuture<'_, Option<Arc<dyn Store>>> {
        async {
            let store = MongoStore::connect(&self.config).await.expect("connect");
            Some(Arc::new(store) as Arc<dyn Store>)
        }
        .boxed()
    }

    fn refuse_bad<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, bool> {
        async move {
            let client = mongodb::Client::with_uri_str(&self.config.uri.0).await.expect("client");
            let rule = doc! { "collMod": stream, "validator": { "value": { "$ne": "bad" } } };
            client.database(&self.config.database).run_command(rule).await.expect("a rule");
            true
        }
        .boxed()
    }
}

async fn mongo() -> Option<impl StoreFactory> {
    let config =
        Mongodb { uri: Secret(services::mongodb()?), database: "contract".into(), ..Mongodb::default() };
    let store = Arc::new(MongoStore::connect(&config).await.expect("connect"));
    Some(Mongo { config, store })
}

store_suite!(mongo);
