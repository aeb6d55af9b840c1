//! From a plugin's bytes to what may act: proof, swap, probation, quarantine, roll-back.
//!
//! The registry proves and remembers; what acts is a value in a generation ([`PluginSet`]), so that a swap, a push and a
//! roll-back take the same road as a config: reload → build → publish.

pub mod acting;
pub mod backing;
pub(crate) mod builtin;
mod change;
mod conduct;
mod decide;
mod entries;
mod fallback;
mod kept;
mod probation;
mod prove;
mod publish;
mod quarantine;
mod remembered;
mod replay;
mod report;
mod resolve;
pub mod shadow;
mod shelf;
mod sources;
pub mod states;
mod start;
pub mod status;
mod voice;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;
use tokio::sync::Notify;

use crate::plugin::alert_formatter::AlertFormatter;
use crate::plugin::health_policy::HealthPolicy;
use crate::plugin::plain::Plain;
use crate::plugin::registry::backing::Backing;
use crate::plugin::registry::entries::Memory;
use crate::plugin::registry::kept::Kept;
use crate::plugin::registry::prove::Prover;
use crate::plugin::registry::remembered::Remembered;
use crate::plugin::registry::status::{LogEntry, PluginStatus, Proof};
use crate::plugin::request_filter::{OnFailure, RequestFilter};
use crate::plugin::threshold::Threshold;
use crate::plugin::workers::{THREAD_STACK, unbroken};
use crate::plugin::{Class, Digest, Fault, Kind, Refusal};
use crate::telemetry::metrics::Metrics;

/// Where a plugin's bytes come from by config.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Shipped in the binary: `threshold`, `plain`, `slack-blocks`, `latency-slo`, `require-header`.
    Builtin(String),
    File(PathBuf),
}

/// A plugin as configured, by the operator's name. The built-in ones need no entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub name: String,
    pub source: Source,
    /// Nothing but these bytes, wherever they come from.
    pub pin: Option<Digest>,
    pub class: Class,
    /// What the operator grants of what the component wants, e.g. `header:x-tenant`, `action:snapshot`.
    pub grants: Vec<String>,
    /// A candidate that runs beside the active one without effect.
    pub shadow: Option<Source>,
    /// Where it stands in the config, for findings (`plugins.NAME`).
    pub at: String,
}

/// Who uses a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Policy of this service.
    Service(String),
    /// The formatter.
    Alerts,
    /// Filter number `.1` of route number `.0`, in file order.
    Route(usize, usize),
}

/// A use of a plugin with its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    pub place: Place,
    /// `None`: native by the operator's choice (`policy: native`).
    pub plugin: Option<String>,
    pub settings: Value,
    /// Filters only.
    pub on_failure: OnFailure,
    /// Where it stands in the config, for findings.
    pub at: String,
}

/// Everything that a config asks of the registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub plugins: Vec<Spec>,
    pub uses: Vec<Use>,
}

/// What acts in one generation. Immutable.
#[derive(Debug)]
pub struct PluginSet {
    /// One for each `Place::Service`, in the order of the uses.
    pub policies: Vec<Arc<HealthPolicy>>,
    pub formatter: Arc<AlertFormatter>,
    /// By route number in file order; routes without filters have an empty list.
    pub filters: Vec<Vec<Arc<RequestFilter>>>,
    /// Changes when anything in it does; part of the generation's hash.
    pub hash: [u8; 32],
}

/// Something that the operator should know about a use or an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Config path.
    pub at: String,
    pub refusal: Refusal,
    /// Whether it makes the config unusable: nothing that was ever good can act for it.
    pub fatal: bool,
}

/// A set, and what is wrong with parts of it.
#[derive(Debug)]
pub struct Proven {
    pub set: PluginSet,
    pub notes: Vec<Note>,
}

/// How a pushed component is taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Refuse other bytes.
    pub expect: Option<Digest>,
    /// Only beside the active one.
    pub shadow: bool,
    /// Prove and tell, change nothing.
    pub dry_run: bool,
    /// Who pushes: name of a key or `admin-listener`.
    pub by: String,
}

/// Where to roll back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackTo {
    /// The one that acted before.
    Previous,
    /// What the config names; a push is forgotten.
    Config,
}

/// All plugins of the process.
#[derive(Debug)]
pub struct Plugins {
    metrics: Arc<Metrics>,
    kept: Kept,
    prover: Prover,
    backing: Arc<Backing>,
    /// Wakes [`Plugins::changed`].
    wake: Arc<Notify>,
    /// One proof of the whole set, or of one push, at a time.
    proving: Mutex<()>,
    /// Whether the first set is being resolved.
    starting: AtomicBool,
    memory: Mutex<Memory>,
    remembered: Remembered,
}

impl Plugins {
    /// With the state below this folder (`pushed/`, `cache/`, `good/`, `conduct/`); `None`: nothing is kept (`check`, `explain`).
    /// Starts the engine and the plugin threads. Never fails: without an engine everything is native, and says so.
    pub fn open(dir: Option<&Path>, metrics: Arc<Metrics>) -> Arc<Self> {
        let cache = dir.map(|it| it.join("cache"));
        let (remembered, wake) = (Remembered::open(dir), Arc::default());
        let conducts = remembered.load(&wake);
        Arc::new(Self {
            metrics,
            kept: Kept::open(dir),
            prover: Prover::start(cache.as_deref()),
            backing: Arc::new(Backing::start()),
            wake,
            proving: Mutex::default(),
            starting: AtomicBool::new(false),
            memory: Mutex::new(Memory { conducts, ..Memory::default() }),
            remembered,
        })
    }

    /// Looks at or changes the memory. Never held over a call, a file or another lock of this room but a conduct's.
    fn with<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs what calls guests on a thread with room for a guest's stack.
    fn on_a_thread<T: Send>(call: impl FnOnce() -> T + Send) -> Result<T, Fault> {
        thread::scope(|scope| {
            let builder = thread::Builder::new().name("prove".to_owned()).stack_size(THREAD_STACK);
            let thread = builder.spawn_scoped(scope, || unbroken(call));
            thread.map_err(|_| Fault::Busy)?.join().map_err(|_| Fault::Busy)?
        })
    }

    /// Threads, saved state and recorder behind the calls.
    pub fn backing(&self) -> &Arc<Backing> {
        &self.backing
    }

    /// Proves what is new and gives what acts. Blocks on files and the compiler, so off the runtimes. A bad component never
    /// makes this fail: the last good one acts, else native or the fail mode; `notes` say so.
    pub fn resolve(&self, wanted: &Wanted) -> Proven {
        let _one_at_a_time = self.proving.lock().unwrap_or_else(PoisonError::into_inner);
        self.resolve_all(wanted)
    }

    /// Told once `resolve`'s set is live: probation begins, what nobody uses any more is dropped.
    pub fn published(&self, set: &PluginSet) {
        self.publish(set);
    }

    /// Proves pushed bytes against the uses of the plugin and keeps them; the caller reloads to make them act. Blocks.
    ///
    /// # Errors
    /// Every reason; what acts goes on.
    pub fn push(
        &self,
        plugin: &str,
        wasm: &[u8],
        options: &PushOptions,
    ) -> Result<Proof, Vec<Refusal>> {
        let _one_at_a_time = self.proving.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_push(plugin, wasm, options)
    }

    /// Chooses an earlier component; the caller reloads to make it act.
    ///
    /// # Errors
    /// Why there is none.
    pub fn roll_back(&self, plugin: &str, to: RollbackTo) -> Result<Digest, Refusal> {
        self.go_back(plugin, to)
    }

    /// A shadow becomes the active one; the caller reloads to make it act.
    ///
    /// # Errors
    /// Why not.
    pub fn promote(&self, plugin: &str) -> Result<Digest, Refusal> {
        self.let_act(plugin)
    }

    /// Every plugin with its state and reasons.
    pub fn status(&self) -> Vec<PluginStatus> {
        self.report()
    }

    /// The last lines that a plugin logged, oldest first.
    pub fn log(&self, plugin: &str) -> Option<Vec<LogEntry>> {
        self.lines(plugin)
    }

    /// Waits until something wants another generation: quarantine, roll-back after probation, a retry that is due.
    pub async fn changed(&self) {
        self.wait_for_change().await;
    }
}

/// A set in which nothing but native code and fail modes acts: for tools that decide nothing by plugins, and for tests.
pub fn native(wanted: &Wanted) -> Proven {
    let none = Value::Object(serde_json::Map::new());
    let rule = |settings| Threshold::new(settings).or_else(|_| Threshold::new(&none));
    let mut set = PluginSet {
        policies: Vec::new(),
        formatter: Arc::new(AlertFormatter::native(Plain::default())),
        filters: Vec::new(),
        hash: [0; 32],
    };
    for (id, wanted) in (0_u64..).zip(&wanted.uses) {
        match &wanted.place {
            Place::Service(service) => set.policies.push(Arc::new(HealthPolicy::native(
                service,
                rule(&wanted.settings).unwrap_or_default(),
            ))),
            Place::Alerts => {
                let native = Plain::new(&wanted.settings).unwrap_or_default();
                set.formatter = Arc::new(AlertFormatter::native(native));
            }
            Place::Route(route, _) => {
                if set.filters.len() <= *route {
                    set.filters.resize_with(route + 1, Vec::new);
                }
                if let Some(filters) = set.filters.get_mut(*route) {
                    let plugin = wanted.plugin.clone().unwrap_or_default();
                    let none = Vec::new();
                    let filter = RequestFilter::new(id, plugin, None, wanted.on_failure, none);
                    filters.push(Arc::new(filter));
                }
            }
        }
    }
    Proven { set, notes: Vec::new() }
}

/// Names of the components in the binary, with their kind.
pub const BUILTINS: [(&str, Kind); 5] = [
    ("threshold", Kind::Policy),
    ("latency-slo", Kind::Policy),
    ("plain", Kind::Formatter),
    ("slack-blocks", Kind::Formatter),
    ("require-header", Kind::Filter),
];

#[cfg(test)]
mod tests;
