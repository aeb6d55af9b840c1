//! The first set of a process, which must not delay the start, and the engine that it runs on.

use crate::plugin::host::Allocation;
use crate::plugin::registry::{Plugins, Proven, Wanted};

impl Plugins {
    /// [`Plugins::resolve`] for the first generation of a process: filters are proven, and so is whatever needs no
    /// compiler because its code is in the cache. A policy or formatter that would have to be compiled is native in this
    /// set, and [`Plugins::changed`] asks for another build at once.
    pub fn resolve_at_start(&self, wanted: &Wanted) -> Proven {
        self.resolve(wanted)
    }

    /// How memory of instances is had; `None`: there is no engine, and everything is native.
    pub fn allocation(&self) -> Option<Allocation> {
        None
    }
}
