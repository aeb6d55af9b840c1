//! A service as the generation has it that is live at this moment.

use std::sync::Arc;

use crate::generation::{Gate, LiveService};
use crate::health::tracker::Rules;
use crate::model::{Coverage, UnixMs};
use crate::plugin::health_policy::HealthPolicy;

/// A service in the generation that is live.
pub(super) struct Place {
    pub(super) service: Arc<LiveService>,
    pub(super) policy: Option<Arc<HealthPolicy>>,
    pub(super) covered: bool,
    stale_maintenance_ms: u64,
    /// Among the services.
    pub(super) at: usize,
}

impl Place {
    pub(super) fn rules(&self) -> Rules {
        let watching = &self.service.service.watching;
        Rules {
            rise: watching.rise,
            fall: watching.fall,
            flap: watching.flap,
            severity: watching.severity,
            stale_maintenance_ms: self.stale_maintenance_ms,
        }
    }
}

/// Finds a service; `hint` is where it was the last time.
pub(super) fn place(gate: &Gate, name: &str, hint: usize) -> Option<Place> {
    let generation = &gate.generation;
    let is_it = |it: &Arc<LiveService>| it.service.name == name;
    let at = match generation.services.get(hint) {
        Some(it) if is_it(it) => hint,
        _ => generation.services.iter().position(is_it)?,
    };
    let service = Arc::clone(generation.services.get(at)?);
    let is_covered = service.service.coverage == Coverage::Covered;
    let stale = generation.alerting.config.stale_maintenance.as_millis();
    Some(Place {
        covered: is_covered && gate.modes.covers(name, UnixMs::now()).is_some(),
        policy: generation.plugins.policies.get(at).map(Arc::clone),
        service,
        at,
        stale_maintenance_ms: u64::try_from(stale).unwrap_or(u64::MAX),
    })
}

/// Host and port of the first upstream.
pub(super) fn authority(live: &LiveService) -> (String, u16) {
    let first = live.service.upstreams.first();
    first.map_or_else(|| (String::new(), 0), |it| (it.host.clone(), it.port))
}
