//! The command line as clap knows it.

use crate::config::load::{Flag, Inputs};
use clap::{Args, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf};

/// Names a file that is read where no `--config` is given.
const FILE_VARIABLE: &str = "STATECAST_CONFIG";

/// Kafka topics in, durable current state per key, every change live in the browser.
#[derive(Debug, Parser)]
#[command(name = "statecast", version, arg_required_else_help = true, subcommand_required = true)]
#[command(
    after_help = "Exit codes: 0 clean, 64 configuration, 69 a dependency that never came, 70 our own fault."
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
    /// Print the version.
    Version,
}

#[derive(Debug, Subcommand)]
pub enum Topics {
    /// Create what is missing of the topics that the enabled streams need, and of their dead letters.
    Apply(Given),
}

/// Configuration on the command line.
#[derive(Debug, Args)]
pub struct Given {
    /// Read this TOML file; repeated, a later one wins. Default: the file STATECAST_CONFIG names, if any.
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Set one setting, over files and environment. May be repeated; `statecast default-config` lists them.
    #[arg(long, value_name = "SECTION.FIELD=VALUE")]
    set: Vec<String>,
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

impl Given {
    pub fn inputs(self, variables: Vec<(OsString, OsString)>) -> Inputs {
        let mut files = self.config;
        if files.is_empty() {
            let named = variables.iter().find(|(name, path)| name == FILE_VARIABLE && !path.is_empty());
            files.extend(named.map(|(_, path)| PathBuf::from(path)));
        }
        let short = [
            ("--listen", "server.listen", self.listen),
            ("--admin-listen", "server.admin_listen", self.admin_listen),
            ("--data-dir", "embedded.data_dir", self.data_dir),
            ("--log-level", "telemetry.log_level", self.log_level),
        ];
        let short = short
            .into_iter()
            .filter_map(|(flag, setting, text)| Some(Flag::Short { flag, setting, text: text? }));
        let flags = self.set.into_iter().map(Flag::Set).chain(short).collect();
        Inputs { files, variables, flags }
    }
}
