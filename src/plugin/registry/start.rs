//! The first set of a process, which must not delay the start, and the engine that it runs on.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use crate::plugin::host::Allocation;
use crate::plugin::registry::prove::kind_of;
use crate::plugin::registry::{Plugins, Proven, Use, Wanted};
use crate::plugin::{Digest, Kind, Refusal};

/// Code of the note about a component that is being compiled meanwhile.
pub(crate) const VERIFYING: &str = "verifying";

impl Plugins {
    /// [`Plugins::resolve`] for the first generation of a process: filters are proven, and so is whatever needs no
    /// compiler because its code is in the cache. A policy or formatter that would have to be compiled is native in this
    /// set, and [`Plugins::changed`] asks for another build at once.
    pub fn resolve_at_start(&self, wanted: &Wanted) -> Proven {
        let _one_at_a_time = self.proving.lock().unwrap_or_else(PoisonError::into_inner);
        self.starting.store(true, Relaxed);
        let proven = self.resolve_all(wanted);
        self.starting.store(false, Relaxed);
        if proven.notes.iter().any(|it| it.refusal.code == VERIFYING) {
            self.wake.notify_one();
        }
        proven
    }

    /// Why a component must wait until the gate has started.
    pub(crate) fn must_wait(&self, uses: &[&Use], digest: Digest) -> Option<Refusal> {
        let later = uses.iter().all(|it| kind_of(&it.place) != Kind::Filter);
        let waits = later && self.starting.load(Relaxed) && !self.prover.is_compiled(digest);
        waits.then(|| Refusal::new(VERIFYING, "is being compiled; native code acts meanwhile"))
    }

    /// How memory of instances is had; `None`: there is no engine, and everything is native.
    pub fn allocation(&self) -> Option<Allocation> {
        self.prover.engine().ok().map(|it| it.allocation())
    }
}
