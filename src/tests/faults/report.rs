//! The table of docs/faults.md.

use super::{
    cases::{self, Case},
    scene::Outcome,
};
use std::{any::Any, fs};

const BEGIN: &str = "<!-- the table: written by make faults -->";
const END: &str = "<!-- the end of the table -->";
const HEAD: &str = "| | fault | | recovered in | repeated | peak lag | peak memory | seed | |\n|---|---|---|---|---|---|---|---|---|\n";

pub struct Row {
    id: &'static str,
    what: &'static str,
    seed: u64,
    outcome: Result<Outcome, String>,
}

impl Row {
    pub fn new(case: &Case, seed: u64, ended: Result<Outcome, Box<dyn Any + Send>>) -> Row {
        let why = |why: Box<dyn Any + Send>| match why.downcast::<String>() {
            Ok(why) => *why,
            Err(why) => why.downcast::<&str>().map_or("no words".into(), |why| (*why).to_owned()),
        };
        Row { id: case.id, what: case.what, seed, outcome: ended.map_err(why) }
    }

    pub fn failed(&self) -> bool {
        self.outcome.is_err()
    }

    pub fn line(&self) -> String {
        let Row { id, what, seed, outcome } = self;
        match outcome {
            // Nothing ran that could be measured.
            Ok(Outcome { memory_mib: 0, note, .. }) => {
                format!("| {id} | {what} | passed | | | | | {seed} | {note} |")
            }
            Ok(Outcome { recovery, repeated, lag_max, memory_mib, note }) => format!(
                "| {id} | {what} | passed | {:.1} s | {repeated} | {lag_max} | {memory_mib} MiB | {seed} | {note} |",
                recovery.as_secs_f64()
            ),
            Err(why) => {
                let first: String = why.lines().next().unwrap_or_default().chars().take(300).collect();
                format!("| {id} | {what} | FAILED | | | | | {seed} | {first} |")
            }
        }
    }
}

/// Puts the rows where the table of the page is. `whole`: they are all that there are on so many brokers; others stay as
/// they were.
pub fn write(rows: &[Row], whole: Option<usize>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
    let page = fs::read_to_string(path).expect("docs/faults.md");
    let (before, rest) = page.split_once(BEGIN).expect("the mark before the table");
    let (table, after) = rest.split_once(END).expect("the mark behind the table");
    let line_of = |case: &Case| {
        let id = case.id;
        let new = rows.iter().find(|row| row.id == id).map(Row::line);
        let old = || table.lines().find(|line| line.starts_with(&format!("| {id} |"))).map(str::to_owned);
        new.or_else(|| if whole == Some(case.brokers) { None } else { old() })
    };
    let lines: String = cases::ALL.iter().filter_map(line_of).map(|line| line + "\n").collect();
    fs::write(path, format!("{before}{BEGIN}\n{HEAD}{lines}{END}{after}")).expect("written");
}
