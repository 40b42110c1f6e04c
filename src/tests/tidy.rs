//! What holds over files rather than over values: metrics and panels, sizes, headers, who may send, links.
//!
//! Invariant: reads the source as it lies in the repository; each rule says which file breaks it.
//! Not here: what the compiler or clippy already refuse.

use crate::metrics;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const LINES_MAX: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `folder` with one of these extensions, without what is built or fetched.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    const NOT_OURS: [&str; 5] = ["target", "node_modules", "dist", ".git", ".cache"];
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("entry").path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !NOT_OURS.contains(&name) {
                folders.push(path);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|known| e == *known)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "nothing below {folder}");
    found
}

fn named(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The part of a source file that is shipped.
fn shipped(path: &Path) -> String {
    let text = read(path);
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

/// Metrics that a file of `grafana/` asks for; what a histogram renders as counts for the histogram.
fn asked_for(file: &str) -> BTreeSet<String> {
    let text = read(&root().join("grafana").join(file));
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("statecast_")).map(|word| base(word).to_owned()).collect()
}

fn base(name: &str) -> &str {
    let stems = ["_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| name.strip_suffix(suffix));
    let is_histogram = |stem: &&str| {
        let histogram = |kind| matches!(kind, metrics::Kind::Seconds | metrics::Kind::Sizes);
        metrics::ALL.iter().any(|metric| metric.name == *stem && histogram(metric.kind))
    };
    stems.into_iter().find(is_histogram).unwrap_or(name)
}

#[test]
fn every_metric_has_a_panel_and_every_panel_a_metric() {
    let known: BTreeSet<String> = metrics::ALL.iter().map(|metric| metric.name.to_owned()).collect();
    let shown = asked_for("statecast.json");
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new(), "without a panel");
    assert_eq!(shown.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "not in metrics.rs");
    let alerted = asked_for("alerts.yml");
    assert_eq!(alerted.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "not in metrics.rs");
}

#[test]
fn every_metric_is_raised_somewhere() {
    let table = read(&root().join("src/metrics.rs"));
    let sources = files("src", &["rs"]);
    let is_shipped =
        |path: &&PathBuf| !path.ends_with("src/metrics.rs") && !path.starts_with(root().join("src/tests"));
    let raising = sources.iter().filter(is_shipped);
    let raising: String = raising.map(|path| shipped(path)).collect();
    let words: BTreeSet<&str> = raising.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let constants = table.lines().filter(|line| line.contains(" \"statecast_"));
    let constants: Vec<_> = constants.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(constants.len(), metrics::ALL.len());
    let dead: Vec<_> = constants.iter().filter(|constant| !words.contains(**constant)).collect();
    assert!(dead.is_empty(), "nobody raises {dead:?}");
}

#[test]
fn every_alert_is_explained() {
    let manual = read(&root().join("docs/operations.md"));
    let alerts = read(&root().join("grafana/alerts.yml"));
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!names.is_empty());
    let unexplained: Vec<_> = names.iter().filter(|name| !manual.contains(&format!("`{name}`"))).collect();
    assert!(unexplained.is_empty(), "docs/operations.md says nothing of {unexplained:?}");
}

#[test]
fn every_panel_has_a_unit() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read(&root().join("grafana/statecast.json"))).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let panels: Vec<_> = panels.iter().filter(|panel| panel["type"] != "row").collect();
    assert!(!panels.is_empty());
    for panel in panels {
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{} has no unit", panel["title"]);
    }
}

#[test]
fn no_file_is_over_its_length() {
    let mut sources = files("src", &["rs"]);
    sources.extend(files("web/src", &["ts", "tsx", "css"]));
    sources.extend(files("crates", &["rs"]));
    let lines = |path: &PathBuf| read(path).lines().count();
    let long: Vec<_> = sources
        .iter()
        .filter(|path| lines(path) > LINES_MAX)
        .map(|path| (named(path), lines(path)))
        .collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

#[test]
fn every_module_opens_with_what_it_is() {
    let mute: Vec<_> = files("src", &["rs"])
        .iter()
        .filter(|path| !read(path).starts_with("//!"))
        .map(|path| named(path))
        .collect();
    assert!(mute.is_empty(), "no //! at the top of {mute:?}");
}

/// Clippy bans sending, and asking the time; this says who may lift the ban.
#[test]
fn only_the_edge_sends_and_only_the_clock_asks_the_time() {
    let lifted: BTreeSet<_> = files("src", &["rs"])
        .iter()
        .filter(|path| !path.ends_with("tests/tidy.rs"))
        .filter(|path| read(path).contains("clippy::disallowed_methods"))
        .map(|path| named(path))
        .collect();
    assert_eq!(lifted, ["src/clock.rs", "src/engine/edge.rs"].map(str::to_owned).into());
}

#[test]
fn the_engine_and_its_ports_know_no_app() {
    let apps: Vec<String> = crate::apps::BUILT_IN.iter().map(|app| format!("\"{}\"", app.stream)).collect();
    let mut sources = files("src/engine", &["rs"]);
    sources.extend(files("src/adapters", &["rs"]));
    for path in sources.iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = shipped(path);
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let knows = line.contains("apps::") || apps.iter().any(|app| line.contains(app));
            assert!(!knows, "{} names an app: {line}", named(path));
        }
    }
}

/// The lines of a folder that ship, each with its file.
fn lines_of(folder: &Path) -> Vec<(String, String)> {
    let sources = files(&named(folder), &["rs"]);
    let sources = sources.iter().filter(|path| !path.ends_with("tests.rs"));
    let lines = sources.flat_map(|path| {
        let text = shipped(path);
        text.lines().map(|line| (named(path), line.to_owned())).collect::<Vec<_>>()
    });
    lines.collect()
}

fn app_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("src/apps")).expect("apps");
    entries.map(|entry| entry.expect("entry").path()).filter(|path| path.is_dir()).collect()
}

/// An app is a pure step: whoever needs more than that of the crate is no app.
#[test]
fn apps_know_neither_http_nor_the_engine() {
    const NOT_THEIRS: [&str; 8] =
        ["http::", "engine::", "ports::", "adapters::", "axum", "tokio", "async ", "now_ms()"];
    for (file, line) in app_folders().iter().flat_map(|folder| lines_of(folder)) {
        let is_comment = line.trim_start().starts_with("//");
        let knows = NOT_THEIRS.iter().find(|what| !is_comment && line.contains(**what));
        assert_eq!(knows, None, "{file}: {line}");
    }
}

#[test]
fn an_app_stays_small() {
    const LINES_A_STREAM: usize = 420;
    for folder in app_folders() {
        let app = folder.file_name().and_then(|name| name.to_str()).expect("a name");
        let streams = crate::apps::BUILT_IN.iter().filter(|built_in| built_in.app == app).count();
        let (lines, most) = (lines_of(&folder).len(), streams.max(1) * LINES_A_STREAM);
        assert!(lines <= most, "{app} has {lines} lines, {most} are enough");
    }
}

/// The targets of `[text](target)` in a page.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for page in files("", &["md"]) {
        let text = read(&page);
        for link in links(&text).filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let target = link.split('#').next().unwrap_or_default();
            let folder = page.parent().unwrap_or(root());
            if !folder.join(target).exists() {
                broken.push(format!("{} -> {link}", named(&page)));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The name of every function there is, tests among them.
fn functions() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for path in files("src", &["rs"]) {
        let text = read(&path);
        let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
        known.extend(names.map(str::to_owned));
    }
    known
}

/// Each rule of the semantics has a test with its number, and the page of requirements names it.
#[test]
fn every_rule_has_a_test_named_for_it() {
    let (known, page) = (functions(), read(&root().join("docs/requirements.md")));
    for rule in 1..=28 {
        let prefix = format!("rule_{rule:02}_");
        let of_rule: Vec<_> = known.iter().filter(|name| name.starts_with(&prefix)).collect();
        assert!(!of_rule.is_empty(), "no test of rule {rule}");
        assert!(of_rule.iter().all(|name| page.contains(&format!("`{name}`"))), "unnamed: {of_rule:?}");
    }
}

/// `docs/requirements.md` may name no test that is not there: a state is worth what shows it.
#[test]
fn every_test_that_requirements_name_is_there() {
    let known = functions();
    let page = read(&root().join("docs/requirements.md"));
    let is_path = |word: &&str| word.contains('/') && !word.starts_with('/') && !word.contains(' ');
    let lost: Vec<_> = code(&page).filter(is_path).filter(|path| !root().join(path).exists()).collect();
    assert!(lost.is_empty(), "no such file: {lost:?}");
    let is_test = |word: &&str| {
        word.matches('_').count() > 1
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let tests: Vec<_> = code(&page).filter(is_test).collect();
    assert!(tests.len() > 50, "only {} tests are named", tests.len());
    let lost: Vec<_> = tests.iter().filter(|name| !known.contains(**name)).collect();
    assert!(lost.is_empty(), "no such test: {lost:?}");
}
