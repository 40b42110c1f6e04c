//! A figure as a configuration says it: `count`, `mean /ms`, `quantile 0.99 /ms`.
//!
//! Invariant: what is no figure is told with what was meant.
//! Not here: what a figure counts (`aggregate`).

use crate::{aggregate::Figure, config::nearest, event::Pointer};

const NAMES: [&str; 8] = ["count", "sum", "min", "max", "mean", "last", "distinct", "quantile"];

/// `Err` ends a sentence that begins with the setting.
pub fn figure(text: &str) -> Result<Figure, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pointer = |text: &str| Pointer::parse(text);
    match words.as_slice() {
        ["count"] => Ok(Figure::Count),
        ["sum", at] => pointer(at).map(Figure::Sum),
        ["min", at] => pointer(at).map(Figure::Min),
        ["max", at] => pointer(at).map(Figure::Max),
        ["mean", at] => pointer(at).map(Figure::Mean),
        ["last", at] => pointer(at).map(Figure::Last),
        ["distinct", at] => pointer(at).map(Figure::Distinct),
        ["quantile", q, at] => {
            let share = q.parse().ok().filter(|q| (0.0..=1.0).contains(q));
            let share = share.ok_or_else(|| format!("must say a quantile from 0 to 1, not {q:?}"))?;
            pointer(at).map(|at| Figure::Quantile(share, at))
        }
        ["count", ..] => Err("must be count alone: it counts events, whatever is in them".into()),
        ["quantile", ..] => Err("must read quantile SHARE POINTER, like quantile 0.99 /ms".into()),
        [name, ..] if NAMES.contains(name) => Err(format!("must read {name} POINTER, like {name} /ms")),
        [name, ..] => Err(unknown(name)),
        [] => Err(unknown("")),
    }
}

fn unknown(name: &str) -> String {
    let mut why = format!("must be one of {}, not {name:?}", NAMES.join(", "));
    if let Some(near) = nearest(&NAMES, name) {
        why.push_str(&format!("; did you mean {near}?"));
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_figure_says_what_was_meant() {
        for (text, why) in [
            (
                "meen /ms",
                "must be one of count, sum, min, max, mean, last, distinct, quantile, not \"meen\"; did you mean mean?",
            ),
            ("mean", "must read mean POINTER, like mean /ms"),
            ("mean ms", "must be a JSON Pointer, not \"ms\"; did you mean \"/ms\"?"),
            ("quantile /ms", "must read quantile SHARE POINTER, like quantile 0.99 /ms"),
            ("quantile 99 /ms", "must say a quantile from 0 to 1, not \"99\""),
            ("count /ms", "must be count alone: it counts events, whatever is in them"),
        ] {
            assert_eq!(figure(text).expect_err(text), why);
        }
    }
}
