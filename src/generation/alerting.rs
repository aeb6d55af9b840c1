//! Where alerts go, with the secrets resolved.

use std::sync::Arc;
use std::time::Duration;

use crate::config::alerts::Alerts;
use crate::config::secret::Secret;

/// The live form of `alerts:`.
#[derive(Debug)]
pub struct Alerting {
    pub config: Alerts,
    /// In the order of `config.sinks`.
    pub sinks: Vec<LiveSink>,
    /// The key for `config.kubesnap`.
    pub kubesnap_key: Option<Arc<Secret>>,
}

/// A sink with its secrets.
#[derive(Clone, Debug)]
pub struct LiveSink {
    pub name: String,
    pub timeout: Duration,
    pub kind: LiveKind,
}

/// See [`SinkKind`](crate::config::alerts::SinkKind).
#[derive(Clone, Debug)]
pub enum LiveKind {
    EventDispatcher {
        url: String,
        channels: Vec<String>,
        channel: Option<String>,
        allowed: Vec<String>,
    },
    Webhook {
        url: String,
        secrets: Vec<Arc<Secret>>,
    },
    Slack {
        url: Arc<Secret>,
    },
}
