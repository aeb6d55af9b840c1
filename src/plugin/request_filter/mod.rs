//! Runs a route's filters on a data thread: reused instances per core, a budget per second, a fail mode.
//!
//! A core keeps one instance of each filter and asks it inline. Instances are made by another thread (`spares`): when the
//! filter goes live, and whenever one was taken. A core changes its instance after a number of calls, after some time and
//! when its memory has grown, as soon as a spare stands ready; after a fault it must.

mod note;
mod running;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::UnixMs;
use crate::plugin::budget::{BackOff, Began, Budget, SHARE, WINDOW};
use crate::plugin::facts::Facts;
use crate::plugin::host::{FilterDecision, FilterReply, HeaderOp, Instance};
use crate::plugin::registry::acting::Acting;
use crate::plugin::registry::backing::Backing;
use crate::plugin::registry::shadow::Beside;
pub use crate::plugin::request_filter::note::{Did, Note};
use crate::plugin::request_filter::running::{CALLS_PER_LOOK, Running};
use crate::plugin::spares::{Spares, later};
use crate::plugin::{Digest, Fault, Said};
use crate::telemetry::plugins::PluginCounts;

/// Calls of an instance that are recorded at first; later every 64th.
const RECORDED_FIRST: u32 = 32;

/// What becomes of a request whose filter gives no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused with 503.
    Closed,
    /// It goes on as if the filter were not there.
    Open,
}

/// One filter of one route, live in one generation.
#[derive(Debug)]
pub struct RequestFilter {
    /// Unique in the process: a core keeps its instances under it, over generations as long as nothing of it changes.
    pub id: u64,
    /// The operator's name for the plugin.
    pub plugin: String,
    /// The component with its settings; `None`: it could not be proven, so the fail mode applies to every request.
    pub component: Option<Arc<Acting>>,
    pub on_failure: OnFailure,
    /// Headers that it may read: the component's wants, as far as they were granted; lower case. `*` stands for any other
    /// than credentials.
    pub headers: Vec<String>,
    /// Instances that no core has taken yet.
    pub spares: Spares<Instance>,
    pub back_off: BackOff,
    /// Has the recorder that keeps some requests for the proof of a later component; `None` in tools and tests.
    backing: Option<Arc<Backing>>,
    /// Counts what the fail mode does without a component.
    missing: Option<Arc<PluginCounts>>,
    /// A candidate that is asked about the recorded requests too, without effect.
    beside: Option<Beside>,
}

impl RequestFilter {
    /// Without instances; see [`RequestFilter::prepare`].
    pub fn new(
        id: u64,
        plugin: String,
        component: Option<Arc<Acting>>,
        on_failure: OnFailure,
        headers: Vec<String>,
    ) -> Self {
        let (spares, back_off) = (Spares::default(), BackOff::default());
        let (backing, missing, beside) = (None, None, None);
        Self {
            id,
            plugin,
            component,
            on_failure,
            headers,
            spares,
            back_off,
            backing,
            missing,
            beside,
        }
    }

    /// With a recorder.
    #[must_use]
    pub fn backed_by(self, backing: &Arc<Backing>) -> Self {
        Self { backing: Some(Arc::clone(backing)), ..self }
    }

    /// With the counts of its plugin, for when it has no component.
    #[must_use]
    pub(crate) fn missed_by(self, missing: Option<Arc<PluginCounts>>) -> Self {
        Self { missing, ..self }
    }

    /// With a candidate that runs beside it.
    #[must_use]
    pub(crate) fn beside(self, beside: Option<Beside>) -> Self {
        Self { beside, ..self }
    }

    /// The candidate that runs beside it.
    pub(crate) fn candidate(&self) -> Option<Digest> {
        self.beside.as_ref().map(Beside::digest)
    }

    /// Records what this filter was shown, and shows it to the candidate beside it, if any; never waits.
    fn record(&self, acting: &Acting, facts: &Facts, did: &Result<FilterDecision, Fault>) {
        if let Some(beside) = self.beside.clone() {
            let (mut facts, did) = (facts.as_seen(), did.clone());
            // Where too much waits already, this one is not compared.
            let _ = later(move || beside.decide(&mut facts, &did));
        }
        if let Some(backing) = &self.backing {
            let now = UnixMs(facts.now_ms);
            backing.recorder.facts(&acting.place, &facts.as_seen(), now);
        }
    }

    /// Makes the instances that are lacking, so that the first requests find some. Blocks; call it off the data threads,
    /// before the filter is published.
    ///
    /// # Errors
    /// The fault of the first that could not be made.
    pub fn prepare(&self) -> Result<(), Fault> {
        let Some(acting) = &self.component else { return Ok(()) };
        self.spares.fill(|| acting.component.instance(&acting.settings))
    }

    /// Has what is lacking made by the other thread.
    fn replenish(self: &Arc<Self>) {
        if !self.spares.claim() {
            return;
        }
        let filter = Arc::downgrade(self);
        let work = move || {
            let Some(filter) = filter.upgrade() else { return };
            if let Err(fault) = filter.prepare() {
                tracing::warn!(plugin = filter.plugin, %fault, "no instance of the filter can be made");
            }
        };
        if !later(work) {
            self.spares.release();
        }
    }
}

/// What the filters of a route decide together.
#[derive(Debug)]
pub enum Filtered {
    /// Goes on, with these edits (often none).
    Pass(Vec<HeaderOp>),
    /// A filter's own answer.
    Reply { filter: Arc<RequestFilter>, reply: FilterReply },
    /// A filter failed and its mode is closed.
    Refused { filter: Arc<RequestFilter>, fault: Option<Fault> },
}

/// The instances of one core.
#[derive(Debug, Default)]
pub struct CoreFilters {
    /// By filter id, ascending.
    slots: Vec<(u64, Slot)>,
    said: Said,
    note: Option<Note>,
}

/// One filter on one core.
#[derive(Debug)]
struct Slot {
    plugin: Rc<str>,
    running: Option<Running>,
    budget: Budget,
}

/// Why there is no answer.
#[derive(Debug)]
enum Unanswered {
    /// Its component could not be proven.
    Unproven,
    /// It took too much of a core, or is in quarantine.
    Suspended,
    Fault(Fault),
}

impl Unanswered {
    fn label(&self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Suspended => "suspended",
            Self::Fault(fault) => fault.label(),
        }
    }

    fn into_fault(self) -> Option<Fault> {
        match self {
            Self::Fault(fault) => Some(fault),
            Self::Unproven | Self::Suspended => None,
        }
    }
}

impl CoreFilters {
    /// Asks the filters in order. Synchronous; an edit of one is not seen by the next: all read what the client sent.
    pub fn run(&mut self, filters: &[Arc<RequestFilter>], facts: &mut Facts) -> Filtered {
        self.note = None;
        let mut edits = Vec::new();
        for (place, filter) in filters.iter().enumerate() {
            facts.show_to(place);
            match self.ask(filter, facts) {
                Ok(FilterDecision::Next) => {}
                Ok(FilterDecision::Edit(mut more)) => {
                    edits.append(&mut more);
                    self.note(filter, Did::Edited);
                }
                Ok(FilterDecision::Reply(reply)) => {
                    self.note(filter, Did::Replied);
                    return Filtered::Reply { filter: Arc::clone(filter), reply };
                }
                Err(why) if filter.on_failure == OnFailure::Open => {
                    self.note(filter, Did::FailedOpen(why.label()));
                }
                Err(why) => {
                    self.note(filter, Did::FailedClosed(why.label()));
                    let filter = Arc::clone(filter);
                    return Filtered::Refused { filter, fault: why.into_fault() };
                }
            }
        }
        Filtered::Pass(edits)
    }

    /// What was noteworthy about the last run.
    pub fn take_note(&mut self) -> Option<Note> {
        self.note.take()
    }

    /// Drops the instances of all filters but these: after another generation went live.
    pub fn keep<'f>(&mut self, live: impl Iterator<Item = &'f Arc<RequestFilter>>) {
        if self.slots.is_empty() {
            return;
        }
        let live: Vec<u64> = live.filter(|it| it.component.is_some()).map(|it| it.id).collect();
        let (kept, gone) =
            std::mem::take(&mut self.slots).into_iter().partition(|it| live.contains(&it.0));
        self.slots = kept;
        let gone: Vec<(u64, Slot)> = gone;
        let dead: Vec<Instance> =
            gone.into_iter().filter_map(|it| it.1.running).map(|it| it.instance).collect();
        bury(dead);
    }

    /// How many instances this core has.
    pub fn instances(&self) -> usize {
        self.slots.iter().filter(|it| it.1.running.is_some()).count()
    }

    fn ask(
        &mut self,
        filter: &Arc<RequestFilter>,
        facts: &mut Facts,
    ) -> Result<FilterDecision, Unanswered> {
        let Some(acting) = &filter.component else {
            filter.missing.iter().for_each(|it| it.fell_back());
            return Err(Unanswered::Unproven);
        };
        if acting.is_suspended(UnixMs(facts.now_ms)) {
            acting.fell_back();
            return Err(Unanswered::Suspended);
        }
        let at = self.place_of(filter);
        let Some((_, slot)) = self.slots.get_mut(at) else { return Err(Unanswered::Suspended) };
        let measure = slot.budget.measure();
        let Some(running) = slot.ready(filter) else {
            acting.called(Some(&Fault::Busy), Duration::ZERO);
            return Err(Unanswered::Fault(Fault::Busy));
        };
        acting.sees(facts);
        let began = Began::now(measure);
        let outcome = running.instance.on_request(facts, &mut self.said);
        let took = began.took();
        running.calls += 1;
        if running.calls <= RECORDED_FIRST || running.calls.is_multiple_of(CALLS_PER_LOOK) {
            filter.record(acting, facts, &outcome);
        }
        acting.called(outcome.as_ref().err(), took.cpu.unwrap_or(took.wall));
        if !is_silent(&self.said) {
            acting.said(&self.said);
            self.said = Said::default();
        }
        if slot.budget.charge(&took) {
            suspend(filter, acting, facts);
        }
        if let Err(fault) = &outcome {
            acting.failed(fault);
            slot.discard(filter);
        }
        outcome.map_err(Unanswered::Fault)
    }

    fn place_of(&mut self, filter: &RequestFilter) -> usize {
        match self.slots.binary_search_by_key(&filter.id, |it| it.0) {
            Ok(at) => at,
            Err(at) => {
                let plugin = Rc::from(filter.plugin.as_str());
                let budget = Budget::new(Instant::now());
                self.slots.insert(at, (filter.id, Slot { plugin, running: None, budget }));
                at
            }
        }
    }

    fn note(&mut self, filter: &RequestFilter, did: Did) {
        if self.note.as_ref().is_some_and(|it| it.did > did) {
            return;
        }
        let known = self.slots.binary_search_by_key(&filter.id, |it| it.0).ok();
        let plugin = match known.and_then(|it| self.slots.get(it)) {
            Some((_, slot)) => Rc::clone(&slot.plugin),
            None => Rc::from(filter.plugin.as_str()),
        };
        self.note = Some(Note { plugin, did });
    }
}

impl Slot {
    /// The instance to ask: this core's own, or a spare in its place when there is none or it is used up. `None`: no spare.
    fn ready(&mut self, filter: &Arc<RequestFilter>) -> Option<&mut Running> {
        let used_up = self.running.as_ref().is_none_or(Running::is_used_up);
        if used_up {
            if let Some(instance) = filter.spares.take() {
                let old = self.running.replace(Running::new(instance));
                bury(old.into_iter().map(|it| it.instance).collect());
            }
            filter.replenish();
        }
        self.running.as_mut()
    }

    fn discard(&mut self, filter: &Arc<RequestFilter>) {
        bury(self.running.take().into_iter().map(|it| it.instance).collect());
        filter.replenish();
    }
}

fn is_silent(said: &Said) -> bool {
    let Said { lines, lines_dropped, metrics, metrics_dropped } = said;
    lines.is_empty() && metrics.is_empty() && *lines_dropped == 0 && *metrics_dropped == 0
}

/// Dropping takes system calls; the other thread has time for them.
fn bury(dead: Vec<Instance>) {
    if !dead.is_empty() {
        later(move || drop(dead));
    }
}

fn suspend(filter: &RequestFilter, acting: &Acting, facts: &Facts) {
    let now = UnixMs(facts.now_ms);
    if acting.is_suspended(now) {
        return;
    }
    let until = filter.back_off.strike(now);
    acting.suspend(until);
    tracing::warn!(
        plugin = filter.plugin,
        place = ?acting.place,
        until = until.rfc3339(),
        on_failure = ?filter.on_failure,
        "the filter is suspended: it took more than {SHARE:?} of CPU time within {WINDOW:?} on one core"
    );
}

#[cfg(test)]
mod tests;
