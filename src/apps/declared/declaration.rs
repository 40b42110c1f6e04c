//! What a declaration comes to: settings as text become pointers, a schema and a projection, or faults.
//!
//! Invariant: every fault is told at once, each with the setting it is about; what is made here needs no further check.
//! Not here: names, topics and groups, which every stream has (`config::validate`).

use super::{
    aggregate::TAKEN,
    figures::{Figure, Named},
};
use crate::{
    config::{Format, Projection, Stream, Window},
    event::{Pointer, Schema},
};

/// The key under which all records make one state.
pub const ALL: &str = "all";
/// Buckets of one aggregate; each holds what every figure needs.
const BUCKETS_MAX: u64 = 1_500;
/// Events that `recent` may be asked to keep.
const RECENT_MAX: u32 = 1_000;

/// A declared stream, understood.
#[derive(Debug)]
pub struct Declaration {
    pub format: Format,
    pub key: KeyFrom,
    /// Of CloudEvents, where none is said: their own.
    pub time: Option<Pointer>,
    pub schema: Option<Schema>,
    pub projection: Project,
    /// `None`: for ever.
    pub ttl_ms: Option<i64>,
    /// Room → the key it shows.
    pub rooms: Vec<(String, String)>,
}

/// Whose state a record belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFrom {
    Record,
    /// Joined by `/` where they are several.
    Pointers(Vec<Pointer>),
    /// All records make one state.
    All,
}

#[derive(Debug)]
pub enum Project {
    Latest,
    /// `id`: of CloudEvents, where none is said, source and id.
    Log {
        id: Option<Pointer>,
    },
    Recent {
        events_max: usize,
        bytes_max: usize,
    },
    Aggregate {
        figures: Vec<Named>,
        span: Span,
    },
}

/// Which stretch of event time an aggregate is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// All events.
    All,
    Tumbling {
        window_ms: i64,
        windows_max: usize,
    },
    Sliding {
        window_ms: i64,
        slide_ms: i64,
    },
}

/// A fault of one setting: `field` as it stands under `[streams.NAME]`, and a sentence that begins behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub field: String,
    pub why: String,
}

impl Declaration {
    /// Reads what a stream declares. A schema's file is read here.
    pub fn read(stream: &Stream) -> Result<Self, Vec<Wrong>> {
        let mut reader = Reader { stream, wrong: Vec::new() };
        let (key, time) = (reader.key(), reader.pointer("time", &stream.time));
        let (schema, projection, rooms) = (reader.schema(), reader.projection(), reader.rooms());
        reader.without_effect();
        if !reader.wrong.is_empty() {
            return Err(reader.wrong);
        }
        Ok(Declaration {
            format: stream.format,
            key,
            time,
            schema,
            projection,
            ttl_ms: (stream.ttl_s > 0)
                .then(|| stream.ttl_s.saturating_mul(1_000).min(i64::MAX as u64) as i64),
            rooms,
        })
    }

    /// Whether one key's records may lie in several partitions, or its state changes with the time alone: then it is kept
    /// as partials, one per partition.
    pub fn by_partition(&self) -> bool {
        self.key != KeyFrom::Record || matches!(self.projection, Project::Aggregate { .. })
    }
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
                Project::Recent { events_max: stream.recent_max as usize, bytes_max: stream.recent_bytes_max }
            }
            Projection::Aggregate => Project::Aggregate { figures: self.figures(), span: self.span() },
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
            match Figure::parse(text) {
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
        let (stream, default) = (self.stream, Stream::default());
        let projection = stream.projection;
        let aggregate = projection == Projection::Aggregate;
        let grouped = aggregate || projection == Projection::Recent;
        let of_aggregate = "aggregate";
        let cases = [
            ("id", stream.id != default.id, projection == Projection::Log, "log"),
            ("group_by", stream.group_by != default.group_by, grouped, "aggregate or recent"),
            ("time", stream.time != default.time, grouped, "aggregate or recent"),
            (
                "recent_max",
                stream.recent_max != default.recent_max,
                projection == Projection::Recent,
                "recent",
            ),
            (
                "recent_bytes_max",
                stream.recent_bytes_max != default.recent_bytes_max,
                projection == Projection::Recent,
                "recent",
            ),
            ("aggregates", !stream.aggregates.is_empty(), aggregate, of_aggregate),
            ("window", stream.window != default.window, aggregate, of_aggregate),
            ("window_s", stream.window_s != default.window_s, aggregate, of_aggregate),
            ("slide_s", stream.slide_s != default.slide_s, aggregate, of_aggregate),
            ("windows_max", stream.windows_max != default.windows_max, aggregate, of_aggregate),
        ];
        for (field, is_set, has_effect, wanted) in cases {
            if is_set && !has_effect {
                self.wrong(field, format!("has no effect unless projection is {wanted}"));
            }
        }
        if aggregate {
            self.window_without_effect();
        }
    }

    fn window_without_effect(&mut self) {
        let (stream, default) = (self.stream, Stream::default());
        let is = |window| stream.window == window;
        let cases = [
            ("window_s", stream.window_s != default.window_s, !is(Window::None), "tumbling or sliding"),
            ("slide_s", stream.slide_s != default.slide_s, is(Window::Sliding), "sliding"),
            ("windows_max", stream.windows_max != default.windows_max, is(Window::Tumbling), "tumbling"),
        ];
        for (field, is_set, has_effect, wanted) in cases {
            if is_set && !has_effect {
                self.wrong(field, format!("has no effect unless window is {wanted}"));
            }
        }
    }
}
