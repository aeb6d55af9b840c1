//! The native health policy: the newest probe against a handful of thresholds.
//!
//! `plugins/threshold` is the same rule as a component; a test compares the two on thousands of windows (`agreement`).

mod scan;
mod settings;

use crate::model::health::{
    Action, AlertProposal, Health, Outcome, Sample, Severity, Source, Verdict, Window,
};
use crate::plugin::Issue;
use crate::plugin::threshold::scan::{Found, find};

/// Kinds of samples that the rule tells apart: only an HTTP answer has a body to judge.
const HTTP: &str = "http";
/// Its `status` is a gRPC code (0 is OK), which no range of HTTP statuses holds.
const GRPC: &str = "grpc";
/// Where a probe says in one sentence which of its expectations was not met.
const EXPECT: &str = "expect";
/// When to look again at a service that is not well.
const SOON_MS: u32 = 10_000;

/// Settings of the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Ranges of statuses that count as expected, both ends included.
    statuses: Vec<(u16, u16)>,
    /// `$.name.name`: where to look in the body; `None`: the body is not looked at.
    path: Option<String>,
    /// What must stand there.
    expected: Expected,
    /// What stands there in maintenance.
    maintenance_word: Option<String>,
    /// Slower is degraded.
    latency_ms: Option<u32>,
    /// Consecutive time-outs that are a failure.
    timeouts: usize,
    /// Older is unknown.
    stale_ms: u64,
}

/// A value of a body that means healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl Default for Threshold {
    fn default() -> Self {
        Self {
            statuses: vec![(200, 299)],
            path: Some("$.status".to_owned()),
            expected: Expected::Text("OK".to_owned()),
            maintenance_word: Some("Maintenance mode is enabled".to_owned()),
            latency_ms: None,
            timeouts: 2,
            stale_ms: 300_000,
        }
    }
}

/// Status, code and detail; actions follow from the status.
type Opinion = (Health, &'static str, String);

impl Threshold {
    /// Reads settings; what is absent keeps its default.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(settings: &serde_json::Value) -> Result<Self, Vec<Issue>> {
        settings::read(settings)
    }

    /// Judges a window. Pure.
    pub fn judge(&self, window: &Window) -> Verdict {
        let (status, code, detail) = self.opinion(window);
        let name = || vec![window.service.name.clone()];
        let alert = |severity| {
            Action::Alert(AlertProposal { severity, issues: name(), channels: Vec::new() })
        };
        let actions = match status {
            Health::Failing => {
                let snapshot = window.service.namespace.clone().map(Action::Snapshot);
                snapshot.into_iter().chain([alert(Severity::Critical)]).collect()
            }
            Health::Degraded => vec![alert(Severity::Warning)],
            Health::Unknown | Health::Ok | Health::Maintenance => Vec::new(),
        };
        Verdict {
            status,
            code: code.to_owned(),
            detail,
            next_check_ms: (!actions.is_empty()).then_some(SOON_MS),
            actions,
            state: None,
            extra: Vec::new(),
        }
    }

    fn opinion(&self, window: &Window) -> Opinion {
        let counting: Vec<&Sample> =
            window.samples.iter().map(AsRef::as_ref).filter(|it| counts(it)).collect();
        let Some(newest) = counting.last() else {
            return (Health::Unknown, "no-samples", "no probe has been made yet".to_owned());
        };
        let age_ms = window.now_ms.saturating_sub(newest.at_ms);
        if age_ms > self.stale_ms {
            let detail = format!("the last probe was {} s ago", age_ms / 1000);
            return (Health::Unknown, "stale", detail);
        }
        let found = self.look(newest);
        if self.is_maintenance(found.as_ref()) {
            let detail = "the service says that it is in maintenance".to_owned();
            return (Health::Maintenance, "maintenance", detail);
        }
        self.unanswered(newest, &counting)
            .or_else(|| self.bad_status(newest))
            .or_else(|| self.bad_body(newest, found.as_ref()))
            .or_else(|| self.slow(newest))
            .unwrap_or_else(|| (Health::Ok, "ok", "as expected".to_owned()))
    }

    /// The value at the path, when there is a path and the body of an HTTP answer.
    fn look(&self, newest: &Sample) -> Option<Found> {
        if newest.kind != HTTP {
            return None;
        }
        let names = self.path.as_deref()?.split('.').skip(1);
        Some(find(newest.body.as_deref()?, names))
    }

    fn is_maintenance(&self, found: Option<&Found>) -> bool {
        match (found, &self.maintenance_word) {
            (Some(Found::Text(text)), Some(word)) => text == word,
            _ => false,
        }
    }

    fn unanswered(&self, newest: &Sample, counting: &[&Sample]) -> Option<Opinion> {
        let (code, detail) = match newest.outcome {
            Outcome::Ok | Outcome::BadStatus => return None,
            Outcome::Timeout => return Some(self.timed_out(counting)),
            Outcome::Refused => ("refused", "connection refused"),
            Outcome::Reset => ("reset", "connection reset"),
            Outcome::Dns => ("dns", "the name does not resolve"),
            Outcome::Tls => ("tls", "the TLS handshake failed"),
            Outcome::Protocol => ("protocol", "no valid answer"),
            Outcome::Skipped | Outcome::Other => return Some(unexpected(newest)),
        };
        Some((Health::Failing, code, detail.to_owned()))
    }

    /// One time-out is not a death: StockFlow's handlers do not answer while they work.
    fn timed_out(&self, counting: &[&Sample]) -> Opinion {
        let n = counting.iter().rev().take_while(|it| it.outcome == Outcome::Timeout).count();
        if n >= self.timeouts {
            return (Health::Failing, "timeout", format!("{n} probes in a row timed out"));
        }
        let plural = if n == 1 { "" } else { "s" };
        (Health::Degraded, "late", format!("{n} probe{plural} timed out"))
    }

    /// The settings decide, not what the probe itself thought of a status.
    fn bad_status(&self, newest: &Sample) -> Option<Opinion> {
        let detail = match newest.status {
            Some(code) if newest.kind == GRPC => not_serving(code, newest.outcome)?,
            Some(status) => {
                let expected =
                    self.statuses.iter().any(|(from, to)| (from..=to).contains(&&status));
                (!expected).then(|| format!("status {status} is not expected"))?
            }
            None if newest.outcome == Outcome::BadStatus => "the status is not expected".to_owned(),
            None => return None,
        };
        Some((Health::Failing, "bad-status", detail))
    }

    fn bad_body(&self, newest: &Sample, found: Option<&Found>) -> Option<Opinion> {
        let path = self.path.as_deref().filter(|_| newest.kind == HTTP)?;
        let detail = match found {
            None if newest.body.is_none() => "the answer has no body".to_owned(),
            None | Some(Found::Missing) => format!("the body has no value at {path}"),
            Some(found) if self.expected.is(found) => return None,
            Some(_) => format!("{path} is not {}", self.expected.json()),
        };
        Some((Health::Failing, "bad-body", detail))
    }

    fn slow(&self, newest: &Sample) -> Option<Opinion> {
        let bound_us = u64::from(self.latency_ms?) * 1000;
        let took_ms = newest.latency_us / 1000;
        (u64::from(newest.latency_us) > bound_us)
            .then(|| (Health::Degraded, "slow", format!("the answer took {took_ms} ms")))
    }
}

impl Expected {
    fn is(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Text(wanted), Found::Text(text)) => wanted == text,
            (Self::Integer(wanted), Found::Integer(number)) => wanted == number,
            (Self::Boolean(wanted), Found::Boolean(value)) => wanted == value,
            _ => false,
        }
    }

    /// As compact JSON.
    fn json(&self) -> String {
        match self {
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
        }
    }
}

/// The probe got an answer and did not like it, or broke down itself.
fn unexpected(newest: &Sample) -> Opinion {
    match newest.extra.iter().find(|(name, _)| name == EXPECT) {
        Some((_, sentence)) => (Health::Failing, "unexpected", sentence.clone()),
        None => (Health::Failing, "probe-error", "the probe failed".to_owned()),
    }
}

/// What is wrong with a gRPC code: a call that went well may still bring the word that nothing is served.
fn not_serving(code: u16, outcome: Outcome) -> Option<String> {
    match code {
        0 if outcome != Outcome::BadStatus => None,
        0 => Some("it says that it is not serving".to_owned()),
        code => Some(format!("gRPC status {code} is not expected")),
    }
}

/// Real traffic and other replicas have policies of their own.
fn counts(sample: &Sample) -> bool {
    matches!(sample.source, Source::Probe | Source::Schedule) && sample.outcome != Outcome::Skipped
}

#[cfg(test)]
mod tests;
