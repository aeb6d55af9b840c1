//! Incidents and tracks: what monitors report is kept here, in one write with the notices that follow.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::alert::incidents::{self, Incidents};
use crate::alert::notice::{self, Notice};
use crate::health::board::{Board, Told};
use crate::health::tracker::Track;
use crate::health::{Report, Reporter};
use crate::model::UnixMs;
use crate::model::alert::Phase;
use crate::model::incident::{Happened, Incident, Moment, Snapshot};
use crate::store::crash::crash_point;
use crate::store::{Batch, BoxFuture, Ledger, StoreError, Table};

/// Row of `Table::Meta` that holds the number of the last notice.
const LAST_NOTICE: &str = "last-notice";

/// The book of incidents.
#[derive(Debug)]
pub struct Book {
    ledger: Arc<dyn Ledger>,
    board: Arc<Board>,
    /// Rung when there is a notice.
    bell: Arc<Notify>,
    state: Mutex<Incidents>,
    /// Whether the last write did not reach the disk: said once.
    troubled: AtomicBool,
}

/// What became of notices that were due together.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub notices: Vec<u64>,
    /// Incidents that they were about, and the snapshot that stood in the words.
    pub incidents: Vec<(String, Option<Snapshot>)>,
    pub phase: Phase,
    /// Sinks that a parcel was made for.
    pub placed: BTreeSet<String>,
    /// Whether the outbox had no room for others: the notices stay.
    pub again: bool,
    /// What stands in the timeline.
    pub text: String,
    /// Digest of the formatter; `None`: the native text.
    pub by: Option<String>,
}

impl Book {
    /// Empty until [`Book::restore`].
    pub fn new(ledger: Arc<dyn Ledger>, board: Arc<Board>, bell: Arc<Notify>) -> Arc<Self> {
        let (state, troubled) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { ledger, board, bell, state, troubled })
    }

    fn state(&self) -> MutexGuard<'_, Incidents> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the last process left; the ledger is ready. A snapshot that it had asked for is unknown now.
    pub fn restore(&self) {
        let mut state = self.state();
        for (_, incident) in self.read::<Incident>(Table::Incidents) {
            state.incidents.entry(incident.id.clone()).or_insert_with(|| Arc::new(incident));
        }
        for (service, track) in self.read::<Track>(Table::Tracks) {
            state.tracks.entry(service).or_insert(track);
        }
        for (_, notice) in self.read::<Notice>(Table::Notices) {
            state.last = state.last.max(notice.number);
            state.notices.insert(notice.number, Arc::new(notice));
        }
        let last = self.ledger.get(Table::Meta, LAST_NOTICE);
        let last = last.and_then(|it| serde_json::from_slice::<u64>(&it).ok());
        state.last = state.last.max(last.unwrap_or(0));
        let open = state.incidents.values().filter(|it| it.snapshot == Some(Snapshot::Pending));
        let asked: Vec<_> = open.map(|it| it.id.clone()).collect();
        for id in asked {
            let reason = String::from("the gate was restarted while it waited for the answer");
            state.snapshot(&id, Snapshot::Unknown { reason }, UnixMs::now().0);
        }
        drop(self.write(&mut state, Batch::default()));
        drop(state);
        self.bell.notify_one();
    }

    fn read<T: DeserializeOwned>(&self, table: Table) -> Vec<(String, T)> {
        let rows = self.ledger.rows(table).into_iter();
        let parsed = rows.filter_map(|(key, value)| match serde_json::from_slice(&value) {
            Ok(row) => Some((key, row)),
            Err(error) => {
                let table = table.name();
                tracing::error!(table, key, %error, "a row cannot be read; it is left alone");
                None
            }
        });
        parsed.collect()
    }

    /// Where the trackers stood, by service.
    pub fn tracks(&self) -> Vec<(String, Track)> {
        self.state().tracks.iter().map(|(service, it)| (service.clone(), it.clone())).collect()
    }

    /// Newest first; open ones before those that are over.
    pub fn incidents(&self) -> Vec<Arc<Incident>> {
        let mut all: Vec<_> = self.state().incidents.values().cloned().collect();
        all.sort_by_key(|it| (it.resolved_ms.is_some(), std::cmp::Reverse(it.opened_ms)));
        all
    }

    pub fn get(&self, id: &str) -> Option<Incident> {
        self.find(id).map(Arc::unwrap_or_clone)
    }

    /// The same, shared.
    pub fn find(&self, id: &str) -> Option<Arc<Incident>> {
        self.state().incidents.get(id).cloned()
    }

    /// Those that are not over, oldest first.
    pub fn open(&self) -> Vec<Arc<Incident>> {
        self.state().open().cloned().collect()
    }

    /// What has been decided and not yet been put into words, in order.
    pub fn notices(&self) -> Vec<Arc<Notice>> {
        self.state().notices.values().cloned().collect()
    }

    /// Whether all of these still wait: maintenance may have taken them back.
    pub fn wait(&self, notices: &[u64]) -> bool {
        let state = self.state();
        notices.iter().all(|it| state.notices.contains_key(it))
    }

    /// Adds a line to a timeline. Not waited for: a line that a crash takes is no loss.
    pub fn note(&self, incident: &str, moment: Moment) {
        let mut state = self.state();
        if state.edit(incident, |it| incidents::note(it, moment)).is_some() {
            drop(self.write(&mut state, Batch::default()));
        }
    }

    /// A sink has not heard of the beginning: it is not told of the end. Not waited for.
    pub fn unheard(&self, incident: &str, sink: &str) {
        let mut state = self.state();
        if state.edit(incident, |it| it.telling.sinks.retain(|it| it != sink)).is_some() {
            drop(self.write(&mut state, Batch::default()));
        }
    }

    /// What became of the snapshot. When the alert went out without it, one notice follows. Not waited for.
    pub fn snapshot(&self, incident: &str, snapshot: Snapshot) {
        drop(self.snapshots(&[(incident.to_owned(), snapshot)], Batch::default()));
    }

    /// The same for several incidents, with what the caller writes along; the future says when it is on the disk.
    pub fn snapshots(
        &self,
        outcomes: &[(String, Snapshot)],
        batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let now_ms = UnixMs::now().0;
        let mut state = self.state();
        for (incident, snapshot) in outcomes {
            state.snapshot(incident, snapshot.clone(), now_ms);
        }
        let written = self.write(&mut state, batch);
        drop(state);
        for (incident, snapshot) in outcomes {
            let data = json!({ "incident": incident, "snapshot": snapshot });
            self.board.tell(Told { kind: "snapshot", at_ms: now_ms, data });
        }
        self.bell.notify_one();
        written
    }

    /// People are told again of these; gives those that it is decided for.
    pub fn remind(&self, incidents: &[String]) -> usize {
        let now_ms = UnixMs::now().0;
        let mut state = self.state();
        let count = incidents.iter().filter(|it| state.remind(it, now_ms)).count();
        if count > 0 {
            drop(self.write(&mut state, Batch::default()));
        }
        count
    }

    /// Ends the incidents of services other than these: they are not watched any more.
    pub fn retire(&self, but: &BTreeSet<&str>) {
        let now_ms = UnixMs::now().0;
        let mut state = self.state();
        let open = state.open().map(|it| it.service.name.clone());
        let known: BTreeSet<_> = open.chain(state.tracks.keys().cloned()).collect();
        let mut gone = known.into_iter().filter(|it| !but.contains(it.as_str())).peekable();
        if gone.peek().is_none() {
            return;
        }
        for service in gone {
            state.retire(&service, now_ms);
        }
        drop(self.write(&mut state, Batch::default()));
    }

    /// What became of notices, in one write with the parcels (`batch`). `steady_ms` is when, by the clock of reminders.
    pub fn settle(
        &self,
        outcomes: &[Outcome],
        batch: Batch,
        steady_ms: u64,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let now_ms = UnixMs::now().0;
        let mut state = self.state();
        for outcome in outcomes {
            settle(&mut state, outcome, now_ms, steady_ms);
        }
        self.write(&mut state, batch)
    }

    /// Everything that was touched, in one batch with the caller's.
    fn write(
        &self,
        state: &mut Incidents,
        mut batch: Batch,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let touched = std::mem::take(&mut state.touched);
        for id in touched.incidents {
            set(&mut batch, Table::Incidents, &id, state.incidents.get(&id).map(AsRef::as_ref));
        }
        for service in touched.tracks {
            set(&mut batch, Table::Tracks, &service, state.tracks.get(&service));
        }
        if !touched.notices.is_empty() {
            batch.put(Table::Meta, LAST_NOTICE, &state.last);
        }
        for number in touched.notices {
            let notice = state.notices.get(&number).map(AsRef::as_ref);
            set(&mut batch, Table::Notices, &notice::row(number), notice);
        }
        if batch.is_empty() {
            return Box::pin(std::future::ready(Ok(())));
        }
        // In order, since the lock is held.
        self.ledger.write(batch)
    }

    /// Notes whether a write reached the disk; what must be sent is sent all the same.
    pub fn written(&self, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) if self.troubled.swap(false, Ordering::Relaxed) => {
                tracing::info!("incidents are on the disk again");
            }
            Err(error) if !self.troubled.swap(true, Ordering::Relaxed) => {
                tracing::error!(%error, "incidents are not on the disk; alerts go out all the same");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn tell(&self, report: &Report) {
        for change in &report.changes {
            let mut data = serde_json::to_value(change).unwrap_or(Value::Null);
            if let Value::Object(members) = &mut data {
                members.insert(String::from("muted"), Value::Bool(report.muted));
            }
            self.board.tell(Told { kind: "incident", at_ms: change.at_ms, data });
        }
    }
}

impl Reporter for Book {
    /// Takes the report in at once, also when nobody waits for the answer.
    fn report(&self, report: Report) -> BoxFuture<'_, ()> {
        crash_point("report-before");
        self.tell(&report);
        let mut state = self.state();
        let before = state.last;
        state.report(report);
        let has_notice = state.last > before;
        let written = self.write(&mut state, Batch::default());
        drop(state);
        // Words are found while the disk works: parcels are written after this, and go out when they are written.
        if has_notice {
            self.bell.notify_one();
        }
        Box::pin(async move {
            let outcome = written.await;
            crash_point("report-after");
            self.written(outcome);
        })
    }
}

fn set<T: serde::Serialize>(batch: &mut Batch, table: Table, key: &str, row: Option<&T>) {
    match row {
        Some(row) => batch.put(table, key, row),
        None => batch.delete(table, key),
    }
}

fn settle(state: &mut Incidents, outcome: &Outcome, now_ms: u64, steady_ms: u64) {
    for number in &outcome.notices {
        if !outcome.again {
            state.remove_notice(*number);
        } else if let Some(notice) = state.notices.get_mut(number) {
            let done = &mut Arc::make_mut(notice).done;
            let new = outcome.placed.iter().filter(|it| !done.contains(it)).cloned();
            let new: Vec<_> = new.collect();
            done.extend(new);
            state.touched.notices.insert(*number);
        }
    }
    let group = outcome.incidents.first().map(|it| it.0.clone());
    for (id, worded) in &outcome.incidents {
        let stale = state.edit(id, |incident| {
            told(incident, outcome, now_ms);
            incident.telling.last_ms = Some(steady_ms);
            if outcome.phase == Phase::Opened {
                incident.telling.group.clone_from(&group);
            }
            incident.snapshot != *worded
        });
        // Its outcome came while the alert was put into words.
        if stale == Some(true) && outcome.phase == Phase::Opened && !outcome.again {
            state.follow_up(id, now_ms);
        }
    }
}

fn told(incident: &mut Incident, outcome: &Outcome, at_ms: u64) {
    let sinks = &mut incident.telling.sinks;
    let new: Vec<_> = outcome.placed.iter().filter(|it| !sinks.contains(it)).cloned().collect();
    sinks.extend(new);
    let (health, code) = (incident.health, incident.code.clone());
    let (text, by) = (outcome.text.clone(), outcome.by.clone());
    incidents::note(incident, Moment { at_ms, what: Happened::Noticed, health, code, text, by });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::{Book, Outcome};
    use crate::alert::fixture::{change, report};
    use crate::alert::notice::Notice;
    use crate::health::Reporter as _;
    use crate::health::board::Board;
    use crate::model::alert::Phase;
    use crate::model::incident::Happened::{self, Delivered, Noticed, Opened, Resolved};
    use crate::model::incident::{Moment, Snapshot, incident_id};
    use crate::store::memory::MemoryLedger;
    use crate::store::{Batch, Ledger, Op, Table};

    fn book(ledger: &Arc<MemoryLedger>) -> Arc<Book> {
        let ledger: Arc<dyn Ledger> = Arc::clone(ledger) as Arc<dyn Ledger>;
        let book = Book::new(ledger, Arc::new(Board::default()), Arc::default());
        book.restore();
        book
    }

    fn outcome(notices: Vec<u64>, phase: Phase, worded: Option<Snapshot>) -> Outcome {
        Outcome {
            notices,
            incidents: vec![(incident_id("api", 1000), worded)],
            phase,
            placed: BTreeSet::from([String::from("mail")]),
            again: false,
            text: String::from("opened: for mail"),
            by: None,
        }
    }

    fn waiting(book: &Book) -> Vec<(u64, Phase)> {
        book.notices().iter().map(|it| (it.number, it.phase)).collect()
    }

    #[tokio::test]
    async fn what_is_reported_outlives_the_process() {
        let ledger = MemoryLedger::new();
        let first = book(&ledger);
        first.report(report(false, vec![change("api", Opened, 1000)])).await;
        first.report(report(true, vec![change("db", Opened, 1001)])).await;
        let moment = Moment { what: Delivered, ..first.incidents()[0].timeline[0].clone() };
        first.note(&incident_id("api", 1000), moment);

        let second = book(&ledger);
        assert_eq!(second.incidents(), first.incidents());
        assert_eq!(second.incidents().iter().map(|it| it.timeline.len()).max(), Some(2));
        assert_eq!(second.tracks(), first.tracks());
        assert_eq!(waiting(&second), [(1, Phase::Opened)]);

        // Numbers go on, also after the notices are gone.
        let written = second.settle(&[outcome(vec![1], Phase::Opened, None)], Batch::default(), 7);
        written.await.unwrap();
        let third = book(&ledger);
        third.report(report(false, vec![change("api", Resolved, 1002)])).await;
        assert_eq!(waiting(&third), [(2, Phase::Resolved)]);
        let incident = third.get(&incident_id("api", 1000)).unwrap();
        assert_eq!(incident.telling.sinks, ["mail"]);
        assert_eq!(incident.telling.last_ms, Some(7));
        let what: Vec<_> = incident.timeline.iter().map(|it| it.what).collect();
        assert_eq!(what, [Opened, Delivered, Noticed, Resolved]);
    }

    #[tokio::test]
    async fn rows_that_cannot_be_read_are_left_alone() {
        let ledger = MemoryLedger::new();
        let broken = Op::Put(Table::Incidents, String::from("x"), b"{".to_vec());
        ledger.write(Batch(vec![broken])).await.unwrap();
        let book = book(&ledger);
        assert!(book.incidents().is_empty());
        assert!(ledger.get(Table::Incidents, "x").is_some());
    }

    #[tokio::test]
    async fn everything_of_a_report_is_one_write() {
        let ledger = MemoryLedger::new();
        let book = book(&ledger);
        let bell = Arc::clone(&book.bell);
        bell.notified().await;
        book.report(report(false, vec![change("api", Opened, 1000)])).await;
        bell.notified().await;
        for (table, rows) in
            [(Table::Incidents, 1), (Table::Tracks, 1), (Table::Notices, 1), (Table::Meta, 1)]
        {
            assert_eq!(ledger.rows(table).len(), rows, "{}", table.name());
        }
        let row = &ledger.rows(Table::Notices)[0];
        assert_eq!(row.0, "00000000000000000001");
        assert_eq!(serde_json::from_slice::<Notice>(&row.1).unwrap(), *book.notices()[0]);
    }

    #[tokio::test]
    async fn a_snapshot_that_was_asked_for_before_the_restart_is_unknown() {
        let ledger = MemoryLedger::new();
        let first = book(&ledger);
        first.report(report(false, vec![change("api", Opened, 1000)])).await;
        let id = incident_id("api", 1000);
        first.snapshot(&id, Snapshot::Pending);
        let settled = outcome(vec![1], Phase::Opened, Some(Snapshot::Pending));
        first.settle(&[settled], Batch::default(), 7).await.unwrap();

        let second = book(&ledger);
        let incident = second.get(&id).unwrap();
        assert!(matches!(incident.snapshot, Some(Snapshot::Unknown { .. })));
        assert_eq!(waiting(&second), [(2, Phase::Updated)], "told once");
        assert_eq!(waiting(&book(&ledger)), [(2, Phase::Updated)]);
    }

    #[tokio::test]
    async fn an_outcome_that_comes_while_the_alert_is_worded_is_not_lost() {
        let ledger = MemoryLedger::new();
        let book = book(&ledger);
        book.report(report(false, vec![change("api", Opened, 1000)])).await;
        let id = incident_id("api", 1000);
        book.snapshot(&id, Snapshot::Pending);
        // The words say that it is pending; meanwhile:
        book.snapshot(&id, Snapshot::Taken { file: String::from("a.zip") });
        assert_eq!(waiting(&book), [(1, Phase::Opened)]);
        let settled = outcome(vec![1], Phase::Opened, Some(Snapshot::Pending));
        book.settle(&[settled], Batch::default(), 7).await.unwrap();
        assert_eq!(waiting(&book), [(2, Phase::Updated)]);
    }

    #[tokio::test]
    async fn without_room_a_notice_stays_and_remembers_who_has_it() {
        let ledger = MemoryLedger::new();
        let first = book(&ledger);
        first.report(report(false, vec![change("api", Opened, 1000)])).await;
        let half = Outcome { again: true, ..outcome(vec![1], Phase::Opened, None) };
        first.settle(&[half], Batch::default(), 7).await.unwrap();
        let notices = book(&ledger).notices();
        assert_eq!(notices[0].done, ["mail"]);
    }

    #[tokio::test]
    async fn open_incidents_come_first_and_the_newest_before_the_older() {
        let book = book(&MemoryLedger::new());
        let at = |service: &str, what: Happened, at_ms| {
            let incident = incident_id(service, 1000);
            report(
                false,
                vec![crate::model::incident::Change { incident, ..change(service, what, at_ms) }],
            )
        };
        for it in [at("a", Opened, 1), at("b", Opened, 2), at("c", Opened, 3), at("c", Resolved, 4)]
        {
            book.report(it).await;
        }
        let order: Vec<_> = book.incidents().iter().map(|it| it.service.name.clone()).collect();
        assert_eq!(order, ["b", "a", "c"]);
        book.retire(&BTreeSet::from(["b"]));
        assert_eq!(book.open().len(), 1);
    }
}
