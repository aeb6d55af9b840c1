//! What stands behind the calls of a process: threads, saved state and the recorder.

use crate::plugin::recorder::Recorder;
use crate::plugin::registry::states::States;
use crate::plugin::workers::Workers;

/// One per registry; generations share it.
#[derive(Debug)]
pub struct Backing {
    pub workers: Workers,
    pub states: States,
    pub recorder: Recorder,
}

impl Backing {
    pub(crate) fn start() -> Self {
        Self { workers: Workers::start(), states: States::default(), recorder: Recorder::default() }
    }
}
