//! Reads what is given, layer by layer: files, environment variables, flags.
//!
//! Invariant: reading never stops at a fault; each value is kept with its source, or its fault is. Later layers win.
//! Not here: the configuration they make together (`load`).

use super::{
    fault::{Fault, Line, Source},
    setting::{self, Setting, Shape},
    value,
};
use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};
use toml::{
    Value,
    de::{DeTable, DeValue},
};

/// A configuration is a page or two; more is a mistake in the file's name.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The section whose lines may be shown.
const STREAMS: &str = "streams";
/// So much of a line is shown.
const LINE_CHARS_MAX: usize = 120;
/// What the variables of the environment begin with.
pub const VARIABLE_PREFIX: &str = "STATECAST_";

/// One value that was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub path: Vec<String>,
    pub value: Value,
    pub source: Source,
}

/// What the layers gave so far.
#[derive(Debug, Default)]
pub struct Layers {
    /// In the order they were given.
    pub given: Vec<Given>,
    pub faults: Vec<Fault>,
    /// Settings and sections that a fault is about: nothing can be said of their relations.
    pub suspect: Vec<String>,
    /// A file could not be read whole: settings may be missing that were meant to be there.
    pub incomplete: bool,
}

/// Where in a file the walk is.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    /// Where the byte `at` is. Only lines about streams are shown: others may hold a secret, or one in the wrong place.
    fn line(&self, at: usize, section: Option<&str>) -> Source {
        let before = self.text.get(..at).unwrap_or_default();
        let begin = before.rfind('\n').map_or(0, |end| end + 1);
        let text = self.text.get(begin..).and_then(|rest| rest.lines().next());
        Source::Line(Line {
            path: self.path.into(),
            line: before.matches('\n').count() + 1,
            column: before.get(begin..).unwrap_or_default().chars().count() + 1,
            text: text.filter(|_| section == Some(STREAMS)).map(|text| clipped(&text.replace('\t', " "))),
        })
    }

    /// The lines of the table whose header holds the byte `at`, which is no header's if it is anywhere else.
    fn table_at(&self, at: usize) -> Option<Range<usize>> {
        let is_header = |line: &str| line.trim_start().starts_with('[');
        let first = self.text.get(..at)?.matches('\n').count();
        let mut lines = self.text.lines().skip(first);
        lines.next().filter(|line| is_header(line))?;
        let rest = lines.take_while(|line| !is_header(line)).count();
        Some(first + 1..first + 2 + rest)
    }
}

/// A line as it is shown: a long one has no use beyond its beginning.
fn clipped(text: &str) -> String {
    let mut shown: String = text.chars().take(LINE_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

impl Layers {
    /// A TOML file.
    pub fn file(&mut self, path: &Path) {
        let text = match read(path) {
            Ok(text) => text,
            Err(why) => {
                self.incomplete = true;
                return self.fault(Source::File(path.into()), why);
            }
        };
        let place = Place { path, text: &text };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            self.incomplete = true;
            let at = error.span().map_or(0, |span| span.start);
            self.fault(place.line(at, None), format!("this is not TOML: {}", error.message()));
        }
        let told = self.faults.len();
        self.table(&place, setting::root(), &[], table.get_ref());
        // What stands under a broken header was read as if it stood in the table before.
        let strays: Vec<_> = errors.iter().filter_map(|error| place.table_at(error.span()?.start)).collect();
        let behind = self.faults.split_off(told);
        let stray = |fault: &Fault| {
            let line = fault.source.as_ref().and_then(Source::line);
            line.is_some_and(|line| strays.iter().any(|lines| lines.contains(&line)))
        };
        self.faults.extend(behind.into_iter().filter(|fault| !stray(fault)));
    }

    fn table(&mut self, place: &Place<'_>, section: &Setting, parents: &[String], table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = key.get_ref();
            let section_name = parents.first().map_or(name.as_ref(), String::as_str);
            let source = place.line(key.span().start, Some(section_name));
            let Some(setting) = section.get(name) else {
                self.unknown(source, section, parents, name);
                continue;
            };
            let path = [parents, &[name.to_string()]].concat();
            match (&setting.shape, value.get_ref()) {
                (Shape::Named(inner), DeValue::Table(table)) if !inner.is_section() => {
                    self.properties(place, &path, "", table);
                }
                (shape, DeValue::Table(inner)) if setting.is_section() => {
                    // A stream without a setting of its own is declared all the same.
                    if matches!(section.shape, Shape::Named(_)) && matches!(shape, Shape::Section(_)) {
                        let value = Value::Table(toml::Table::new());
                        self.given.push(Given { path: path.clone(), value, source });
                    }
                    self.table(place, setting, &path, inner);
                }
                (shape, value) => self.take(source, path, value::of_toml(shape, value)),
            }
        }
    }

    /// Names with dots are tables to TOML; here they are names.
    fn properties(&mut self, place: &Place<'_>, path: &[String], before: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{before}{}", key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.properties(place, path, &format!("{name}."), inner);
                continue;
            }
            let taken = value::as_text(value.get_ref()).map(|text| Value::String(text.into_owned()));
            let taken = taken.ok_or_else(|| "must be text".to_owned());
            let source = place.line(key.span().start, path.first().map(String::as_str));
            self.take(source, [path, &[name]].concat(), taken);
        }
    }

    /// A variable of the environment. Others than ours are passed over.
    pub fn variable(&mut self, name: &str, text: Option<&str>) {
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return };
        let source = Source::Variable(name.into());
        if !rest.contains("__") {
            // Kubernetes sets STATECAST_PORT and the like for a service of this name, so only a sure slip is a fault.
            if let Some((section, field)) = rest.split_once('_')
                && let Some(path) = known(&section.to_lowercase(), &field.to_lowercase())
            {
                let remedy = format!("{VARIABLE_PREFIX}{section}__{field}");
                self.suspect.push(path);
                self.fault(
                    source,
                    format!("this has no effect; did you mean {remedy}, with two underscores?"),
                );
            }
            return;
        }
        let parts = variable_path(&rest.to_lowercase());
        match text {
            Some(text) => self.text(source, parts, text),
            None => self.fault(source, "this is not UTF-8".into()),
        }
    }

    /// A `--set`, with its `section.field=value`.
    pub fn set(&mut self, text: &str) {
        match text.split_once('=') {
            Some((setting, text)) => self.flag(&format!("--set {}", shown(setting)), setting, text),
            None => self.fault(Source::Flag("--set".into()), "this needs SECTION.FIELD=VALUE".into()),
        }
    }

    /// A value for `section.field`; `flag` is the flag as it was written, without its value.
    pub fn flag(&mut self, flag: &str, setting: &str, text: &str) {
        let parts = setting.split('.').map(str::to_owned).collect();
        self.text(Source::Flag(flag.into()), parts, text);
    }

    fn text(&mut self, source: Source, mut parts: Vec<String>, text: &str) {
        let mut at = setting::root();
        for (depth, name) in parts.iter().enumerate() {
            let parents = parts.get(..depth).unwrap_or_default();
            match (&at.shape, at.get(name)) {
                (Shape::Named(inner), _) if !inner.is_section() => {
                    // The rest is one name with dots.
                    let name = parts.split_off(depth).join(".");
                    parts.push(name);
                    return self.take(source, parts, value::of_text(&inner.shape, text));
                }
                (_, Some(inner)) => at = inner,
                (_, None) => return self.unknown(source, at, parents, name),
            }
        }
        let taken = match at.is_section() {
            true => Err("is a section; name one of its settings".to_owned()),
            false => value::of_text(&at.shape, text),
        };
        self.take(source, parts, taken);
    }

    fn take(&mut self, source: Source, path: Vec<String>, taken: Result<Value, String>) {
        match taken {
            Ok(value) => self.given.push(Given { path, value, source }),
            Err(why) => {
                let path = path.join(".");
                self.fault(source, format!("{} {why}", shown(&path)));
                self.suspect.push(path);
            }
        }
    }

    fn unknown(&mut self, source: Source, section: &Setting, parents: &[String], name: &str) {
        let path = [parents, &[name.to_owned()]].concat().join(".");
        let mut why = format!("{} is not a setting", shown(&path));
        if let Some(meant) = setting::meant(section, parents, name) {
            why.push_str(&format!("; did you mean {meant}?"));
            self.suspect.push(meant);
        }
        self.fault(source, why);
    }

    fn fault(&mut self, source: Source, why: String) {
        self.faults.push(Fault { source: Some(source), why });
    }

    /// Whether a fault is about this setting, or about a section it is in.
    pub fn suspects(&self, path: &str) -> bool {
        self.suspect.iter().any(|suspect| {
            path.strip_prefix(suspect.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err("there is no such file".into()),
        Err(error) => Err(format!("this cannot be read: {error}")),
        Ok(read) if read as u64 > FILE_BYTES_MAX => {
            Err("this is over 1 MiB, so it is no configuration".into())
        }
        Ok(_) => String::from_utf8(bytes).map_err(|_| "this is not UTF-8".into()),
    }
}

fn known(section: &str, field: &str) -> Option<String> {
    setting::root().get(section)?.get(field).map(|_| format!("{section}.{field}"))
}

/// The parts of a variable's name. Names of streams have `-` and properties have `.`, which no variable can have.
fn variable_path(name: &str) -> Vec<String> {
    let mut parts: Vec<_> = name.split("__").map(str::to_owned).collect();
    match parts.as_mut_slice() {
        [section, stream, ..] if section == "streams" => *stream = stream.replace('_', "-"),
        [section, field, names @ ..] if section == "kafka" && field == "properties" => {
            names.iter_mut().for_each(|name| *name = name.replace('_', "."));
        }
        _ => {}
    }
    parts
}

/// A name as it may be printed. What does not look like one may be a secret in the wrong place.
fn shown(name: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.len() <= 100 && !name.is_empty() && name.chars().all(plain) { name } else { "(not a name)" }
}
