//! A proven component with settings that acts at one place, and what it is counted by.

use crate::plugin::host::Component;
use crate::plugin::registry::Place;

/// A proven component with its settings at one place; immutable but for its counters.
#[derive(Debug)]
pub struct Acting {
    /// The operator's name for the plugin.
    pub plugin: String,
    pub place: Place,
    pub component: Component,
    /// JSON text as `configure` takes it.
    pub settings: std::sync::Arc<str>,
}
