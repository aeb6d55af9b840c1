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
    pub fn incidents(&self) -> Vec<Incident> {
        let mut all: Vec<_> = self.state().incidents.values().cloned().collect();
        all.sort_by_key(|it| (it.resolved_ms.is_some(), std::cmp::Reverse(it.opened_ms)));
        all.into_iter().map(Arc::unwrap_or_clone).collect()
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
        self.tell(&report);
        let mut state = self.state();
        let before = state.last;
        state.report(report);
        let has_notice = state.last > before;
        let written = self.write(&mut state, Batch::default());
        drop(state);
        Box::pin(async move {
            let outcome = written.await;
            self.written(outcome);
            // Not before it is durable, or known not to be: what is told must survive.
            if has_notice {
                self.bell.notify_one();
            }
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
