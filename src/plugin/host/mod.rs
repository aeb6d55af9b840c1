//! The sandbox: wasmtime's component model without WASI, and the only folder that names it.
//!
//! ```text
//! engine     one engine, its pool of memory           clock      a tick while guests run; CPU time
//! component  linked code and its description          guest      an instance, each step under a budget
//! policy, formatter   fresh instance per call         filter     one instance for many requests
//! bindings, convert   values on their way             checked, decision, describe   what came back, looked at
//! ```

mod bindings;
pub mod cache;
mod checked;
mod clock;
pub mod compile;
mod component;
mod convert;
mod decision;
mod describe;
mod engine;
mod fault;
mod filter;
mod formatter;
mod guest;
mod imports;
pub mod inspect;
mod limiter;
mod policy;
mod state;
mod words;

use std::fmt;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{InstancePre, Linker};

use crate::plugin::host::clock::Clock;
use crate::plugin::host::component::Meant;
use crate::plugin::host::state::{Sandbox, State};
use crate::plugin::limits::Limits;
use crate::plugin::{Class, DeclaredMetric, Kind, Refusal};

pub use cache::Artifact;
pub use compile::{COMMAND, Compiler, From, Way, compile_piped};
pub use component::Component;
pub use filter::{FilterDecision, FilterReply, HeaderOp, Instance};
pub use inspect::{Inspection, expect_kind, inspect};

/// The engine, its clock and its linkers; one per process, cheap to clone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    clock: Arc<Clock>,
    allocation: Allocation,
    purpose: Purpose,
    bare: Linker<State>,
    with_request: Linker<State>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({:?}, {:?})", self.inner.purpose, self.inner.allocation)
    }
}

/// What the engine is set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A gate.
    Serve,
    /// `plugin bench`: counts fuel, which is deterministic and slower.
    Measure,
}

/// How memory of instances is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Slots made beforehand.
    Pooled { pagemap_scan: bool },
    /// By mmap for every instance; says why there is no pool.
    OnDemand { because: String },
}

/// The engine cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start: {0}")]
pub struct HostError(pub String);

impl Host {
    /// Probes the address space, makes the engine and starts its clock (parked until something runs).
    ///
    /// # Errors
    /// When this platform has no engine.
    pub fn start(purpose: Purpose) -> Result<Self, HostError> {
        let failed = |it: wasmtime::Error| HostError(format!("{it:#}"));
        let (engine, allocation) = engine::start(purpose)?;
        let clock = Clock::start(&engine).map_err(|it| HostError(format!("no clock: {it}")))?;
        let inner = Inner {
            bare: imports::linker(&engine, Kind::Policy).map_err(failed)?,
            with_request: imports::linker(&engine, Kind::Filter).map_err(failed)?,
            engine,
            clock: Arc::new(clock),
            allocation,
            purpose,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Compiled code must fit its settings.
    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// How memory is had.
    pub fn allocation(&self) -> Allocation {
        self.inner.allocation.clone()
    }

    /// Compiles in this process; for the compiling child and for tools. The gate uses [`Compiler`].
    ///
    /// # Errors
    /// What the compiler does not accept.
    pub fn compile(&self, wasm: &[u8]) -> Result<Artifact, Refusal> {
        compile::compile_here(&self.inner.engine, wasm)
    }

    /// Links an artifact and asks the component to describe itself.
    ///
    /// # Errors
    /// Everything that is wrong with its imports, exports and description.
    pub fn load(
        &self,
        artifact: &Artifact,
        seen: &Inspection,
        class: Class,
    ) -> Result<Component, Vec<Refusal>> {
        let compiled = artifact.component(&self.inner.engine).map_err(|it| vec![it])?;
        Component::new(self, &compiled, Meant { digest: seen.digest, kind: seen.kind, class })
    }

    fn link(
        &self,
        compiled: &wasmtime::component::Component,
        kind: Kind,
    ) -> Result<InstancePre<State>, Refusal> {
        let linker = match kind {
            Kind::Policy | Kind::Formatter => &self.inner.bare,
            Kind::Filter => &self.inner.with_request,
        };
        component::linked(linker, compiled)
    }

    /// What holds for the instances of a component.
    fn sandbox(&self, limits: Limits, metrics: Vec<DeclaredMetric>) -> Sandbox {
        let counts_fuel = self.inner.purpose == Purpose::Measure;
        Sandbox { clock: Arc::clone(&self.inner.clock), limits, metrics, counts_fuel }
    }
}

#[cfg(test)]
mod tests;
