//! Whether a consumer is in its group, which rdkafka does not say.

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka_sys as sys;
use std::ffi::CStr;

/// Whether the group knows this consumer: since a coordinator gave it a name, and until it has sent word that it leaves.
/// It may be in the middle of a rebalance and have no partition yet. Asks librdkafka's own thread; no broker.
pub fn is_member<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> bool {
    let client = consumer.client().native_ptr();
    // SAFETY: the client is alive during the call; what comes back is null or ours.
    let name = unsafe { sys::rd_kafka_memberid(client) };
    if name.is_null() {
        return false;
    }
    // SAFETY: not null, and terminated by librdkafka.
    let is_named = !unsafe { CStr::from_ptr(name) }.is_empty();
    // SAFETY: it came from this client, and nothing refers to it any more.
    unsafe { sys::rd_kafka_mem_free(client, name.cast()) };
    is_named
}
