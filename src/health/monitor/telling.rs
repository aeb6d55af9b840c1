//! What a monitor hands on: reports, the board, events, observations.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::health::Report;
use crate::health::board::{EndpointHealth, ServiceHealth, Told};
use crate::health::monitor::Monitor;
use crate::health::monitor::place::Place;
use crate::model::UnixMs;
use crate::model::health::{Health, Sample};
use crate::model::incident::{Change, Happened};
use crate::store::journal::{Latest, Observation};

/// How long a report is waited for before probing goes on without it.
const REPORT: Duration = Duration::from_secs(2);
/// Reports that may be under way because the ones before them are.
const REPORTS_MAX: usize = 64;
/// Samples that go with a report.
const EVIDENCE: usize = 8;
/// Between two copies of a tracker in the journal while nothing happens.
const SAVED_EVERY_MS: u64 = 10_000;

impl Monitor {
    /// Hands a report over; goes on without an answer when that takes too long, but keeps the order.
    pub(super) async fn report(&mut self, changes: Vec<Change>, muted: bool) {
        for change in &changes {
            log(change);
        }
        let under_way = Arc::clone(&self.reports);
        if Arc::strong_count(&under_way) > REPORTS_MAX + 1 {
            tracing::error!(
                service = self.name,
                "a report is dropped: the ones before it do not end"
            );
            return;
        }
        let report = Report {
            service: self.name.clone(),
            track: self.track.clone(),
            changes,
            evidence: self.ring.newest(EVIDENCE),
            muted,
        };
        let (earlier, reporter) = (self.reporting.take(), Arc::clone(&self.site.reporter));
        let mut task = tokio::spawn(async move {
            if let Some(earlier) = earlier {
                let _ = earlier.await;
            }
            reporter.report(report).await;
            drop(under_way);
        });
        if timeout(REPORT, &mut task).await.is_err() {
            tracing::warn!(service = self.name, "a report takes long; probing goes on");
            self.reporting = Some(task);
        }
    }

    pub(super) fn post(&self, place: &Place, pause: Option<Duration>) {
        let now = UnixMs::now();
        let endpoints = place.service.endpoints.list();
        let each = endpoints.iter().map(|it| EndpointHealth {
            address: it.addr.to_string(),
            up: !it.is_out() && !it.is_ejected(now),
            sample: self.rounds.last(it.addr).cloned(),
        });
        let next = pause.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        self.site.board.post(ServiceHealth {
            service: self.name.clone(),
            health: self.track.health,
            since_ms: self.track.since_ms,
            verdict: self.verdict.clone(),
            by: self.by.clone(),
            reason: self.reason.clone(),
            flapping: self.track.flapping,
            muted: place.covered,
            incident: self.track.open.as_ref().map(|it| it.id.clone()),
            endpoints: each.collect(),
            last_probe_ms: self.last_probe_ms,
            next_probe_ms: next.map(|it| now.0.saturating_add(it)),
        });
    }

    pub(super) fn tell(&self, old: Health, at_ms: u64) {
        let verdict = self.verdict.as_ref();
        let data = json!({
            "service": self.name,
            "old": old,
            "new": self.track.health,
            "code": verdict.map(|it| it.code.as_str()),
            "detail": verdict.map(|it| it.detail.as_str()),
            "flapping": self.track.flapping,
            "incident": self.track.open.as_ref().map(|it| it.id.as_str()),
        });
        self.site.board.tell(Told { kind: "health", at_ms, data });
    }

    pub(super) fn record(&self, samples: Vec<Sample>, muted: bool, at_ms: u64) {
        let Some(verdict) = self.verdict.as_ref().filter(|_| !samples.is_empty()) else { return };
        self.site.journal.observed(Observation {
            at_ms,
            service: self.name.clone(),
            samples,
            status: verdict.status,
            code: verdict.code.clone(),
            by: self.by.clone(),
            muted,
        });
    }

    /// A clock that was set back does not stop the saving.
    pub(super) fn is_time_to_save(&self, at_ms: u64) -> bool {
        self.track.is_undecided() || at_ms.abs_diff(self.saved_ms) >= SAVED_EVERY_MS
    }

    pub(super) fn save(&mut self, at_ms: u64) {
        self.saved_ms = at_ms;
        let track = serde_json::to_value(&self.track).unwrap_or_default();
        let verdict = serde_json::to_value(&self.verdict).unwrap_or_default();
        self.site.journal.latest(&self.name, Latest { track, verdict });
    }
}

fn log(change: &Change) {
    let (service, incident) = (change.service.name.as_str(), change.incident.as_str());
    let (code, detail) = (change.code.as_str(), change.detail.as_str());
    match change.what {
        Happened::Opened | Happened::Updated | Happened::Flapping => {
            tracing::warn!(service, incident, what = ?change.what, code, detail, "incident");
        }
        _ => tracing::info!(service, incident, what = ?change.what, code, detail, "incident"),
    }
}
