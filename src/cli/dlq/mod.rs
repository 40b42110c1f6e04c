//! `statecast dlq`: dead letters of a running instance, through its admin listener.
//!
//! Invariant: an order over many says of each what became of it, and one that broke off may be given again: what was dealt
//! with is marked, and a mark is not passed over twice.
//! Not here: what an order does (`engine::desk`).

mod ask;
mod show;

use super::{
    Ended, Exit,
    args::{DlqAct, Filter, Which},
};
use crate::record::Position;
use ask::{Instance, Trouble};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

/// What is asked, and of whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The admin listener, as `http://HOST:PORT`.
    pub admin: String,
    /// JSON for programs instead of a table for people.
    pub json: bool,
    pub act: DlqAct,
}

/// What was found out, and how it ends.
struct Told {
    exit: Exit,
    answer: Value,
    /// The same for people.
    text: String,
    /// Why not all was done.
    trouble: Option<String>,
}

impl Told {
    fn clean(answer: Value, text: String) -> Self {
        Told { exit: Exit::Clean, answer, text, trouble: None }
    }
}

impl Order {
    /// Asks the instance. Errors are part of what is said.
    pub fn run(self) -> Ended {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let told = match runtime {
            Ok(runtime) => runtime.block_on(carry_out(&self)),
            Err(error) => {
                return Ended::fault(Exit::Internal, &format!("no threads can be started: {error}"));
            }
        };
        let told = match told {
            Ok(told) => told,
            Err(trouble) => return Ended::fault(trouble.exit(), &trouble.to_string()),
        };
        let stdout = if self.json { format!("{:#}\n", told.answer) } else { told.text };
        let stderr = told.trouble.map(|why| format!("statecast: {why}\n")).unwrap_or_default();
        Ended { exit: told.exit, stdout, stderr }
    }
}

async fn carry_out(order: &Order) -> Result<Told, Trouble> {
    let instance = Instance::at(&order.admin)?;
    match &order.act {
        DlqAct::List { stream: None, filter, .. } => {
            if *filter != Filter::default() {
                return Err(Trouble::Wrong("a filter needs the name of a stream".into()));
            }
            let summary = instance.get(&[], &[]).await?;
            let text = show::summary(&summary);
            Ok(Told::clean(summary, text))
        }
        DlqAct::List { stream: Some(stream), filter, after } => {
            let page = page(&instance, stream, filter, filter.limit, after.as_deref()).await?;
            let text = show::page(&page);
            Ok(Told::clean(page, text))
        }
        DlqAct::Show { stream, position, hex } => {
            let letter = instance.get(&[stream, &position.to_string()], &[]).await?;
            let text = show::letter(&letter, *hex);
            Ok(Told::clean(letter, text))
        }
        DlqAct::Replay { stream, which, force } => {
            let force: &[_] = if *force { &[("force", "true".to_owned())] } else { &[] };
            each(&instance, stream, which, "replay", force).await
        }
        DlqAct::Discard { stream, which } => each(&instance, stream, which, "discard", &[]).await,
    }
}

async fn page(
    instance: &Instance,
    stream: &str,
    filter: &Filter,
    limit: Option<usize>,
    after: Option<&str>,
) -> Result<Value, Trouble> {
    let asked = [
        ("reason", filter.reason.map(|reason| reason.code().to_owned())),
        ("partition", filter.partition.map(|partition| partition.to_string())),
        ("limit", limit.map(|limit| limit.to_string())),
        ("after", after.map(str::to_owned)),
    ];
    let asked: Vec<_> = asked.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    instance.get(&[stream], &asked).await
}

/// Positions of what the filter finds and nobody has dealt with, the oldest first, as they were sent.
async fn open_letters(instance: &Instance, stream: &str, filter: &Filter) -> Result<Vec<String>, Trouble> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    let wanted = filter.limit.unwrap_or(usize::MAX);
    loop {
        let page = page(instance, stream, filter, None, after.as_deref()).await?;
        let items = page.get("items").and_then(Value::as_array).ok_or_else(Trouble::foreign)?;
        let open = items.iter().filter(|letter| letter.get("mark").is_none_or(Value::is_null));
        found.extend(open.filter_map(|letter| Some(letter.get("position")?.as_str()?.to_owned())));
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() || found.len() >= wanted {
            found.truncate(wanted);
            found.reverse();
            return Ok(found);
        }
    }
}

/// What became of each letter.
#[derive(Default)]
struct Became {
    done: Vec<Value>,
    superseded: Vec<String>,
    not_there: Vec<String>,
}

/// Gives one order per letter, and shows on a terminal how far it is.
async fn each(
    instance: &Instance,
    stream: &str,
    which: &Which,
    act: &str,
    asked: &[(&str, String)],
) -> Result<Told, Trouble> {
    let positions = if which.all {
        open_letters(instance, stream, &which.filter).await?
    } else {
        which.positions.iter().map(Position::to_string).collect()
    };
    let (mut became, mut broke_off) = (Became::default(), None);
    let bar = bar(positions.len());
    for position in &positions {
        match instance.post(&[stream, position, act], asked).await {
            Ok(answer) => became.done.push(answer),
            Err(Trouble::Refused { code, .. }) if code == "superseded" => {
                became.superseded.push(position.clone())
            }
            Err(Trouble::Refused { code, .. }) if code == "no-dead-letter" => {
                became.not_there.push(position.clone())
            }
            Err(trouble) => {
                broke_off = Some(trouble);
                break;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    match broke_off {
        // Nothing was done: the trouble is the answer.
        Some(trouble) if became.is_empty() => Err(trouble),
        broke_off => Ok(became.told(stream, act, positions.len(), broke_off)),
    }
}

/// Draws on standard error, and only where that is a terminal.
fn bar(total: usize) -> ProgressBar {
    if total < 2 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}, {eta} to go");
    let bar = ProgressBar::new(total as u64);
    style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
}

impl Became {
    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.superseded.is_empty() && self.not_there.is_empty()
    }

    fn told(self, stream: &str, act: &str, total: usize, broke_off: Option<Trouble>) -> Told {
        let done_word = if act == "replay" { "replayed" } else { "discarded" };
        let dealt = self.done.len() + self.superseded.len() + self.not_there.len();
        let mut text = self.done.iter().map(|answer| show::done(answer, done_word)).collect::<String>();
        let left = [
            (
                &self.superseded,
                "superseded: a newer record stands, or it was replayed three times already; --force does it all the same",
            ),
            (&self.not_there, "no such dead letter"),
        ];
        for (positions, why) in left {
            positions.iter().for_each(|position| text.push_str(&format!("{position} {why}\n")));
        }
        text.push_str(&format!("{} of {total} {done_word}\n", self.done.len()));
        let all_done = self.done.len() == total;
        let exit = match &broke_off {
            Some(trouble) => trouble.exit(),
            None if all_done => Exit::Clean,
            None => Exit::Partly,
        };
        let trouble = broke_off.map(|trouble| {
            format!("broke off after {dealt} of {total}, which may be ordered again: {trouble}")
        });
        let mut answer = Map::new();
        answer.insert("stream".into(), stream.into());
        answer.insert("asked".into(), total.into());
        answer.insert(done_word.into(), self.done.into());
        answer.insert("superseded".into(), self.superseded.into());
        answer.insert("not_there".into(), self.not_there.into());
        answer.insert("broke_off".into(), json!(trouble));
        Told { exit, answer: answer.into(), text, trouble }
    }
}
