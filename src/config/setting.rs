//! What can be set: each setting's name, shape and manual, read from the derive on `Config` itself.
//!
//! Invariant: there is no second list. Loading, printing and the manual walk this one tree, so none of them can know a
//! setting the others do not. Not here: values (`load`), and relations between settings (`validate`).

use super::{Config, value};
use serde_json::Value;
use std::{collections::BTreeMap, sync::LazyLock};
use utoipa::{PartialSchema, ToSchema};

/// A setting, or a section of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its manual; empty where it has none.
    pub doc: String,
    pub shape: Shape,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Settings by fixed names.
    Section(BTreeMap<String, Setting>),
    /// The user gives the names; all are shaped alike.
    Named(Box<Setting>),
    Number {
        min: i64,
        max: i64,
    },
    Switch,
    Text,
    Choice(Vec<String>),
    /// Text that is never printed.
    Secret,
    /// Texts.
    List,
}

static ROOT: LazyLock<Setting> = LazyLock::new(|| {
    let mut parts = Vec::new();
    Config::schemas(&mut parts);
    let parts = parts.into_iter().map(|(name, schema)| (name, json(&schema))).collect();
    setting(&json(&Config::schema()), &parts)
});

/// The whole tree.
pub fn root() -> &'static Setting {
    &ROOT
}

/// The setting of a path, `section.field`.
pub fn at(path: &str) -> Option<&'static Setting> {
    path.split('.').try_fold(root(), |at, name| at.get(name))
}

/// Every setting with a fixed name, as (`section.field`, setting), in the order of names.
pub fn all() -> Vec<(String, &'static Setting)> {
    let mut found = Vec::new();
    collect(root(), String::new(), &mut found);
    found
}

fn collect(at: &'static Setting, path: String, found: &mut Vec<(String, &'static Setting)>) {
    let Shape::Section(inner) = &at.shape else {
        found.push((path, at));
        return;
    };
    for (name, setting) in inner {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(setting, path, found);
    }
}

impl Setting {
    /// The setting of this name in a section.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        match &self.shape {
            Shape::Section(inner) => inner.get(name),
            Shape::Named(inner) => Some(inner),
            _ => None,
        }
    }

    pub fn is_section(&self) -> bool {
        matches!(self.shape, Shape::Section(_) | Shape::Named(_))
    }
}

/// The setting somebody may have meant by `path`, whose last part is no setting of the section before it: the nearest
/// name there, else the same name in another section.
pub fn meant(section: &Setting, parents: &[String], name: &str) -> Option<String> {
    let Shape::Section(inner) = &section.shape else { return None };
    let known: Vec<_> = inner.keys().collect();
    if let Some(known) = value::nearest(&known, name) {
        return Some([parents, &[known.to_owned()]].concat().join("."));
    }
    let tail = format!(".{name}");
    all().into_iter().map(|(path, _)| path).find(|path| path.ends_with(&tail))
}

fn json(schema: &impl serde::Serialize) -> Value {
    serde_json::to_value(schema).unwrap_or_default()
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn setting(schema: &Value, parts: &BTreeMap<String, Value>) -> Setting {
    let target = text(schema, "$ref").rsplit('/').next().and_then(|name| parts.get(name));
    let mut found = Setting { doc: text(schema, "description").into(), shape: shape(schema, parts) };
    if let Some(target) = target {
        let target = setting(target, parts);
        found.shape = target.shape;
        if found.doc.is_empty() {
            found.doc = target.doc;
        }
    }
    found
}

fn shape(schema: &Value, parts: &BTreeMap<String, Value>) -> Shape {
    let choices = schema.get("enum").and_then(Value::as_array);
    if let Some(choices) = choices {
        return Shape::Choice(choices.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
    match (text(schema, "type"), text(schema, "format")) {
        ("integer", format) => {
            let unsigned = schema.get("minimum").is_some();
            let (min, max) = match (format, unsigned) {
                ("int32", false) => (i32::MIN.into(), i32::MAX.into()),
                ("int32", true) => (0, u32::MAX.into()),
                (_, false) => (i64::MIN, i64::MAX),
                (_, true) => (0, i64::MAX),
            };
            Shape::Number { min, max }
        }
        ("boolean", _) => Shape::Switch,
        ("array", _) => Shape::List,
        (_, "password") => Shape::Secret,
        ("object", _) => section(schema, parts),
        _ => Shape::Text,
    }
}

fn section(schema: &Value, parts: &BTreeMap<String, Value>) -> Shape {
    if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner.is_object()) {
        return Shape::Named(Box::new(setting(inner, parts)));
    }
    let fields = schema.get("properties").and_then(Value::as_object);
    let fields = fields.into_iter().flatten();
    Shape::Section(fields.map(|(name, field)| (name.clone(), setting(field, parts))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_manual() {
        for (path, setting) in all() {
            assert!(!setting.doc.is_empty(), "{path} has no doc");
        }
        let Shape::Section(sections) = &root().shape else { panic!("the root is a section") };
        for (name, section) in sections {
            assert!(!section.doc.is_empty(), "[{name}] has no doc");
        }
    }

    #[test]
    fn shapes_follow_the_types() {
        let shape = |path: &str| at(path).map(|setting| setting.shape.clone());
        assert_eq!(shape("engine.shards"), Some(Shape::Number { min: 0, max: i64::MAX }));
        assert_eq!(shape("mongodb.pool_max"), Some(Shape::Number { min: 0, max: u32::MAX.into() }));
        assert_eq!(
            shape("kafka.replication"),
            Some(Shape::Number { min: i32::MIN.into(), max: i32::MAX.into() })
        );
        assert_eq!(shape("kafka.create_topics"), Some(Shape::Switch));
        assert_eq!(shape("mongodb.uri"), Some(Shape::Secret));
        assert_eq!(shape("embedded.data_dir"), Some(Shape::Text));
        assert_eq!(shape("security.allowed_origins"), Some(Shape::List));
        assert_eq!(
            shape("log.kind"),
            Some(Shape::Choice(["embedded", "kafka", "memory"].map(String::from).into()))
        );
        assert_eq!(shape("streams.any.topic"), Some(Shape::Text));
        assert_eq!(shape("kafka.nothing"), None);
    }

    #[test]
    fn the_nearest_name_is_meant() {
        let of = |parents: &[&str], name: &str| {
            let parents: Vec<_> = parents.iter().map(|p| p.to_string()).collect();
            let section = parents.iter().try_fold(root(), |at, name| at.get(name)).expect("a section");
            meant(section, &parents, name)
        };
        assert_eq!(of(&["kafka"], "brokerz").as_deref(), Some("kafka.brokers"));
        assert_eq!(of(&[], "kafak").as_deref(), Some("kafka"));
        assert_eq!(of(&["kafka"], "uri").as_deref(), Some("mongodb.uri"), "of another section");
        assert_eq!(of(&[], "data_dir").as_deref(), Some("embedded.data_dir"));
        assert_eq!(of(&["kafka"], "zzzzzz"), None);
    }
}
