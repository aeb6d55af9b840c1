//! The last inputs of every place, on which a candidate is tried before it acts.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::UnixMs;
use crate::model::alert::Event;
use crate::model::health::Window;
use crate::plugin::facts::Facts;
use crate::plugin::registry::Place;

/// Inputs of one place.
const INPUTS: usize = 256;

/// Bytes of the inputs of one place, about.
const BYTES: usize = 2 * 1024 * 1024;
/// Bytes of all inputs, about: where there are many places, each has less.
const BYTES_ALL: usize = 32 * 1024 * 1024;
/// But never less than this: a few windows.
const BYTES_MIN: usize = 48 * 1024;

/// Time between two requests of a route that are recorded, so that they come from more than one moment.
pub(crate) const SAMPLE_MS: u64 = 100;

/// One recorded input.
#[derive(Clone, Debug)]
pub enum Input {
    Window(Arc<Window>),
    Event(Arc<Event>),
    Facts(Arc<Facts>),
}

impl Input {
    /// The window that it is.
    pub fn into_window(self) -> Option<Arc<Window>> {
        match self {
            Self::Window(it) => Some(it),
            Self::Event(_) | Self::Facts(_) => None,
        }
    }

    pub(crate) fn as_window(&self) -> Option<&Window> {
        match self {
            Self::Window(it) => Some(it),
            Self::Event(_) | Self::Facts(_) => None,
        }
    }

    pub(crate) fn as_event(&self) -> Option<&Event> {
        match self {
            Self::Event(it) => Some(it),
            Self::Window(_) | Self::Facts(_) => None,
        }
    }

    pub(crate) fn as_facts(&self) -> Option<&Facts> {
        match self {
            Self::Facts(it) => Some(it),
            Self::Window(_) | Self::Event(_) => None,
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    inputs: VecDeque<(Input, usize)>,
    bytes: usize,
    last: u64,
}

impl Ring {
    fn push(&mut self, input: Input, bytes: usize, bytes_max: usize) {
        if bytes > BYTES {
            return;
        }
        self.bytes += bytes;
        self.inputs.push_back((input, bytes));
        while self.inputs.len() > INPUTS || (self.bytes > bytes_max && self.inputs.len() > 1) {
            let Some((_, bytes)) = self.inputs.pop_front() else { return };
            self.bytes -= bytes;
        }
    }
}

/// Everything that was recorded.
#[derive(Debug, Default)]
pub struct Recorder {
    places: Mutex<HashMap<Place, Ring>>,
}

impl Recorder {
    fn places(&self) -> MutexGuard<'_, HashMap<Place, Ring>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A window that was judged.
    pub fn window(&self, service: &str, window: &Arc<Window>) {
        let bytes = window_bytes(window);
        let mut places = self.places();
        let share = share(places.len());
        let ring = places.entry(Place::Service(service.to_owned())).or_default();
        ring.push(Input::Window(Arc::clone(window)), bytes, share);
    }

    /// An event that was put into words.
    pub fn event(&self, event: &Arc<Event>) {
        let texts = event.issues.iter().map(String::len).sum::<usize>();
        let bytes = 512 + event.detail.len() + texts;
        let mut places = self.places();
        let share = share(places.len());
        places.entry(Place::Alerts).or_default().push(
            Input::Event(Arc::clone(event)),
            bytes,
            share,
        );
    }

    /// A request that a filter saw; one now and then is kept. Callable from data threads: never waits.
    pub fn facts(&self, place: &Place, facts: &Facts, now: UnixMs) {
        let Ok(mut places) = self.places.try_lock() else { return };
        let share = share(places.len());
        let Some(ring) = places.get_mut(place) else {
            places.insert(place.clone(), Ring::default());
            return;
        };
        if now.0.saturating_sub(ring.last) >= SAMPLE_MS {
            ring.last = now.0;
            ring.push(Input::Facts(Arc::new(facts.as_seen())), facts.bytes(), share);
        }
    }

    /// What was recorded at a place, oldest first.
    pub fn inputs(&self, place: &Place) -> Vec<Input> {
        let places = self.places();
        let ring = places.get(place).into_iter();
        ring.flat_map(|it| &it.inputs).map(|it| it.0.clone()).collect()
    }

    /// Drops what no place needs any more.
    pub fn retain(&self, keep: impl Fn(&Place) -> bool) {
        self.places().retain(|place, _| keep(place));
    }
}

/// What each of so many places may keep.
fn share(places: usize) -> usize {
    (BYTES_ALL / places.max(1)).clamp(BYTES_MIN, BYTES)
}

fn window_bytes(window: &Window) -> usize {
    let samples = window.samples.iter().map(|it| {
        let extra = it.extra.iter().map(|(key, value)| key.len() + value.len() + 48).sum::<usize>();
        size_of_val(it.as_ref()) + it.kind.len() + it.body.as_ref().map_or(0, String::len) + extra
    });
    size_of_val(window) + samples.sum::<usize>()
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::model::alert::Phase;
    use crate::model::health::{Health, Outcome, Sample, ServiceFacts, Severity, Source};

    use super::*;

    /// A window whose newest probe ended so.
    pub(crate) fn window(now_ms: u64, outcome: Outcome, status: u16) -> Arc<Window> {
        let body = if status == 200 { r#"{"status":"OK"}"# } else { "oh" };
        let sample = |at_ms| Sample {
            at_ms,
            source: Source::Probe,
            kind: "http".to_owned(),
            latency_us: 1_000,
            outcome,
            status: Some(status),
            body: Some(body.to_owned()),
            extra: Vec::new(),
        };
        Arc::new(Window {
            now_ms,
            service: service(),
            current: Health::Unknown,
            since_ms: 0,
            samples: (1..=3)
                .rev()
                .map(|it| Arc::new(sample(now_ms.saturating_sub(it * 1_000))))
                .collect(),
            seed: now_ms,
            extra: Vec::new(),
        })
    }

    fn service() -> ServiceFacts {
        ServiceFacts {
            name: "a".to_owned(),
            namespace: None,
            endpoint: "http://127.0.0.1:1/health".to_owned(),
            ready: None,
            desired: None,
            labels: Vec::new(),
        }
    }

    /// An event in this phase.
    pub(crate) fn event(phase: Phase, severity: Severity) -> Arc<Event> {
        Arc::new(Event {
            now_ms: 1_795_502_400_000,
            id: "inc-1".to_owned(),
            phase,
            severity,
            service: service(),
            old: Health::Ok,
            new: Health::Failing,
            code: "bad-status".to_owned(),
            detail: "status 500".to_owned(),
            issues: vec!["a".to_owned()],
            snapshot_id: None,
            gateway: "gate".to_owned(),
            extra: Vec::new(),
        })
    }

    #[test]
    fn many_places_share_what_there_is() {
        assert_eq!((share(0), share(16), share(32)), (BYTES, BYTES, BYTES / 2));
        let recorder = Recorder::default();
        let mut big = Window::clone(&window(1, Outcome::Ok, 200));
        Arc::make_mut(&mut big.samples[0]).body = Some("x".repeat(20_000));
        let big = Arc::new(big);
        for _ in 0..4 {
            (0..1_000).for_each(|it| recorder.window(&format!("service-{it}"), &big));
        }
        let kept: Vec<usize> = recorder.places().values().map(|it| it.bytes).collect();
        assert!(kept.iter().all(|it| (20_000..=BYTES_MIN).contains(it)), "the newest stays");
    }

    #[test]
    fn the_newest_inputs_are_kept_within_count_and_bytes() {
        let recorder = Recorder::default();
        let place = Place::Service("a".to_owned());
        (0..300).for_each(|it| recorder.window("a", &window(it, Outcome::Ok, 200)));
        let kept = recorder.inputs(&place);
        let Some(Input::Window(first)) = kept.first() else { panic!("{kept:?}") };
        assert_eq!((kept.len(), first.now_ms), (INPUTS, 44));
        let mut big = Window::clone(first);
        Arc::make_mut(&mut big.samples[0]).body = Some("x".repeat(BYTES / 2));
        (0..3).for_each(|_| recorder.window("a", &Arc::new(big.clone())));
        assert!(recorder.inputs(&place).len() <= 2);
        recorder.retain(|it| *it != place);
        assert!(recorder.inputs(&place).is_empty());
    }

    #[test]
    fn requests_are_sampled_over_time() {
        let recorder = Recorder::default();
        let place = Place::Route(0, 0);
        (0..1_000).for_each(|it| recorder.facts(&place, &Facts::default(), UnixMs(1_000 + it)));
        assert_eq!(recorder.inputs(&place).len(), 10);
    }
}
