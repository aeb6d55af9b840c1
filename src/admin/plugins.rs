//! `headgate/plugins…`: what decides here, and how it is replaced, rolled back or promoted.
//!
//! The registry proves and remembers; what acts changes by a reload, as everything else does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::admin::inspect::{not_reloaded, unavailable};
use crate::admin::problem::{Problem, shown};
use crate::admin::query::{Query, nearest};
use crate::admin::toggle::unknown_service;
use crate::admin::{ANONYMOUS, Admin, Call};
use crate::maintenance::audit::{Action, Entry};
use crate::model::UnixMs;
use crate::model::health::Window;
use crate::plugin::host::Allocation;
use crate::plugin::limits::Limits;
use crate::plugin::recorder::Input;
use crate::plugin::registry::status::{LogEntry, PluginStatus, Proof, State};
use crate::plugin::registry::{BUILTINS, Place, Plugins, PushOptions, RollbackTo};
use crate::plugin::{Class, Digest, Kind, Refusal};
use crate::wire::answer::Answer;

/// The only endpoint that takes a large body.
pub const PUSH: &str = "headgate/plugins/push";
/// Bytes of a component that is pushed.
pub const UPLOAD_BYTES_MAX: usize = Limits::of(Kind::Policy, Class::Large).component_bytes;
/// For the whole upload.
pub const UPLOAD_PATIENCE: Duration = Duration::from_secs(120);
/// Uploads at one time, from the body's first byte to the end of the proof.
pub(super) const UPLOADS_MAX: usize = 2;

/// Windows that one answer has at most; no more are kept.
const WINDOWS_MAX: usize = 256;

/// How long a look at the registry may take; a proof under way holds nothing that is looked at.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// The registry as the handlers see it. All calls block.
pub trait Registry: fmt::Debug + Send + Sync {
    /// See [`Plugins::allocation`].
    fn allocation(&self) -> Option<Allocation>;
    /// See [`Plugins::status`].
    fn status(&self) -> Vec<PluginStatus>;
    /// See [`Plugins::log`].
    fn log(&self, plugin: &str) -> Option<Vec<LogEntry>>;
    /// The windows of a service that were judged lately, oldest first.
    fn windows(&self, service: &str) -> Vec<Arc<Window>>;
    /// See [`Plugins::push`].
    ///
    /// # Errors
    /// Every reason.
    fn push(&self, plugin: &str, wasm: &[u8], options: &PushOptions)
    -> Result<Proof, Vec<Refusal>>;
    /// See [`Plugins::roll_back`].
    ///
    /// # Errors
    /// Why not.
    fn roll_back(&self, plugin: &str, to: RollbackTo) -> Result<Digest, Refusal>;
    /// See [`Plugins::promote`].
    ///
    /// # Errors
    /// Why not.
    fn promote(&self, plugin: &str) -> Result<Digest, Refusal>;
}

impl Registry for Plugins {
    fn allocation(&self) -> Option<Allocation> {
        Self::allocation(self)
    }

    fn status(&self) -> Vec<PluginStatus> {
        Self::status(self)
    }

    fn log(&self, plugin: &str) -> Option<Vec<LogEntry>> {
        Self::log(self, plugin)
    }

    fn windows(&self, service: &str) -> Vec<Arc<Window>> {
        let inputs = self.backing().recorder.inputs(&Place::Service(service.to_owned()));
        inputs.into_iter().filter_map(Input::into_window).collect()
    }

    fn push(
        &self,
        plugin: &str,
        wasm: &[u8],
        options: &PushOptions,
    ) -> Result<Proof, Vec<Refusal>> {
        Self::push(self, plugin, wasm, options)
    }

    fn roll_back(&self, plugin: &str, to: RollbackTo) -> Result<Digest, Refusal> {
        Self::roll_back(self, plugin, to)
    }

    fn promote(&self, plugin: &str) -> Result<Digest, Refusal> {
        Self::promote(self, plugin)
    }
}

/// What the body of a call may be.
#[derive(Debug)]
pub enum BodyRoom {
    /// As small as every other.
    Small,
    /// [`UPLOAD_BYTES_MAX`] within [`UPLOAD_PATIENCE`], while this is held.
    Large(OwnedSemaphorePermit),
    /// Too many large ones are in memory.
    Taken(Box<Answer>),
}

impl Admin {
    /// Room for the body of an authorised call, asked for before a byte of it is read.
    pub fn body_room(&self, call: &Call) -> BodyRoom {
        if call.endpoint != PUSH || call.actor == ANONYMOUS || call.suspicious_fetch {
            return BodyRoom::Small;
        }
        match Arc::clone(&self.uploads).try_acquire_owned() {
            Ok(place) => BodyRoom::Large(place),
            Err(_) => {
                let detail = format!("{UPLOADS_MAX} components are being taken in; try again");
                let problem = Problem::new(503, "too-many-uploads", "Too many uploads", detail);
                let answer = problem.retry_after(5).answer(call);
                BodyRoom::Taken(Box::new(answer.with("Cache-Control", "no-store")))
            }
        }
    }

    pub(super) async fn plugins(&self, call: &Call) -> Result<Value, Problem> {
        Query::parse(call.query.as_deref())?.only(&[])?;
        let look = self.look(|it| (it.allocation(), it.status())).await;
        let (allocation, status) = look.ok_or_else(busy)?;
        let generation = self.parts.live.load().generation.number;
        Ok(json!({
            "generation": generation,
            "engine": engine(allocation.as_ref()),
            "plugins": status,
        }))
    }

    pub(super) async fn plugin_log(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["plugin"])?;
        let plugin = self.named(&query)?;
        let asked = plugin.clone();
        let lines = self.look(move |it| it.log(&asked)).await.ok_or_else(busy)?;
        Ok(json!({ "plugin": plugin, "lines": lines.unwrap_or_default() }))
    }

    /// The newest windows of a service, as its policy was given them: what `headgate plugin record` makes cases of.
    pub(super) async fn plugin_windows(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["service", "limit"])?;
        let limit = query.limit(1, WINDOWS_MAX)?;
        let generation = Arc::clone(&self.parts.live.load().generation);
        let name = query.one("service")?.unwrap_or_default().to_owned();
        let Some(service) = generation.config.services.iter().find(|it| it.name == name) else {
            return Err(unknown_service(&name, &generation.config));
        };
        let asked = name.clone();
        let windows = self.look(move |it| it.windows(&asked)).await.ok_or_else(busy)?;
        let newest = windows.get(windows.len().saturating_sub(limit)..).unwrap_or_default();
        let watching = &service.watching;
        let stale = generation.config.alerts.stale_maintenance.as_millis();
        Ok(json!({
            "service": name,
            "policy": service.policy.plugin,
            "settings": service.policy.settings,
            // As the tracker has them, so that a replay can go by them.
            "rules": {
                "rise": watching.rise,
                "fall": watching.fall,
                "flapWindow": watching.flap.window,
                "flapHigh": watching.flap.high,
                "flapLow": watching.flap.low,
                "severity": watching.severity,
                "staleMaintenanceMs": u64::try_from(stale).unwrap_or(u64::MAX),
            },
            "windows": newest.iter().map(|it| &**it).collect::<Vec<_>>(),
        }))
    }

    /// Plugins by trouble; empty when there is none. `unknown`: the registry did not answer.
    pub(super) async fn plugin_troubles(&self) -> Map<String, Value> {
        let Some(status) = self.look(|it| it.status()).await else {
            return Map::from_iter([("unknown".to_owned(), Value::Bool(true))]);
        };
        let of = |state: State| -> Vec<&str> {
            status.iter().filter(|it| it.state == state).map(|it| it.name.as_str()).collect()
        };
        let all = [("rejected", of(State::Rejected)), ("quarantined", of(State::Quarantined))];
        let some = all.into_iter().filter(|it| !it.1.is_empty());
        some.map(|(word, names)| (word.to_owned(), json!(names))).collect()
    }

    pub(super) async fn push(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["plugin", "sha256", "shadow", "dryRun"])?;
        let plugin = self.named(&query)?;
        let options = PushOptions {
            expect: query.one("sha256")?.map(digest).transpose()?,
            shadow: query.flag("shadow")?.unwrap_or(false),
            dry_run: query.flag("dryRun")?.unwrap_or(false),
            by: call.actor.clone(),
        };
        if call.body.is_empty() {
            let detail = "the component is the body: --data-binary @NAME.wasm";
            return Err(Problem::new(400, "no-component", "No component", detail));
        }
        let (dry_run, shadow) = (options.dry_run, options.shadow);
        // A shadow has no effect, so it may be another one than the config pins; its promotion is refused.
        if !shadow {
            self.check_pin(&plugin, &call.body)?;
        }
        let registry = Arc::clone(&self.parts.plugins);
        // The call keeps its copy until the answer; both are counted by the place of the upload.
        let (name, wasm) = (plugin.clone(), call.body.clone());
        let pushed = blocking(move || registry.push(&name, &wasm, &options)).await?;
        let proof = pushed.map_err(|it| refused(&it))?;
        if dry_run {
            let generation = self.parts.live.load().generation.number;
            return Ok(json!({ "generation": generation, "changed": false, "proof": proof }));
        }
        let mut body = self.acted(call, Action::PluginPush, &plugin, proof.digest).await?;
        body.insert("proof".to_owned(), json!(proof));
        if shadow {
            body.insert("shadow".to_owned(), json!(true));
        }
        Ok(Value::Object(body))
    }

    pub(super) async fn roll_back(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["plugin", "to"])?;
        let plugin = self.named(&query)?;
        let to = match query.one("to")? {
            None | Some("previous") => RollbackTo::Previous,
            Some("config") => RollbackTo::Config,
            Some(_) => return Err(Problem::bad_value("to", "`previous` or `config`")),
        };
        let (registry, name) = (Arc::clone(&self.parts.plugins), plugin.clone());
        let digest =
            blocking(move || registry.roll_back(&name, to)).await?.map_err(|it| not_now(&it))?;
        self.acted(call, Action::PluginRollback, &plugin, digest).await.map(Value::Object)
    }

    pub(super) async fn promote(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["plugin"])?;
        let plugin = self.named(&query)?;
        let (registry, name) = (Arc::clone(&self.parts.plugins), plugin.clone());
        let digest = blocking(move || registry.promote(&name)).await?.map_err(|it| not_now(&it))?;
        self.acted(call, Action::PluginPromote, &plugin, digest).await.map(Value::Object)
    }

    /// Reloads, so that what the registry has taken in acts, and writes the audit.
    async fn acted(
        &self,
        call: &Call,
        action: Action,
        plugin: &str,
        digest: Digest,
    ) -> Result<Map<String, Value>, Problem> {
        let outcome = match &self.parts.reload {
            Some(reload) => reload.reload().await.map_err(not_reloaded),
            None => Err(unavailable("this gate runs without a config that could be read again")),
        };
        let entry = Entry {
            request_id: Some(call.request_id.clone()),
            plugin: Some(format!("{plugin} {digest:?}")),
            changed: outcome.as_ref().is_ok_and(|it| it.changed),
            ..Entry::new(action, &call.actor, UnixMs::now())
        };
        let warning = self.parts.switch.record(entry).await;
        let done = outcome.map_err(|it| it.with("kept", json!(digest)))?;
        let body = [
            ("plugin", json!(plugin)),
            ("digest", json!(digest)),
            ("generation", json!(done.number)),
            ("hash", json!(done.hash)),
            ("changed", json!(done.changed)),
            ("warnings", json!(done.warnings)),
            ("audit_warning", json!(warning)),
        ];
        Ok(body.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The plugin that a call is about.
    fn named(&self, query: &Query) -> Result<String, Problem> {
        let Some(name) = query.one("plugin")? else {
            let detail = "name the plugin: ?plugin=NAME";
            return Err(Problem::new(400, "bad-query", "Query cannot be used", detail));
        };
        let gate = self.parts.live.load();
        let own = gate.generation.config.plugins.iter().map(|it| it.name.as_str());
        let known: Vec<&str> = own.chain(BUILTINS.map(|it| it.0)).collect();
        if known.contains(&name) {
            return Ok(name.to_owned());
        }
        let detail = match nearest(name, &known) {
            Some(it) => format!("there is no plugin {}; did you mean {it}?", shown(name)),
            None => format!("there is no plugin {}", shown(name)),
        };
        let problem = Problem::new(404, "unknown-plugin", "No such plugin", detail);
        Err(problem.with("plugins", json!(known)))
    }

    /// What the config pins cannot be pushed over: a reload would refuse it.
    fn check_pin(&self, plugin: &str, wasm: &[u8]) -> Result<(), Problem> {
        let gate = self.parts.live.load();
        let entry = gate.generation.config.plugins.iter().find(|it| it.name == plugin);
        let Some(pin) = entry.and_then(|it| it.sha256).map(Digest) else { return Ok(()) };
        let sent = Digest::of(wasm);
        if sent == pin {
            return Ok(());
        }
        let detail = format!("the config pins {plugin} to sha256 {pin}; these bytes have {sent}");
        Err(Problem::new(409, "plugin-pinned", "Plugin is pinned", detail))
    }

    /// Looks at the registry; `None`: it did not answer in time.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn Registry) -> T + Send + 'static,
    ) -> Option<T> {
        let registry = Arc::clone(&self.parts.plugins);
        let seen = tokio::time::timeout(LOOK_PATIENCE, blocking(move || look(&*registry)));
        seen.await.ok()?.ok()
    }
}

/// Runs what blocks off the runtime's thread.
pub(super) async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(run).await.map_err(|error| {
        tracing::error!(%error, "an admin call broke off");
        Problem::new(500, "internal", "Internal error", "the call broke off; see the log")
    })
}

fn busy() -> Problem {
    let detail = "the registry of plugins does not answer";
    Problem::new(503, "plugins-busy", "Plugins are busy", detail).retry_after(1)
}

/// Every reason at once; the first is the detail.
fn refused(reasons: &[Refusal]) -> Problem {
    let first = reasons.first().map_or_else(String::new, ToString::to_string);
    let unknown = reasons.iter().any(|it| it.code == "unknown-plugin");
    let (status, code) = if unknown { (404, "unknown-plugin") } else { (422, "plugin-refused") };
    Problem::new(status, code, "Plugin refused", first).with("reasons", json!(reasons))
}

fn not_now(reason: &Refusal) -> Problem {
    Problem::new(409, "plugin-unchanged", "Nothing to change to", reason.to_string())
        .with("reasons", json!([reason]))
}

fn engine(allocation: Option<&Allocation>) -> Value {
    match allocation {
        None => json!({ "allocation": "none" }),
        Some(Allocation::Pooled { pagemap_scan }) => {
            json!({ "allocation": "pooled", "pagemapScan": pagemap_scan })
        }
        Some(Allocation::OnDemand { because }) => {
            json!({ "allocation": "on-demand", "because": because })
        }
    }
}

fn digest(text: &str) -> Result<Digest, Problem> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let wrong = || Problem::bad_value("sha256", "sha256 is 64 hexadecimal digits");
    let mut bytes = [0; 32];
    if hex.len() != 64 {
        return Err(wrong());
    }
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return Err(wrong()) };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(wrong()) };
        *byte = high << 4 | low;
    }
    Ok(Digest(bytes))
}
