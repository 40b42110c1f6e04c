//! When to cut a batch, and why.
//!
//! Invariant: the batch adapts to the load by itself. A writer that is idle writes what it has at once (`Idle`: its
//! mailbox is empty); while it writes, its mailbox fills, and the next batch is as large as what came meanwhile, up to
//! the bounds. Nothing waits for a timer, and nobody tunes it.
//! Not here: gathering (`fold`), writing (`write`).

use crate::config;

/// Why a batch was cut; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing more was waiting.
    Idle,
    Records,
    Keys,
    Bytes,
}

impl Cut {
    pub fn code(self) -> &'static str {
        match self {
            Cut::Idle => "idle",
            Cut::Records => "records",
            Cut::Keys => "keys",
            Cut::Bytes => "bytes",
        }
    }
}

/// How full a batch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    pub records: usize,
    pub keys: usize,
    pub bytes: usize,
}

/// Whether a batch must be cut before more is gathered.
pub fn cut(filled: Filled, settings: &config::Engine) -> Option<Cut> {
    if filled.records >= settings.batch_records_max {
        Some(Cut::Records)
    } else if filled.keys >= settings.batch_keys_max {
        Some(Cut::Keys)
    } else if filled.bytes >= settings.batch_bytes_max {
        Some(Cut::Bytes)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> config::Engine {
        config::Engine {
            batch_records_max: 10,
            batch_keys_max: 5,
            batch_bytes_max: 100,
            ..Default::default()
        }
    }

    #[test]
    fn cut_by_records() {
        assert_eq!(cut(Filled { records: 10, keys: 1, bytes: 1 }, &settings()), Some(Cut::Records));
    }

    #[test]
    fn cut_by_keys() {
        assert_eq!(cut(Filled { records: 9, keys: 5, bytes: 1 }, &settings()), Some(Cut::Keys));
    }

    #[test]
    fn cut_by_bytes() {
        assert_eq!(cut(Filled { records: 9, keys: 1, bytes: 100 }, &settings()), Some(Cut::Bytes));
    }

    #[test]
    fn not_cut_while_there_is_room() {
        assert_eq!(cut(Filled { records: 9, keys: 4, bytes: 99 }, &settings()), None);
    }
}
