//! Dead letters as people read them.
//!
//! Invariant: what a producer sent reaches the terminal without its control characters.
//! Not here: asking for them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::fmt::Write as _;

/// Characters of a key or a detail in a table; the rest is in `show`.
const CELL_CHARS_MAX: usize = 48;
const HEX_BYTES_PER_LINE: usize = 16;

/// Streams with their counts, and how near each partition is to its limit.
pub fn summary(summary: &Value) -> String {
    let mut rows = vec![["STREAM", "REASON", "OPEN"].map(str::to_owned).to_vec()];
    let (mut held, mut dropped) = (String::new(), String::new());
    for stream in array(summary, "streams") {
        let name = text(stream, "stream");
        for (reason, count) in stream.get("reasons").and_then(Value::as_object).into_iter().flatten() {
            rows.push(vec![name.clone(), plain(reason), count.to_string()]);
        }
        for partition in array(stream, "partitions") {
            if partition.get("held").and_then(Value::as_bool) == Some(true) {
                let (number, limit) = (number(partition, "partition"), number(partition, "limit"));
                let _ =
                    writeln!(held, "partition {number} of {name} is held: it reached its limit of {limit}");
            }
        }
        if let count @ 1.. = number(stream, "dropped") {
            let _ = writeln!(dropped, "{name}: {count} older ones are in {} alone", text(stream, "topic"));
        }
    }
    let table = if rows.len() == 1 { "no dead letters\n".into() } else { table(&rows) };
    table + &held + &dropped
}

/// One page, the newest first.
pub fn page(page: &Value) -> String {
    let head = ["POSITION", "REASON", "KEY", "BYTES", "AT", "MARK", "DETAIL"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for letter in array(page, "items") {
        let short = |whole: String| cut(&whole);
        rows.push(vec![
            text(letter, "position"),
            text(letter, "reason"),
            short(key(letter)),
            number(letter, "bytes").to_string(),
            text(letter, "at"),
            text(letter, "mark"),
            short(text(letter, "detail")),
        ]);
    }
    if rows.len() == 1 {
        return "no dead letters\n".into();
    }
    let more = text(page, "next");
    let more = if more.is_empty() { more } else { format!("there are more: --after {more}\n") };
    table(&rows) + &more
}

/// One letter, whole.
pub fn letter(letter: &Value, hex: bool) -> String {
    let mut out = String::new();
    let fields = [
        (
            "position",
            format!(
                "{} of {}, topic {}",
                text(letter, "position"),
                text(letter, "stream"),
                text(letter, "topic")
            ),
        ),
        ("reason", text(letter, "reason")),
        ("detail", text(letter, "detail")),
        ("key", key(letter)),
        ("time", text(letter, "time")),
        ("refused", text(letter, "at")),
        ("mark", mark(letter)),
    ];
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "{name:<10}{value}");
    }
    for header in array(letter, "headers") {
        let part = |at: usize| header.get(at).and_then(Value::as_str).map(plain);
        let _ =
            writeln!(out, "{:<10}{}: {}", "header", part(0).unwrap_or_default(), part(1).unwrap_or_default());
    }
    let Some(value) = letter.get("value_base64").and_then(Value::as_str) else {
        return out + "no value\n";
    };
    let bytes = STANDARD.decode(value).unwrap_or_default();
    let fault = letter.get("failed_at").and_then(Value::as_u64);
    let fault = fault.map(|at| format!(", reading failed at byte {at}")).unwrap_or_default();
    let _ = writeln!(out, "{:<10}{}{fault}\n", "bytes", bytes.len());
    match std::str::from_utf8(&bytes) {
        Ok(value) if !hex => out + &lines(value),
        _ => out + &dump(&bytes),
    }
}

/// What was done about one letter.
pub fn done(answer: &Value, word: &str) -> String {
    let (position, at) = (text(answer, word), text(answer, "position"));
    if at.is_empty() { format!("{position} {word}\n") } else { format!("{position} {word} as {at}\n") }
}

fn mark(letter: &Value) -> String {
    let (mark, at, to) = (text(letter, "mark"), text(letter, "marked_at"), text(letter, "replayed_at"));
    let to = if to.is_empty() { to } else { format!(", as {to}") };
    if mark.is_empty() { mark } else { format!("{mark} at {at}{to}") }
}

/// A key that is no text is shown in hex.
fn key(letter: &Value) -> String {
    if let Some(key) = letter.get("key").and_then(Value::as_str) {
        return plain(key);
    }
    let bytes = letter.get("key_base64").and_then(Value::as_str).and_then(|key| STANDARD.decode(key).ok());
    bytes
        .map(|bytes| bytes.iter().fold("0x".to_owned(), |out, byte| out + &format!("{byte:02x}")))
        .unwrap_or_default()
}

fn array<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).map(plain).unwrap_or_default()
}

/// On one line, and without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The same with its lines kept.
fn lines(text: &str) -> String {
    text.lines().map(|line| plain(line) + "\n").collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, part) in bytes.chunks(HEX_BYTES_PER_LINE).enumerate() {
        let hex: String = part.iter().map(|byte| format!("{byte:02x} ")).collect();
        let seen = |&byte: &u8| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '.' };
        let text: String = part.iter().map(seen).collect();
        let _ = writeln!(out, "{:08x}  {hex:<48} {text}", line * HEX_BYTES_PER_LINE);
    }
    out
}

/// Columns as wide as what stands in them; the last one ends where it ends.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_is_a_table_with_what_is_behind_it() {
        let letter = json!({"position": "0.1.7", "reason": "malformed_json", "key": "lamp", "bytes": 4,
            "at": "2026-01-02T03:04:05Z", "mark": "replayed", "detail": "at byte 3\u{1b}[31m"});
        let binary = json!({"position": "0.12.70", "reason": "invalid_key", "key": null, "key_base64": "/wA=",
            "bytes": 1, "at": "2026-01-02T03:04:05Z", "mark": null, "detail": "x".repeat(60)});
        let told = page(&json!({"items": [letter, binary], "next": "41"}));
        let long = "x".repeat(48);
        assert_eq!(
            told,
            format!(
                "\
POSITION  REASON          KEY     BYTES  AT                    MARK      DETAIL
0.1.7     malformed_json  lamp    4      2026-01-02T03:04:05Z  replayed  at byte 3\\u{{1b}}[31m
0.12.70   invalid_key     0xff00  1      2026-01-02T03:04:05Z            {long}...
there are more: --after 41
"
            )
        );
        assert_eq!(page(&json!({"items": [], "next": null})), "no dead letters\n");
    }

    #[test]
    fn bytes_are_text_where_they_are_and_hex_where_not() {
        let shown = |bytes: &[u8], hex| {
            let value = json!({"position": "0.0.1", "value_base64": STANDARD.encode(bytes), "failed_at": 2});
            letter(&value, hex).split_once("\n\n").map(|(_, bytes)| bytes.to_owned()).unwrap()
        };
        assert_eq!(shown(b"{\n\x1b]0;x", false), "{\n\\u{1b}]0;x\n");
        let dumped = "00000000  7b 00 ff 20 41 41 41 41 41 41 41 41 41 41 41 41  {.. AAAAAAAAAAAA\n00000010  0a                                               .\n";
        assert_eq!(shown(b"{\x00\xff AAAAAAAAAAAA\n", false), dumped);
        assert_eq!(shown(b"a", true), "00000000  61                                               a\n");
        assert!(letter(&json!({"value_base64": null}), false).ends_with("no value\n"));
    }

    #[test]
    fn the_summary_counts_and_says_what_is_held() {
        let streams = json!([{"stream": "kv", "topic": "kv.dlq", "reasons": {"too_deep": 2}, "dropped": 5,
            "partitions": [{"partition": 3, "limit": 100, "held": true}, {"partition": 1, "held": false}]}]);
        assert_eq!(
            summary(&json!({"streams": streams})),
            "\
STREAM  REASON    OPEN
kv      too_deep  2
partition 3 of kv is held: it reached its limit of 100
kv: 5 older ones are in kv.dlq alone
"
        );
        assert_eq!(summary(&json!({"streams": []})), "no dead letters\n");
    }
}
