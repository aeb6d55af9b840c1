//! Runs a route's filters on a data thread: reused instances per core, a budget per second, a fail mode.

use std::sync::Arc;

use crate::plugin::Fault;
use crate::plugin::facts::Facts;
use crate::plugin::host::{FilterDecision, HeaderOp};
use crate::plugin::registry::acting::Acting;

/// What becomes of a request whose filter gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused with 503.
    Closed,
    /// It goes on as if the filter were not there.
    Open,
}

/// One filter of one route, live in one generation.
#[derive(Debug)]
pub struct RequestFilter {
    /// Unique in the process: a core keeps its instances under it, over generations as long as nothing of it changes.
    pub id: u64,
    /// The operator's name for the plugin.
    pub plugin: String,
    /// The component with its settings; `None`: it could not be proven, so the fail mode applies to every request.
    pub component: Option<Arc<Acting>>,
    pub on_failure: OnFailure,
    /// Headers that it may read: the component's wants, as far as they were granted; lower case. `*` stands for any other
    /// than credentials.
    pub headers: Vec<String>,
}

/// What the filters of a route decide together.
#[derive(Debug)]
pub enum Filtered {
    /// Goes on, with these edits (often none).
    Pass(Vec<HeaderOp>),
    /// A filter's own answer.
    Reply { filter: Arc<RequestFilter>, reply: crate::plugin::host::FilterReply },
    /// A filter failed and its mode is closed.
    Refused { filter: Arc<RequestFilter>, fault: Option<Fault> },
}

/// The instances of one core.
#[derive(Debug, Default)]
pub struct CoreFilters {}

impl CoreFilters {
    /// Asks the filters in order. Synchronous; an edit of one is not seen by the next.
    pub fn run(&mut self, _filters: &[Arc<RequestFilter>], _facts: &mut Facts) -> Filtered {
        Filtered::Pass(Vec::new())
    }
}

/// Keeps the type in use until the filter runs.
#[allow(dead_code, reason = "skeleton")]
fn decision(_: FilterDecision) {}
