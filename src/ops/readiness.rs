//! Latches that say whether this process should get traffic.
//!
//! Upstreams and maintenance are not among them: their failure must not remove the gate that reports it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether the gate takes requests. Each latch moves once and in one direction.
#[derive(Debug, Default)]
pub struct Readiness {
    config_live: AtomicBool,
    cores_running: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// The first generation is live.
    pub fn set_config_live(&self) {
        self.config_live.store(true, Relaxed);
    }

    /// Every core accepts connections.
    pub fn set_cores_running(&self) {
        self.cores_running.store(true, Relaxed);
    }

    /// The drain has begun; there is no way back.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether all checks pass.
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|it| it.1)
    }

    /// Name and result of each check; `shutdown` is the API server's word for not draining.
    pub fn checks(&self) -> [(&'static str, bool); 3] {
        [
            ("config", self.config_live.load(Relaxed)),
            ("cores", self.cores_running.load(Relaxed)),
            ("shutdown", !self.is_draining()),
        ]
    }
}
