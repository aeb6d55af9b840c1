//! Loads a component: its limits, its imports, its functions and what it says about itself.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use wasmtime::component::{Component as Compiled, ComponentExportIndex, InstancePre};

use crate::plugin::host::bindings as wit;
use crate::plugin::host::guest::{self, Code, Exports, Guest};
use crate::plugin::host::state::{Sandbox, State};
use crate::plugin::host::{Host, checked, describe, filter, formatter, policy};
use crate::plugin::limits::Limits;
use crate::plugin::schema::validate;
use crate::plugin::{Called, Check, Class, Digest, Fault, Info, Issue, Kind, Refusal};

/// The interface with the functions that every component has.
const PLUGIN: &str = "headgate:plugin/plugin@0.1.0";

/// A loaded component of one kind. Shared; calls do not disturb each other.
#[derive(Clone, Debug)]
pub struct Component {
    pub(super) inner: Arc<Loaded>,
}

pub(super) struct Loaded {
    pub(super) code: Code,
    pub(super) sandbox: Arc<Sandbox>,
    digest: Digest,
    kind: Kind,
    class: Class,
    info: Info,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?}, {:?})", self.kind.word(), self.info.name, self.digest, self.class)
    }
}

/// What a component is meant to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meant {
    pub(super) digest: Digest,
    pub(super) kind: Kind,
    pub(super) class: Class,
}

impl Component {
    /// Links compiled code and asks it to describe itself.
    pub(super) fn new(
        host: &Host,
        compiled: &Compiled,
        meant: Meant,
    ) -> Result<Self, Vec<Refusal>> {
        let limits = Limits::of(meant.kind, meant.class);
        let mut refusals = over(compiled, &limits);
        let pre = host.link(compiled, meant.kind).map_err(|it| refusals.push(it));
        let exports = exports(compiled, meant.kind).map_err(|it| refusals.push(it));
        let (Ok(pre), Ok(exports), true) = (pre, exports, refusals.is_empty()) else {
            return Err(refusals);
        };
        let code = Code { pre, exports };
        let bare = Arc::new(host.sandbox(limits, Vec::new()));
        let info = described(&code, &bare, meant.kind)?;
        let sandbox = Arc::new(host.sandbox(limits, info.metrics.clone()));
        let Meant { digest, kind, class } = meant;
        Ok(Self { inner: Arc::new(Loaded { code, sandbox, digest, kind, class, info }) })
    }

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
    pub fn check_settings(&self, settings: &Value) -> Called<Vec<Issue>> {
        let by_schema = self.info().config_schema.as_deref().map(|it| validate(it, settings));
        let text = settings.to_string();
        self.fresh(|guest| match by_schema {
            Some(Err(refusal)) => Err(Fault::Invalid { what: refusal.to_string() }),
            Some(Ok(issues)) if !issues.is_empty() => Ok(issues),
            Some(Ok(_)) | None => checked::issues(guest.configure(&text)?),
        })
    }

    /// Runs the golden cases.
    pub fn self_test(&self, settings: &str) -> Called<Vec<Check>> {
        self.fresh(|guest| {
            configure(guest, settings)?;
            let budget = guest.store.data().sandbox.limits.setup * 2;
            let (checks,): (Vec<wit::Check>,) = guest.set_up(|it| &it.self_test, (), budget)?;
            checked::checks(checks)
        })
    }

    /// Runs something in a fresh instance.
    pub(super) fn fresh<T>(
        &self,
        run: impl FnOnce(&mut Guest<'_>) -> Result<T, Fault>,
    ) -> Called<T> {
        guest::fresh(&self.inner.code, &self.inner.sandbox, run)
    }
}

/// Settings that were taken before and must be taken again.
pub(super) fn configure(guest: &mut Guest<'_>, settings: &str) -> Result<(), Fault> {
    let issues = guest.configure(settings)?;
    if issues.is_empty() { Ok(()) } else { Err(Fault::Settings(checked::issues(issues)?)) }
}

/// What a component has from its start beyond its limits: told here in numbers, where the engine would say it one by one.
fn over(compiled: &Compiled, limits: &Limits) -> Vec<Refusal> {
    let Some(needs) = compiled.resources_required() else { return Vec::new() };
    let number = |it: u32| usize::try_from(it).unwrap_or(usize::MAX);
    let size = |it: Option<u64>| usize::try_from(it.unwrap_or(0)).unwrap_or(usize::MAX);
    let counts = [
        ("memories", number(needs.num_memories), limits.memories),
        ("bytes of memory", size(needs.max_initial_memory_size), limits.memory_bytes),
        ("tables", number(needs.num_tables), limits.tables),
        ("elements of a table", size(needs.max_initial_table_size), limits.table_elements),
    ];
    let over = counts.iter().filter(|(_, needs, limit)| needs > limit);
    over.map(|(what, needs, limit)| {
        Refusal::new("limits", format!("begins with {needs} {what}, of which it may have {limit}"))
            .advice("grant the class `large`, or build it smaller")
    })
    .collect()
}

/// Where the functions of a component are.
fn exports(compiled: &Compiled, kind: Kind) -> Result<Exports, Refusal> {
    let (interface, main) = match kind {
        Kind::Policy => ("headgate:plugin/health-policy@0.1.0", "evaluate"),
        Kind::Formatter => ("headgate:plugin/alert-formatter@0.1.0", "format"),
        Kind::Filter => ("headgate:plugin/request-filter@0.1.0", "on-request"),
    };
    let find = |interface: &str, function: &str| -> Result<ComponentExportIndex, Refusal> {
        let instance = compiled.get_export_index(None, interface);
        let found = instance.and_then(|it| compiled.get_export_index(Some(&it), function));
        found.ok_or_else(|| {
            Refusal::new("wrong-world", format!("does not export {interface}#{function}"))
                .advice(format!("build it for the world {}", kind.world()))
        })
    };
    Ok(Exports {
        describe: find(PLUGIN, "describe")?,
        configure: find(PLUGIN, "configure")?,
        self_test: find(PLUGIN, "self-test")?,
        main: find(interface, main)?,
    })
}

/// Asks a component what it is, and sees to it that its functions have the types of the WIT.
fn described(code: &Code, sandbox: &Arc<Sandbox>, kind: Kind) -> Result<Info, Vec<Refusal>> {
    let budget = sandbox.limits.setup;
    let called = guest::fresh(code, sandbox, |guest| {
        let typed = match kind {
            Kind::Policy => policy::typecheck(guest, code),
            Kind::Formatter => formatter::typecheck(guest, code),
            Kind::Filter => filter::typecheck(guest, code),
        };
        let (info,): (wit::Info,) = match typed {
            Ok(()) => guest.set_up(|it| &it.describe, (), budget)?,
            Err(fault) => return Ok(Err(vec![other_types(&fault)])),
        };
        Ok(describe::info(info))
    });
    called.outcome.unwrap_or_else(|fault| Err(vec![undescribed(&fault)]))
}

fn other_types(fault: &Fault) -> Refusal {
    Refusal::new("wrong-world", fault.to_string())
        .advice("build it against the WIT of this gate (`headgate plugin new` brings it along)")
}

fn undescribed(fault: &Fault) -> Refusal {
    let refusal = Refusal::new("describe", format!("`describe` {fault}"));
    match fault {
        Fault::Memory { .. } => refusal.advice("grant the class `large`, or build it smaller"),
        Fault::Busy => refusal.advice("too many instances live at once; try again"),
        Fault::Timeout { .. } => refusal.advice("`describe` returns constants; compute nothing"),
        _ => refusal,
    }
}

/// What is needed to link.
pub(super) fn linked(
    linker: &wasmtime::component::Linker<State>,
    compiled: &Compiled,
) -> Result<InstancePre<State>, Refusal> {
    linker.instantiate_pre(compiled).map_err(|it| {
        Refusal::new("import", format!("{it:#}")).advice(
            "a plugin may import nothing but `headgate:plugin`: build it without WASI \
             (Rust: target wasm32-unknown-unknown; JavaScript, Python: --stub-wasi)",
        )
    })
}
