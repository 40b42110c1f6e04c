//! Keeps secrets out of whatever is printed.
//!
//! Invariant: text that goes outside passes through here when it holds the words of a library that knew the secrets.

use super::Config;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// What is printed in place of a secret.
pub const MASK: &str = "***";
/// Anything shorter would mask half of every sentence.
const SECRET_CHARS_MIN: usize = 3;

impl Config {
    /// `text` with every secret of this configuration masked.
    pub fn redact(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for secret in self.secrets() {
            if secret.chars().count() >= SECRET_CHARS_MIN {
                masked = masked.replace(&*secret, MASK);
            }
        }
        credentials(&masked).into_owned()
    }

    /// Longest first, so that a part does not spoil the whole.
    fn secrets(&self) -> Vec<Cow<'_, str>> {
        let whole = [&self.mongodb.uri, &self.redis.url, &self.kafka.sasl_password];
        let mut secrets: Vec<Cow<'_, str>> = whole.iter().map(|secret| secret.0.as_str().into()).collect();
        for url in [&self.mongodb.uri.0, &self.redis.url.0] {
            let password = user_info(url).and_then(|(start, end)| url.get(start..end)?.split_once(':'));
            if let Some((_, password)) = password {
                secrets.push(password.into());
                secrets.push(percent_decode_str(password).decode_utf8_lossy());
            }
        }
        let properties = self.kafka.properties.iter().filter(|(name, _)| is_secret(name));
        secrets.extend(properties.map(|(_, value)| value.as_str().into()));
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets
    }
}

/// Whether a property of this name holds a secret.
pub fn is_secret(property: &str) -> bool {
    const SIGNS: [&str; 6] = ["password", "secret", "token", "jaas", ".pem", "oauthbearer.config"];
    SIGNS.iter().any(|sign| property.contains(sign))
}

/// `text` with what stands before the `@` of any URL in it masked.
pub fn credentials(text: &str) -> Cow<'_, str> {
    let Some((start, end)) = user_info(text) else { return Cow::Borrowed(text) };
    let (before, after) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
    Cow::Owned(format!("{before}{MASK}{}", credentials(after)))
}

/// Scheme and hosts of a URL, without user, password, path and options, all of which may hold secrets.
pub fn hosts(url: &str) -> String {
    let masked = credentials(url);
    let (scheme, rest) = masked.split_once("://").unwrap_or(("", &masked));
    let hosts = rest.strip_prefix(MASK).and_then(|rest| rest.strip_prefix('@')).unwrap_or(rest);
    let hosts = hosts.split(['/', '?']).next().unwrap_or_default();
    if scheme.is_empty() { hosts.into() } else { format!("{scheme}://{hosts}") }
}

/// Where the user and password of the first URL that has them stand.
fn user_info(text: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find("://")? + "://".len();
        let rest = text.get(start..)?;
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>'))
            .unwrap_or(rest.len());
        // A password that was not percent-encoded may hold / and ?, so all up to the last @ counts.
        match rest.get(..end)?.rfind('@') {
            Some(at) => return Some((start, start + at)),
            None => from = start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_urls_are_masked() {
        for (text, masked) in [
            ("no url", "no url"),
            ("http://host/a@b is", "http://***@b is"),
            ("mongodb://u:p@h1,h2/db?x=1", "mongodb://***@h1,h2/db?x=1"),
            ("mongodb://u:p/w@x@h/db", "mongodb://***@h/db"),
            ("a http://h/ then redis://:pw@h \"x\"", "a http://h/ then redis://***@h \"x\""),
            ("redis://:a@h and redis://:b@h", "redis://***@h and redis://***@h"),
        ] {
            assert_eq!(credentials(text), masked);
        }
    }

    #[test]
    fn hosts_are_all_that_is_left() {
        assert_eq!(hosts("mongodb://u:p@h1,h2:1/db?x=secret"), "mongodb://h1,h2:1");
        assert_eq!(hosts("mongodb+srv://cluster.example/?x=1"), "mongodb+srv://cluster.example");
        assert_eq!(hosts("mongodb://h"), "mongodb://h");
    }

    #[test]
    fn every_secret_is_masked_wherever_it_stands() {
        let mut config = Config::default();
        config.mongodb.uri.0 = "mongodb://bob:s%40fe@db/".into();
        config.redis.url.0 = "redis://:hush-hush@cache".into();
        config.kafka.sasl_password.0 = "kafka-pw".into();
        config.kafka.properties.insert("ssl.key.password".into(), "key-pw".into());
        config.kafka.properties.insert("client.id".into(), "plain".into());
        let text =
            "auth of bob with s%40fe or s@fe, hush-hush, kafka-pw, key-pw, plain, mongodb://bob:s%40fe@db/";
        assert_eq!(config.redact(text), "auth of bob with *** or ***, ***, ***, ***, plain, ***");
    }
}
