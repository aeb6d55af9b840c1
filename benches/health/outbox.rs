//! Ten thousand alerts that a last process left while the dispatcher was down: how fast they go out once it is up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use headgate::alert::book::Book;
use headgate::alert::outbox::{Outbox, Parcel, State};
use headgate::health::board::Board;
use headgate::model::UnixMs;
use headgate::model::alert::{Event, Message, Phase};
use headgate::model::health::{Health, ServiceFacts, Severity};
use headgate::store::ledger::RedbLedger;
use headgate::store::{Batch, Ledger, Table};

use crate::config::{ROUTES, alerts, services};
use crate::field::Field;
use crate::machine::now_ns;
use crate::process::{Folder, Gate, Listens};
use crate::table::Goal;
use crate::{Stage, rest, share};

/// Single commits of which the cost is told.
const COMMITS: usize = 200;

/// How long the dispatcher is down while the gate runs.
const DOWN: Duration = Duration::from_secs(3);

/// Longest pause between two alerts.
const WITHIN: Duration = Duration::from_secs(60);

impl Stage {
    pub(crate) fn outbox(&mut self) -> anyhow::Result<()> {
        let field = Field::start(&self.machine, 1)?;
        let (folder, at) = (Folder::new()?, Listens::new()?);
        let state = folder.0.join("state");
        std::fs::create_dir_all(&state)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stored = runtime.block_on(store(&state, self.alerts))?;
        let config = at.yaml() + &services(&field, None) + ROUTES + &alerts(&field);
        let gate = Gate::start(&self.machine, &folder, (at, &config))?;
        let waiting = || -> anyhow::Result<f64> {
            Ok(gate.metrics()?.sum("headgate_outbox_waiting", "dispatcher"))
        };
        rest(DOWN);
        let before = waiting()?;
        let lost = self.alerts as f64 - before;
        anyhow::ensure!(lost == 0.0, "{before} alerts wait, {} were left", self.alerts);
        let quiet_mib = gate.process.pss_mib();

        let (up, cpu) = (now_ns(), gate.process.cpu_ns());
        field.open_dispatcher()?;
        let (mut first, mut last, mut most_mib) = (0, 0, quiet_mib);
        for number in 0..self.alerts {
            last = field.receipt(WITHIN).with_context(|| format!("after {number}"))?.at_ns;
            if number == 0 {
                first = last;
            }
            if number % 500 == 0 {
                most_mib = gate.process.pss_mib().max(most_mib);
            }
        }
        let spent = gate.process.cpu_ns().saturating_sub(cpu);
        let end = now_ns() + u64::try_from(WITHIN.as_nanos())?;
        while waiting()? > 0.0 {
            anyhow::ensure!(now_ns() < end, "{} alerts still wait", waiting()?);
            rest(Duration::from_millis(50));
        }
        let doubles = field.receipts.try_iter().count();

        let seconds = last.saturating_sub(first) as f64 / 1e9;
        let count = self.alerts as f64;
        let rows = [
            ("a commit of one row (fsync), p50, ms", stored.one_p50_ms),
            ("a commit of one row (fsync), p99, ms", stored.one_p99_ms),
            ("all of them in one commit, ms", stored.all_ms),
            ("alerts that waited", count),
            ("from the dispatcher's return to the first, ms", (first - up) as f64 / 1e6),
            ("delivered a second, then", (count - 1.0) / seconds),
            ("CPU of an alert, us", spent as f64 / 1000.0 / count),
            ("delivered twice", doubles as f64),
            ("memory with all of them waiting, MiB", quiet_mib),
            ("most memory while they go out, MiB", most_mib),
        ];
        for (what, value) in rows {
            let goal = if what == "delivered twice" { Goal::AtMost(0.0) } else { Goal::None };
            self.table.add(("outbox", what), goal, value);
        }
        Ok(())
    }
}

/// What commits cost, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Stored {
    one_p50_ms: f64,
    one_p99_ms: f64,
    all_ms: f64,
}

/// Leaves alerts in a state folder, as a process does that ends while they wait.
async fn store(state: &std::path::Path, alerts: usize) -> anyhow::Result<Stored> {
    let ledger: Arc<dyn Ledger> = RedbLedger::open(state);
    ledger.ready().await;
    let mut each = Vec::with_capacity(COMMITS);
    for number in 0..COMMITS {
        let mut batch = Batch::default();
        batch.put(Table::Meta, "bench", &number);
        each.push(timed(&ledger, batch).await?);
    }
    let mut batch = Batch::default();
    batch.delete(Table::Meta, "bench");
    timed(&ledger, batch).await?;
    let (board, bell) = (Arc::new(Board::default()), Arc::default());
    let book = Book::new(Arc::clone(&ledger), Arc::clone(&board), bell);
    let outbox = Outbox::new(Arc::clone(&ledger), book, board);
    outbox.restore();
    outbox.serve(Vec::new(), alerts.saturating_mul(2));
    let mut batch = Batch::default();
    let left = outbox.put(&mut batch, (0..alerts).map(parcel).collect());
    anyhow::ensure!(left.is_empty(), "{} alerts found no room", left.len());
    let all_ms = timed(&ledger, batch).await?;
    outbox.written();
    Ok(Stored { one_p50_ms: share(&mut each, 0.5), one_p99_ms: share(&mut each, 0.99), all_ms })
}

/// Milliseconds until it is on the disk.
async fn timed(ledger: &Arc<dyn Ledger>, batch: Batch) -> anyhow::Result<f64> {
    let begin = now_ns();
    ledger.write(batch).await?;
    Ok((now_ns() - begin) as f64 / 1e6)
}

/// An alert of an incident of its own.
fn parcel(number: usize) -> Parcel {
    let id = format!("bench-{number:06}");
    let now = UnixMs::now().0;
    let service = ServiceFacts {
        name: "svc-0000".to_owned(),
        namespace: Some("bench".to_owned()),
        endpoint: "127.0.0.1:8000".to_owned(),
        ready: Some(0),
        desired: Some(1),
        labels: Vec::new(),
    };
    Parcel {
        number: 0,
        sink: "dispatcher".to_owned(),
        incidents: vec![id.clone()],
        phase: Phase::Opened,
        key: format!("{id}-opened"),
        created_ms: now,
        event: Event {
            now_ms: now,
            id: id.clone(),
            phase: Phase::Opened,
            severity: Severity::Critical,
            service,
            old: Health::Ok,
            new: Health::Failing,
            code: "bad-status".to_owned(),
            detail: "3 of 3 probes failed: status 500 is not expected".to_owned(),
            issues: vec!["svc-0000".to_owned()],
            snapshot_id: None,
            gateway: "bench".to_owned(),
            extra: Vec::new(),
        },
        message: Message {
            issues: vec!["svc-0000".to_owned()],
            channels: vec!["email".to_owned()],
            channel: None,
            dedup_key: Some(format!("{id}/opened")),
            extra: Vec::new(),
        },
        state: State::Waiting { attempts: 0, next_try_ms: 0, error: None },
    }
}
