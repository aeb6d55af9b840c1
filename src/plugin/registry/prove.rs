//! What bytes go through before they may act: inspection, compiler, description, settings, self-test.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::plugin::host::{Compiler, Component, From, Host, Purpose, inspect};
use crate::plugin::registry::{Place, Use};
use crate::plugin::workers::unbroken;
use crate::plugin::{Check, Class, Digest, Issue, Kind, Refusal};

/// The engine with what it has seen in this process.
#[derive(Debug)]
pub(crate) struct Prover {
    engine: Result<(Host, Compiler), String>,
    loaded: Mutex<HashMap<(Digest, Class), Loaded>>,
    /// Settings that a component took and passed its self-test with; by digest, class and digest of the settings.
    passed: Mutex<HashMap<(Digest, Class, Digest), Vec<Check>>>,
}

/// A component that was compiled, linked and described.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) component: Component,
    /// Whether it had to be compiled; else it came from the cache.
    pub(crate) compiled: bool,
}

impl Prover {
    /// Starts the engine. Without one every component is refused, and says so.
    pub(crate) fn start(cache: Option<&std::path::Path>) -> Self {
        let engine = unbroken(|| Host::start(Purpose::Serve))
            .map_err(|it| it.to_string())
            .and_then(|it| it.map_err(|it| it.to_string()))
            .map(|host| (host.clone(), Compiler::new(host, cache)));
        if let Err(error) = &engine {
            tracing::error!(%error, "plugins cannot run; native code acts");
        }
        Self { engine, loaded: Mutex::default(), passed: Mutex::default() }
    }

    pub(crate) fn engine(&self) -> Result<&Host, &str> {
        self.engine.as_ref().map(|it| &it.0).map_err(String::as_str)
    }

    /// Compiles, links and asks for the description.
    ///
    /// # Errors
    /// Every reason.
    pub(crate) fn load(
        &self,
        wasm: &[u8],
        digest: Digest,
        class: Class,
    ) -> Result<Loaded, Vec<Refusal>> {
        let known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&(digest, class)) {
            return Ok(known.clone());
        }
        drop(known);
        let (host, compiler) = self.engine.as_ref().map_err(|error| {
            vec![Refusal::new("engine", format!("plugins cannot run here: {error}"))]
        })?;
        // A panic of the engine on odd bytes is a refusal of these bytes, not the end of the gate.
        let loaded = unbroken(|| load(host, compiler, wasm, (digest, class)))
            .unwrap_or_else(|it| Err(vec![Refusal::new("compile", it.to_string())]))?;
        let mut known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry((digest, class)).or_insert(loaded).clone())
    }

    /// Whether a component suits a use: its kind, its settings and its golden cases with them.
    ///
    /// # Errors
    /// Every reason; those about settings carry their pointer.
    pub(crate) fn fits(
        &self,
        component: &Component,
        wanted: &Use,
    ) -> Result<Vec<Check>, Vec<Refusal>> {
        let kind = kind_of(&wanted.place);
        if component.kind() != kind {
            return Err(vec![wrong_kind(component.kind(), kind)]);
        }
        self.passes(component, &wanted.settings)
    }

    /// Whether a component takes settings and passes its golden cases with them.
    pub(crate) fn passes(
        &self,
        component: &Component,
        settings: &serde_json::Value,
    ) -> Result<Vec<Check>, Vec<Refusal>> {
        let text = settings_text(settings);
        let key = (component.digest(), component.class(), Digest::of(text.as_bytes()));
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(checks) = passed.get(&key) {
            return Ok(checks.clone());
        }
        drop(passed);
        let checks = unbroken(|| try_out(component, settings, &text))
            .unwrap_or_else(|it| Err(vec![Refusal::new("self-test", it.to_string())]))?;
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.insert(key, checks.clone());
        Ok(checks)
    }

    /// Forgets what nobody uses.
    pub(crate) fn retain(&self, keep: impl Fn(Digest) -> bool) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).retain(|it, _| keep(it.0));
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).retain(|it, _| keep(it.0));
    }
}

fn load(
    host: &Host,
    compiler: &Compiler,
    wasm: &[u8],
    (digest, class): (Digest, Class),
) -> Result<Loaded, Vec<Refusal>> {
    let seen = inspect(wasm, class)?;
    let (artifact, from) = compiler.artifact(wasm, digest).map_err(|it| vec![it])?;
    let component = host.load(&artifact, &seen, class)?;
    Ok(Loaded { component, compiled: matches!(from, From::Compiled { .. }) })
}

fn try_out(
    component: &Component,
    settings: &serde_json::Value,
    text: &str,
) -> Result<Vec<Check>, Vec<Refusal>> {
    let issues = component.check_settings(settings).outcome.map_err(|fault| {
        let message = format!("`configure` failed on its settings: {fault}");
        vec![Refusal { path: Some(String::new()), ..Refusal::new("settings", message) }]
    })?;
    if !issues.is_empty() {
        return Err(issues.into_iter().map(issue).collect());
    }
    let checks = component.self_test(text).outcome.map_err(|fault| {
        vec![Refusal::new("self-test", format!("the self-test failed: {fault}"))]
    })?;
    let failed: Vec<Refusal> = checks.iter().filter(|it| !it.passed).map(failed_check).collect();
    if checks.is_empty() {
        let none = Refusal::new("self-test", "the self-test has no cases")
            .advice("Give at least one golden case.");
        return Err(vec![none]);
    }
    if failed.is_empty() { Ok(checks) } else { Err(failed) }
}

fn issue(it: Issue) -> Refusal {
    Refusal { path: Some(it.path), ..Refusal::new("settings", it.message) }
}

fn failed_check(it: &Check) -> Refusal {
    Refusal::new("self-test", format!("golden case `{}` failed: {}", it.name, it.message))
}

fn wrong_kind(is: Kind, wanted: Kind) -> Refusal {
    Refusal::new("kind", format!("is a {}, and a {} is wanted here", is.word(), wanted.word()))
        .advice(format!("Name a plugin that targets the world `{}`.", wanted.world()))
}

/// What kind of component a place needs.
pub(crate) fn kind_of(place: &Place) -> Kind {
    match place {
        Place::Service(_) => Kind::Policy,
        Place::Alerts => Kind::Formatter,
        Place::Route(..) => Kind::Filter,
    }
}

/// Settings as `configure` takes them.
pub(crate) fn settings_text(settings: &serde_json::Value) -> String {
    if settings.is_null() { "{}".to_owned() } else { settings.to_string() }
}
