//! The command line as clap knows it.

use crate::{
    app::Reason,
    config::load::{Flag, Inputs},
    record::Position,
};
use clap::{Args, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf};

/// Names a file that is read where no `--config` is given.
const FILE_VARIABLE: &str = "STATECAST_CONFIG";

/// Kafka topics in, durable current state per key, every change live in the browser.
#[derive(Debug, Parser)]
#[command(name = "statecast", version, arg_required_else_help = true, subcommand_required = true)]
#[command(
    after_help = "Exit codes: 0 clean, 1 what is stored differs from the log, 64 configuration, 65 not all of an order was done, 69 a dependency that never came, 70 our own fault."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until told to stop.
    ///
    /// Prints `listening on http://ADDR` and `admin on http://ADDR` once the ports are open, and `ready` once records flow.
    Serve(Given),
    /// Tell every fault of the configuration, or what it comes to.
    CheckConfig(Given),
    /// Print every setting with its default and its manual, as TOML.
    DefaultConfig {
        /// As the Markdown page of the manual instead.
        #[arg(long)]
        markdown: bool,
    },
    /// Topics of the log.
    #[command(subcommand, arg_required_else_help = true)]
    Topics(Topics),
    /// Dead letters of a running instance: what could not be taken in, and what to do about it.
    #[command(arg_required_else_help = true)]
    Dlq(Dlq),
    /// Compute again from the log what a stream has stored, and print every difference.
    ///
    /// Exit 0: none; 1: some. Only reads, so it may run beside a live instance on Kafka; an embedded folder has one owner.
    Verify {
        /// A stream, or an app for all of its streams: kv, agents, agents-routing.
        #[arg(value_name = "STREAM|APP")]
        name: String,
        #[command(flatten)]
        given: Given,
    },
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
pub struct Dlq {
    /// The instance's admin listener. Default: server.admin_listen of the configuration.
    #[arg(long, value_name = "URL", global = true)]
    pub admin: Option<String>,
    /// Answer with JSON instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub sources: Sources,
    #[command(subcommand)]
    pub act: DlqAct,
}

#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum DlqAct {
    /// Count dead letters by stream and reason; of one stream, list them, the newest first.
    List {
        stream: Option<String>,
        #[command(flatten)]
        filter: Filter,
        /// Go on behind a page: the cursor it ended with.
        #[arg(long, value_name = "CURSOR", requires = "stream")]
        after: Option<String>,
    },
    /// Show one dead letter with its headers and bytes.
    Show {
        stream: String,
        /// Of the original record, as the list shows it: EPOCH.PARTITION.OFFSET.
        position: Position,
        /// The bytes as hex, also where they are text.
        #[arg(long)]
        hex: bool,
    },
    /// Append dead letters again, as they were sent, with their origin.
    Replay {
        stream: String,
        #[command(flatten)]
        which: Which,
        /// Also over something newer, and also what was replayed three times already.
        #[arg(long)]
        force: bool,
    },
    /// Mark dead letters as dealt with; their bytes stay in the topic.
    Discard {
        stream: String,
        #[command(flatten)]
        which: Which,
    },
}

/// The same filter as the API has.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Filter {
    /// Only for this reason, such as malformed_json.
    #[arg(long, value_parser = reason)]
    pub reason: Option<Reason>,
    /// Only of this partition.
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,
    /// At most so many.
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<usize>,
}

/// Letters by name, or what a filter finds.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Which {
    /// Of the original records: EPOCH.PARTITION.OFFSET.
    #[arg(required_unless_present = "all", conflicts_with_all = ["all", "reason", "partition", "limit"])]
    pub positions: Vec<Position>,
    /// What the filter finds and nobody has dealt with yet.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub filter: Filter,
}

fn reason(text: &str) -> Result<Reason, String> {
    let known = || Reason::ALL.map(Reason::code).join(", ");
    Reason::from_code(text).ok_or_else(|| format!("reasons are {}", known()))
}

#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Create what is missing of the topics that the enabled streams need, and of their dead letters.
    Apply(Given),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct Sources {
    /// Read this TOML file; repeated, a later one wins. Default: the file STATECAST_CONFIG names, if any.
    #[arg(long, value_name = "FILE", global = true)]
    config: Vec<PathBuf>,
    /// Set one setting, over files and environment. May be repeated; `statecast default-config` lists them.
    #[arg(long, value_name = "SECTION.FIELD=VALUE", global = true)]
    set: Vec<String>,
}

/// Configuration on the command line.
#[derive(Debug, Args)]
pub struct Given {
    #[command(flatten)]
    sources: Sources,
    /// Where the public listener is; port 0 takes a free one. Short for --set server.listen=...
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Where the admin listener is. Short for --set server.admin_listen=...
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<String>,
    /// Where the embedded log and store are. Short for --set embedded.data_dir=...
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// off, error, warn, info, debug or trace. Short for --set telemetry.log_level=...
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Sources {
    pub fn inputs(self, variables: Vec<(OsString, OsString)>) -> Inputs {
        let mut files = self.config;
        if files.is_empty() {
            let named = variables.iter().find(|(name, path)| name == FILE_VARIABLE && !path.is_empty());
            files.extend(named.map(|(_, path)| PathBuf::from(path)));
        }
        Inputs { files, variables, flags: self.set.into_iter().map(Flag::Set).collect() }
    }
}

impl Given {
    pub fn inputs(self, variables: Vec<(OsString, OsString)>) -> Inputs {
        let short = [
            ("--listen", "server.listen", self.listen),
            ("--admin-listen", "server.admin_listen", self.admin_listen),
            ("--data-dir", "embedded.data_dir", self.data_dir),
            ("--log-level", "telemetry.log_level", self.log_level),
        ];
        let short = short
            .into_iter()
            .filter_map(|(flag, setting, text)| Some(Flag::Short { flag, setting, text: text? }));
        let mut inputs = self.sources.inputs(variables);
        inputs.flags.extend(short);
        inputs
    }
}
