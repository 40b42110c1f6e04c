//! The grammar of query parameters: pure functions from text to what is asked for.
//!
//! Invariant: a parameter that is unknown, doubled or malformed is an error that names it and says what would be right;
//! nothing is guessed. An empty value counts as not given (but for `since`, where it means "I hold nothing").
//! Not here: carrying the question out.

use super::problem::{FieldError, Kind, Problem};
use crate::{
    engine::api::{Filter, ListQuery, Op, Sort, What},
    record::Position,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use std::{borrow::Cow, time::Duration};

/// How many in a page where nobody says it.
const LIMIT_DEFAULT: usize = 100;
/// Filters in one question: each is looked at for each entity.
const FILTERS_MAX: usize = 16;

/// The parameters as they came, decoded, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `name=value` pairs, `+` as a space. `None`: what is decoded is not UTF-8.
    pub fn parse(raw: &str) -> Option<Self> {
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(name)?, decode(value)?))
            })
            .collect::<Option<_>>()
            .map(Query)
    }

    /// Starts reading; what is not read by `Reader::finish` is unknown.
    pub fn reader(&self) -> Reader<'_> {
        Reader { pairs: &self.0, known: Vec::new(), errors: Vec::new() }
    }
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| text.into_owned())
}

/// Why a value is not understood, and what would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub detail: String,
    pub remedy: Cow<'static, str>,
}

fn wrong(detail: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Wrong {
    Wrong { detail: detail.into(), remedy: remedy.into() }
}

/// Takes parameters one by one and collects every fault, so that the caller hears of all at once.
#[derive(Debug)]
pub struct Reader<'q> {
    pairs: &'q [(String, String)],
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<'q> Reader<'q> {
    /// A parameter that may stand once.
    pub fn one<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&'q str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.one_or_empty(name, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })?
    }

    /// Likewise, with an empty value of a meaning of its own.
    pub fn one_or_empty<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&'q str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let mut values = self.values(name).into_iter();
        let first = values.next()?;
        if values.next().is_some() {
            self.fault(name, wrong("is given more than once", "give it once"));
        }
        self.keep(name, parse(first))
    }

    /// A parameter that may be repeated, in its order.
    pub fn all<T>(
        &mut self,
        name: &'static str,
        times_max: usize,
        parse: impl Fn(&'q str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let values: Vec<_> = self.values(name).into_iter().filter(|v| !v.is_empty()).collect();
        if values.len() > times_max {
            self.fault(
                name,
                wrong(format!("is given {} times", values.len()), "give fewer; the bound is 16"),
            );
            return Vec::new();
        }
        values.into_iter().filter_map(|value| self.keep(name, parse(value))).collect()
    }

    /// The parameter `limit`: how many in a page, up to `limits.page_items_max`; 100 where nobody says it.
    pub fn limit(&mut self, items_max: usize) -> usize {
        let named = |wrong: Wrong| Wrong { remedy: wrong.remedy + " (limits.page_items_max)", ..wrong };
        self.one("limit", |text| limit(text, items_max).map_err(named))
            .unwrap_or(LIMIT_DEFAULT.min(items_max))
    }

    /// Adds a fault that lies between parameters.
    pub fn fault(&mut self, name: &str, wrong: Wrong) {
        let (field, remedy) = (name.to_owned(), wrong.remedy.into_owned());
        self.errors.push(FieldError { field, detail: wrong.detail, remedy });
    }

    /// The end: every fault there was, parameters nobody asked for among them.
    pub fn finish(mut self) -> Result<(), Problem> {
        let known = match self.known.as_slice() {
            [] => "this path takes no parameters".to_owned(),
            known => format!("this path takes {}", known.join(", ")),
        };
        for (name, _) in self.pairs.iter().filter(|(name, _)| !self.known.contains(&name.as_str())) {
            let (detail, remedy) = ("is not known here".to_owned(), known.clone());
            self.errors.push(FieldError { field: name.clone(), detail, remedy });
        }
        let Some(first) = self.errors.first() else { return Ok(()) };
        let problem = Problem::new(Kind::InvalidParameter, format!("{} {}", first.field, first.detail));
        Err(problem.fields(self.errors))
    }

    fn values(&mut self, name: &'static str) -> Vec<&'q str> {
        self.known.push(name);
        self.pairs.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    fn keep<T>(&mut self, name: &'static str, parsed: Result<T, Wrong>) -> Option<T> {
        parsed.map_err(|wrong| self.fault(name, wrong)).ok()
    }
}

/// What a list is asked for.
pub fn list(query: &Query, items_max: usize) -> Result<ListQuery, Problem> {
    let mut reader = query.reader();
    let asked = ListQuery {
        prefix: reader.one("prefix", text),
        from: reader.one("from", text),
        filters: reader.all("filter", FILTERS_MAX, filter),
        sort: reader.one("sort", sort),
        limit: reader.limit(items_max),
        after: reader.one("after", cursor_in),
    };
    reader.finish().map(|()| asked)
}

/// Text as it is.
pub fn text(text: &str) -> Result<String, Wrong> {
    Ok(text.to_owned())
}

/// A whole number from 1 to `max`.
pub fn limit(text: &str, max: usize) -> Result<usize, Wrong> {
    let remedy = || format!("a whole number from 1 to {max}");
    match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        Ok(number) => Err(wrong(format!("{number} is not within 1 and {max}"), remedy())),
        Err(_) => Err(wrong("is no whole number", remedy())),
    }
}

/// A plain whole number.
pub fn number(text: &str) -> Result<u32, Wrong> {
    text.parse().map_err(|_| wrong("is no whole number", "a whole number from 0"))
}

/// `true` or `false`.
pub fn flag(text: &str) -> Result<bool, Wrong> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong("is neither true nor false", "true or false")),
    }
}

/// One position, or several joined by `,`.
pub fn positions<T: std::str::FromStr>(text: &str) -> Result<T, Wrong> {
    const REMEDY: &str = "a position exactly as an answer gave it, like 0.3.1041";
    text.parse().map_err(|_| wrong("is no position", REMEDY))
}

/// A position that stands alone.
pub fn position(text: &str) -> Result<Position, Wrong> {
    positions(text)
}

/// `10s` or `500ms`; longer than `max` counts as `max`.
pub fn wait(text: &str, max: Duration) -> Result<Duration, Wrong> {
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (text.strip_suffix('s').unwrap_or_default(), 1_000),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse::<u64>() {
        Ok(number) if plain => Ok(Duration::from_millis(number.saturating_mul(unit)).min(max)),
        _ => Err(wrong("is no time to wait", "a number with its unit, like 10s or 500ms")),
    }
}

/// The one thing a write can wait for.
pub fn stored(text: &str) -> Result<(), Wrong> {
    match text {
        "stored" => Ok(()),
        _ => Err(wrong("is nothing a write can wait for", "wait=stored, or no wait")),
    }
}

/// `POINTER:OP:VALUE`. The first `:OP:` with a known OP divides, so names in the pointer and the value may hold colons.
pub fn filter(text: &str) -> Result<Filter, Wrong> {
    const REMEDY: &str = "POINTER:OP:VALUE, OP one of eq, ne, lt, le, gt, ge, prefix";
    let divided = text.match_indices(':').find_map(|(at, _)| {
        let (op, value) = text.get(at + 1..)?.split_once(':')?;
        Some((text.get(..at)?, op_of(op)?, value))
    });
    let (name, op, value) = divided.ok_or_else(|| wrong("has no known OP between colons", REMEDY))?;
    Ok(Filter { what: what(name)?, op, value: value.to_owned() })
}

fn op_of(text: &str) -> Option<Op> {
    match text {
        "eq" => Some(Op::Eq),
        "ne" => Some(Op::Ne),
        "lt" => Some(Op::Lt),
        "le" => Some(Op::Le),
        "gt" => Some(Op::Gt),
        "ge" => Some(Op::Ge),
        "prefix" => Some(Op::Prefix),
        _ => None,
    }
}

/// `POINTER`, or `-POINTER` for the greatest first.
pub fn sort(text: &str) -> Result<Sort, Wrong> {
    match text.strip_prefix('-') {
        Some(name) => Ok(Sort { what: what(name)?, descending: true }),
        None => Ok(Sort { what: what(text)?, descending: false }),
    }
}

/// `version`, `updated`, or a JSON Pointer into the value (RFC 6901; empty: the whole value).
fn what(name: &str) -> Result<What, Wrong> {
    let escaped = name.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    match name {
        "version" => Ok(What::Version),
        "updated" => Ok(What::Updated),
        _ if escaped && (name.is_empty() || name.starts_with('/')) => Ok(What::Pointer(name.to_owned())),
        _ => Err(wrong(
            format!("{name:?} names nothing of an entity"),
            "version, updated, or a JSON Pointer into the value, like /price",
        )),
    }
}

/// A cursor as it stands outside.
pub fn cursor_out(cursor: &str) -> String {
    URL_SAFE_NO_PAD.encode(cursor)
}

/// A cursor as a page gave it.
pub fn cursor_in(text: &str) -> Result<String, Wrong> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| wrong("is no cursor", "next, exactly as the page before gave it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(raw: &str) -> Query {
        Query::parse(raw).expect("query")
    }

    fn faults(raw: &str) -> String {
        list(&query(raw), 1_000).expect_err(raw).json()
    }

    #[test]
    fn rule_24_a_list_is_asked_for_by_its_parameters() {
        let raw =
            "prefix=a%2Fb&filter=/price:ge:10&filter=updated:lt:2026-01-01T00:00:00Z&sort=-/price&limit=5";
        let asked = list(&query(raw), 1_000).expect("list");
        assert_eq!(asked.prefix.as_deref(), Some("a/b"));
        assert_eq!(asked.limit, 5);
        assert_eq!(asked.sort, Some(Sort { what: What::Pointer("/price".into()), descending: true }));
        let second = Filter { what: What::Updated, op: Op::Lt, value: "2026-01-01T00:00:00Z".into() };
        assert_eq!(asked.filters.get(1), Some(&second));
    }

    #[test]
    fn empty_parameters_count_as_not_given() {
        let asked = list(&query("prefix=&from=&filter=&sort=&limit=&after="), 1_000).expect("list");
        assert_eq!((asked.prefix, asked.from, asked.after, asked.limit), (None, None, None, 100));
        assert!(asked.filters.is_empty() && asked.sort.is_none());
    }

    #[test]
    fn colons_may_stand_in_pointer_and_value() {
        let found = filter("/a:b:eq:c:ne:d").expect("filter");
        assert_eq!(found, Filter { what: What::Pointer("/a:b".into()), op: Op::Eq, value: "c:ne:d".into() });
        let whole = filter(":gt:5").expect("filter");
        assert_eq!(whole.what, What::Pointer(String::new()));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let json = faults("limit=0&sort=price&filter=/a:is:1&colour=red&after=%21");
        for field in ["limit", "sort", "filter", "colour", "after"] {
            assert!(json.contains(&format!("\"field\":\"{field}\"")), "{field} in {json}");
        }
        assert!(faults("limit=1&limit=2").contains("more than once"));
        assert!(faults("limit=1001").contains("not within"));
        assert!(faults("filter=/a~2:eq:1").contains("names nothing"));
    }

    #[test]
    fn a_wait_has_its_unit() {
        let max = Duration::from_secs(60);
        assert_eq!(wait("10s", max), Ok(Duration::from_secs(10)));
        assert_eq!(wait("250ms", max), Ok(Duration::from_millis(250)));
        assert!(wait("99999999999999999999s", max).is_err());
        assert_eq!(wait("3600s", max), Ok(max));
        for bad in ["10", "s", "ms", "-1s", "+1s", "1.5s", "10m", ""] {
            assert!(wait(bad, max).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went(cursor in ".*") {
            prop_assert_eq!(cursor_in(&cursor_out(&cursor)), Ok(cursor));
        }

        #[test]
        fn no_text_breaks_the_grammar(raw in "[ -~]{0,60}") {
            if let Some(query) = Query::parse(&raw) {
                let _ = list(&query, 1_000);
            }
            let _ = (filter(&raw), sort(&raw), wait(&raw, Duration::ZERO), positions::<Position>(&raw));
        }
    }
}
