//! What is wrong with a configuration, and where it says so.
//!
//! Invariant: a fault never holds the value of a secret; it names the place, the setting and the remedy.

use std::{fmt, path::PathBuf};

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file as a whole.
    File(PathBuf),
    /// A place in a file.
    Line(Line),
    /// An environment variable, by name.
    Variable(String),
    /// A flag as it was written, without its value.
    Flag(String),
}

impl Source {
    /// The line of its file, counted from 1.
    pub fn line(&self) -> Option<usize> {
        match self {
            Source::Line(Line { line, .. }) => Some(*line),
            Source::File(_) | Source::Variable(_) | Source::Flag(_) => None,
        }
    }
}

/// A place in a file; line and column (in characters) count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub path: PathBuf,
    pub line: usize,
    pub column: usize,
    /// The line as it stands there, where it may be shown: none of those that could hold a secret.
    pub text: Option<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Line(Line { path, line, column, .. }) => {
                write!(f, "{}:{line}:{column}", path.display())
            }
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
            Some(source) => write!(f, "{source}: {}", self.why)?,
            None => f.write_str(&self.why)?,
        }
        match &self.source {
            Some(Source::Line(Line { line, column, text: Some(text), .. })) => {
                let margin = format!("    {line} | ");
                let under = " ".repeat(margin.len() + column - 1);
                write!(f, "\n{margin}{text}\n{under}^")
            }
            _ => Ok(()),
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
