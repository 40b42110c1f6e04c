//! Sketches that merge: quantiles of numbers, and how many different texts there were.
//!
//! Invariant: bounded memory and a stated error, whatever is taken in; merging two is as if one had taken in both.
//! Not here: how they are made (the libraries).

use super::Merge;
use cardinality_estimator::CardinalityEstimator;
use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};
use std::sync::LazyLock;

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

/// How many different texts there were, to within about 1.6 percent, by HyperLogLog (4,096 registers). As JSON a text, since
/// its words are beyond what a number of a database may hold.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Distinct(CardinalityEstimator<str>);

impl From<Distinct> for String {
    fn from(distinct: Distinct) -> String {
        serde_json::to_string(&distinct.0).unwrap_or_default()
    }
}

impl TryFrom<String> for Distinct {
    type Error = serde_json::Error;

    fn try_from(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&text).map(Distinct)
    }
}

impl Distinct {
    pub fn add(&mut self, text: &str) {
        self.0.insert(text);
    }

    /// About how many there were.
    pub fn count(&self) -> usize {
        self.0.estimate()
    }

    /// How many bytes it has in memory: what its size goes by.
    pub fn bytes(&self) -> usize {
        self.0.size_of()
    }
}

impl Merge for Distinct {
    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }
}

impl std::fmt::Debug for Distinct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Distinct(about {})", self.0.estimate())
    }
}
