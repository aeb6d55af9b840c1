//! A proven component with settings that acts at one place, and what it is counted by.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::model::UnixMs;
use crate::plugin::host::Component;
use crate::plugin::registry::Place;
use crate::plugin::{Fault, Said};

/// A proven component with its settings at one place; immutable but for its counters.
#[derive(Debug)]
pub struct Acting {
    /// The operator's name for the plugin.
    pub plugin: String,
    pub place: Place,
    pub component: Component,
    /// JSON text as `configure` takes it.
    pub settings: std::sync::Arc<str>,
    suspended: AtomicU64,
}

impl Acting {
    /// Stands in until the registry counts.
    pub fn called(&self, _fault: Option<&Fault>, _spent: Duration) {}

    /// Stands in until the registry counts.
    pub fn fell_back(&self) {}

    /// Stands in until the registry keeps what is said.
    pub fn said(&self, _said: &Said) {}

    /// Not asked before then.
    pub fn suspend(&self, until: UnixMs) {
        self.suspended.fetch_max(until.0, Relaxed);
    }

    /// Whether it is not asked now.
    pub fn is_suspended(&self, now: UnixMs) -> bool {
        self.suspended.load(Relaxed) > now.0
    }

    /// Unique in the process.
    pub fn id(&self) -> u64 {
        0
    }
}
