//! A gate with one plugin as a file, for tests that replace the file.

use std::fs;
use std::sync::Arc;

use headgate::plugin::Digest;
use serde_json::Value;

use super::assemble::{Decision, Guest};
use crate::support::gateway::TempDir;
use crate::support::wait::until_some;
use crate::support::{Gateway, RawUpstream, Setup, Upstream};

/// The name of the plugin in the config, and of the file.
pub(crate) const NAME: &str = "probe";

/// A gate, its upstream and the file of its plugin. The plugin is the filter of `/f/`; everything else has none.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) gate: Gateway,
    pub(crate) upstream: RawUpstream,
}

/// A filter that answers everything with this word.
pub(crate) fn saying(word: &str) -> Vec<u8> {
    let reply = Decision::Reply { status: 200, headers: Vec::new(), body: word.into() };
    Guest::filter().decides(reply).build()
}

pub(crate) fn setup(upstream: &RawUpstream, filter: &str) -> Setup {
    let plugin = format!("{NAME}: {{ file: \"{{dir}}/{NAME}.wasm\", grants: [\"header:*\"] }}");
    Gateway::in_front_of("app", upstream)
        .with(&format!("plugins: {{ {plugin} }}"))
        .route(&format!("path: /f/, service: app, access: public, filters: {filter}"))
}

impl Stand {
    /// With this component from the start; failing closed.
    #[track_caller]
    pub(crate) fn with(wasm: &[u8]) -> Self {
        Self::configured(wasm, NAME)
    }

    /// With these filters on `/f/`.
    #[track_caller]
    pub(crate) fn configured(wasm: &[u8], filters: &str) -> Self {
        let upstream = Upstream::named("upstream");
        let setup = setup(&upstream, filters);
        Self::of(setup, upstream, wasm)
    }

    #[track_caller]
    pub(crate) fn of(setup: Setup, upstream: RawUpstream, wasm: &[u8]) -> Self {
        let dir = Arc::new(TempDir::new());
        fs::write(dir.0.join(format!("{NAME}.wasm")), wasm).expect("a temp folder");
        let gate = Gateway::start_in(setup, dir);
        Self { gate, upstream }
    }

    /// Renames new bytes over the file, makes the gate look, and waits until it has made up its mind about them.
    #[track_caller]
    pub(crate) fn replace(&self, wasm: &[u8]) -> Value {
        let before = self.status()["refused"].clone();
        self.put(wasm);
        self.gate.admin_post("/api/admin/headgate/reload").send();
        let digest = Digest::of(wasm).to_string();
        until_some("a decision on the new component", || {
            let status = self.status();
            let refused = &status["refused"];
            let acts = status["digest"].as_str() == Some(&digest);
            // Of a file that is too large nobody takes the digest.
            (acts || (refused.is_object() && *refused != before)).then_some(status)
        })
    }

    /// Waits until the component that the gate began with acts; its digest.
    #[track_caller]
    pub(crate) fn active(&self) -> Value {
        until_some("a component that acts", || {
            let digest = self.status()["digest"].clone();
            digest.is_string().then_some(digest)
        })
    }

    /// Renames new bytes over the file.
    pub(crate) fn put(&self, wasm: &[u8]) {
        let fresh = self.gate.dir.0.join(".fresh");
        fs::write(&fresh, wasm).expect("a temp folder");
        fs::rename(fresh, self.gate.dir.0.join(format!("{NAME}.wasm"))).expect("a temp folder");
    }

    /// What the gate tells about the plugin.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        status(&self.gate, NAME)
    }

    /// Status and body of a request through the filter.
    #[track_caller]
    pub(crate) fn ask(&self) -> (u16, String) {
        let answer = self.gate.get("/f/x").send();
        (answer.status, answer.text())
    }

    /// Whether a request that no filter sees is forwarded.
    #[track_caller]
    pub(crate) fn expect_plain(&self) {
        self.gate.get("/x").send().expect_status(200).expect_text("upstream");
    }
}

/// What a gate tells about a plugin.
#[track_caller]
pub(crate) fn status(gate: &Gateway, name: &str) -> Value {
    let answer = gate.admin_get("/api/admin/headgate/plugins").send().expect_status(200);
    let all = answer.json();
    let list = all.as_array().or_else(|| all.get("plugins")?.as_array());
    let list = list.unwrap_or_else(|| panic!("no list of plugins in {all}"));
    let ours = list.iter().find(|it| it.get("name").and_then(Value::as_str) == Some(name));
    ours.cloned().unwrap_or_else(|| panic!("no {name} in {all}"))
}

/// Codes of the reasons for which the last candidate was not let in.
pub(crate) fn refused(status: &Value) -> Vec<String> {
    let reasons = status.pointer("/refused/reasons").and_then(Value::as_array);
    let code = |it: &Value| it.get("code").and_then(Value::as_str).map(str::to_owned);
    reasons.into_iter().flatten().filter_map(code).collect()
}
