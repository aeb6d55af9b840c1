//! One instance in a store of its own, each step of it under a budget.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc,
};

use crate::plugin::host::bindings as wit;
use crate::plugin::host::fault::{self, At};
use crate::plugin::host::state::{Sandbox, State};
use crate::plugin::{Called, Fault, Said, Spent};

/// What may be handed over by a description, a list of issues or a self-test, whatever the kind.
const SETUP_DATA_BYTES: usize = 256 * 1024;

/// Linked code and where its functions are.
pub(super) struct Code {
    pub(super) pre: InstancePre<State>,
    pub(super) exports: Exports,
}

/// The functions of a component.
#[derive(Debug)]
pub(super) struct Exports {
    pub(super) describe: ComponentExportIndex,
    pub(super) configure: ComponentExportIndex,
    pub(super) self_test: ComponentExportIndex,
    /// The world's own.
    pub(super) main: ComponentExportIndex,
}

/// A guest; good for nothing after a fault.
pub(super) struct Guest<'c> {
    pub(super) store: Store<State>,
    pub(super) instance: Instance,
    code: &'c Code,
}

/// What a call takes and what it was taken for.
type Configured = (Result<(), Vec<wit::Issue>>,);

impl<'c> Guest<'c> {
    /// Makes an instance; runs its start functions.
    pub(super) fn new(
        code: &'c Code,
        mut store: Store<State>,
    ) -> Result<Self, (Store<State>, Fault)> {
        let setup = store.data().sandbox.limits.setup;
        begin(&mut store, setup, SETUP_DATA_BYTES);
        match guarded(&mut store, At::Start, |store| code.pre.instantiate(store)) {
            Ok(instance) => Ok(Self { store, instance, code }),
            Err(fault) => Err((store, fault)),
        }
    }

    /// Finds a function and sees to it that it has this type.
    pub(super) fn function<P, R>(
        &mut self,
        export: &ComponentExportIndex,
    ) -> Result<TypedFunc<P, R>, Fault>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let found = self.instance.get_typed_func::<P, R>(&mut self.store, export);
        found.map_err(|it| Fault::Invalid { what: format!("another type than in the WIT: {it:#}") })
    }

    /// Calls a function of the setting up.
    pub(super) fn set_up<P, R>(
        &mut self,
        export: impl FnOnce(&Exports) -> &ComponentExportIndex,
        params: P,
        budget: Duration,
    ) -> Result<R, Fault>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + 'static,
    {
        let function = self.function::<P, R>(export(&self.code.exports))?;
        begin(&mut self.store, budget, SETUP_DATA_BYTES);
        guarded(&mut self.store, At::Call, |store| function.call(store, params))
    }

    /// Hands the settings over; what is wrong with them comes back as `Ok`.
    pub(super) fn configure(&mut self, settings: &str) -> Result<Vec<wit::Issue>, Fault> {
        let budget = self.store.data().sandbox.limits.setup;
        let (taken,): Configured = self.set_up(|it| &it.configure, (settings,), budget)?;
        Ok(match taken {
            Ok(()) => Vec::new(),
            Err(issues) if issues.is_empty() => vec![wit::Issue {
                path: String::new(),
                message: "was refused without a reason".to_owned(),
            }],
            Err(issues) => issues,
        })
    }

    /// Calls the world's own function.
    pub(super) fn main<P, R>(&mut self, params: P) -> Result<R, Fault>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + 'static,
    {
        let function = self.function::<P, R>(&self.code.exports.main)?;
        call(&mut self.store, &function, params)
    }
}

/// Calls the world's own function within the kind's budget.
pub(super) fn call<P, R>(
    store: &mut Store<State>,
    function: &TypedFunc<P, R>,
    params: P,
) -> Result<R, Fault>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift + 'static,
{
    let limits = &store.data().sandbox.limits;
    let (budget, data) = (limits.call, limits.data_bytes);
    begin(store, budget, data);
    guarded(store, At::Call, |store| function.call(store, params))
}

/// Gives the next step its budget. The clock is told last: see [`super::clock::Clock::runs`].
fn begin(store: &mut Store<State>, budget: Duration, data_bytes: usize) {
    store.set_hostcall_fuel(data_bytes);
    store.set_epoch_deadline(1);
    let state = store.data_mut();
    state.meter.begin(budget);
    state.begin();
    state.sandbox.clock.runs();
}

/// Runs a step; an error becomes its fault, and so does a panic of the engine or of an import, which would take the thread
/// and its connections along.
fn guarded<R>(
    store: &mut Store<State>,
    at: At,
    step: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> Result<R, Fault> {
    match catch_unwind(AssertUnwindSafe(|| step(store))) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(fault::of(&error, at, store.data())),
        Err(_) => Err(Fault::Trap { message: "the host's engine panicked".to_owned() }),
    }
}

/// Runs something in a fresh instance and tells what it took.
pub(super) fn fresh<T>(
    code: &Code,
    sandbox: &Arc<Sandbox>,
    run: impl FnOnce(&mut Guest<'_>) -> Result<T, Fault>,
) -> Called<T> {
    let from = Instant::now();
    let store = State::store(code.pre.engine(), sandbox);
    let (outcome, mut store) = match Guest::new(code, store) {
        Ok(mut guest) => (run(&mut guest), guest.store),
        Err((store, fault)) => (Err(fault), store),
    };
    let fuel = store.get_fuel().ok().map(|left| u64::MAX.saturating_sub(left));
    let memory_bytes = store.data().limiter.memory_bytes();
    let said: Said = std::mem::take(&mut store.data_mut().said);
    drop(store);
    Called { outcome, spent: Spent { time: from.elapsed(), memory_bytes, fuel }, said }
}
