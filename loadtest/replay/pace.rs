//! When each record is due.
//!
//! Invariant: the times are measured from the beginning of the run, so that a slow answer does not slow down all that
//! follows.

use crate::{Fault, data::Data};
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Records a second.
    Rate(f64),
    /// So many times as fast as it happened.
    Times(f64),
}

impl Pace {
    /// Refuses a speed that is none.
    pub fn new(pace: Pace, records: &[Data]) -> Result<Pace, Fault> {
        let (Pace::Rate(number) | Pace::Times(number)) = pace;
        if !number.is_finite() || number <= 0.0 {
            return Err("a speed is a number over 0".into());
        }
        if records.is_empty() {
            return Err("there is nothing to send".into());
        }
        Ok(pace)
    }

    pub fn due<'a>(&'a self, records: &'a [Data]) -> impl Iterator<Item = Duration> + 'a {
        let first = records.first().map_or(0.0, |record| record.time.as_second() as f64);
        records.iter().enumerate().map(move |(n, record)| match self {
            Pace::Rate(rate) => Duration::from_secs_f64(n as f64 / rate),
            Pace::Times(times) => {
                let since = (record.time.as_second() as f64 - first).max(0.0);
                Duration::from_secs_f64(since / times)
            }
        })
    }
}
