//! The plugins of the config file as they are written; the comments here are the reference text of their schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw::Opt;
use super::shapes::{Anything, OneOrMany};

/// A use of a plugin with settings of its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "the name of a plugin, or a mapping such as `{ plugin: NAME, settings: { ... } }`"
)]
pub(super) struct Use {
    /// Name of a plugin, or `native`.
    #[schemars(required)]
    pub(super) plugin: Opt<String>,
    /// Settings as the plugin's own schema has them (`headgate plugin inspect` shows it). No place for secrets: they are
    /// shown in findings and by `headgate config`.
    pub(super) settings: Opt<Anything>,
}

/// A use of a filter with settings of its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "the name of a filter plugin, or a mapping such as `{ plugin: NAME, onFailure: open }`"
)]
pub(super) struct FilterUse {
    /// Name of a filter plugin.
    #[schemars(required)]
    pub(super) plugin: Opt<String>,
    /// Settings as the plugin's own schema has them (`headgate plugin inspect` shows it). No place for secrets: they are
    /// shown in findings and by `headgate config`.
    pub(super) settings: Opt<Anything>,
    /// What becomes of a request for which the filter gives no answer. `closed`: 503. `open`: it passes.
    #[schemars(extend("default" = "closed"))]
    pub(super) on_failure: Opt<OnFailure>,
}

/// What becomes of a request for which a filter gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnFailure {
    /// It is refused with 503.
    Closed,
    /// It passes as if the filter were not there.
    Open,
}

/// A plugin: exactly one of `file` and `builtin`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ file: plugins/NAME.wasm }`"
)]
#[schemars(extend("oneOf" = [{ "required": ["file"] }, { "required": ["builtin"] }]))]
pub(super) struct Plugin {
    /// The component's file, relative to the config file; watched, and swapped in when it changes.
    pub(super) file: Opt<String>,
    /// A plugin that the gate ships, under a name of your own.
    #[schemars(extend("examples" = ["latency-slo"]))]
    pub(super) builtin: Opt<String>,
    /// SHA-256 of the component (64 hexadecimal digits): no other bytes are let in, wherever they come from.
    #[schemars(extend("pattern" = "^(sha256:)?[0-9A-Fa-f]{64}$"))]
    pub(super) sha256: Opt<String>,
    /// How much it may take. `large`: what the engines of Python and JavaScript need.
    #[schemars(extend("default" = "default"))]
    pub(super) limits: Opt<LimitClass>,
    /// What it gets of what it asks for: `header:NAME` or `header:*` (all but credentials, which need their name) to read
    /// request headers; `action:snapshot`, `action:alert` to propose these.
    pub(super) grants: Opt<OneOrMany<String>>,
    /// File of a candidate that runs beside it without effect, so that differences show.
    pub(super) shadow: Opt<String>,
}

/// How much a plugin may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum LimitClass {
    /// 8 MiB of component, 64 MiB of memory.
    Default,
    /// 32 MiB of component, 128 MiB of memory, more instances.
    Large,
}
