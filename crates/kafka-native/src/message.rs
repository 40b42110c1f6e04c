//! What a message has and rdkafka does not show safely.

use rdkafka::message::BorrowedMessage;
use rdkafka_sys as sys;
use std::{ffi::CStr, marker::PhantomData, ptr, slice};

/// The headers of a message in their order, names as the bytes they are: rdkafka panics on a name that is not UTF-8,
/// and any producer may send one.
pub(crate) fn headers_of(message: &sys::rd_kafka_message_t) -> HeaderIter<'_> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive; on error `list` stays null.
    let error = unsafe { sys::rd_kafka_message_headers(message, &mut list) };
    if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        list = ptr::null_mut();
    }
    HeaderIter { list, next: 0, message: PhantomData }
}

/// Walks the headers of a message on loan.
pub struct HeaderIter<'m> {
    /// Null: none.
    list: *const sys::rd_kafka_headers_t,
    next: usize,
    message: PhantomData<&'m ()>,
}

impl<'m> Iterator for HeaderIter<'m> {
    type Item = (&'m [u8], Option<&'m [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.list.is_null() {
            return None;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list belongs to the message, which is borrowed for `'m`; beyond its end an error comes back.
        let error =
            unsafe { sys::rd_kafka_header_get_all(self.list, self.next, &mut name, &mut value, &mut size) };
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
            return None;
        }
        self.next += 1;
        // SAFETY: not null, terminated by librdkafka, and as alive as the message.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        // SAFETY: librdkafka gives `size` bytes at a value that is not null, as alive as the message.
        let value = (!value.is_null()).then(|| unsafe { slice::from_raw_parts(value.cast::<u8>(), size) });
        Some((name, value))
    }
}

/// Whether a record that was not delivered is certainly in no log: it never left, or a broker said it was not written.
pub fn never_sent(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the message is alive.
    let status = unsafe { sys::rd_kafka_message_status(message.ptr()) };
    status == sys::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}
