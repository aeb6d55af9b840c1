//! Calls in this process: what one costs, and what a component costs before its first.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use headgate::model::alert::{Event, Phase};
use headgate::model::health::{Health, Outcome, Sample, ServiceFacts, Severity, Source, Window};
use headgate::plugin::facts::{Fact, Facts};
use headgate::plugin::host::{Allocation, Compiler, Component, From, Host, Purpose, inspect};
use headgate::plugin::{Class, Digest, Kind, Said};

use crate::Effort;
use crate::assemble::{Guest, stamped};
use crate::machine::now_ns;
use crate::table::{Goal, Table};

/// What a call may cost, in us; kernels before 6.7 cannot tell which pages of a slot were used.
const POLICY_US: f64 = 15.0;
const POLICY_OLD_KERNEL_US: f64 = 30.0;
const FILTER_US: f64 = 1.0;

/// The scenes of this process.
pub(crate) struct Calls<'a> {
    effort: Effort,
    pub(crate) table: &'a mut Table,
    host: Host,
}

/// Bytes of a component that the gate ships.
pub(crate) fn shipped(name: &str) -> anyhow::Result<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("plugins/dist/{name}.wasm"));
    std::fs::read(&file).with_context(|| format!("no {}", file.display()))
}

impl<'a> Calls<'a> {
    pub(crate) fn new(effort: Effort, table: &'a mut Table) -> anyhow::Result<Self> {
        Ok(Self { effort, table, host: Host::start(Purpose::Serve)? })
    }

    pub(crate) fn about(&self) -> String {
        format!("{:?}", self.host.allocation())
    }

    /// From bytes to a component that can be called: compiled in a child, then out of the cache.
    pub(crate) fn load(&mut self) -> anyhow::Result<()> {
        for name in ["threshold", "require-header"] {
            let wasm = shipped(name)?;
            for round in 0..self.effort.rounds.max(3) {
                let fresh = stamped(&wasm, &now_ns().to_le_bytes());
                let cache = std::env::temp_dir()
                    .join(format!("headgate-bench-cache-{}-{name}-{round}", std::process::id()));
                let cold = self.timed_load(&fresh, &cache)?;
                let warm = self.timed_load(&fresh, &cache)?;
                std::fs::remove_dir_all(&cache)?;
                anyhow::ensure!(
                    !cold.from_cache && warm.from_cache,
                    "the cache was not used as meant"
                );
                let mut add = |what: &str, ms| {
                    self.table.add(("load", &format!("{name}, {what}")), Goal::None, ms);
                };
                add("cold: compiled in a child, ms", cold.artifact_ms);
                add("cached, ms", warm.artifact_ms);
                add("inspect, ms", warm.inspect_ms);
                add("link and describe, ms", warm.link_ms);
            }
            self.table.add(
                ("load", &format!("{name}, KiB")),
                Goal::None,
                wasm.len() as f64 / 1024.0,
            );
        }
        Ok(())
    }

    fn timed_load(&self, wasm: &[u8], cache: &Path) -> anyhow::Result<Loading> {
        let start = now_ns();
        let seen = inspect(wasm, Class::Default).map_err(told)?;
        let inspected = now_ns();
        // A new one for each: what it keeps in memory must not help.
        let compiler = Compiler::new(self.host.clone(), Some(cache));
        let (artifact, from) =
            compiler.artifact(wasm, Digest::of(wasm)).map_err(|it| told([it]))?;
        let compiled = now_ns();
        self.host.load(&artifact, &seen, Class::Default).map_err(told)?;
        Ok(Loading {
            inspect_ms: ms(inspected - start),
            artifact_ms: ms(compiled - inspected),
            link_ms: ms(now_ns() - compiled),
            from_cache: from == From::Cache,
        })
    }

    fn component(&self, wasm: &[u8], class: Class) -> anyhow::Result<Component> {
        let seen = inspect(wasm, class).map_err(told)?;
        let artifact = self.host.compile(wasm).map_err(|it| told([it]))?;
        self.host.load(&artifact, &seen, class).map_err(told)
    }

    /// A verdict in a fresh instance.
    pub(crate) fn policy(&mut self) -> anyhow::Result<()> {
        let most = match self.host.allocation() {
            Allocation::Pooled { pagemap_scan: true } => POLICY_US,
            Allocation::Pooled { pagemap_scan: false } | Allocation::OnDemand { .. } => {
                POLICY_OLD_KERNEL_US
            }
        };
        for name in ["threshold", "latency-slo"] {
            let component = self.component(&shipped(name)?, Class::Default)?;
            let settings = example(&component);
            self.judge(&component, ("policy", name), &settings, Goal::AtMost(most))?;
        }
        let tame = self.component(&Guest::policy().build(), Class::Default)?;
        self.judge(&tame, ("policy", "an empty one"), "{}", Goal::None)
    }

    fn judge(
        &mut self,
        component: &Component,
        (scene, name): (&str, &str),
        settings: &str,
        goal: Goal,
    ) -> anyhow::Result<()> {
        let window = window();
        let first = component.evaluate(settings, &window, None);
        first.outcome.as_ref().map_err(|it| anyhow::anyhow!("{name}: {it}"))?;
        let calls = || component.evaluate(settings, &window, None).outcome.is_ok();
        self.quantiles((scene, &format!("{name}, fresh call")), goal, 1, calls)
    }

    /// Words for an alert in a fresh instance.
    pub(crate) fn formatter(&mut self) -> anyhow::Result<()> {
        let event = event();
        for name in ["plain", "slack-blocks"] {
            let component = self.component(&shipped(name)?, Class::Default)?;
            let settings = example(&component);
            let first = component.format(&settings, &event);
            first.outcome.as_ref().map_err(|it| anyhow::anyhow!("{name}: {it}"))?;
            let call = || component.format(&settings, &event).outcome.is_ok();
            self.quantiles(("formatter", &format!("{name}, fresh call")), Goal::None, 1, call)?;
        }
        Ok(())
    }

    /// A decision by an instance that is used again.
    pub(crate) fn filter(&mut self) -> anyhow::Result<()> {
        let three = self.component(&three_headers().build(), Class::Default)?;
        self.decide(&three, "reads three headers, reused", Goal::AtMost(FILTER_US))?;
        let built = Path::new(env!("CARGO_BIN_EXE_headgate"));
        let guests = built.ancestors().nth(2).map(|it| it.join("guests/hostile-filter.wasm"));
        if let Some(wasm) = guests.and_then(|it| std::fs::read(it).ok()) {
            let rust = self.component(&wasm, Class::Default)?;
            let settings = r#"{"read":["x-tenant","accept","user-agent"]}"#;
            self.decide_with(
                &rust,
                settings,
                "three headers, Rust, reused",
                Goal::AtMost(FILTER_US),
            )?;
        }
        let one = self.component(&shipped("require-header")?, Class::Default)?;
        let settings = r#"{"header":"x-tenant"}"#;
        self.decide_with(&one, settings, "require-header, reused", Goal::None)?;
        let tame = self.component(&Guest::filter().build(), Class::Default)?;
        self.decide(&tame, "an empty one, reused", Goal::None)?;
        let call = || one.instance(settings).is_ok();
        self.quantiles(("filter", "require-header, a new instance"), Goal::None, 1, call)
    }

    fn decide(&mut self, component: &Component, what: &str, goal: Goal) -> anyhow::Result<()> {
        let settings = example(component);
        self.decide_with(component, &settings, what, goal)
    }

    fn decide_with(
        &mut self,
        component: &Component,
        settings: &str,
        what: &str,
        goal: Goal,
    ) -> anyhow::Result<()> {
        let mut instance = component.instance(settings)?;
        let (mut facts, mut said) = (facts(), Said::default());
        // Calls are shorter than a look at the clock: a hundred together.
        let call = || instance.on_request(&mut facts, &mut said).is_ok();
        self.quantiles(("filter", what), goal, 100, call)
    }

    /// Further components that are at hand.
    pub(crate) fn others(&mut self, files: &[PathBuf]) -> anyhow::Result<()> {
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let wasm = std::fs::read(file).with_context(|| format!("no {}", file.display()))?;
            let start = now_ns();
            let component = self.component(&wasm, Class::Large)?;
            let took = ms(now_ns() - start);
            self.table.add(("other", &format!("{name}, compile and load, ms")), Goal::None, took);
            let settings = example(&component);
            match component.kind() {
                Kind::Policy => self.judge(&component, ("other", &name), &settings, Goal::None)?,
                Kind::Formatter => {
                    let event = event();
                    let call = || component.format(&settings, &event).outcome.is_ok();
                    self.quantiles(("other", &format!("{name}, fresh call")), Goal::None, 1, call)?;
                }
                Kind::Filter => self.decide(&component, &format!("{name}, reused"), Goal::None)?,
            }
        }
        Ok(())
    }

    /// Median and 99 % of `batch` calls together, each round for itself; every call must succeed.
    fn quantiles(
        &mut self,
        (scene, what): (&str, &str),
        goal: Goal,
        batch: usize,
        mut call: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let rounds = self.effort.rounds;
        for _ in 0..rounds {
            let mut all = Vec::with_capacity(self.effort.calls / rounds + 1);
            for _ in 0..self.effort.calls / rounds {
                let start = now_ns();
                let good = (0..batch).all(|_| call());
                all.push((now_ns() - start) as f64 / 1000.0 / batch as f64);
                anyhow::ensure!(good, "{scene}: {what}: a call failed");
            }
            all.sort_by(f64::total_cmp);
            let at = |share: usize| all.get(all.len() * share / 100).copied().unwrap_or(0.0);
            self.table.add((scene, &format!("{what}, p50 us")), goal, at(50));
            self.table.add((scene, &format!("{what}, p99 us")), Goal::None, at(99));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Loading {
    inspect_ms: f64,
    artifact_ms: f64,
    link_ms: f64,
    from_cache: bool,
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn told(refusals: impl AsRef<[headgate::plugin::Refusal]>) -> anyhow::Error {
    let words: Vec<String> = refusals.as_ref().iter().map(ToString::to_string).collect();
    anyhow::anyhow!(words.join("; "))
}

fn example(component: &Component) -> String {
    component.info().example_config.clone().unwrap_or_else(|| "{}".to_owned())
}

/// A filter that looks up three headers and lets the request pass; keeps every answer in the same place.
pub(crate) fn three_headers() -> Guest {
    let mut guest = Guest::filter().describes(|it| it.wants = vec!["header:*".to_owned()]);
    let mut text = String::new();
    for name in ["x-tenant", "accept", "user-agent"] {
        let (at, len) = guest.data.text(name);
        text.push_str(&format!(
            "(call $header (i32.const {at}) (i32.const {len}) (i32.const 64))\n\
             (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable))\n"
        ));
    }
    guest.body("realloc", "i32.const 512").body("on-request", &(text + "$right"))
}

fn service() -> ServiceFacts {
    ServiceFacts {
        name: "signal-engine".to_owned(),
        namespace: Some("default".to_owned()),
        endpoint: "http://signal-engine:8000/health".to_owned(),
        ready: Some(2),
        desired: Some(2),
        labels: Vec::new(),
    }
}

/// The usual window: twelve probes with bodies of a hundred bytes.
fn window() -> Window {
    let body = format!("{{\"status\":\"OK\",\"timestamp\":\"{}\"}}", "2".repeat(70));
    let sample = |number: u64| Sample {
        at_ms: 1_764_000_000_000 + number * 10_000,
        source: Source::Probe,
        kind: "http".to_owned(),
        latency_us: 1500,
        outcome: Outcome::Ok,
        status: Some(200),
        body: Some(body.clone()),
        extra: Vec::new(),
    };
    Window {
        now_ms: 1_764_000_115_000,
        service: service(),
        current: Health::Ok,
        since_ms: 1_763_000_000_000,
        samples: (0..12).map(|it| std::sync::Arc::new(sample(it))).collect(),
        seed: 7,
        extra: Vec::new(),
    }
}

fn event() -> Event {
    Event {
        now_ms: 1_764_000_115_000,
        id: "signal-engine-20261124-1".to_owned(),
        phase: Phase::Opened,
        severity: Severity::Critical,
        service: service(),
        old: Health::Ok,
        new: Health::Failing,
        code: "bad-status".to_owned(),
        detail: "it answered 500 three times in a row".to_owned(),
        issues: vec!["signal-engine".to_owned()],
        snapshot_id: Some("kubesnap_20261124.zip".to_owned()),
        gateway: "production".to_owned(),
        extra: Vec::new(),
    }
}

fn facts() -> Facts {
    let mut facts = Facts::default();
    facts.set(Fact::Method, b"GET");
    facts.set(Fact::Path, b"/secure/stock/RELIANCE.NS");
    facts.set(Fact::Client, b"10.0.0.1");
    facts.set(Fact::Route, b"/secure/");
    for (name, value) in [
        ("x-tenant", "acme"),
        ("accept", "application/json, text/plain, */*"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101"),
    ] {
        facts.add_header(name.as_bytes(), value.as_bytes());
    }
    facts
}
