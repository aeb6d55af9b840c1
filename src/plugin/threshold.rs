//! The native health policy: the newest probe against a handful of thresholds.

use crate::model::health::{Verdict, Window};
use crate::plugin::Issue;

/// Settings of the rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threshold {}

impl Threshold {
    /// Reads settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(_settings: &serde_json::Value) -> Result<Self, Vec<Issue>> {
        Ok(Self {})
    }

    /// Judges a window. Pure.
    pub fn judge(&self, _window: &Window) -> Verdict {
        Verdict {
            status: crate::model::health::Health::Unknown,
            code: "no-samples".to_owned(),
            detail: "no probe has been made yet".to_owned(),
            actions: Vec::new(),
            next_check_ms: None,
            state: None,
            extra: Vec::new(),
        }
    }
}
