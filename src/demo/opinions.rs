//! The demo's second walk: plugins judge a failing service, put it into words and are swapped while requests go on.
//!
//! Until the gate probes by itself, the demo observes the service and asks what acts in the running gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::demo::standins::{Behaviour, Role};
use crate::demo::walk::{Outcome, shown};
use crate::demo::{Demo, DemoError};
use crate::model::UnixMs;
use crate::plugin::Digest;
use crate::plugin::registry::builtin;

/// How long components may take to be compiled and proven on a machine that sees them for the first time.
const ACT_WITHIN: Duration = Duration::from_secs(60);

/// Between two looks at the gate.
const PACE: Duration = Duration::from_millis(50);

/// Name of the formatter in the demo's config.
pub const FORMATTER: &str = "words";

/// Path of the demo's filtered route, and the header that it demands.
pub const FILTERED: &str = "/api/INFY.NS";
pub const DEMANDED: &str = "x-desk";

/// Takes the walk; empty when the services that it breaks are real ones.
///
/// # Errors
/// [`DemoError::Client`] when the HTTP client cannot be built.
pub async fn walk(demo: &Demo) -> Result<Vec<Outcome>, DemoError> {
    let broken = demo.standins.get(Role::SignalEngine).and_then(|it| it.behaviour.clone());
    let dispatcher = demo.standins.get(Role::EventDispatcher);
    let (Some(broken), Some(dispatcher)) = (broken, dispatcher) else { return Ok(Vec::new()) };
    let Some(told) = dispatcher.behaviour.clone() else { return Ok(Vec::new()) };
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ACT_WITHIN)
        .build()
        .map_err(DemoError::Client)?;
    let gate = format!("http://{}", demo.gate.data);
    let alerts_at = format!("{}/api/v1/health-alert", dispatcher.url);
    let mut walk = Walk {
        client,
        gate,
        key: demo.key.clone(),
        alerts_at,
        samples: Vec::new(),
        outcomes: Vec::new(),
    };
    walk.take(&broken, &told).await;
    Ok(walk.outcomes)
}

/// One walk under way.
struct Walk {
    client: reqwest::Client,
    /// `http://ADDRESS` of the gate's data listener.
    gate: String,
    key: SecretString,
    /// Where alerts go.
    alerts_at: String,
    /// What was observed, oldest first.
    samples: Vec<Value>,
    outcomes: Vec<Outcome>,
}

/// An answer: status and JSON (text that is none becomes a JSON string).
type Seen = Result<(u16, Value), reqwest::Error>;

impl Walk {
    async fn take(&mut self, broken: &Behaviour, told: &Behaviour) {
        let threshold = Digest::of(wasm("threshold")).to_string();
        let plain = Digest::of(wasm("plain")).to_string();
        let slack = Digest::of(wasm("slack-blocks")).to_string();
        self.act("the policy's component acts", "threshold", &threshold).await;
        self.act("the formatter's component acts", FORMATTER, &plain).await;
        self.observe("a healthy service is judged by it", ("ok", "ok"), &threshold).await;
        broken.fail(Some(500));
        self.observe("a broken one too", ("failing", "bad-status"), &threshold).await;
        self.alert("the alert arrives in plain words", "opened", &plain, told).await;
        self.swap(&slack).await;
        self.act("the new component acts", FORMATTER, &slack).await;
        self.alert("the next alert arrives in its words", "updated", &slack, told).await;
        broken.fail(None);
        self.observe("the service heals", ("ok", "ok"), &threshold).await;
        self.alert("the resolve arrives", "resolved", &slack, told).await;
        self.roll_back(&plain).await;
        self.filtered(None, 400).await;
        self.filtered(Some("equities"), 200).await;
        self.no_fall_back().await;
    }

    async fn ask(&self, method: Method, url: String, body: Option<Vec<u8>>) -> Seen {
        let mut request = self.client.request(method, url);
        request = request.header("X-API-KEY", self.key.expose_secret());
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    async fn admin(&self, method: Method, endpoint: &str, body: Option<Vec<u8>>) -> Seen {
        self.ask(method, format!("{}/api/admin/headgate/{endpoint}", self.gate), body).await
    }

    /// Notes what came of a step; `good` judges the JSON of a 200.
    fn note(
        &mut self,
        (step, request): (&'static str, &str),
        expected: u16,
        seen: Seen,
        good: impl Fn(&Value) -> bool,
    ) {
        let outcome = match seen {
            Ok((status, body)) => Outcome {
                step,
                request: request.to_owned(),
                expected,
                status: Some(status),
                ok: status == expected && good(&body),
                seen: shown(&body.to_string(), ""),
            },
            Err(error) => Outcome {
                step,
                request: request.to_owned(),
                expected,
                status: None,
                ok: false,
                seen: error.to_string(),
            },
        };
        self.outcomes.push(outcome);
    }

    async fn plugin(&self, name: &str) -> Seen {
        let (status, body) = self.admin(Method::GET, "plugins", None).await?;
        let all = body.get("plugins").and_then(Value::as_array);
        let one = all.and_then(|it| it.iter().find(|it| it["name"] == name));
        Ok((status, one.cloned().unwrap_or(body)))
    }

    /// Waits until this very component acts.
    async fn act(&mut self, step: &'static str, name: &str, digest: &str) {
        let deadline = Instant::now() + ACT_WITHIN;
        let acts = |it: &Value| {
            it["digest"] == digest
                && it["uses"].as_array().is_some_and(|it| !it.is_empty())
                && it["uses"]
                    .as_array()
                    .is_some_and(|it| it.iter().all(|it| it["acts"] == "component"))
        };
        loop {
            let seen = self.plugin(name).await;
            let done = seen.as_ref().is_ok_and(|(_, it)| acts(it));
            if done || Instant::now() > deadline {
                return self.note((step, "GET …/headgate/plugins"), 200, seen, acts);
            }
            sleep(PACE).await;
        }
    }

    /// Probes the service, and asks for a verdict on all that was seen.
    async fn observe(&mut self, step: &'static str, wanted: (&str, &str), digest: &str) {
        let begin = Instant::now();
        let probe = self.ask(Method::GET, format!("{}/api/health", self.gate), None).await;
        let latency = u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX);
        let now = UnixMs::now().0;
        let (status, body, outcome) = match probe {
            Ok((status @ 200..300, body)) => (Some(status), Some(body.to_string()), "ok"),
            Ok((status, body)) => (Some(status), Some(body.to_string()), "bad-status"),
            Err(_) => (None, None, "other"),
        };
        self.samples.push(json!({
            "at-ms": now, "source": "probe", "kind": "http", "latency-us": latency,
            "outcome": outcome, "status": status, "body": body,
        }));
        let window = json!({
            "now-ms": now, "current": "unknown", "since-ms": now, "samples": self.samples,
            "service": { "name": "signal-engine", "namespace": "default" },
        });
        let endpoint = "plugins/judge?service=signal-engine";
        let seen = self.admin(Method::POST, endpoint, Some(window.to_string().into_bytes())).await;
        let what = "POST …/headgate/plugins/judge?service=signal-engine";
        self.note((step, what), 200, seen, |it| {
            it["digest"] == digest
                && it["fault"].is_null()
                && it["verdict"]["status"] == wanted.0
                && it["verdict"]["code"] == wanted.1
        });
    }

    /// Lets the acting formatter word an event, and sends it to the Event Dispatcher.
    async fn alert(&mut self, step: &'static str, phase: &str, digest: &str, told: &Behaviour) {
        let (old, new) = if phase == "resolved" { ("failing", "ok") } else { ("ok", "failing") };
        let event = json!({
            "now-ms": UnixMs::now().0, "id": "demo-1", "phase": phase, "severity": "critical",
            "service": { "name": "signal-engine", "namespace": "default" },
            "old": old, "new": new, "code": "bad-status", "detail": "status 500 is not expected",
            "issues": ["signal-engine"], "gateway": "demo",
        });
        let asked = Some(event.to_string().into_bytes());
        let seen = self.admin(Method::POST, "plugins/format", asked).await;
        let words = match &seen {
            Ok((200, it)) if it["digest"] == digest && it["fault"].is_null() => {
                it["message"].clone()
            }
            _ => {
                return self.note((step, "POST …/headgate/plugins/format"), 200, seen, |_| false);
            }
        };
        let mut body = json!({ "issues": words["issues"], "channels": words["channels"] });
        if let Some(channel) = words["channel"].as_str() {
            body["channel"] = channel.into();
        }
        let url = self.alerts_at.clone();
        let sent = self.ask(Method::POST, url.clone(), Some(body.to_string().into_bytes())).await;
        let arrived = told.alerts().pop();
        let native = arrived.as_ref().is_some_and(|it| {
            let issues = it["issues"].as_array();
            issues.is_some_and(|it| it.iter().all(|it| is_plain(it.as_str().unwrap_or_default())))
        });
        let is_plain_expected = Digest::of(wasm("plain")).to_string() == digest;
        let sent = sent.map(|(status, _)| (status, arrived.unwrap_or(Value::Null)));
        let request = format!("POST {url}");
        self.note((step, &request), 200, sent, |it| {
            it["issues"] == words["issues"] && native == is_plain_expected
        });
    }

    /// Pushes other bytes for the formatter while requests go on; not one of them may fail.
    async fn swap(&mut self, digest: &str) {
        let (stop, sent, failed) = (
            Arc::new(AtomicBool::new(false)),
            Arc::<AtomicU64>::default(),
            Arc::<AtomicU64>::default(),
        );
        let traffic = tokio::spawn({
            let (stop, sent, failed) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&failed));
            let (client, url) = (self.client.clone(), format!("{}/api/admin/health", self.gate));
            async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&url).send().await;
                    let good = answer.is_ok_and(|it| it.status() == 200);
                    sent.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(!good), Ordering::Relaxed);
                }
            }
        });
        let endpoint = format!("plugins/push?plugin={FORMATTER}&sha256={digest}");
        let bytes = wasm("slack-blocks").to_vec();
        let seen = self.admin(Method::POST, &endpoint, Some(bytes)).await;
        // A request of the new generation must have been among them.
        let before = sent.load(Ordering::Relaxed);
        let deadline = Instant::now() + ACT_WITHIN;
        while sent.load(Ordering::Relaxed) < before + 2 && Instant::now() < deadline {
            sleep(PACE).await;
        }
        stop.store(true, Ordering::Relaxed);
        let _ = traffic.await;
        let (sent, failed) = (sent.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
        let what = format!(
            "POST …/headgate/plugins/push?plugin={FORMATTER} (slack-blocks; {sent} requests meanwhile, {failed} failed)"
        );
        self.note(("a formatter is swapped, no request fails", &what), 200, seen, |_| {
            failed == 0 && sent > 0
        });
    }

    async fn roll_back(&mut self, digest: &str) {
        let endpoint = format!("plugins/rollback?plugin={FORMATTER}");
        let seen = self.admin(Method::POST, &endpoint, None).await;
        let what = format!("POST …/headgate/{endpoint}");
        self.note(("the swap is taken back", &what), 200, seen, |_| true);
        self.act("the earlier component acts again", FORMATTER, digest).await;
    }

    async fn filtered(&mut self, desk: Option<&str>, expected: u16) {
        let url = format!("{}{FILTERED}", self.gate);
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
        let (step, what) = match desk {
            None => ("a filter refuses what lacks a header", format!("GET {url}")),
            Some(desk) => {
                ("and lets pass what has it", format!("GET {url} with {DEMANDED}: {desk}"))
            }
        };
        self.note((step, &what), expected, seen, |_| true);
    }

    /// Every answer of this walk was a component's.
    async fn no_fall_back(&mut self) {
        let seen = self.admin(Method::GET, "plugins", None).await;
        self.note(
            ("nothing fell back to native code", "GET …/headgate/plugins"),
            200,
            seen,
            |it| {
                let all = it["plugins"].as_array().map(Vec::as_slice).unwrap_or_default();
                let uses = all.iter().filter_map(|it| it["uses"].as_array()).flatten();
                let mut counted = 0;
                let clean = uses.into_iter().all(|it| {
                    counted += it["calls"].as_u64().unwrap_or_default();
                    it["fallbacks"] == 0 && it["faults"] == 0
                });
                clean && counted > 0
            },
        );
    }
}

/// A component as the binary carries it.
fn wasm(name: &str) -> &'static [u8] {
    builtin::find(name).map_or(&[], |it| it.wasm)
}

/// Whether the native formatter could have given this: a service's name, with its phase at most.
fn is_plain(issue: &str) -> bool {
    issue.trim_end_matches(": resolved") == "signal-engine"
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn words_of_a_component_are_told_from_native_ones() {
        assert!(is_plain("signal-engine") && is_plain("signal-engine: resolved"));
        assert!(!is_plain(":red_circle: signal-engine is failing") && !is_plain(""));
    }
}
