//! The sandbox: wasmtime's component model without WASI, and the only folder that names it.

pub mod cache;
pub mod compile;
pub mod inspect;

use std::sync::Arc;

use crate::model::alert::{Event, Message};
use crate::model::health::{Saved, Verdict, Window};
use crate::plugin::facts::Facts;
pub use crate::plugin::host::cache::Artifact;
pub use crate::plugin::host::compile::{Compiler, From};
pub use crate::plugin::host::inspect::{Inspection, expect_kind, inspect};
use crate::plugin::{Called, Check, Class, Digest, Fault, Info, Issue, Kind, Refusal, Said};

/// The engine, its clock and its linkers; one per process, cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    engine: wasmtime::Engine,
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
    pub fn start(_purpose: Purpose) -> Result<Self, HostError> {
        let engine = wasmtime::Engine::new(&wasmtime::Config::new());
        Ok(Self { engine: engine.map_err(|it| HostError(it.to_string()))? })
    }

    pub(super) fn engine(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// How memory is had.
    pub fn allocation(&self) -> Allocation {
        Allocation::OnDemand { because: String::new() }
    }

    /// Compiles in this process; for the compiling child and for tools. The gate uses [`Compiler`].
    ///
    /// # Errors
    /// What the compiler does not accept.
    pub fn compile(&self, wasm: &[u8]) -> Result<Artifact, Refusal> {
        compile::compile_here(&self.engine, wasm)
    }

    /// Links an artifact and asks the component to describe itself.
    ///
    /// # Errors
    /// Everything that is wrong with its imports, exports and description.
    pub fn load(
        &self,
        _artifact: &Artifact,
        _seen: &Inspection,
        _class: Class,
    ) -> Result<Component, Vec<Refusal>> {
        Err(vec![Refusal::new("describe", "not built yet")])
    }
}

/// A loaded component of one kind. Shared; calls do not disturb each other.
#[derive(Clone, Debug)]
pub struct Component {
    inner: Arc<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    digest: Digest,
    kind: Kind,
    class: Class,
    info: Info,
}

impl Component {
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    pub fn class(&self) -> Class {
        self.inner.class
    }

    /// Its description, as it gave it when it was loaded.
    pub fn info(&self) -> &Info {
        &self.inner.info
    }

    /// Validates settings against the component's JSON Schema (host side), then by `configure`.
    ///
    /// # Errors
    /// The fault; issues come as `Ok`, empty when the settings are good.
    pub fn check_settings(&self, _settings: &serde_json::Value) -> Called<Vec<Issue>> {
        none()
    }

    /// Runs the golden cases.
    pub fn self_test(&self, _settings: &str) -> Called<Vec<Check>> {
        none()
    }

    /// Judges a window in a fresh instance. Blocks; call it off the data path. The verdict has passed the host's checks.
    pub fn evaluate(
        &self,
        _settings: &str,
        _window: &Window,
        _prior: Option<&Saved>,
    ) -> Called<Verdict> {
        none()
    }

    /// Puts an event into words in a fresh instance. Blocks; call it off the data path.
    pub fn format(&self, _settings: &str, _event: &Event) -> Called<Option<Message>> {
        none()
    }

    /// An instance of a filter that can be called many times from one thread at a time; makes and configures it now, so
    /// call it off the data path.
    ///
    /// # Errors
    /// The fault.
    pub fn instance(&self, _settings: &str) -> Result<Instance, Fault> {
        Err(Fault::Busy)
    }
}

fn none<T>() -> Called<T> {
    Called {
        outcome: Err(Fault::Busy),
        spent: crate::plugin::Spent::default(),
        said: Said::default(),
    }
}

/// A configured filter instance; unusable after a fault.
#[derive(Debug)]
pub struct Instance {}

/// What a filter decides, after the host's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterDecision {
    Next,
    Edit(Vec<HeaderOp>),
    Reply(FilterReply),
}

/// A change to the request's headers; names and values are valid, not hop-by-hop and not the gate's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderOp {
    Set(String, Vec<u8>),
    Append(String, Vec<u8>),
    Remove(String),
}

/// An answer in the place of the upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterReply {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Instance {
    /// Decides on one request. `facts` is taken for the time of the call and given back with its room; what the guest said
    /// is added to `said` (cleared by the caller). Runs inline on a data thread; no allocation on the way of `Next`.
    ///
    /// # Errors
    /// The fault; the instance must then be dropped.
    pub fn on_request(
        &mut self,
        _facts: &mut Facts,
        _said: &mut Said,
    ) -> Result<FilterDecision, Fault> {
        Err(Fault::Busy)
    }

    /// Sum of its linear memories now.
    pub fn memory_bytes(&self) -> usize {
        0
    }
}
