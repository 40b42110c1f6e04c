//! The command line: from arguments and environment to one thing to do, or one thing to say.
//!
//! Invariant: `run` is a pure function but for reading the files it is pointed at, so tests call what `main` calls.
//! Not here: serving (`serve`), and what may be configured (`config`).

mod args;
mod dlq;
mod exit;

pub use dlq::Order;
pub use exit::Exit;

use crate::{
    config::{
        Config,
        load::{self, Inputs, Loaded},
        print, redact, summary,
    },
    serve,
};
use args::{Arguments, Command, Dlq, Given, Topics};
use clap::{Parser, error::ErrorKind};
use std::{
    ffi::OsString,
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the arguments come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Everything is done; this is to be said.
    End(Ended),
    Serve(Box<Config>),
    ApplyTopics(Box<Config>),
    DeadLetters(Box<Order>),
    /// Configuration, and the stream or app.
    Verify(Box<Config>, String),
}

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    fn saying(stdout: String) -> Self {
        Ended { exit: Exit::Clean, stdout, stderr: String::new() }
    }

    fn fault(exit: Exit, why: &str) -> Self {
        Ended { exit, stdout: String::new(), stderr: format!("statecast: {why}\n") }
    }

    /// Says it. A reader that has gone is no reason to fail.
    fn print(self) -> ExitCode {
        let _ = io::stdout().write_all(self.stdout.as_bytes());
        if !self.stderr.is_empty() {
            in_time(LAST_WORDS, move || io::stderr().write_all(self.stderr.as_bytes()));
        }
        self.exit.into()
    }
}

/// Does it on a thread of its own, and goes on without it after `deadline`: a log that nobody reads must not keep a
/// process from its end.
fn in_time(deadline: Duration, act: impl FnOnce() -> io::Result<()> + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let spawned = thread::Builder::new().spawn(move || {
        let _ = act();
        let _ = done.send(());
    });
    if spawned.is_ok() {
        let _ = ended.recv_timeout(deadline);
    }
}

/// The whole program.
pub fn main() -> ExitCode {
    match run(std::env::args_os().collect(), std::env::vars_os().collect()) {
        Next::End(ended) => ended.print(),
        Next::Serve(config) => end(&config, serve::run((*config).clone()).map(|()| String::new())),
        Next::ApplyTopics(config) => end(&config, serve::apply_topics(&config)),
        Next::DeadLetters(order) => order.run().print(),
        Next::Verify(config, name) => match serve::verify(&config, &name) {
            Ok((exit, stdout)) => Ended { exit, stdout, stderr: String::new() }.print(),
            Err(fault) => end(&config, Err(fault)),
        },
    }
}

fn end(config: &Config, result: Result<String, serve::Fault>) -> ExitCode {
    let ended = match result {
        Ok(text) => Ended::saying(text),
        // Libraries wrote part of it, and they knew the secrets.
        Err(fault) => Ended::fault(fault.exit, &config.redact(&fault.why)),
    };
    ended.print()
}

/// What these arguments (the program's name first) and this environment ask for.
pub fn run(arguments: Vec<OsString>, environment: Vec<(OsString, OsString)>) -> Next {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return Next::End(usage(&error)),
    };
    let loaded = |given: Given| load(&given.inputs(environment.clone()));
    let next = match arguments.command {
        Command::Serve(given) => loaded(given).map(|loaded| Next::Serve(Box::new(loaded.config))),
        Command::Topics(Topics::Apply(given)) => {
            loaded(given).map(|loaded| Next::ApplyTopics(Box::new(loaded.config)))
        }
        Command::Dlq(asked) => order(asked, environment).map(|order| Next::DeadLetters(Box::new(order))),
        Command::Verify { name, given } => {
            loaded(given).map(|loaded| Next::Verify(Box::new(loaded.config), name))
        }
        Command::CheckConfig(given) => loaded(given).map(|loaded| Next::End(good(&loaded))),
        Command::DefaultConfig { markdown } => {
            let text = if markdown { print::manual() } else { print::default_config() };
            text.map(|text| Next::End(Ended::saying(text)))
                .map_err(|error| Ended::fault(Exit::Internal, &error.to_string()))
        }
        Command::Version => {
            Ok(Next::End(Ended::saying(format!("statecast {}\n", env!("CARGO_PKG_VERSION")))))
        }
    };
    next.unwrap_or_else(Next::End)
}

fn load(inputs: &Inputs) -> Result<Loaded, Ended> {
    load::load(inputs).map_err(|faults| Ended::fault(Exit::Configuration, &faults.to_string()))
}

/// Where it is said whom to ask, the configuration is not read: it may be another machine's.
fn order(asked: Dlq, environment: Vec<(OsString, OsString)>) -> Result<Order, Ended> {
    let Dlq { admin, json, sources, act } = asked;
    let admin = match admin {
        Some(admin) => admin,
        None => {
            let listen = load(&sources.inputs(environment))?.config.server.admin_listen;
            let unknown =
                "server.admin_listen does not say where a running instance is; say it by --admin URL";
            admin_url(&listen).ok_or_else(|| Ended::fault(Exit::Configuration, unknown))?
        }
    };
    Ok(Order { admin, json, act })
}

/// An instance that listens everywhere is asked on this machine.
fn admin_url(listen: &str) -> Option<String> {
    let mut at: SocketAddr = listen.parse().ok().filter(|at: &SocketAddr| at.port() != 0)?;
    if at.ip().is_unspecified() {
        at.set_ip(if at.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    Some(format!("http://{at}"))
}

fn good(loaded: &Loaded) -> Ended {
    Ended::saying(format!("configuration is good\n\n{}", summary::summary(loaded)))
}

/// Help and version are answers; anything else clap says is a fault in the arguments.
fn usage(error: &clap::Error) -> Ended {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ended::saying(text),
        // It quotes the arguments, which may hold a URL with a password.
        _ => Ended {
            exit: Exit::Configuration,
            stdout: String::new(),
            stderr: redact::credentials(&text).into_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_reader_that_stopped_does_not_keep_the_process() {
        let (hold, held) = mpsc::channel::<()>();
        let start = Instant::now();
        in_time(Duration::from_millis(50), move || {
            let _ = held.recv();
            Ok(())
        });
        assert!((50..5_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        drop(hold);
        let start = Instant::now();
        in_time(Duration::from_secs(60), || Ok(()));
        assert!(start.elapsed() < Duration::from_secs(30), "a reader that reads is not waited for");
    }
}
