//! How long changes took from their record's time to a client, per stream, over the last seconds.
//!
//! Invariant: bounded by the number of streams; a quantile is right within a bucket's width (a fifth).
//! Not here: the histogram that Prometheus scrapes, which is fed beside.

use crate::{engine::api::StreamName, metrics};
use rustc_hash::FxHashMap;

/// Buckets grow by a fifth; the last one takes everything beyond four hours.
const BUCKETS: usize = 92;
const GROWTH: f64 = 1.2;

#[derive(Default)]
pub struct Latencies {
    streams: FxHashMap<StreamName, OfStream>,
}

struct OfStream {
    histogram: ::metrics::Histogram,
    now: Box<[u32; BUCKETS]>,
    before: Box<[u32; BUCKETS]>,
}

impl Latencies {
    pub fn observe(&mut self, stream: &StreamName, ms: i64) {
        let ms = ms.max(0) as f64;
        let of = match self.streams.get_mut(stream) {
            Some(of) => of,
            None => self.streams.entry(stream.clone()).or_insert_with(|| OfStream::new(stream)),
        };
        of.histogram.record(ms / 1_000.0);
        if let Some(count) = of.now.get_mut(bucket(ms)) {
            *count += 1;
        }
    }

    /// Lets what is older than the turn before last fall out.
    pub fn turn(&mut self) {
        for of in self.streams.values_mut() {
            std::mem::swap(&mut of.now, &mut of.before);
            of.now.fill(0);
        }
    }

    /// The median and the 99th percentile in ms; `None`: nothing was told lately.
    pub fn quantiles(&self, stream: &str) -> Option<(f64, f64)> {
        let of = self.streams.get(stream)?;
        let counts: Vec<u64> = of.now.iter().zip(of.before.iter()).map(|(a, b)| u64::from(a + b)).collect();
        Some((quantile(&counts, 0.5)?, quantile(&counts, 0.99)?))
    }
}

impl OfStream {
    fn new(stream: &StreamName) -> Self {
        OfStream {
            histogram: metrics::SOCKET_SECONDS.histogram(&[("stream", stream.to_string())]),
            now: Box::new([0; BUCKETS]),
            before: Box::new([0; BUCKETS]),
        }
    }
}

fn bucket(ms: f64) -> usize {
    if ms < 1.0 { 0 } else { (ms.log(GROWTH) as usize + 1).min(BUCKETS - 1) }
}

/// The upper end of the bucket in which the quantile lies.
fn quantile(counts: &[u64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let mut left = (all as f64 * share).ceil().max(1.0) as u64;
    for (bucket, count) in counts.iter().enumerate() {
        if *count >= left {
            return Some((GROWTH.powi(bucket as i32) * 10.0).round() / 10.0);
        }
        left -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_a_fifth() {
        let (mut latencies, stream) = (Latencies::default(), StreamName::from("kv"));
        (1..=1_000).for_each(|ms| latencies.observe(&stream, ms));
        let (median, p99) = latencies.quantiles("kv").expect("quantiles");
        assert!((500.0..=600.0).contains(&median) && (990.0..=1_188.0).contains(&p99), "{median} {p99}");
    }

    #[test]
    fn what_is_old_falls_out() {
        let (mut latencies, stream) = (Latencies::default(), StreamName::from("kv"));
        latencies.observe(&stream, 5);
        latencies.turn();
        assert!(latencies.quantiles("kv").is_some());
        latencies.turn();
        assert_eq!(latencies.quantiles("kv"), None);
    }
}
