//! The demo's second walk: a service breaks, and what the gate does about it by itself is looked at until it has healed.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::demo::scene::{FORMATTER, POLICY, WATCHED};
use crate::demo::standins::{Behaviour, Role};
use crate::demo::swap::digest;
use crate::demo::visitor::{Found, PACE, Visitor, only_if};
use crate::demo::walk::Outcome;
use crate::demo::{Demo, DemoError};

/// What a timeline must hold in the end, in the spelling of the API.
const MOMENTS: [&str; 5] = ["opened", "snapshot-taken", "noticed", "delivered", "resolved"];

/// Takes the walk; empty when a service that it breaks, or one that it would tell, is a real one.
///
/// # Errors
/// [`DemoError::Client`] when the HTTP client cannot be built.
pub async fn walk(demo: &Demo) -> Result<Vec<Outcome>, DemoError> {
    let Some(cast) = Cast::of(demo) else { return Ok(Vec::new()) };
    let mut visitor = Visitor::new(demo)?;
    visitor.take(&cast).await;
    Ok(visitor.outcomes)
}

/// The stand-ins that take part.
struct Cast {
    broken: Arc<Behaviour>,
    dispatcher: Arc<Behaviour>,
    /// Where the dispatcher listens, for the record.
    told_at: String,
    kubesnap: Arc<Behaviour>,
    /// Snapshots that were taken before the walk.
    before: usize,
}

impl Cast {
    fn of(demo: &Demo) -> Option<Self> {
        let plays = |role: Role| demo.standins.get(role).and_then(|it| it.behaviour.clone());
        let kubesnap = plays(Role::Kubesnap)?;
        let url = demo.standins.get(Role::EventDispatcher).map(|it| it.url.clone())?;
        Some(Self {
            broken: plays(Role::SignalEngine)?,
            dispatcher: plays(Role::EventDispatcher)?,
            told_at: format!("{url}/api/v1/health-alert"),
            before: kubesnap.snapshots().len(),
            kubesnap,
        })
    }

    /// Files of the snapshots that were taken since the walk began.
    fn snapshots(&self) -> Vec<String> {
        self.kubesnap.snapshots().into_iter().skip(self.before).collect()
    }
}

impl Visitor {
    async fn take(&mut self, cast: &Cast) {
        self.acts("the policy's component acts", POLICY, "threshold").await;
        self.acts("the formatter's component acts", FORMATTER, "plain").await;
        self.judged("the service is probed, and judged by it", "ok", "threshold").await;
        cast.broken.fail(Some(500));
        self.judged("it breaks: the gate notices by itself", "failing", "threshold").await;
        let incident = self.opened().await;
        self.snapshot(&incident, cast).await;
        self.told("the alert arrives in plain words", cast, is_plain).await;
        self.push("other words are pushed, no request fails", FORMATTER, "slack-blocks").await;
        self.acts("the new formatter acts", FORMATTER, "slack-blocks").await;
        self.push("so is another policy", POLICY, "latency-slo").await;
        self.judged("the next verdict is the new policy's", "failing", "latency-slo").await;
        self.roll_back("the policy is taken back", POLICY).await;
        self.judged("the one before judges again", "failing", "threshold").await;
        cast.broken.fail(None);
        self.judged("the service heals: the gate notices", "ok", "threshold").await;
        self.told("the resolve arrives in the new words", cast, is_resolve).await;
        self.resolved(&incident).await;
        self.told_once(cast);
        self.roll_back("the words are taken back", FORMATTER).await;
        self.acts("the earlier formatter acts again", FORMATTER, "plain").await;
        self.filtered().await;
        self.no_fall_back().await;
    }

    /// Waits until the service is thought of so, after rise or fall, and the last verdict is this component's.
    async fn judged(&mut self, step: &'static str, health: &str, component: &str) {
        let by = digest(component);
        let look = |seen: &Value| {
            let one = &of_service(&seen["services"]).ok_or("the service is not there")?["health"];
            let part = json!({
                "health": one["health"], "code": one["verdict"]["code"],
                "detail": one["verdict"]["detail"], "by": component, "digest": one["by"],
            });
            let good = one["health"] == health && one["verdict"]["status"] == health;
            only_if(good && one["by"] == by.as_str(), part, &format!("not {health} by {component}"))
        };
        self.wait(step, &format!("health?service={WATCHED}"), look).await;
    }

    /// The id of the incident that is open.
    async fn opened(&mut self) -> String {
        let look = |seen: &Value| {
            let one = of_service(&seen["incidents"]).ok_or("no open incident")?;
            Ok(json!({ "id": one["id"], "severity": one["severity"], "code": one["code"] }))
        };
        let found = self.wait("an incident is open", "incidents?open=true", look).await;
        found.as_ref().and_then(|it| it["id"].as_str()).unwrap_or("none").to_owned()
    }

    async fn snapshot(&mut self, incident: &str, cast: &Cast) {
        let look = |seen: &Value| {
            let files = cast.snapshots();
            let snapshot = &seen["incident"]["snapshot"];
            let same = files.first().is_some_and(|it| snapshot["file"] == it.as_str());
            let good = snapshot["state"] == "taken" && same && files.len() == 1;
            only_if(good, snapshot.clone(), &format!("not taken (Kubesnap says {files:?})"))
        };
        let step = "a snapshot is taken, once";
        self.wait(step, &format!("incidents/{incident}"), look).await;
    }

    /// Waits for an alert with such lines.
    async fn told(&mut self, step: &'static str, cast: &Cast, wanted: fn(&[&str]) -> bool) {
        let deadline = self.deadline();
        let found = loop {
            let all = cast.dispatcher.alerts();
            let found = all.iter().find(|it| wanted(&lines(it))).cloned();
            if found.is_some() || Instant::now() > deadline {
                break found.ok_or_else(|| json!(all));
            }
            sleep(PACE).await;
        };
        let (ok, seen) = match found {
            Ok(it) => (true, it),
            Err(all) => (false, all),
        };
        self.note((step, format!("POST {}", cast.told_at)), 200, Ok((200, seen)), |it| {
            only_if(ok, it.clone(), "no such alert; there are")
        });
    }

    /// One alert that it began, one that it ended: repeats would be more of either.
    fn told_once(&mut self, cast: &Cast) {
        let all = cast.dispatcher.alerts();
        let count =
            |wanted: fn(&[&str]) -> bool| all.iter().filter(|it| wanted(&lines(it))).count();
        let (began, ended) = (count(is_plain), count(is_resolve));
        let seen = json!({ "began": began, "ended": ended, "all": all.len() });
        let request = format!("POST {}", cast.told_at);
        self.note(("people were told once", request), 200, Ok((200, seen)), |it| {
            only_if((began, ended) == (1, 1), it.clone(), "not once each")
        });
    }

    async fn resolved(&mut self, incident: &str) {
        let step = "the incident is over and has its timeline";
        self.wait(step, &format!("incidents/{incident}"), has_timeline).await;
    }
}

fn has_timeline(seen: &Value) -> Found {
    let incident = &seen["incident"];
    let timeline = incident["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<&str> = timeline.iter().filter_map(|it| it["what"].as_str()).collect();
    let lacks: Vec<_> = MOMENTS.iter().filter(|it| !words.contains(it)).collect();
    // The first and the last words were found by the components that acted then.
    let noticed = timeline.iter().filter(|it| it["what"] == "noticed");
    let by: Vec<_> = noticed.filter_map(|it| it["by"].as_str()).collect();
    let (first, last) = (digest("plain"), digest("slack-blocks"));
    let worded = by.first() == Some(&first.as_str()) && by.last() == Some(&last.as_str());
    let over = incident["resolved-ms"].is_u64() && lacks.is_empty() && worded;
    only_if(over, json!(words), &format!("not over, worded by {by:?}, or without {lacks:?}"))
}

/// The entry of the watched service in a list.
fn of_service(list: &Value) -> Option<&Value> {
    let is_it = |it: &&Value| it["name"] == WATCHED || it["service"]["name"] == WATCHED;
    list.as_array()?.iter().find(is_it)
}

/// Lines of an alert as the Event Dispatcher got it.
fn lines(alert: &Value) -> Vec<&str> {
    let lines = alert["issues"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.iter().filter_map(Value::as_str).collect()
}

/// `plain` names the service and no more.
fn is_plain(lines: &[&str]) -> bool {
    lines == [WATCHED]
}

/// `slack-blocks` begins with a headline that says so, and names the snapshot.
fn is_resolve(lines: &[&str]) -> bool {
    let headline = format!("🟢 {WATCHED} is ok again");
    let names_snapshot = lines.iter().any(|it| it.starts_with("snapshot: kubesnap_"));
    names_snapshot && lines.first().is_some_and(|it| it.starts_with(&headline))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_two_formatters_are_told_apart() {
        let slack = ["🟢 signal-engine is ok again (was failing)", "snapshot: kubesnap_x.zip"];
        assert!(!is_resolve(&slack[..1]), "without its snapshot");
        assert!(is_plain(&["signal-engine"]) && !is_plain(&slack) && !is_plain(&[]));
        assert!(is_resolve(&slack) && !is_resolve(&["signal-engine: resolved"]));
        assert!(!is_resolve(&["🔴 signal-engine is failing (bad-status)"]));
    }

    #[test]
    fn a_timeline_must_be_whole() {
        let of = |words: &[&str]| -> Value {
            let of_one = |name: &str, by: &str| json!({ "what": name, "by": digest(by) });
            let plain = words.iter().map(|it| of_one(it, "plain"));
            let lines: Vec<_> = plain.chain([of_one("noticed", "slack-blocks")]).collect();
            json!({ "incident": { "resolved-ms": 1, "timeline": lines } })
        };
        assert!(has_timeline(&of(&MOMENTS)).is_ok());
        for gone in MOMENTS {
            if gone == "noticed" {
                continue; // that is looked at by whom
            }
            let rest: Vec<_> = MOMENTS.into_iter().filter(|it| *it != gone).collect();
            let lacks = has_timeline(&of(&rest)).unwrap_err();
            assert!(lacks.contains(gone), "{lacks}");
        }
        let rest: Vec<_> = MOMENTS.into_iter().filter(|it| *it != "noticed").collect();
        assert!(has_timeline(&of(&rest)).is_err(), "the alert was not worded by `plain`");
        assert!(has_timeline(&json!({ "incident": { "timeline": [] } })).is_err());
    }
}
