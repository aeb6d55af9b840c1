//! Steps that change what decides: other components are pushed into the running gate and taken back, while requests go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::demo::scene::{DEMANDED, FILTERED};
use crate::demo::visitor::{Found, PACE, Visitor, WITHIN, only_if, whole};
use crate::plugin::Digest;
use crate::plugin::registry::builtin;

/// Requests that go through the gate around a swap, at least.
const MEANWHILE: u64 = 1000;

/// A component as the binary carries it.
fn wasm(name: &str) -> &'static [u8] {
    builtin::find(name).map_or(&[], |it| it.wasm)
}

/// The digest of a component that the binary carries, as status and verdicts print it.
pub(super) fn digest(name: &str) -> String {
    Digest::of(wasm(name)).to_string()
}

impl Visitor {
    /// Waits until this component acts wherever the entry is used.
    pub(super) async fn acts(&mut self, step: &'static str, entry: &str, component: &str) {
        let digest = digest(component);
        let acts = |seen: &Value| {
            let all = seen["plugins"].as_array();
            let one = all.and_then(|it| it.iter().find(|it| it["name"] == entry));
            let one = one.ok_or("no such plugin")?;
            let uses = one["uses"].as_array().filter(|it| !it.is_empty()).ok_or("no use of it")?;
            let acts = uses.iter().all(|it| it["acts"] == "component");
            let part = json!({ "name": entry, "component": component, "digest": one["digest"], "uses": uses.len() });
            only_if(acts && one["digest"] == digest.as_str(), part, "another one acts")
        };
        self.wait(step, "plugins", acts).await;
    }

    /// Pushes a component over an entry while requests go on; not one of them may fail.
    pub(super) async fn push(&mut self, step: &'static str, entry: &str, component: &str) {
        let traffic = Traffic::begin(self);
        let endpoint = format!("plugins/push?plugin={entry}&sha256={}", digest(component));
        let seen = self.admin(Method::POST, &endpoint, Some(wasm(component).to_vec())).await;
        let (sent, failed) = traffic.end().await;
        let request = format!(
            "POST …/headgate/plugins/push?plugin={entry} ({component}; {sent} requests meanwhile, {failed} failed)"
        );
        let enough = failed == 0 && sent >= MEANWHILE;
        self.note((step, request), 200, seen, |it| only_if(enough, it.clone(), "requests failed"));
    }

    /// Takes the last push of an entry back.
    pub(super) async fn roll_back(&mut self, step: &'static str, entry: &str) {
        let endpoint = format!("plugins/rollback?plugin={entry}");
        let seen = self.admin(Method::POST, &endpoint, None).await;
        self.note((step, format!("POST …/headgate/{endpoint}")), 200, seen, whole);
    }

    /// A route with a filter, with and without the header that it demands.
    pub(super) async fn filtered(&mut self) {
        let steps = [
            ("a filter refuses what lacks a header", None, 400),
            ("and lets pass what has it", Some("equities"), 200),
        ];
        for (step, desk, expected) in steps {
            let url = format!("{}{FILTERED}", self.gate);
            let with = desk.map_or(String::new(), |it| format!(" with {DEMANDED}: {it}"));
            let mut request = self.client.get(&url);
            if let Some(desk) = desk {
                request = request.header(DEMANDED, desk);
            }
            let seen = match request.send().await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    response.text().await.map(|it| (status, Value::String(it)))
                }
                Err(error) => Err(error),
            };
            self.note((step, format!("GET {url}{with}")), expected, seen, whole);
        }
    }

    /// Every answer of this walk was a component's.
    pub(super) async fn no_fall_back(&mut self) {
        let seen = self.admin(Method::GET, "plugins", None).await;
        let request = "GET …/headgate/plugins".to_owned();
        self.note(("nothing fell back to native code", request), 200, seen, none_fell_back);
    }
}

fn none_fell_back(seen: &Value) -> Found {
    let all = seen["plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
    let uses = all.iter().filter_map(|it| it["uses"].as_array()).flatten();
    let (mut calls, mut fallen) = (0, 0);
    for of_use in uses {
        let count = |name: &str| of_use[name].as_u64().unwrap_or_default();
        calls += count("calls");
        fallen += count("fallbacks") + count("faults");
    }
    let part = json!({ "calls": calls, "fallbacks_and_faults": fallen });
    only_if(calls > 0 && fallen == 0, part, "native code answered in a component's place")
}

/// Requests that go on until they are told to end.
struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Traffic {
    fn begin(visitor: &Visitor) -> Self {
        let (stop, sent, failed) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::default());
        let url = format!("{}/api/admin/health", visitor.gate);
        let task = tokio::spawn({
            let (client, stop) = (visitor.client.clone(), Arc::clone(&stop));
            let (sent, failed) = (Arc::clone(&sent), Arc::clone(&failed));
            async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&url).send().await;
                    let good = answer.is_ok_and(|it| it.status() == 200);
                    sent.fetch_add(1, Ordering::Relaxed);
                    AtomicU64::fetch_add(&failed, u64::from(!good), Ordering::Relaxed);
                }
            }
        });
        Self { stop, sent, failed, task }
    }

    /// Lets further requests meet what acts now, then ends; how many were sent, and how many of them failed.
    async fn end(self) -> (u64, u64) {
        let now = self.sent.load(Ordering::Relaxed);
        let enough = MEANWHILE.max(now + 2);
        let deadline = Instant::now() + WITHIN;
        while self.sent.load(Ordering::Relaxed) < enough && Instant::now() < deadline {
            sleep(PACE).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.task.await;
        (self.sent.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_back_is_seen() {
        let status = |calls: u64, fallbacks: u64| json!({ "plugins": [{ "uses": [{ "calls": calls, "fallbacks": fallbacks, "faults": 0 }] }] });
        assert!(none_fell_back(&status(3, 0)).is_ok());
        assert!(none_fell_back(&status(3, 1)).is_err());
        assert!(none_fell_back(&status(0, 0)).is_err());
        assert!(none_fell_back(&json!({})).is_err());
    }
}
