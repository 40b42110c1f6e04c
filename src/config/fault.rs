//! What is wrong with a configuration, and where it says so.
//!
//! Invariant: a fault never holds the value of a secret; it names the place, the setting and the remedy.

use std::{fmt, path::PathBuf};

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, with its line from 1; 0 is the file as a whole.
    File(PathBuf, usize),
    /// An environment variable, by name.
    Variable(String),
    /// A flag as it was written, without its value.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path, 0) => write!(f, "{}", path.display()),
            Source::File(path, line) => write!(f, "{}:{line}", path.display()),
            Source::Variable(name) | Source::Flag(name) => f.write_str(name),
        }
    }
}

/// One fault: a sentence without its full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `None`: nobody gave it; the default, or its absence, is the fault.
    pub source: Option<Source>,
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

/// All that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a fault:")?,
            n => write!(f, "the configuration has {n} faults:")?,
        }
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}
