//! The shapes of requests and answers, for the OpenAPI document.
//!
//! Invariant: nothing is ever built from these types; a test reads real answers with them, so that they cannot drift.
//! Not here: the answers themselves.

use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Names a stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct StreamPath {
    /// The stream's name, as /api/streams lists it.
    pub stream: String,
}

/// Names a key.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct KeyPath {
    /// 1 to 512 bytes of UTF-8; a slash may stand as it is or as %2F.
    pub key: String,
}

/// Names a dead letter.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct DeadLetterPath {
    /// The position of the record that could not be taken in.
    pub position: String,
}

/// Names a partition.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct PartitionPath {
    pub partition: u32,
}

/// What a list may be asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Keys that begin so.
    pub prefix: Option<String>,
    /// The first key wanted.
    pub from: Option<String>,
    /// POINTER:OP:VALUE, repeatable (all must hold); POINTER is version, updated or a JSON Pointer into the value, OP is
    /// eq, ne, lt, le, gt, ge or prefix. The first known OP between colons divides.
    pub filter: Option<Vec<String>>,
    /// POINTER, or -POINTER for the greatest first; without it by key.
    pub sort: Option<String>,
    /// 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub after: Option<String>,
}

/// What a GET of one entity may be asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadParams {
    /// Answer once everything up to this position is confirmed: read your own write.
    pub min_position: Option<String>,
    /// With `since`: wait so long for a change (10s, 500ms); with `min_position`: for its confirmation.
    pub wait: Option<String>,
    /// Answer once the key stands elsewhere than here; empty: once it is there at all.
    pub since: Option<String>,
}

/// How a write may be done.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WriteParams {
    /// `stored`: answer once the store has confirmed it, or the step has refused it.
    pub wait: Option<String>,
}

/// Under which condition.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct ConditionParams {
    /// "VERSION", the ETag of a GET: write only if the key is still there. Implies wait=stored.
    #[param(rename = "If-Match")]
    pub if_match: Option<String>,
    /// *: write only if the key is absent. Implies wait=stored.
    #[param(rename = "If-None-Match")]
    pub if_none_match: Option<String>,
}

/// What the pipeline may be asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PipelineParams {
    /// Look in this stream alone.
    pub stream: Option<String>,
    /// Where is the record of this position?
    pub position: Option<String>,
    /// Where is this key?
    pub key: Option<String>,
}

/// Which dead letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeadLetterParams {
    /// A fixed code, such as malformed_json.
    pub reason: Option<String>,
    pub partition: Option<u32>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub after: Option<String>,
}

/// How to replay.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ForceParams {
    /// Replay although the key has since taken a newer record.
    #[param(default = false)]
    pub force: Option<bool>,
}

/// An entity, wherever it is shown.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    pub stream: String,
    pub key: String,
    /// Any JSON, as it was written.
    pub value: Value,
    /// How many records this key took in.
    pub version: u64,
    /// Only of a removed key.
    pub deleted: Option<bool>,
    /// UTC.
    pub created: String,
    pub updated: String,
    /// Opaque.
    pub position: String,
}

/// One page of a list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    pub items: Vec<Entity>,
    #[schema(required)]
    pub next: Option<String>,
}

/// A write the log has taken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    pub stream: String,
    pub key: String,
    pub position: String,
}

/// What /add takes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Add {
    #[schema(min_length = 1, max_length = 512)]
    pub key: String,
    /// Any JSON; null is a value.
    pub value: Value,
}

/// Every stream.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    pub streams: Vec<StreamNow>,
    pub apps: Vec<String>,
    pub links: Links,
    pub at: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// Where browsers find the admin listener, if they may know.
    #[schema(required)]
    pub admin: Option<String>,
    /// Where browsers find the public one.
    #[schema(required)]
    pub public: Option<String>,
}

/// One stream now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamNow {
    pub stream: String,
    /// latest, log, aggregate, recent or app.
    pub kind: String,
    /// By PUT and DELETE of a key; where not, these answer 405 and say how.
    pub writable: bool,
    #[schema(required)]
    pub app: Option<String>,
    /// By configuration.
    pub declared: bool,
    pub topics: Vec<String>,
    #[schema(required)]
    pub keys: Option<u64>,
    /// The last change per partition.
    pub positions: Vec<String>,
    /// Records not confirmed yet, per partition.
    pub lag: Vec<u64>,
    /// starting, running, held or stopped.
    pub state: String,
    #[schema(required)]
    pub held: Option<HeldNow>,
}

/// Since when, where and why a stream does not go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeldNow {
    pub since: String,
    pub r#where: String,
    pub why: String,
}

/// RFC 9457.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(title = "Problem")]
pub struct ProblemBody {
    /// /problems/CODE
    pub r#type: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub errors: Option<Vec<ProblemField>>,
    /// Where the record is, or the key was removed.
    pub position: Option<String>,
    /// What the key holds now, where a condition failed.
    pub entity: Option<Value>,
    /// When to come back.
    pub retry_ms: Option<u64>,
    /// The fixed code of poison.
    pub reason: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProblemField {
    pub field: String,
    pub detail: String,
    pub remedy: String,
}

/// The process is up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Live {
    pub status: String,
    pub at: String,
    pub memory: Memory,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    #[schema(required)]
    pub resident_bytes: Option<u64>,
}

/// Records can flow and be stored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    pub ready: bool,
    pub dependencies: Vec<DependencyNow>,
    pub memory: Memory,
    pub at: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DependencyNow {
    pub name: String,
    /// up, down, starting or held.
    pub state: String,
    #[schema(required)]
    pub detail: Option<String>,
    /// Since it last answered.
    #[schema(required)]
    pub age_ms: Option<u64>,
}

/// What the log tells.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Level {
    pub log_level: String,
}
