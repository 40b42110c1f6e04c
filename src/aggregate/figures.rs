//! Figures over events: what an aggregate counts, and the cells it is counted in.
//!
//! Invariant: a cell is a pure function of the samples it took in, and merging two cells is as if one had taken in both (but
//! for the last digits of sums, which are added in another order). Quantiles and distinct counts are sketches of libraries,
//! with a stated error and a bounded size.
//! Not here: windows and groups (`Aggregate`), how a figure is written in a configuration (`config::declaration`).

use crate::{
    event::Pointer,
    window::{Distinct, Merge, Sketch, When},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One figure of an aggregate, as it is declared: `count`, `mean /ms`, `quantile 0.99 /ms`.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    Count,
    Sum(Pointer),
    Min(Pointer),
    Max(Pointer),
    Mean(Pointer),
    /// The value of the newest event by its time.
    Last(Pointer),
    Distinct(Pointer),
    Quantile(f64, Pointer),
}

/// A figure under the name it is shown by, with that of its cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    pub figure: Figure,
    pub cell: String,
}

impl Named {
    pub fn new(name: &str, figure: Figure) -> Self {
        Named { name: name.to_owned(), cell: figure.cell(), figure }
    }
}

/// What one event brings to a figure.
#[derive(Debug, Clone, PartialEq)]
pub enum Sample {
    One,
    Number(f64),
    Value(Value),
}

/// What a figure has taken in. Several figures may share one: mean and sum of a pointer, quantiles of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cell {
    Count(u64),
    Sum { n: u64, sum: f64 },
    Min(f64),
    Max(f64),
    Last { when: When, value: Value },
    Distinct(Distinct),
    Quantile(Sketch),
}

impl Figure {
    /// The name of the cell it is counted in: the same for figures that need the same.
    fn cell(&self) -> String {
        let (name, at) = match self {
            Figure::Count => return "count".to_owned(),
            Figure::Sum(at) | Figure::Mean(at) => ("sum", at),
            Figure::Min(at) => ("min", at),
            Figure::Max(at) => ("max", at),
            Figure::Last(at) => ("last", at),
            Figure::Distinct(at) => ("distinct", at),
            Figure::Quantile(_, at) => ("quantile", at),
        };
        format!("{name} {}", at.text())
    }

    /// What an event brings; `None`: it has nothing there. A number may be written as text. `Err` says what is wrong.
    pub fn sample(&self, event: &Value) -> Result<Option<Sample>, String> {
        let at = match self {
            Figure::Count => return Ok(Some(Sample::One)),
            Figure::Last(at) | Figure::Distinct(at) => {
                return Ok(at.find(event).map(|value| Sample::Value(value.clone())));
            }
            Figure::Sum(at)
            | Figure::Min(at)
            | Figure::Max(at)
            | Figure::Mean(at)
            | Figure::Quantile(_, at) => at,
        };
        let Some(found) = at.find(event) else { return Ok(None) };
        let number = match found {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| number.is_finite());
        number.map(|n| Some(Sample::Number(n))).ok_or_else(|| format!("{} is no number", at.text()))
    }

    /// An empty cell takes in its first sample. `None`: the sample is not one of this figure.
    pub fn begin(&self, sample: &Sample, when: When) -> Option<Cell> {
        Some(match (self, sample) {
            (Figure::Count, _) => Cell::Count(1),
            (Figure::Sum(_) | Figure::Mean(_), Sample::Number(n)) => Cell::Sum { n: 1, sum: *n },
            (Figure::Min(_), Sample::Number(n)) => Cell::Min(*n),
            (Figure::Max(_), Sample::Number(n)) => Cell::Max(*n),
            (Figure::Last(_), Sample::Value(value)) => Cell::Last { when, value: value.clone() },
            (Figure::Distinct(_), Sample::Value(value)) => {
                let mut distinct = Distinct::default();
                distinct.add(&value.to_string());
                Cell::Distinct(distinct)
            }
            (Figure::Quantile(..), Sample::Number(n)) => {
                let mut sketch = Sketch::default();
                sketch.add(*n);
                Cell::Quantile(sketch)
            }
            _ => return None,
        })
    }

    /// What is shown of a cell; `null` where nothing was taken in.
    pub fn show(&self, cell: Option<&Cell>) -> Value {
        match (self, cell) {
            (Figure::Count, None) => json!(0),
            (Figure::Sum(_), None) => json!(0),
            (Figure::Distinct(_), None) => json!(0),
            (Figure::Count, Some(Cell::Count(n))) => json!(n),
            (Figure::Sum(_), Some(Cell::Sum { sum, .. })) => number(*sum),
            (Figure::Mean(_), Some(Cell::Sum { n, sum })) => number(sum / *n as f64),
            (Figure::Min(_), Some(Cell::Min(n))) | (Figure::Max(_), Some(Cell::Max(n))) => number(*n),
            (Figure::Last(_), Some(Cell::Last { value, .. })) => value.clone(),
            (Figure::Distinct(_), Some(Cell::Distinct(distinct))) => json!(distinct.count()),
            (Figure::Quantile(share, _), Some(Cell::Quantile(sketch))) => {
                sketch.quantile(*share).map_or(Value::Null, number)
            }
            _ => Value::Null,
        }
    }
}

/// A whole number is shown as one, so that a sum of integers looks like it.
fn number(n: f64) -> Value {
    const EXACT: f64 = 9e15;
    if n.fract() == 0.0 && n.abs() < EXACT { json!(n as i64) } else { json!(n) }
}

impl Cell {
    /// Takes in one more sample of the figure it was begun for.
    pub fn take(&mut self, sample: &Sample, when: When) {
        match (self, sample) {
            (Cell::Count(n), _) => *n += 1,
            (Cell::Sum { n, sum }, Sample::Number(number)) => {
                *n += 1;
                *sum += number;
            }
            (Cell::Min(n), Sample::Number(number)) => *n = n.min(*number),
            (Cell::Max(n), Sample::Number(number)) => *n = n.max(*number),
            (Cell::Last { when: held, value }, Sample::Value(newer)) if *held < when => {
                *held = when;
                *value = newer.clone();
            }
            (Cell::Distinct(distinct), Sample::Value(value)) => distinct.add(&value.to_string()),
            (Cell::Quantile(sketch), Sample::Number(number)) => sketch.add(*number),
            _ => {}
        }
    }

    /// About how many bytes it takes where it is stored.
    pub fn size(&self) -> usize {
        const AROUND: usize = 64;
        // What a register or a bin takes as text, with its comma.
        const DIGITS: usize = 4;
        AROUND
            + match self {
                Cell::Last { value, .. } => size_of_value(value),
                Cell::Distinct(distinct) => distinct.bytes() * DIGITS,
                Cell::Quantile(sketch) => AROUND * 4 + sketch.bins() * DIGITS,
                Cell::Count(_) | Cell::Sum { .. } | Cell::Min(_) | Cell::Max(_) => 0,
            }
    }
}

/// Takes in all that `other` has; a cell of another figure is passed over.
impl Merge for Cell {
    fn merge(&mut self, other: &Cell) {
        match (self, other) {
            (Cell::Count(n), Cell::Count(more)) => *n += more,
            (Cell::Sum { n, sum }, Cell::Sum { n: more, sum: theirs }) => {
                *n += more;
                *sum += theirs;
            }
            (Cell::Min(n), Cell::Min(other)) => *n = n.min(*other),
            (Cell::Max(n), Cell::Max(other)) => *n = n.max(*other),
            (Cell::Last { when, value }, Cell::Last { when: theirs, value: newer }) if *when < *theirs => {
                *when = *theirs;
                *value = newer.clone();
            }
            (Cell::Distinct(distinct), Cell::Distinct(other)) => distinct.merge(other),
            (Cell::Quantile(sketch), Cell::Quantile(other)) => sketch.merge(other),
            _ => {}
        }
    }
}

fn size_of_value(value: &Value) -> usize {
    const SCALAR: usize = 24;
    match value {
        Value::String(text) => SCALAR + text.len(),
        Value::Array(items) => items.iter().map(size_of_value).sum::<usize>() + SCALAR,
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() + size_of_value(value)).sum::<usize>() + SCALAR
        }
        _ => SCALAR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::declaration::figure;

    fn when(time_ms: i64, offset: u64) -> When {
        When { time_ms, partition: 0, epoch: 0, offset }
    }

    /// The figure over these events, taken in one after the other, stored and read back in between.
    fn over(text: &str, events: &[Value]) -> Value {
        let figure = figure(text).expect(text);
        let mut cell: Option<Cell> = None;
        for (at, event) in events.iter().enumerate() {
            let Some(sample) = figure.sample(event).expect("sample") else { continue };
            match &mut cell {
                // Either way a cell takes a sample in comes to the same.
                Some(cell) if at % 2 == 0 => cell.take(&sample, when(at as i64, at as u64)),
                Some(cell) => cell.merge(&figure.begin(&sample, when(at as i64, at as u64)).expect("cell")),
                None => cell = figure.begin(&sample, when(at as i64, at as u64)),
            }
            let stored = serde_json::to_string(&cell).expect("stored");
            cell = serde_json::from_str(&stored).expect("read back");
        }
        figure.show(cell.as_ref())
    }

    #[test]
    fn each_figure_counts_what_it_says() {
        let events = [
            json!({"ms": 10, "u": "a"}),
            json!({"ms": "30", "u": "b"}),
            json!({"u": "a"}),
            json!({"ms": 20, "u": null}),
        ];
        for (text, expected) in [
            ("count", json!(4)),
            ("sum /ms", json!(60)),
            ("min /ms", json!(10)),
            ("max /ms", json!(30)),
            ("mean /ms", json!(20)),
            ("last /u", json!("a")),
            ("distinct /u", json!(2)),
            ("quantile 1 /ms", json!(30)),
            ("sum /nothing", json!(0)),
            ("mean /nothing", Value::Null),
        ] {
            assert_eq!(over(text, &events), expected, "{text}");
        }
        assert!(figure("sum /u").expect("figure").sample(&events[0]).is_err());
    }

    #[test]
    fn quantiles_and_distinct_counts_are_as_near_as_they_say() {
        let events: Vec<Value> =
            (1..=10_000).map(|i| json!({"ms": f64::from(i) / 7.0, "u": format!("u{}", i % 3_000)})).collect();
        for (share, exact) in [(0.5, 714.3), (0.99, 1414.3)] {
            let found = over(&format!("quantile {share} /ms"), &events).as_f64().expect("number");
            assert!((found - exact).abs() / exact < 0.0101, "{share}: {found}, exactly {exact}");
        }
        let found = over("distinct /u", &events).as_f64().expect("number");
        assert!((found - 3_000.0).abs() / 3_000.0 < 0.05, "{found}");
    }
}
