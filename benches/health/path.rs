//! What watching a thousand services does to requests: latencies of a gate that does and of one that does not.

use std::time::Duration;

use crate::client::Ask;
use crate::config::{CALM, services};
use crate::field::Field;
use crate::load::{Load, Pace};
use crate::process::{Folder, Gate, Listens};
use crate::table::Goal;
use crate::{Stage, machine};

/// A ratio is noise below this.
const UNMOVED: f64 = 1.1;

const CONNECTIONS: usize = 64;
const BODY: usize = 1024;

/// After this a gate has put away what it needed for its start, and every service has been probed.
const SETTLED: Duration = Duration::from_secs(6);

impl Stage {
    /// Rounds alternate; a ratio is taken within a round.
    pub(crate) fn path(&mut self) -> anyhow::Result<()> {
        machine::pin(&[self.machine.load])?;
        let mut load = Load::new(&[BODY])?;
        let field = Field::start(&self.machine, self.services)?;
        for round in 0..self.rounds {
            // Whoever comes first in a round comes second in the next.
            let first = self.stretch(&mut load, &field, round % 2 == 0)?;
            let second = self.stretch(&mut load, &field, round % 2 == 1)?;
            let (with, without) = if round % 2 == 0 { (first, second) } else { (second, first) };
            let mut add = |what: &str, goal, value| self.table.add(("path", what), goal, value);
            add("p50 with, us", Goal::None, with.p50);
            add("p50 without, us", Goal::None, without.p50);
            add("p99 with, us", Goal::None, with.p99);
            add("p99 without, us", Goal::None, without.p99);
            add("p50 with / without", Goal::AtMost(UNMOVED), with.p50 / without.p50);
            add("p99 with / without", Goal::AtMost(UNMOVED), with.p99 / without.p99);
            add("CPU per request with / without", Goal::None, with.cpu / without.cpu);
        }
        Ok(())
    }

    fn stretch(&self, load: &mut Load, field: &Field, probed: bool) -> anyhow::Result<Seen> {
        let (folder, at) = (Folder::new()?, Listens::new()?);
        let config = format!(
            "{}{}  app: {{ upstreams: [\"http://{}\"] }}\nroutes:\n  \
             - {{ path: /, service: app, access: public }}\n",
            at.yaml(),
            services(field, probed.then_some(CALM)),
            load.upstream_addr()?,
        );
        let gate = Gate::start(&self.machine, &folder, (at, &config))?;
        load.rest(SETTLED)?;
        if probed {
            gate.wait_well(self.services, Duration::from_secs(60))?;
        }
        load.connect(at.data, CONNECTIONS)?;
        let request = format!("GET /x/{BODY} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes();
        load.begin(Ask { request, body_bytes: BODY }, Pace::Open { per_second: self.rate });
        load.drive(self.length / 50)?;
        let before = gate.process.cpu_ns();
        let mut tally = load.drive(self.length / 10)?;
        let cpu = gate.process.cpu_ns().saturating_sub(before) as f64;
        let failed = tally.failed + load.finish()?.failed;
        load.disconnect()?;
        anyhow::ensure!(failed == 0, "{failed} requests failed: {}", gate.process.told());
        Ok(Seen {
            p50: tally.quantile_us(0.5),
            p99: tally.quantile_us(0.99),
            cpu: cpu / tally.done.max(1) as f64,
        })
    }
}

/// Microseconds, and nanoseconds of CPU per request.
#[derive(Clone, Copy, Debug)]
struct Seen {
    p50: f64,
    p99: f64,
    cpu: f64,
}
