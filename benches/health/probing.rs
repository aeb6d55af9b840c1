//! A thousand services every ten seconds: CPU, memory and punctuality, with a gate that probes nothing and HAProxy beside.

use std::time::Duration;

use crate::config::{BRISK, CALM, ROUTES, haproxy, services};
use crate::field::Field;
use crate::process::{self, Folder, Gate, Listens, free_port, quantile};
use crate::table::Goal;
use crate::{Stage, machine, rest};

/// Per cent of a core.
const CPU_GOAL: f64 = 2.0;
const LATENESS_GOAL_MS: f64 = 50.0;

/// Components may have to be compiled first.
const WELL_WITHIN: Duration = Duration::from_secs(60);

/// Between two probes of a service, in seconds.
const EVERY: f64 = 10.0;

impl Stage {
    /// All three run at the same time on the same core: at a few per cent they do not disturb each other, and what else
    /// the machine does meets all of them.
    pub(crate) fn probing(&mut self) -> anyhow::Result<()> {
        let field = Field::start(&self.machine, self.services)?;
        let (probing, idle, peer) = (Folder::new()?, Folder::new()?, Folder::new()?);
        let at = Listens::new()?;
        let brisk = at.yaml() + &services(&field, Some(BRISK)) + ROUTES;
        let filling = Gate::start(&self.machine, &probing, (at, &brisk))?;
        filling.wait_well(self.services, WELL_WITHIN)?;
        rest(self.fill);
        drop(filling);
        // The same state: windows are restored, and are as long as those of a gate that has run for long.
        let config = at.yaml() + &services(&field, Some(CALM)) + ROUTES;
        let gate = Gate::start(&self.machine, &probing, (at, &config))?;
        let at = Listens::new()?;
        let config = at.yaml() + &services(&field, None) + ROUTES;
        let bare = Gate::start(&self.machine, &idle, (at, &config))?;
        let config = haproxy(&field, free_port()?);
        let peer = process::haproxy(&self.machine, &peer, &config)?;
        gate.wait_well(self.services, WELL_WITHIN)?;
        rest(self.warm);

        let of_all = || [gate.process.cpu_ns(), bare.process.cpu_ns(), peer.cpu_ns()];
        let late = "headgate_probe_lateness_seconds";
        let (begin, cpu, answered) = (machine::now_ns(), of_all(), field.answered());
        let lateness = gate.metrics()?.buckets(late);
        rest(self.length);
        let (wall, after, then) = (machine::now_ns() - begin, of_all(), field.answered());
        let metrics = gate.metrics()?;

        let spent = |at: usize| {
            let of = |it: &[u64; 3]| it.get(at).copied().unwrap_or_default();
            of(&after).saturating_sub(of(&cpu)) as f64
        };
        let percent = |ns: f64| ns * 100.0 / wall as f64;
        let (ours, theirs) = (then.0 - answered.0, then.1 - answered.1);
        let due = self.services as f64 * wall as f64 / 1e9 / EVERY;
        let whole = |probes: u64| (0.85..1.15).contains(&(probes as f64 / due));
        anyhow::ensure!(whole(ours), "{ours} probes of the gate, {due:.0} were due");
        anyhow::ensure!(whole(theirs), "{theirs} checks of HAProxy, {due:.0} were due");
        gate.ensure_components()?;
        gate.wait_well(self.services, Duration::from_secs(1))?;

        let added = spent(0) - spent(1);
        let lateness_ms = |share: f64| quantile(&lateness, &metrics.buckets(late), share) * 1000.0;
        let each = |mib: f64| mib * 1024.0 / self.services as f64;
        let grown = gate.process.pss_mib() - bare.process.pss_mib();
        let rows = [
            ("CPU of probing, % of a core", Goal::AtMost(CPU_GOAL), percent(added)),
            ("CPU of the same gate without probes, %", Goal::None, percent(spent(1))),
            ("CPU of HAProxy's checks, %", Goal::None, percent(spent(2))),
            ("CPU of probing / HAProxy", Goal::None, added / spent(2)),
            ("CPU of a probe, us", Goal::None, added / 1000.0 / ours as f64),
            ("CPU of a check of HAProxy, us", Goal::None, spent(2) / 1000.0 / theirs as f64),
            ("probes / those due", Goal::None, ours as f64 / due),
            ("lateness p50, ms (bucket)", Goal::None, lateness_ms(0.5)),
            ("lateness p99, ms (bucket)", Goal::AtMost(LATENESS_GOAL_MS), lateness_ms(0.99)),
            ("memory, MiB", Goal::None, gate.process.pss_mib()),
            ("memory without probes, MiB", Goal::None, bare.process.pss_mib()),
            ("memory of a watched service, KiB", Goal::None, each(grown)),
            ("memory of HAProxy, MiB", Goal::None, peer.pss_mib()),
        ];
        for (what, goal, value) in rows {
            self.table.add(("probing", what), goal, value);
        }
        Ok(())
    }
}
