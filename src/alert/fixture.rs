//! Changes, reports and configs for the tests of this room.

use std::time::Duration;

use crate::config::alerts::{Alerts, Kubesnap, SecretRef, SinkConfig, SinkKind};
use crate::config::defaults;
use crate::health::Report;
use crate::health::tracker::Track;
use crate::model::health::{Health, Outcome, Sample, ServiceFacts, Severity, Source};
use crate::model::incident::{Change, Happened, incident_id};

pub(crate) fn facts(service: &str) -> ServiceFacts {
    ServiceFacts {
        name: service.to_owned(),
        namespace: None,
        endpoint: format!("http://{service}:8000/health"),
        ready: None,
        desired: None,
        labels: Vec::new(),
    }
}

/// What happened to the incident of a service that opened at 1000.
pub(crate) fn change(service: &str, what: Happened, at_ms: u64) -> Change {
    let well = what == Happened::Resolved;
    let code = match what {
        Happened::Resolved => "ok",
        Happened::Updated => "timeout",
        _ => "refused",
    };
    Change {
        what,
        at_ms,
        incident: incident_id(service, 1000),
        service: facts(service),
        severity: Severity::Critical,
        old: if well { Health::Failing } else { Health::Ok },
        new: if well { Health::Ok } else { Health::Failing },
        code: code.to_owned(),
        detail: format!("{service} does as it does"),
        issues: Vec::new(),
        channels: Vec::new(),
        by: None,
        snapshot: false,
    }
}

pub(crate) fn sample(at_ms: u64) -> Sample {
    Sample {
        at_ms,
        source: Source::Probe,
        kind: String::from("http"),
        latency_us: 900,
        outcome: Outcome::Refused,
        status: None,
        body: None,
        extra: Vec::new(),
    }
}

pub(crate) fn report(muted: bool, changes: Vec<Change>) -> Report {
    let service = changes.first().map(|it| it.service.name.clone()).unwrap_or_default();
    let track = Track { since_ms: changes.last().map_or(0, |it| it.at_ms), ..Track::default() };
    Report { service, track, changes, evidence: (0..9).map(sample).collect(), muted }
}

/// Alerts to webhooks of these names.
pub(crate) fn alerts(sinks: &[&str]) -> Alerts {
    let sink = |name: &&str| SinkConfig {
        name: (*name).to_owned(),
        kind: SinkKind::Webhook { url: String::from("http://127.0.0.1:1/"), secrets: Vec::new() },
        timeout: Duration::from_secs(1),
    };
    Alerts { sinks: sinks.iter().map(sink).collect(), ..defaults::alerts() }
}

/// A minute between two snapshots, three a day.
pub(crate) fn kubesnap(url: &str) -> Kubesnap {
    Kubesnap {
        url: url.to_owned(),
        key: SecretRef::Env(String::from("KUBESNAP_KEY")),
        timeout: Duration::from_secs(30),
        wait: Duration::from_secs(2),
        cooldown: Duration::from_mins(1),
        budget: 3,
    }
}
