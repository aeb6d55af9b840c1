//! Maintenance: which services answer for themselves and which the gate answers for.

use crate::model::UnixMs;

/// One maintenance that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub since: UnixMs,
    /// End by ttl; from then on it is off, whoever looks.
    pub until: Option<UnixMs>,
    pub reason: Option<String>,
    /// Name of the key, `admin-listener` or `headgate` (ttl).
    pub by: String,
}

/// What is in maintenance: immutable, published as a part of the gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// All covered services.
    pub all: Option<Window>,
    /// Single services by name.
    pub services: Vec<(String, Window)>,
}

impl Modes {
    /// The window that covers `service` now (the caller has checked that the service is covered at all).
    pub fn covers(&self, service: &str, now: UnixMs) -> Option<&Window> {
        let running = |it: &&Window| it.until.is_none_or(|until| now < until);
        let single = || self.services.iter().find(|it| it.0 == service).map(|it| &it.1);
        self.all.as_ref().filter(running).or_else(|| single().filter(running))
    }
}
