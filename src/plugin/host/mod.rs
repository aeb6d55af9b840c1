//! The sandbox: wasmtime's component model without WASI, and the only folder that names it.
//!
//! ```text
//! engine     one engine, its pool of memory           clock      a tick while guests run; CPU time
//! component  linked code and its description          guest      an instance, each step under a budget
//! policy, formatter   fresh instance per call         filter     one instance for many requests
//! bindings, convert   values on their way             checked, decision, describe   what came back, looked at
//! ```

mod bindings;
mod checked;
mod clock;
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
mod limiter;
mod policy;
mod state;
mod words;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::{InstancePre, Linker};

use crate::plugin::host::clock::Clock;
use crate::plugin::host::component::Meant;
use crate::plugin::host::state::{Sandbox, State};
use crate::plugin::limits::Limits;
use crate::plugin::{Class, DeclaredMetric, Digest, Kind, Refusal};

pub use component::Component;
pub use filter::{FilterDecision, FilterReply, HeaderOp, Instance};

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

    /// For the compiler and the cache: the settings that compiled code must fit.
    #[allow(dead_code, reason = "skeleton: the compiler uses it")]
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
        Ok(Artifact(wasm.to_vec()))
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
        let compiled = wasmtime::component::Component::new(&self.inner.engine, &artifact.0)
            .map_err(|it| vec![Refusal::new("compile", format!("{it:#}"))])?;
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

/// Compiled code from our own compiler, this process's child or our cache (HMAC checked): the only bytes that are ever
/// taken for code.
#[derive(Clone)]
pub struct Artifact(Vec<u8>);

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifact({} bytes)", self.0.len())
    }
}

/// What can be said of a component without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub digest: Digest,
    pub bytes: usize,
    pub kind: Kind,
    /// Version of `headgate:plugin` that it was built against.
    pub wit_version: String,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// Looks at bytes: size, foreign `.cwasm`, whole parse, imports, world. Runs nothing.
///
/// # Errors
/// Every reason at once, each with the way to build it right.
pub fn inspect(_wasm: &[u8], _class: Class) -> Result<Inspection, Vec<Refusal>> {
    Err(vec![Refusal::new("not-a-component", "not built yet")])
}

/// Compiles in a child process with limits and keeps results on disk, so that a warm start compiles nothing.
#[derive(Clone, Debug)]
pub struct Compiler {}

/// How an artifact was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Cache,
    Compiled { took: Duration },
}

impl Compiler {
    /// With a cache below this folder (made with mode 0700 when missing); `None`: without a cache.
    pub fn new(_host: Host, _cache: Option<&std::path::Path>) -> Self {
        Self {}
    }

    /// Blocks for as long as compiling takes (bounded).
    ///
    /// # Errors
    /// What the compiler does not accept, or the child's limit that was hit.
    pub fn artifact(&self, _wasm: &[u8], _digest: Digest) -> Result<(Artifact, From), Refusal> {
        Err(Refusal::new("compile", "not built yet"))
    }
}

#[cfg(test)]
mod tests;
