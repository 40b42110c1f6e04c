//! Aggregates that merge: counts, numbers, the latest time, and maps of them.
//!
//! Invariant: `merge` is associative and commutative up to the rounding of floating-point sums, and no input makes a value
//! that JSON cannot hold: what is no finite number is never taken in.
//! Not here: slots by time (`Window`), sketches (`sketch`).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Something that can be put together out of parts.
pub trait Merge {
    fn merge(&mut self, other: &Self);
}

/// A whole that merges part by part.
macro_rules! merges {
    ($whole:ty: $($part:tt),+) => {
        impl $crate::window::Merge for $whole {
            fn merge(&mut self, other: &Self) {
                $($crate::window::Merge::merge(&mut self.$part, &other.$part);)+
            }
        }
    };
}
pub(crate) use merges;

/// A count.
impl Merge for u64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

impl<K: Ord + Clone, T: Merge + Clone> Merge for BTreeMap<K, T> {
    fn merge(&mut self, other: &Self) {
        for (name, part) in other {
            match self.get_mut(name) {
                Some(held) => held.merge(part),
                None => drop(self.insert(name.clone(), part.clone())),
            }
        }
    }
}

/// The latest of some times, in ms since 1970 UTC; 1970 where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latest(pub i64);

impl Merge for Latest {
    fn merge(&mut self, other: &Self) {
        self.0 = self.0.max(other.0);
    }
}

/// Count, sum, least and greatest of numbers. As JSON `[COUNT, SUM, MIN, MAX]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers(u64, f64, Option<f64>, Option<f64>);

impl Numbers {
    pub fn add(&mut self, number: f64) {
        self.merge(&Numbers(1, number, Some(number), Some(number)));
    }

    pub fn count(&self) -> u64 {
        self.0
    }

    pub fn sum(&self) -> f64 {
        self.1
    }

    pub fn min(&self) -> Option<f64> {
        self.2
    }

    pub fn max(&self) -> Option<f64> {
        self.3
    }

    /// `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.0 > 0).then(|| self.1 / self.0 as f64)
    }
}

impl Merge for Numbers {
    fn merge(&mut self, other: &Self) {
        let either = |a: Option<f64>, b: Option<f64>, pick: fn(f64, f64) -> f64| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (a, b) => a.or(b),
        };
        if other.1.is_finite() && (self.1 + other.1).is_finite() {
            self.0 += other.0;
            self.1 += other.1;
            self.2 = either(self.2, other.2, f64::min);
            self.3 = either(self.3, other.3, f64::max);
        }
    }
}
