//! The configuration that files, environment and flags make together, or everything that is wrong with it.
//!
//! Invariant: one call tells every fault, each with its source; nothing is opened and nothing is served before it.

use super::{
    Config,
    fault::{Fault, Faults, Source},
    layers::{Given, Layers},
    validate,
};
use serde::Deserialize;
use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};
use toml::Value;

/// What was given on the way in, lowest layer first.
#[derive(Debug, Default, Clone)]
pub struct Inputs {
    /// TOML files; a later one wins.
    pub files: Vec<PathBuf>,
    /// The whole environment; names without our prefix are passed over.
    pub variables: Vec<(OsString, OsString)>,
    pub flags: Vec<Flag>,
}

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flag {
    /// The text of a `--set`: `section.field=value`.
    Set(String),
    /// A flag that stands for one setting.
    Short { flag: &'static str, setting: &'static str, text: String },
}

/// A configuration without faults, and who gave what.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// By `section.field`; what is not here is a default.
    pub sources: BTreeMap<String, Source>,
}

pub fn load(inputs: &Inputs) -> Result<Loaded, Faults> {
    let mut layers = Layers::default();
    inputs.files.iter().for_each(|path| layers.file(path));
    let mut variables: Vec<_> = inputs.variables.iter().collect();
    variables.sort();
    for (name, text) in variables {
        layers.variable(&name.to_string_lossy(), text.to_str());
    }
    for flag in &inputs.flags {
        match flag {
            Flag::Set(text) => layers.set(text),
            Flag::Short { flag, setting, text } => layers.flag(flag, setting, text),
        }
    }
    let (table, sources) = merge(std::mem::take(&mut layers.given));
    let config = match Config::deserialize(Value::Table(table)) {
        Ok(config) => config,
        Err(error) => {
            // Each value has been checked by the shape that the same derive gave; this is for what that cannot say.
            let why = format!("the configuration does not fit together: {}", error.message());
            layers.faults.push(Fault { source: None, why });
            return Err(Faults(layers.faults));
        }
    };
    relations(&config, &sources, &mut layers);
    if layers.faults.is_empty() { Ok(Loaded { config, sources }) } else { Err(Faults(layers.faults)) }
}

/// The faults between settings, but for those that follow from a fault already told.
fn relations(config: &Config, sources: &BTreeMap<String, Source>, layers: &mut Layers) {
    if layers.incomplete {
        return;
    }
    for relation in validate::faults(config) {
        if relation.settings.iter().any(|setting| layers.suspects(setting)) {
            continue;
        }
        let source = relation.settings.iter().find_map(|setting| source_of(sources, setting)).cloned();
        layers.faults.push(Fault { source, why: relation.why });
    }
}

/// Who gave a setting; of a section, who gave the first of its settings.
fn source_of<'a>(sources: &'a BTreeMap<String, Source>, setting: &str) -> Option<&'a Source> {
    let within = format!("{setting}.");
    let section = sources.range(within.clone()..).next().filter(|(path, _)| path.starts_with(&within));
    sources.get(setting).or(section.map(|(_, source)| source))
}

fn merge(given: Vec<Given>) -> (toml::Table, BTreeMap<String, Source>) {
    let mut root = toml::Table::new();
    let mut sources = BTreeMap::new();
    for Given { path, value, source } in given {
        insert(&mut root, &path, value);
        sources.insert(path.join("."), source);
    }
    (root, sources)
}

fn insert(table: &mut toml::Table, path: &[String], value: Value) {
    match path {
        [] => {}
        // A stream that was named anew keeps what an earlier layer said of it.
        [name] if value.is_table() => drop(table.entry(name).or_insert(value)),
        [name] => drop(table.insert(name.clone(), value)),
        [section, rest @ ..] => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(toml::Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
