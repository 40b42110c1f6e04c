//! Aggregates that merge: numbers, quantiles by sketch, the newest few.
//!
//! Invariant: `merge` is associative and commutative up to the rounding of floating-point sums, and no input makes a value
//! that JSON cannot hold: what is no finite number is never taken in.
//! Not here: time (`Window`).

use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};
use std::{collections::VecDeque, sync::LazyLock};

/// Something that can be put together out of parts.
pub trait Merge {
    fn merge(&mut self, other: &Self);
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

/// Quantiles of numbers to within one percent of the value, in bounded memory, by DDSketch. As JSON a text, since a
/// database spells an array of bins out with a name for each.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sketch(Option<Box<DDSketch>>);

impl From<Sketch> for String {
    fn from(sketch: Sketch) -> String {
        sketch.0.and_then(|sketch| serde_json::to_string(&sketch).ok()).unwrap_or_default()
    }
}

impl TryFrom<String> for Sketch {
    type Error = serde_json::Error;

    fn try_from(text: String) -> Result<Self, serde_json::Error> {
        if text.is_empty() {
            return Ok(Sketch(None));
        }
        let mut held: Box<DDSketch> = serde_json::from_str(&text)?;
        // A build that made them otherwise may have written it; ours would not merge with it, and its numbers would be lost.
        let alike = held.merge(&EMPTY);
        alike.map_err(|_| serde::de::Error::custom("a sketch of another accuracy than ours"))?;
        Ok(Sketch(Some(held)))
    }
}

static EMPTY: LazyLock<DDSketch> = LazyLock::new(|| DDSketch::new(Config::new(ACCURACY, BINS_MAX, LEAST)));

/// A quantile is within this share of the true value.
const ACCURACY: f64 = 0.01;
/// Bins of one sketch at most: all that lie between `LEAST` and 1e12, so that none is ever folded into another.
const BINS_MAX: u32 = 2_100;
/// Less than this counts as nothing.
const LEAST: f64 = 1e-6;

impl Sketch {
    pub fn add(&mut self, number: f64) {
        if number.is_finite() {
            self.0.get_or_insert_with(|| Box::new(EMPTY.clone())).add(number);
        }
    }

    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |sketch| sketch.count() as u64)
    }

    /// The number below which this share (0 to 1) of all lies; `None` of nothing.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let sketch = self.0.as_ref()?;
        let found = sketch.quantile(share).ok().flatten()?;
        Some(found.clamp(sketch.min().unwrap_or(found), sketch.max().unwrap_or(found)))
    }

    /// How many bins it has: what its size goes by.
    pub fn bins(&self) -> usize {
        self.0.as_ref().map_or(0, |sketch| sketch.length())
    }
}

impl Merge for Sketch {
    fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (None, Some(theirs)) => self.0 = Some(theirs.clone()),
            // All are made alike, and what is read back is held to that, so they always fit.
            (Some(ours), Some(theirs)) => drop(ours.merge(theirs)),
        }
    }
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sketch of {}, {:?} in the middle", self.count(), self.quantile(0.5))
    }
}

impl PartialEq for Sketch {
    /// By what can be asked of it: how bins are laid out depends on the order of adding.
    fn eq(&self, other: &Self) -> bool {
        let asked = |sketch: &Sketch| {
            let quantiles = (0..=100).map(|share| sketch.quantile(f64::from(share) / 100.0));
            (sketch.count(), quantiles.collect::<Vec<_>>())
        };
        asked(self) == asked(other)
    }
}

/// The newest few by time; what is of one time is in the order of where it stands in the log. Oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Newest<T>(VecDeque<(i64, Place, T)>);

/// Partition, epoch and offset: where the record of an event stands.
pub type Place = (u32, u32, u64);

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Newest(VecDeque::new())
    }
}

impl<T> Newest<T> {
    /// Takes in one; of more than `keep` the oldest goes.
    pub fn add(&mut self, time_ms: i64, place: Place, item: T, keep: usize) {
        let id = (time_ms, place);
        let at = match self.0.back() {
            Some(last) if (last.0, last.1) < id => self.0.len(),
            _ => self.0.partition_point(|held| (held.0, held.1) < id),
        };
        if at > 0 || self.0.len() < keep {
            self.0.insert(at, (time_ms, place, item));
        }
        self.trim(keep);
    }

    fn trim(&mut self, keep: usize) {
        while self.0.len() > keep {
            self.0.pop_front();
        }
    }

    /// Newest first, each with its time.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &T)> {
        self.0.iter().rev().map(|(time_ms, _, item)| (*time_ms, item))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Clone> Newest<T> {
    pub fn merge(&mut self, other: &Self, keep: usize) {
        for (time_ms, place, item) in &other.0 {
            self.add(*time_ms, *place, item.clone(), keep);
        }
    }
}
