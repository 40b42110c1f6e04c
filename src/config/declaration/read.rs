//! Reads a declaration, setting by setting.
//!
//! Invariant: a setting that is wrong is noted, and reading goes on; a schema's file is read here.
//! Not here: what is made of the settings (`Declaration`).

use super::{Declaration, KeyFrom, Project, Wrong, figure};
use crate::{
    aggregate::{Named, Plan, Span, TAKEN},
    config::{Format, Projection, Stream, Window},
    event::{Pointer, Schema},
    window::Keep,
};

/// Buckets of one aggregate; each holds what every figure needs.
const BUCKETS_MAX: u64 = 1_500;
/// Events that `recent` may be asked to keep.
const RECENT_MAX: u32 = 1_000;

/// A setting, whether it has an effect in a stream, and what it needs for that.
type Need = (&'static str, fn(&Stream) -> bool, &'static str);

/// What settings need to have an effect.
const NEEDS: [Need; 13] = [
    ("id", |stream| stream.projection == Projection::Log, "projection is log"),
    ("group_by", is_grouped, "projection is aggregate or recent"),
    ("time", is_grouped, "projection is aggregate or recent"),
    ("recent_max", is_recent, "projection is recent"),
    ("recent_bytes_max", is_recent, "projection is recent"),
    ("aggregates", is_aggregate, "projection is aggregate"),
    ("window", is_aggregate, "projection is aggregate"),
    ("window_s", is_aggregate, "projection is aggregate"),
    ("slide_s", is_aggregate, "projection is aggregate"),
    ("windows_max", is_aggregate, "projection is aggregate"),
    // Of an aggregate, further.
    (
        "window_s",
        |stream| !is_aggregate(stream) || stream.window != Window::None,
        "window is tumbling or sliding",
    ),
    ("slide_s", |stream| !is_aggregate(stream) || stream.window == Window::Sliding, "window is sliding"),
    (
        "windows_max",
        |stream| !is_aggregate(stream) || stream.window == Window::Tumbling,
        "window is tumbling",
    ),
];

fn is_aggregate(stream: &Stream) -> bool {
    stream.projection == Projection::Aggregate
}

fn is_recent(stream: &Stream) -> bool {
    stream.projection == Projection::Recent
}

fn is_grouped(stream: &Stream) -> bool {
    is_aggregate(stream) || is_recent(stream)
}

pub(super) fn read(stream: &Stream) -> Result<Declaration, Vec<Wrong>> {
    let mut reader = Reader { stream, wrong: Vec::new() };
    let (key, time) = (reader.key(), reader.pointer("time", &stream.time));
    let (schema, projection, rooms) = (reader.schema(), reader.projection(), reader.rooms());
    reader.without_effect();
    if !reader.wrong.is_empty() {
        return Err(reader.wrong);
    }
    Ok(Declaration { format: stream.format, key, time, schema, projection, rooms })
}

struct Reader<'a> {
    stream: &'a Stream,
    wrong: Vec<Wrong>,
}

impl Reader<'_> {
    fn wrong(&mut self, field: &str, why: impl Into<String>) {
        self.wrong.push(Wrong { field: field.to_owned(), why: why.into() });
    }

    fn pointer(&mut self, field: &str, text: &str) -> Option<Pointer> {
        if text.is_empty() {
            return None;
        }
        Pointer::parse(text).map_err(|why| self.wrong(field, why)).ok()
    }

    fn key(&mut self) -> KeyFrom {
        let stream = self.stream;
        if !stream.group_by.is_empty() {
            if !stream.key.is_empty() {
                self.wrong("group_by", "has no effect beside key: say one of them");
            }
            let pointers = stream.group_by.iter().filter_map(|text| self.pointer("group_by", text)).collect();
            return KeyFrom::Pointers(pointers);
        }
        match stream.key.as_str() {
            "" => KeyFrom::Record,
            "*" if matches!(stream.projection, Projection::Latest | Projection::Log) => {
                self.wrong(
                    "key",
                    "\"*\" is for aggregate and recent: the newest value of all records is one value",
                );
                KeyFrom::All
            }
            "*" => KeyFrom::All,
            text => KeyFrom::Pointers(self.pointer("key", text).into_iter().collect()),
        }
    }

    fn schema(&mut self) -> Option<Schema> {
        if self.stream.schema.is_empty() {
            return None;
        }
        Schema::read(&self.stream.schema).map_err(|why| self.wrong("schema", why)).ok()
    }

    fn rooms(&mut self) -> Vec<(String, String)> {
        for (name, key) in &self.stream.rooms {
            let field = format!("rooms.{name}");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
                self.wrong(&field, "needs a name of a-z, 0-9 and -, 100 at most");
            }
            if key.is_empty() {
                self.wrong(&field, "must be the key whose state the room shows");
            }
        }
        self.stream.rooms.clone().into_iter().collect()
    }

    fn projection(&mut self) -> Project {
        let stream = self.stream;
        match stream.projection {
            Projection::Own | Projection::Latest => Project::Latest,
            Projection::Log => {
                let id = self.pointer("id", &stream.id);
                if stream.id.is_empty() && stream.format == Format::Json {
                    self.wrong(
                        "id",
                        "is required where projection is log: a JSON Pointer to the id of an event",
                    );
                }
                Project::Log { id }
            }
            Projection::Recent => {
                if !(1..=RECENT_MAX).contains(&stream.recent_max) {
                    self.wrong("recent_max", format!("must be 1 to {RECENT_MAX}"));
                }
                if stream.recent_bytes_max == 0 {
                    self.wrong("recent_bytes_max", "must be over 0");
                }
                Project::Recent(Keep { items: stream.recent_max as usize, bytes: stream.recent_bytes_max })
            }
            Projection::Aggregate => Project::Aggregate(Plan { figures: self.figures(), span: self.span() }),
        }
    }

    fn figures(&mut self) -> Vec<Named> {
        if self.stream.aggregates.is_empty() {
            let remedy = "needs at least one figure under [streams.NAME.aggregates], like total = \"count\"";
            self.wrong("aggregates", remedy);
        }
        let mut figures = Vec::new();
        for (name, text) in &self.stream.aggregates {
            if TAKEN.contains(&name.as_str()) {
                self.wrong(
                    &format!("aggregates.{name}"),
                    "needs another name: an aggregate shows this beside its figures",
                );
            }
            match figure(text) {
                Ok(figure) => figures.push(Named::new(name, figure)),
                Err(why) => self.wrong(&format!("aggregates.{name}"), why),
            }
        }
        figures
    }

    fn span(&mut self) -> Span {
        let Stream { window, window_s, slide_s, windows_max, .. } = *self.stream;
        let ms = |seconds: u64| seconds.saturating_mul(1_000).min(i64::MAX as u64 / 4) as i64;
        if window != Window::None && window_s == 0 {
            self.wrong("window_s", "must be over 0");
        }
        match window {
            Window::None => Span::All,
            Window::Tumbling => {
                if windows_max == 0 || u64::from(windows_max) > BUCKETS_MAX {
                    self.wrong("windows_max", format!("must be 1 to {BUCKETS_MAX}"));
                }
                Span::Tumbling { window_ms: ms(window_s), windows_max: windows_max as usize }
            }
            Window::Sliding => {
                if slide_s == 0 || !window_s.is_multiple_of(slide_s) {
                    self.wrong("slide_s", format!("must divide window_s ({window_s}) without a rest"));
                } else if window_s / slide_s > BUCKETS_MAX {
                    self.wrong(
                        "slide_s",
                        format!("makes more than {BUCKETS_MAX} steps of window_s ({window_s})"),
                    );
                }
                Span::Sliding { window_ms: ms(window_s), slide_ms: ms(slide_s.max(1)) }
            }
        }
    }

    /// What was set for another projection is a slip that would go unseen.
    fn without_effect(&mut self) {
        let set = super::set(self.stream);
        for (setting, has_effect, wanted) in NEEDS {
            if set.contains(&setting) && !has_effect(self.stream) {
                self.wrong(setting, format!("has no effect unless {wanted}"));
            }
        }
    }
}
