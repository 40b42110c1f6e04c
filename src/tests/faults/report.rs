//! The table of docs/faults.md.

use super::{cases::Case, scene::Outcome};
use std::{any::Any, fs};

const BEGIN: &str = "<!-- the table: written by make faults -->";
const END: &str = "<!-- the end of the table -->";

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

/// Puts the rows where the table of the page is.
pub fn write(rows: &[Row]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
    let page = fs::read_to_string(path).expect("docs/faults.md");
    let (before, rest) = page.split_once(BEGIN).expect("the mark before the table");
    let (_, after) = rest.split_once(END).expect("the mark behind the table");
    let head = "| | fault | | recovered in | repeated | peak lag | peak memory | seed | |\n|---|---|---|---|---|---|---|---|---|\n";
    let lines: String = rows.iter().map(|row| row.line() + "\n").collect();
    fs::write(path, format!("{before}{BEGIN}\n{head}{lines}{END}{after}")).expect("written");
}
