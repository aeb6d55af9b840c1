//! The latest of every service, for the admin API, metrics and whoever follows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

use crate::model::health::{Health, Sample, Verdict};

/// What followers may lag behind before they lose events.
const EVENTS_MAX: usize = 256;

/// One endpoint as the probes see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointHealth {
    pub address: String,
    /// Whether it is in the balance.
    pub up: bool,
    pub sample: Option<Sample>,
}

/// What is known of one service now.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceHealth {
    pub service: String,
    /// After hysteresis.
    pub health: Health,
    pub since_ms: u64,
    /// `None`: not probed, `reason` says why.
    pub verdict: Option<Verdict>,
    /// Digest of the policy that said so; `None`: the native rule.
    pub by: Option<String>,
    /// What is wrong with probing or judging itself, and the next step.
    pub reason: Option<String>,
    pub flapping: bool,
    /// Whether the gate answers for it: probed and recorded, not told.
    pub muted: bool,
    /// The open incident.
    pub incident: Option<String>,
    pub endpoints: Vec<EndpointHealth>,
    pub last_probe_ms: Option<u64>,
    pub next_probe_ms: Option<u64>,
}

/// Something that followers of `events` are told.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// `health`, `incident`, `outbox`, `snapshot`, `maintenance`, `generation`, `plugin`.
    pub kind: &'static str,
    pub at_ms: u64,
    pub data: Value,
}

/// Latest of everything. Cheap to read; written by monitors.
#[derive(Debug)]
pub struct Board {
    services: Mutex<BTreeMap<String, Arc<ServiceHealth>>>,
    events: broadcast::Sender<Told>,
}

impl Default for Board {
    fn default() -> Self {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        Self { services: Mutex::default(), events }
    }
}

impl Board {
    fn services(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ServiceHealth>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn post(&self, health: ServiceHealth) {
        self.services().insert(health.service.clone(), Arc::new(health));
    }

    /// A service that is gone.
    pub fn forget(&self, service: &str) {
        self.services().remove(service);
    }

    pub fn all(&self) -> Vec<Arc<ServiceHealth>> {
        self.services().values().cloned().collect()
    }

    pub fn get(&self, service: &str) -> Option<Arc<ServiceHealth>> {
        self.services().get(service).cloned()
    }

    /// Whether a service other than these looks bad though its fall is not complete: a notice may wait for it.
    pub fn suspects(&self, but: &[String]) -> Vec<String> {
        let bad = |it: &ServiceHealth| {
            it.incident.is_none()
                && !it.muted
                && it.verdict.as_ref().is_some_and(|it| it.status == Health::Failing)
        };
        let services = self.services();
        let found = services.values().filter(|it| bad(it) && !but.contains(&it.service));
        found.map(|it| it.service.clone()).collect()
    }

    /// Tells followers; nobody there is no fault.
    pub fn tell(&self, told: Told) {
        let _ = self.events.send(told);
    }

    pub fn follow(&self) -> broadcast::Receiver<Told> {
        self.events.subscribe()
    }
}
