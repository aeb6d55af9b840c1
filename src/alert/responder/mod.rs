//! Takes notices that are due, has them put into words and puts parcels into the outbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::alert::book::{Book, Outcome};
use crate::alert::grouping::{self, Circumstances, Group, Plan, Waiting};
use crate::alert::kubesnap::Kubesnap;
use crate::alert::notice;
use crate::alert::outbox::{Outbox, Parcel, State};
use crate::alert::snapshot_call::{Ask, Network};
use crate::alert::steady::Steady;
use crate::alert::trial;
use crate::alert::wording;
use crate::generation::Generation;
use crate::generation::live::Live;
use crate::health::board::Board;
use crate::model::UnixMs;
use crate::model::alert::{Event, Message};
use crate::model::health::Health;
use crate::model::incident::Incident;
use crate::plugin::alert_formatter::Formatted;
use crate::store::{Batch, Ledger};

/// How long to sleep when nothing rings: a report whose monitor has gone rings for nobody.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How soon to try again when the outbox has no room.
const NO_ROOM: Duration = Duration::from_secs(1);
/// Groups that are put into words in one step; the others in the next.
const GROUPS_MAX: usize = 64;

/// What the responder works with.
#[derive(Clone, Debug)]
pub struct Parts {
    pub live: Arc<Live>,
    pub ledger: Arc<dyn Ledger>,
    pub book: Arc<Book>,
    pub outbox: Arc<Outbox>,
    pub board: Arc<Board>,
    /// Rung when there is a notice.
    pub bell: Arc<Notify>,
}

/// The task that turns notices into parcels.
#[derive(Debug)]
pub struct Responder {
    parts: Parts,
    clock: Steady,
    kubesnap: Arc<Kubesnap>,
    memory: Mutex<Memory>,
}

/// What outlives no restart.
#[derive(Debug, Default)]
struct Memory {
    /// When a notice was seen first, by number.
    seen: BTreeMap<u64, u64>,
    /// The generation whose services were compared with the book's.
    generation: u64,
    /// Notices that found no room in the outbox the last time: said once.
    no_room: BTreeSet<u64>,
}

/// What a test alert became at one sink.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tested {
    pub sink: String,
    pub accepted: bool,
    /// What the receiver answered, or why nothing was sent.
    pub detail: String,
}

/// A group and its words.
struct Worded {
    group: Group,
    event: Event,
    formatted: Formatted,
}

impl Responder {
    pub fn new(parts: Parts) -> Arc<Self> {
        Self::with(parts, Box::new(Network::default()))
    }

    /// The same with another way to Kubesnap.
    pub fn with(parts: Parts, asks: Box<dyn Ask>) -> Arc<Self> {
        let clock = Steady::new();
        let kubesnap = Kubesnap::new(&parts.ledger, &parts.book, clock, asks);
        Arc::new(Self { parts, clock, kubesnap, memory: Mutex::default() })
    }

    /// Works until it is dropped. Finishes what the last process had begun.
    pub async fn run(self: Arc<Self>) {
        self.kubesnap.restore();
        let mut published = self.parts.live.published();
        loop {
            // Whoever rings from here on is heard, also during the step.
            let bell = self.parts.bell.notified();
            let rest = self.step().await;
            tokio::select! {
                () = bell => {}
                // A new config may change what is due. Without anybody who publishes there is nothing to hear.
                Ok(()) = published.changed() => {}
                () = sleep(rest) => {}
            }
        }
    }

    /// Puts into the outbox what is due; gives how long there is nothing to do unless somebody rings.
    async fn step(&self) -> Duration {
        let generation = Arc::clone(&self.parts.live.load().generation);
        self.retire(&generation);
        let reminder = self.remind(&generation);
        let notices = self.parts.book.notices();
        self.kubesnap.ask_for(&notices, &generation.alerting);
        let plan = self.plan(&generation);
        if !plan.groups.is_empty() {
            return self.carry_out(plan, &generation).await;
        }
        let next = plan.again_ms.into_iter().chain(reminder).min();
        let now_ms = self.clock.now_ms();
        next.map_or(LOOK_MAX, |at| Duration::from_millis(at.saturating_sub(now_ms)).min(LOOK_MAX))
    }

    fn plan(&self, generation: &Generation) -> Plan {
        let (book, now_ms) = (&self.parts.book, self.clock.now_ms());
        let notices = book.notices();
        let waiting: Vec<Waiting> = {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            let Memory { seen, no_room, .. } = &mut *memory;
            let there = |number: &u64| notices.binary_search_by_key(number, |it| it.number).is_ok();
            seen.retain(|number, _| there(number));
            let wait = |notice: Arc<notice::Notice>| Waiting {
                seen_ms: *seen.entry(notice.number).or_insert(now_ms),
                incident: book.find(&notice.change.incident),
                no_room: no_room.contains(&notice.number),
                notice,
            };
            notices.into_iter().map(wait).collect()
        };
        if waiting.is_empty() {
            return Plan::default();
        }
        let open = book.open();
        let known: Vec<String> = open.iter().map(|it| it.service.name.clone()).collect();
        let now = Circumstances {
            alerts: &generation.alerting.config,
            now_ms,
            wall_ms: UnixMs::now().0,
            suspects: !self.parts.board.suspects(&known).is_empty(),
            snapshot: &|incident| self.kubesnap.waits(incident),
            healing: &|incident| self.heals(incident, &open),
        };
        grouping::plan(&waiting, &now)
    }

    /// Whether another incident of the group looks as if it were over soon.
    fn heals(&self, incident: &Incident, open: &[Arc<Incident>]) -> bool {
        let Some(group) = &incident.telling.group else { return false };
        let looks_good = |it: &Incident| {
            let health = self.parts.board.get(&it.service.name);
            let verdict = health.as_ref().and_then(|it| it.verdict.as_ref());
            verdict.is_some_and(|it| it.status == Health::Ok)
        };
        let others = open.iter().filter(|it| it.id != incident.id);
        let same = others.filter(|it| it.telling.group.as_ref() == Some(group));
        same.into_iter().any(|it| looks_good(it))
    }

    /// Words, one batch, and what is left: deletes the notices as it puts the parcels.
    async fn carry_out(&self, plan: Plan, generation: &Generation) -> Duration {
        let mut worded = Vec::new();
        for group in plan.groups.into_iter().take(GROUPS_MAX) {
            if let Some(it) = word(group, generation).await {
                worded.push(it);
            }
        }
        let (mut batch, mut outcomes) = (Batch::default(), Vec::new());
        // Where one finds no room, what follows it to the same sink in this step finds none either; other sinks have some.
        for it in worded {
            outcomes.extend(self.put(it, &mut batch));
        }
        let full = outcomes.iter().filter(|it| it.again).flat_map(|it| it.notices.clone());
        let no_room: BTreeSet<u64> = full.collect();
        let full = !no_room.is_empty();
        let has_parcels = outcomes.iter().any(|it| !it.placed.is_empty());
        let written = self.parts.book.settle(&outcomes, batch, self.clock.now_ms()).await;
        self.parts.book.written(written);
        if has_parcels {
            self.parts.outbox.written();
        }
        self.say_room(no_room);
        if full { NO_ROOM } else { Duration::ZERO }
    }

    /// Parcels for a group; `None` when maintenance took a notice back while it was put into words.
    fn put(&self, worded: Worded, batch: &mut Batch) -> Option<Outcome> {
        let Worded { group, event, formatted } = worded;
        let notices: Vec<u64> =
            group.members.iter().flat_map(|it| &it.notices).map(|it| it.number).collect();
        if !self.parts.book.wait(&notices) {
            return None;
        }
        let parcels: Vec<_> = match formatted.message {
            Some(message) => {
                group.sinks.iter().filter_map(|it| parcel(&group, it, &event, &message)).collect()
            }
            None => Vec::new(),
        };
        let suppressed = parcels.is_empty() && !group.sinks.is_empty();
        let mut placed: BTreeSet<String> = parcels.iter().map(|it| it.sink.clone()).collect();
        let returned = self.parts.outbox.put(batch, parcels);
        for parcel in &returned {
            placed.remove(&parcel.sink);
        }
        Some(Outcome {
            notices,
            incidents: group
                .members
                .iter()
                .map(|it| (it.change.incident.clone(), it.snapshot().cloned()))
                .collect(),
            phase: group.phase,
            text: say(&group, &placed, suppressed),
            placed,
            again: !returned.is_empty(),
            by: formatted.by.map(|it| it.to_string()),
        })
    }

    fn say_room(&self, no_room: BTreeSet<u64>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match (memory.no_room.is_empty(), no_room.is_empty()) {
            (true, false) => tracing::error!(
                "the outbox has no room; notices wait. Bring the sinks back, or drop parcels (`headgate outbox drop`)"
            ),
            (false, true) => tracing::info!("the outbox has room again"),
            _ => {}
        }
        memory.no_room = no_room;
    }

    /// With a new config, incidents of services that nobody watches any more are over.
    fn retire(&self, generation: &Generation) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut memory.generation, generation.number) == generation.number {
            return;
        }
        let watched = generation.config.services.iter().filter(|it| it.watching.probe.is_some());
        // Those that have a monitor are its to end: a later generation may have them again before it has even looked.
        let monitored = self.parts.board.all();
        let monitored = monitored.iter().map(|it| it.service.as_str());
        self.parts.book.retire(&watched.map(|it| it.name.as_str()).chain(monitored).collect());
    }

    /// Has notices made for incidents that are open for so long; gives when the next one is due (steady clock).
    fn remind(&self, generation: &Generation) -> Option<u64> {
        let alerts = &generation.alerting.config;
        let every = u64::try_from(alerts.remind_after?.as_millis()).unwrap_or(u64::MAX).max(1);
        let (now_ms, wall_ms) = (self.clock.now_ms(), UnixMs::now().0);
        let (mut due, mut next) = (Vec::new(), None::<u64>);
        for it in self.parts.book.open() {
            let Some(last_ms) = it.telling.last_ms.filter(|_| it.told && !it.muted) else {
                continue;
            };
            // A clock that was put back between two processes must not silence the reminders.
            let at = last_ms.min(now_ms).saturating_add(every);
            let quiet = crate::alert::quiet::until(alerts.quiet.as_ref(), it.severity, wall_ms);
            match at <= now_ms && quiet.is_none() {
                true => due.push(it.id.clone()),
                false => next = next.into_iter().chain([at.max(now_ms + 1000)]).min(),
            }
        }
        self.parts.book.remind(&due);
        next
    }

    /// Sends a test alert through formatter and outbox to these sinks (all, when empty) and waits for their answers, 15 s at most.
    pub async fn test(&self, sinks: &[String]) -> Vec<Tested> {
        let generation = Arc::clone(&self.parts.live.load().generation);
        trial::test(&self.parts, &generation, sinks).await
    }

    /// The words that the acting formatter would find for an event, and the parcels that would follow; sends nothing.
    pub async fn preview(&self, event: Event) -> (Option<Message>, Vec<Parcel>) {
        let generation = Arc::clone(&self.parts.live.load().generation);
        trial::preview(&generation, event).await
    }
}

/// Has the formatter put a group into words; that takes its deadlines at most.
async fn word(group: Group, generation: &Generation) -> Option<Worded> {
    let gateway = &generation.alerting.config.gateway;
    let event = wording::event(&group, gateway, UnixMs::now().0)?;
    let formatted = match group.sinks.is_empty() {
        // Nobody listens.
        true => Formatted { message: None, by: None, fault: None },
        false => generation.plugins.formatter.format(Arc::new(event.clone())).await,
    };
    Some(Worded { group, event, formatted })
}

fn parcel(group: &Group, sink: &str, event: &Event, message: &Message) -> Option<Parcel> {
    let lead = group.loudest()?.lead()?;
    let all: Vec<_> = group.members.iter().filter_map(|it| it.lead().map(AsRef::as_ref)).collect();
    Some(Parcel {
        number: 0,
        sink: sink.to_owned(),
        incidents: group.members.iter().map(|it| it.change.incident.clone()).collect(),
        phase: group.phase,
        key: notice::key(lead, &all, group.phase, sink),
        created_ms: event.now_ms,
        event: event.clone(),
        message: message.clone(),
        state: State::Waiting { attempts: 0, next_try_ms: 0, error: None },
    })
}

/// What stands in the timeline.
fn say(group: &Group, placed: &BTreeSet<String>, suppressed: bool) -> String {
    let phase = notice::phase_word(group.phase);
    let why = match group.why {
        notice::Why::Change => String::new(),
        other => format!(" ({})", other.word()),
    };
    let sinks: Vec<&str> = placed.iter().map(String::as_str).collect();
    let whom = match (suppressed, sinks.as_slice()) {
        (true, _) => String::from("suppressed by the formatter"),
        (false, []) => String::from("no sink hears of it"),
        (false, _) => format!("for {}", sinks.join(", ")),
    };
    let with = match group.members.len() {
        0 | 1 => String::new(),
        count => format!(", together with {} more", count - 1),
    };
    format!("{phase}{why}: {whom}{with}")
}

#[cfg(test)]
mod tests;
