//! From the failing answer of a service to the alert at the Event Dispatcher, one service after the other.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::config::{HASTY, ROUTES, alerts, kubesnap, name, services};
use crate::field::{Field, Receipt};
use crate::process::{Folder, Gate, Listens};
use crate::table::Goal;
use crate::{Stage, share};

const GOAL_MS: f64 = 100.0;

/// Longest wait for one alert.
const WITHIN: Duration = Duration::from_secs(20);

/// A way to configure Kubesnap, which answers after 300 ms; how the rows begin, and whether the goal is meant for it.
const WAYS: [(&str, Option<&str>, bool); 3] = [
    ("no Kubesnap", None, true),
    ("Kubesnap, the alert waits 0 s", Some("0s"), true),
    ("Kubesnap, the alert waits 2 s", Some("2s"), false),
];

impl Stage {
    pub(crate) fn alerting(&mut self) -> anyhow::Result<()> {
        for (way, wait, is_goal) in WAYS {
            let mut latencies = self.episodes(wait).with_context(|| format!("with {way}"))?;
            let goal = if is_goal { Goal::AtMost(GOAL_MS) } else { Goal::None };
            let (half, most) = (share(&mut latencies, 0.5), share(&mut latencies, 0.99));
            self.table.add(("alerting", &format!("{way}: p50, ms")), goal, half);
            self.table.add(("alerting", &format!("{way}: p99, ms")), goal, most);
        }
        Ok(())
    }

    /// Every service breaks once, is told of, heals, and that is told: milliseconds of the first way.
    fn episodes(&mut self, wait: Option<&str>) -> anyhow::Result<Vec<f64>> {
        let field = Field::start(&self.machine, self.episodes)?;
        field.open_dispatcher()?;
        let (folder, at) = (Folder::new()?, Listens::new()?);
        let snapshots = wait.map_or(String::new(), |it| kubesnap(&field, it));
        let config =
            at.yaml() + &services(&field, Some(HASTY)) + ROUTES + &alerts(&field) + &snapshots;
        let gate = Gate::start(&self.machine, &folder, (at, &config))?;
        gate.wait_well(self.episodes, WITHIN)?;
        let mut latencies = Vec::with_capacity(self.episodes);
        for number in 0..self.episodes {
            field.fail(number);
            let alert = next(&field, number, Phase::Began)?;
            let seen = field.failed_ns(number);
            anyhow::ensure!(seen > 0 && seen <= alert.at_ns, "an alert before its cause");
            latencies.push((alert.at_ns - seen) as f64 / 1e6);
            field.heal(number);
            next(&field, number, Phase::Ended)?;
        }
        gate.ensure_components()?;
        Ok(latencies)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Began,
    Ended,
}

/// The next alert of this kind about a service; others (a snapshot's outcome, say) are passed over.
fn next(field: &Field, number: usize, phase: Phase) -> anyhow::Result<Receipt> {
    loop {
        let told = || format!("{} {phase:?}", name(number));
        let receipt = field.receipt(WITHIN).with_context(told)?;
        let body: Value = serde_json::from_str(&receipt.body)?;
        let issues = body["issues"].as_array().map(Vec::as_slice).unwrap_or_default();
        let about = |it: &str| it.contains(&name(number));
        let of_phase = |it: &str| it.ends_with(": resolved") == (phase == Phase::Ended);
        let mut lines = issues.iter().filter_map(Value::as_str);
        if lines.any(|it| about(it) && of_phase(it)) {
            return Ok(receipt);
        }
    }
}
