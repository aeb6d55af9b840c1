//! Calls a request filter: one instance for many requests, which it sees through its imports.

use std::fmt;
use std::mem::swap;

use wasmtime::Store;
use wasmtime::component::TypedFunc;

use crate::plugin::facts::Facts;
use crate::plugin::host::bindings as wit;
use crate::plugin::host::component::{Component, configure};
use crate::plugin::host::decision::decision;
use crate::plugin::host::guest::{self, Code, Guest};
use crate::plugin::host::state::State;
use crate::plugin::{Fault, Said};

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

/// A configured filter instance; unusable after a fault.
pub struct Instance {
    store: Store<State>,
    on_request: TypedFunc<(), (wit::Decision,)>,
    /// Keeps the code alive, and with it the engine's clock.
    _component: Component,
    faulted: bool,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({} bytes)", self.memory_bytes())
    }
}

impl Component {
    /// An instance of a filter that can be called many times from one thread at a time; makes and configures it now, so
    /// call it off the data path.
    ///
    /// # Errors
    /// The fault.
    pub fn instance(&self, settings: &str) -> Result<Instance, Fault> {
        let code = &self.inner.code;
        let store = State::store(code.pre.engine(), &self.inner.sandbox);
        let mut guest = Guest::new(code, store).map_err(|(_, fault)| fault)?;
        configure(&mut guest, settings)?;
        let on_request = guest.function(&code.exports.main)?;
        let mut store = guest.store;
        store.data_mut().said = Said::default();
        Ok(Instance { store, on_request, _component: self.clone(), faulted: false })
    }
}

impl Instance {
    /// Decides on one request. `facts` is taken for the time of the call and given back with its room; what the guest said
    /// is added to `said` (cleared by the caller). Runs inline on a data thread; no allocation on the way of `Next`.
    ///
    /// # Errors
    /// The fault; the instance must then be dropped.
    pub fn on_request(
        &mut self,
        facts: &mut Facts,
        said: &mut Said,
    ) -> Result<FilterDecision, Fault> {
        if self.faulted {
            return Err(Fault::Trap { message: "was called again after a fault".to_owned() });
        }
        self.lend(facts, said, true);
        let answer = guest::call(&mut self.store, &self.on_request, ());
        self.lend(facts, said, false);
        self.faulted = answer.is_err();
        decision(answer?.0)
    }

    /// Sum of its linear memories now.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes()
    }

    /// What it has cost since it was made; only with an engine that counts.
    pub fn fuel(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| u64::MAX.saturating_sub(left))
    }

    fn lend(&mut self, facts: &mut Facts, said: &mut Said, asked: bool) {
        let state = self.store.data_mut();
        state.asked = asked;
        swap(&mut state.facts, facts);
        swap(&mut state.said, said);
    }
}

/// Whether the function has the type of the WIT.
pub(super) fn typecheck(guest: &mut Guest<'_>, code: &Code) -> Result<(), Fault> {
    guest.function::<(), (wit::Decision,)>(&code.exports.main).map(drop)
}
