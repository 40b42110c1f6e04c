//! The data sets, read and put in the order of their time.
//!
//! Invariant: every record has a key and a time, and what reads as a number in the data is a number in the record.

use crate::Fault;
use clap::ValueEnum;
use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::{Map, Value, value::RawValue};
use std::{fs, path::Path};

/// One record as it is sent.
#[derive(Debug, Clone)]
pub struct Data {
    pub key: String,
    pub time: Timestamp,
    /// JSON.
    pub value: String,
}

impl Data {
    pub fn day(&self) -> String {
        self.time.strftime("%Y-%m-%d").to_string()
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Known {
    /// Prices of five shares, monthly, 2000 to 2010; by symbol.
    Stocks,
    /// Weather of Seattle and New York, daily, 2012 to 2015; by place.
    Weather,
    /// Delays of flights in the United States, 2001; by airport they left.
    Flights,
}

impl Known {
    pub fn about(self) -> &'static str {
        match self {
            Known::Stocks => "prices of shares, 2000 to 2010",
            Known::Weather => "weather of two cities, 2012 to 2015",
            Known::Flights => "flights in the United States, 2001",
        }
    }

    /// File, member that is the key, member that is the time, and how that is written.
    fn shape(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Known::Stocks => ("stocks.csv", "symbol", "date", "%b %d %Y"),
            Known::Weather => ("weather.csv", "location", "date", "%Y-%m-%d"),
            Known::Flights => ("flights-20k.json", "origin", "date", "%Y/%m/%d %H:%M"),
        }
    }

    /// Every record, in the order of time.
    pub fn read(self, folder: &Path) -> Result<Vec<Data>, Fault> {
        let (file, key, time, format) = self.shape();
        let path = folder.join(file);
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("{}: {error}; `make replay` fetches the data", path.display()))?;
        let rows = if file.ends_with(".csv") { csv_rows(&text)? } else { serde_json::from_str(&text)? };
        let rows: Vec<Map<String, Value>> = rows;
        let mut records = Vec::with_capacity(rows.len());
        for mut row in rows {
            let member = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
            let none = |name: &str| format!("{file}: a record without {name}");
            let (key, written) =
                (member(key).ok_or_else(|| none(key))?, member(time).ok_or_else(|| none(time))?);
            let at = read_time(&written, format).map_err(|error| format!("{file}: {written}: {error}"))?;
            row.insert(time.to_owned(), Value::from(at.to_string()));
            records.push(Data { key, time: at, value: serde_json::to_string(&row)? });
        }
        records.sort_by_key(|record| record.time);
        Ok(records)
    }
}

/// The times of the data say no zone; as what they mean does not matter here, they are UTC.
fn read_time(text: &str, format: &str) -> Result<Timestamp, jiff::Error> {
    let broken = jiff::fmt::strtime::parse(format, text)?;
    let time = broken.to_datetime().or_else(|_| broken.to_date().map(civil::Date::into))?;
    Ok(time.to_zoned(TimeZone::UTC)?.timestamp())
}

fn csv_rows(text: &str) -> Result<Vec<Map<String, Value>>, Fault> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers()?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let members = names.iter().zip(&record).map(|(name, text)| (name.to_owned(), value_of(text)));
        rows.push(members.collect());
    }
    Ok(rows)
}

/// What reads as a number is one.
fn value_of(text: &str) -> Value {
    let number = serde_json::from_str::<&RawValue>(text)
        .ok()
        .filter(|raw| raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit()));
    number.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_else(|| Value::from(text))
}
