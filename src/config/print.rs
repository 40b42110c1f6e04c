//! Prints configuration: every default with its manual.
//!
//! Invariant: manuals come from the one tree of `setting`, so neither `default-config` nor `docs/configuration.md` can say
//! anything else than the code does.

use super::{Config, Stream, setting};
use std::fmt::Write as _;

const HEAD: &str = "\
# Statecast: every setting with its default. Keep what differs; delete the rest.
#
# A file is read first, then the environment (STATECAST_SECTION__FIELD), then flags (--set SECTION.FIELD=VALUE).
# `statecast check-config --config FILE` tells every fault at once.
";
const MANUAL_HEAD: &str = include_str!("manual.md");

/// A line of a configuration.
enum Line {
    Section(String),
    /// Section, name, value as TOML spells it.
    Field(String, String, String),
}

/// Every default, in the order of the structs; streams, which are the user's, by one example.
fn lines(example: &str) -> Result<Vec<Line>, toml::ser::Error> {
    let config = toml::to_string(&Config::default())?.replace("\n[streams]", "");
    let stream = toml::to_string(&Stream::default())?.replace("\n[", &format!("\n[streams.{example}."));
    let text = format!("{config}\n[streams.{example}]\n{stream}");
    let mut section = "";
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            lines.push(Line::Section(name.into()));
        } else if let Some((name, value)) = line.split_once(" = ") {
            lines.push(Line::Field(section.into(), name.into(), value.into()));
        }
    }
    Ok(lines)
}

/// The whole default configuration as commented TOML. Loading it gives `Config::default()`.
pub fn default_config() -> Result<String, toml::ser::Error> {
    let mut out = HEAD.to_owned();
    for line in lines("kv")? {
        let (path, text) = match line {
            Line::Section(name) => {
                out.push('\n');
                (name.clone(), format!("[{name}]"))
            }
            Line::Field(section, name, value) => {
                let size = size(&name, &value).map(|size| format!(" # {size}")).unwrap_or_default();
                (format!("{section}.{name}"), format!("{name} = {value}{size}"))
            }
        };
        // The example is no default, so it stays a comment.
        let before = if path.starts_with("streams.") { "# " } else { "" };
        for line in doc(&path).lines() {
            let _ = writeln!(out, "{before}# {line}");
        }
        let _ = writeln!(out, "{before}{text}");
    }
    Ok(out)
}

/// The manual as Markdown: what `docs/configuration.md` holds.
pub fn manual() -> Result<String, toml::ser::Error> {
    let mut out = MANUAL_HEAD.to_owned();
    let mut in_table = false;
    for line in lines("NAME")? {
        match line {
            Line::Section(name) => {
                let _ = writeln!(out, "\n## `[{name}]`\n\n{}", doc(&name).replace('\n', " "));
                in_table = false;
            }
            Line::Field(section, name, value) => {
                if !in_table {
                    out.push_str("\n| setting | default | what it is for |\n|---|---|---|\n");
                }
                in_table = true;
                let doc = doc(&format!("{section}.{name}")).replace('\n', " ").replace('|', "\\|");
                let size = size(&name, &value).map(|size| format!(" ({size})")).unwrap_or_default();
                let _ = writeln!(out, "| `{name}` | `{value}`{size} | {doc} |");
            }
        }
    }
    Ok(out)
}

fn doc(path: &str) -> &'static str {
    setting::at(path).map_or("", |setting| &setting.doc)
}

/// Bytes as a reader counts them, where they come out even.
fn size(name: &str, value: &str) -> Option<String> {
    let bytes: u64 = value.parse().ok().filter(|_| name.contains("bytes"))?;
    match bytes {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => Some(format!("{} MiB", n >> 20)),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => Some(format!("{} KiB", n >> 10)),
        _ => None,
    }
}
