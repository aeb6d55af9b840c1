//! Watches one service: tick, probe all endpoints, judge, track, tell.

mod place;
mod telling;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::config::health::Probe;
use crate::generation::LiveService;
use crate::generation::live::Live;
use crate::health::board::Board;
use crate::health::monitor::place::{Place, authority, place};
use crate::health::probe::Prober;
use crate::health::round::{Rounds, speaker, unresolved};
use crate::health::tracker::{Seen, Track};
use crate::health::traffic::Traffic;
use crate::health::window::Ring;
use crate::health::{Reporter, endpoints, pace};
use crate::model::UnixMs;
use crate::model::health::{Health, Sample, ServiceFacts, Verdict, Window};
use crate::plugin::Fault;
use crate::plugin::health_policy::Judged;
use crate::store::journal::Journal;
use crate::telemetry::health::{HealthMetrics, ServiceWatch};

/// A judgement ends by itself within the plugins' deadlines; this is for one that does not.
const JUDGEMENT: Duration = Duration::from_secs(5);
/// Code of the verdict about a service that cannot be probed.
const CANNOT_PROBE: &str = "cannot-probe";

/// What all monitors share.
#[derive(Clone, Debug)]
pub struct Site {
    pub live: Arc<Live>,
    pub board: Arc<Board>,
    pub journal: Arc<dyn Journal>,
    pub reporter: Arc<dyn Reporter>,
    pub metrics: Arc<HealthMetrics>,
}

/// Where a monitor begins: what the last process left, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Begin {
    pub track: Track,
    pub ring: Ring,
    pub verdict: Option<Verdict>,
}

/// The watch over one service, over all generations that have it.
#[derive(Debug)]
pub struct Monitor {
    site: Site,
    name: String,
    track: Track,
    ring: Ring,
    verdict: Option<Verdict>,
    by: Option<String>,
    reason: Option<String>,
    rounds: Rounds,
    traffic: Traffic,
    prober: Option<Ready>,
    watch: Arc<ServiceWatch>,
    tick: u64,
    /// Where the service was found last.
    at: usize,
    last_probe_ms: Option<u64>,
    saved_ms: u64,
    reporting: Option<JoinHandle<()>>,
    /// Shared by the reports that are under way: one that panics is none any more.
    reports: Arc<()>,
    /// Outlives a fault of this task.
    kept: Kept,
}

/// Where a tracker stands, for the monitor that follows one which failed.
pub type Kept = Arc<Mutex<Track>>;

/// What one tick came to.
struct Round {
    judged: Judged,
    service: ServiceFacts,
    at_ms: u64,
    samples: Vec<Sample>,
}

/// A prober and what it was made of.
#[derive(Debug)]
struct Ready {
    probe: Probe,
    authority: (String, u16),
    prober: Result<Arc<Prober>, String>,
}

impl Monitor {
    pub fn new(site: Site, name: String, begin: Begin) -> Self {
        let watch = site.metrics.service(&name);
        watch.stands(begin.track.health, begin.track.flapping);
        let kept = Arc::new(Mutex::new(begin.track.clone()));
        Self {
            site,
            name,
            track: begin.track,
            ring: begin.ring,
            verdict: begin.verdict,
            by: None,
            reason: None,
            rounds: Rounds::default(),
            traffic: Traffic::default(),
            prober: None,
            watch,
            tick: 0,
            at: 0,
            last_probe_ms: None,
            saved_ms: 0,
            reporting: None,
            reports: Arc::default(),
            kept,
        }
    }

    /// Where a copy of the tracker's state is kept.
    pub fn kept(&self) -> Kept {
        Arc::clone(&self.kept)
    }

    fn keep(&self) {
        self.track.clone_into(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Watches until a generation comes that has the service no more; ends what is open, and itself.
    pub async fn run(mut self, mut generations: watch::Receiver<u64>) {
        let mut due: Option<Instant> = None;
        loop {
            generations.mark_unchanged();
            let Some(place) = self.place() else { return self.removed().await };
            let Some(probe) = place.service.service.watching.probe.clone() else {
                due = None;
                self.unwatched(&place).await;
                if generations.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let at = self.due(due, &probe, &place);
            due = Some(at);
            tokio::select! {
                changed = generations.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep_until(at) => {
                    self.site.metrics.late(at.elapsed());
                    // Boxed: between two rounds it costs nothing, and that is nearly all the time.
                    let pause = Box::pin(self.round(&probe, place)).await;
                    // From when it was due, so that lateness does not add up; but a probe that hung is not
                    // followed by the next at once.
                    due = Some((at + pause).max(Instant::now() + pause / 2));
                }
            }
        }
    }

    /// When to probe: as planned, and at the latest as the settings that are live now have it.
    fn due(&mut self, planned: Option<Instant>, probe: &Probe, place: &Place) -> Instant {
        let now = Instant::now();
        let Some(planned) = planned else {
            let pause = pace::first(&self.name, probe.interval);
            self.post(place, Some(pause));
            return now + pause;
        };
        planned.min(now + pace::interval(probe, self.track.is_undecided(), None).mul_f32(1.1))
    }

    fn place(&mut self) -> Option<Place> {
        let found = place(&self.site.live.load(), &self.name, self.at)?;
        self.at = found.at;
        Some(found)
    }

    /// One tick. Gives the time to the next.
    async fn round(&mut self, probe: &Probe, place: Place) -> Duration {
        self.tick = self.tick.wrapping_add(1);
        let authority = authority(&place.service);
        let Some(prober) = self.prober(probe, authority).await else {
            return self.cannot_probe(probe, &place).await;
        };
        let samples = self.look(&prober, probe, &place).await;
        // What is live now judges: a policy that was swapped meanwhile acts at once.
        let Some(place) = self.place() else { return Duration::ZERO };
        samples.iter().cloned().for_each(|it| self.ring.push(it));
        let facts = self.facts(&place.service);
        let now_ms = UnixMs::now().0;
        let judged = self.judge(&place, facts.clone(), now_ms).await;
        let round = Round { judged, service: facts, at_ms: now_ms, samples };
        self.conclude(round, &place).await;
        let asked = self.verdict.as_ref().and_then(|it| it.next_check_ms);
        self.pause(probe, asked, &place)
    }

    fn pause(&self, probe: &Probe, asked_ms: Option<u32>, place: &Place) -> Duration {
        let interval = pace::interval(probe, self.track.is_undecided(), asked_ms);
        let pause = pace::next(&self.name, self.tick, interval);
        self.post(place, Some(pause));
        pause
    }

    /// The prober for these settings; `None`: it cannot be made, `reason` says why. Tried again at every tick.
    async fn prober(&mut self, probe: &Probe, authority: (String, u16)) -> Option<Arc<Prober>> {
        if let Some(Ready { probe: old, authority: from, prober: Ok(prober) }) = &self.prober
            && (old, from) == (probe, &authority)
        {
            return Some(Arc::clone(prober));
        }
        let (settings, from) = (probe.clone(), authority.clone());
        // It may read files.
        let made = tokio::task::spawn_blocking(move || Prober::new(&settings, from)).await;
        let prober = made.unwrap_or_else(|error| Err(error.to_string()));
        let ready = Ready { probe: probe.clone(), authority, prober };
        self.prober.insert(ready).prober.as_ref().ok().map(Arc::clone)
    }

    /// Probes the endpoints and asks what traffic says.
    async fn look(&mut self, prober: &Arc<Prober>, probe: &Probe, place: &Place) -> Vec<Sample> {
        let (service, covered) = (&place.service, place.covered);
        let addresses: Vec<SocketAddr> =
            service.endpoints.list().iter().map(|it| it.addr).collect();
        let results = self.rounds.probe(prober, probe, &addresses).await;
        self.last_probe_ms = Some(UnixMs::now().0);
        for (_, sample) in &results {
            self.watch.probed(sample.outcome, sample.latency_us);
        }
        // What the gate could not ask for reasons of its own says nothing about the endpoint.
        let spoke = results.iter().filter_map(|it| Some((it.0, endpoints::speaks(&it.1)?)));
        let verdicts: Vec<(SocketAddr, bool)> = spoke.collect();
        endpoints::seen(&service.endpoints, &verdicts);
        let sample = speaker(&results).cloned().unwrap_or_else(|| {
            let sample = unresolved(probe);
            self.watch.probed(sample.outcome, 0);
            sample
        });
        // Asked for also when it is not wanted: each call is about the time since the last one.
        let traffic = self.traffic.sample(&service.metrics, sample.at_ms);
        std::iter::once(sample).chain(traffic.filter(|_| !covered)).collect()
    }

    fn facts(&self, live: &LiveService) -> ServiceFacts {
        let service = &live.service;
        let (host, port) = authority(live);
        let count = |it: usize| Some(u32::try_from(it).unwrap_or(u32::MAX));
        ServiceFacts {
            name: self.name.clone(),
            namespace: service.watching.namespace.clone(),
            endpoint: format!("{host}:{port}"),
            ready: count(self.rounds.ready()),
            desired: count(live.endpoints.list().len()),
            labels: service.watching.labels.clone(),
        }
    }

    async fn judge(&mut self, place: &Place, service: ServiceFacts, now_ms: u64) -> Judged {
        let window = Arc::new(Window {
            now_ms,
            service,
            current: self.track.health,
            since_ms: self.track.since_ms.min(now_ms),
            samples: self.ring.samples(),
            seed: pace::seed(&self.name, self.tick),
            extra: Vec::new(),
        });
        let Some(policy) = &place.policy else {
            return nothing_said("no-policy", "the service has no policy");
        };
        let judged = timeout(JUDGEMENT, policy.judge(Arc::clone(&window))).await;
        let judged = judged.unwrap_or_else(|_| {
            let message = format!("no answer in {JUDGEMENT:?}");
            let fault = Some(Fault::Failed { message });
            Judged { verdict: policy.native.judge(&window), by: None, fault }
        });
        self.reason = match (&judged.fault, &policy.missing) {
            (Some(fault), _) => Some(format!(
                "the policy did not judge, the native rule does: {fault}; it is asked again at the next probe"
            )),
            (None, Some(_)) => Some(
                "nothing that was ever proven can act as the policy, the native rule judges; see `headgate plugin status`"
                    .to_owned(),
            ),
            (None, None) => None,
        };
        judged
    }

    /// Takes a verdict in: tracker, report, board, journal.
    async fn conclude(&mut self, round: Round, place: &Place) {
        let Round { judged: Judged { verdict, by, .. }, service, at_ms, samples } = round;
        self.by = by.map(|it| it.to_string());
        let before = self.track.health;
        let seen = Seen {
            at_ms,
            service: &service,
            verdict: &verdict,
            by: self.by.clone(),
            covered: place.covered,
        };
        let changes = self.track.step(&seen, &place.rules());
        self.verdict = Some(Verdict { state: None, ..verdict });
        self.watch.stands(self.track.health, self.track.flapping);
        self.keep();
        let is_quiet = changes.is_empty();
        if !is_quiet {
            self.report(changes, place.covered).await;
        }
        if before != self.track.health {
            self.watch.changed();
            self.tell(before, at_ms);
        }
        self.record(samples, place.covered, at_ms);
        if !is_quiet || before != self.track.health || self.is_time_to_save(at_ms) {
            self.save(at_ms);
        }
    }

    async fn cannot_probe(&mut self, probe: &Probe, place: &Place) -> Duration {
        let why = match self.prober.as_ref().map(|it| &it.prober) {
            Some(Err(why)) => why.clone(),
            _ => "the prober cannot be made".to_owned(),
        };
        let reason = Some(format!("not probed: {why}"));
        if self.reason != reason {
            tracing::warn!(service = self.name, why, "the service cannot be probed");
        }
        self.reason = reason;
        let judged = nothing_said(CANNOT_PROBE, &format!("it cannot be probed: {why}"));
        let (service, at_ms) = (self.facts(&place.service), UnixMs::now().0);
        self.conclude(Round { judged, service, at_ms, samples: Vec::new() }, place).await;
        self.pause(probe, None, place)
    }

    /// On the board, with the reason why nothing is known.
    async fn unwatched(&mut self, place: &Place) {
        self.close(&place.service).await;
        (self.verdict, self.by, self.last_probe_ms) = (None, None, None);
        (self.prober, self.rounds) = (None, Rounds::default());
        self.reason = Some(format!("not probed: `services.{}.health.probe` is not set", self.name));
        self.post(place, None);
    }

    /// The service is gone: what is open ends, and nobody speaks of it any more.
    async fn removed(mut self) {
        let service = ServiceFacts {
            name: self.name.clone(),
            namespace: None,
            endpoint: String::new(),
            ready: None,
            desired: None,
            labels: Vec::new(),
        };
        self.end(&service).await;
        self.site.metrics.forget(&self.name);
        self.site.board.forget(&self.name);
    }

    async fn close(&mut self, live: &LiveService) {
        let facts = self.facts(live);
        self.end(&facts).await;
    }

    async fn end(&mut self, service: &ServiceFacts) {
        let now_ms = UnixMs::now().0;
        if let Some(change) = self.track.removed(now_ms, service) {
            self.report(vec![change], false).await;
            self.save(now_ms);
        }
        self.track = Track { since_ms: now_ms, ..Track::default() };
        self.watch.stands(self.track.health, false);
    }
}

fn nothing_said(code: &str, detail: &str) -> Judged {
    let verdict = Verdict {
        status: Health::Unknown,
        code: code.to_owned(),
        detail: detail.to_owned(),
        actions: Vec::new(),
        next_check_ms: None,
        state: None,
        extra: Vec::new(),
    };
    Judged { verdict, by: None, fault: None }
}

#[cfg(test)]
mod tests;
