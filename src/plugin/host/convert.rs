//! Between the model's nouns and the values that cross the border.

use crate::model::alert::{Event, Phase};
use crate::model::health::{Health, Outcome, Sample, ServiceFacts, Severity, Source, Window};
use crate::plugin::host::bindings as wit;
use crate::plugin::{Level, MetricKind};

/// Samples that a policy is shown; the newest where there are more.
const SAMPLES: usize = 64;

/// A window as a guest gets it: the texts stay where they are.
pub(super) fn input(window: &Window) -> wit::Input<'_> {
    let from = window.samples.len().saturating_sub(SAMPLES);
    wit::Input {
        now_ms: window.now_ms,
        service: service(&window.service),
        current: health(window.current),
        since_ms: window.since_ms,
        samples: window.samples.iter().skip(from).map(|it| sample(it)).collect(),
        seed: window.seed,
        extra: &window.extra,
    }
}

/// An event as a guest gets it.
pub(super) fn event(event: &Event) -> wit::Event<'_> {
    wit::Event {
        now_ms: event.now_ms,
        id: &event.id,
        phase: phase(event.phase),
        severity: severity(event.severity),
        service: service(&event.service),
        old: health(event.old),
        new: health(event.new),
        code: &event.code,
        detail: &event.detail,
        issues: &event.issues,
        snapshot_id: event.snapshot_id.as_deref(),
        gateway: &event.gateway,
        extra: &event.extra,
    }
}

fn service(service: &ServiceFacts) -> wit::Service<'_> {
    wit::Service {
        name: &service.name,
        namespace: service.namespace.as_deref(),
        endpoint: &service.endpoint,
        ready: service.ready,
        desired: service.desired,
        labels: &service.labels,
    }
}

fn sample(sample: &Sample) -> wit::Sample<'_> {
    wit::Sample {
        at_ms: sample.at_ms,
        source: source(sample.source),
        kind: &sample.kind,
        latency_us: sample.latency_us,
        outcome: outcome(sample.outcome),
        status: sample.status,
        body: sample.body.as_deref(),
        extra: &sample.extra,
    }
}

fn source(source: Source) -> wit::Source {
    match source {
        Source::Probe => wit::Source::Probe,
        Source::Traffic => wit::Source::Traffic,
        Source::Schedule => wit::Source::Schedule,
        Source::Peer => wit::Source::Peer,
    }
}

fn outcome(outcome: Outcome) -> wit::Outcome {
    match outcome {
        Outcome::Ok => wit::Outcome::Ok,
        Outcome::BadStatus => wit::Outcome::BadStatus,
        Outcome::Timeout => wit::Outcome::Timeout,
        Outcome::Refused => wit::Outcome::Refused,
        Outcome::Reset => wit::Outcome::Reset,
        Outcome::Dns => wit::Outcome::Dns,
        Outcome::Tls => wit::Outcome::Tls,
        Outcome::Protocol => wit::Outcome::Protocol,
        Outcome::Skipped => wit::Outcome::Skipped,
        Outcome::Other => wit::Outcome::Other,
    }
}

fn phase(phase: Phase) -> wit::Phase {
    match phase {
        Phase::Opened => wit::Phase::Opened,
        Phase::Updated => wit::Phase::Updated,
        Phase::Resolved => wit::Phase::Resolved,
        Phase::Test => wit::Phase::Test,
    }
}

fn health(health: Health) -> wit::Health {
    match health {
        Health::Unknown => wit::Health::Unknown,
        Health::Ok => wit::Health::Ok,
        Health::Degraded => wit::Health::Degraded,
        Health::Failing => wit::Health::Failing,
        Health::Maintenance => wit::Health::Maintenance,
    }
}

fn severity(severity: Severity) -> wit::Severity {
    match severity {
        Severity::Info => wit::Severity::Info,
        Severity::Warning => wit::Severity::Warning,
        Severity::Critical => wit::Severity::Critical,
    }
}

impl From<wit::Health> for Health {
    fn from(health: wit::Health) -> Self {
        match health {
            wit::Health::Unknown => Self::Unknown,
            wit::Health::Ok => Self::Ok,
            wit::Health::Degraded => Self::Degraded,
            wit::Health::Failing => Self::Failing,
            wit::Health::Maintenance => Self::Maintenance,
        }
    }
}

impl From<wit::Severity> for Severity {
    fn from(severity: wit::Severity) -> Self {
        match severity {
            wit::Severity::Info => Self::Info,
            wit::Severity::Warning => Self::Warning,
            wit::Severity::Critical => Self::Critical,
        }
    }
}

impl From<wit::MetricKind> for MetricKind {
    fn from(kind: wit::MetricKind) -> Self {
        match kind {
            wit::MetricKind::Counter => Self::Counter,
            wit::MetricKind::Gauge => Self::Gauge,
            wit::MetricKind::Histogram => Self::Histogram,
        }
    }
}

impl From<wit::Level> for Level {
    fn from(level: wit::Level) -> Self {
        match level {
            wit::Level::Trace => Self::Trace,
            wit::Level::Debug => Self::Debug,
            wit::Level::Info => Self::Info,
            wit::Level::Warn => Self::Warn,
            wit::Level::Error => Self::Error,
        }
    }
}
