//! How a process ends, by who has to act.
//!
//! Invariant: the numbers are part of the contract with whoever starts us, and follow sysexits.

use std::process::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or stopped as asked.
    Clean,
    /// What is stored is not what the log says.
    Differs,
    /// The configuration asks for what is wrong or cannot be had here: a port in use, a folder another process owns.
    Configuration,
    /// An order was understood and not all of it was done: no such dead letter, or a newer record stands.
    Partly,
    /// A dependency never came: starting again later may help.
    Unavailable,
    /// Our own fault.
    Internal,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Clean => 0,
            Exit::Differs => 1,
            Exit::Configuration => 64,
            Exit::Partly => 65,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
