//! Plugins and their uses, as a config has them.

use std::path::PathBuf;

/// What a plugin can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Judges a service's health.
    Policy,
    /// Puts alerts into words.
    Formatter,
    /// Decides on requests.
    Filter,
}

impl Role {
    /// With article, for findings.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Policy => "a health policy",
            Self::Formatter => "an alert formatter",
            Self::Filter => "a request filter",
        }
    }
}

/// Plugins that the gate ships.
pub const BUILTINS: [(&str, Role); 5] = [
    ("threshold", Role::Policy),
    ("latency-slo", Role::Policy),
    ("plain", Role::Formatter),
    ("slack-blocks", Role::Formatter),
    ("require-header", Role::Filter),
];

/// The name of the gate's own code, where a plugin could be named.
pub const NATIVE: &str = "native";

/// A plugin by the operator's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// `[a-z0-9-]{1,63}`; the name of a built-in one takes its place.
    pub name: String,
    pub source: PluginSource,
    /// SHA-256 that its bytes must have, wherever they come from.
    pub sha256: Option<[u8; 32]>,
    /// Whether it may take what Python's and JavaScript's engines need.
    pub large: bool,
    /// What it is granted of what it wants.
    pub grants: Vec<String>,
    /// A candidate that runs beside it without effect.
    pub shadow: Option<PluginSource>,
}

/// Where a plugin's bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    /// Shipped in the binary.
    Builtin(String),
    /// A file; watched.
    File(PathBuf),
}

/// A use of a plugin with settings of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginUse {
    /// Name of a plugin or built-in; `None`: native code.
    pub plugin: Option<String>,
    /// A JSON object, as the plugin's schema has it.
    pub settings: serde_json::Value,
    /// Filters only: whether a request passes when the filter gives no answer.
    pub fail_open: bool,
    /// Where it stands in the config, for example `services.signal-engine.health.policy`.
    pub at: String,
}

impl PluginUse {
    /// A use of a built-in plugin with its defaults.
    pub fn builtin(name: &str, at: String) -> Self {
        let settings = serde_json::Value::Object(serde_json::Map::new());
        Self { plugin: Some(name.to_owned()), settings, fail_open: false, at }
    }

    /// As the config names it.
    pub(super) fn name(&self) -> &str {
        self.plugin.as_deref().unwrap_or(NATIVE)
    }
}
