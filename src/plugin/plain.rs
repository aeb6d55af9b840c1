//! The native alert formatter: the Event Dispatcher's body, nothing more.

use crate::model::alert::{Event, Message};
use crate::plugin::Issue;

/// Settings of the formatter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain {}

impl Plain {
    /// Reads settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(_settings: &serde_json::Value) -> Result<Self, Vec<Issue>> {
        Ok(Self {})
    }

    /// Puts an event into words. Pure.
    pub fn format(&self, event: &Event) -> Message {
        Message {
            issues: vec![event.service.name.clone()],
            channels: Vec::new(),
            channel: None,
            dedup_key: None,
            extra: Vec::new(),
        }
    }
}
