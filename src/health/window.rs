//! The last samples of one service, as policies see them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::health::{Sample, Source};

/// Samples that are kept, and that a policy sees (`wit/health-policy.wit`).
pub const SAMPLES_MAX: usize = 64;
/// Of which are of real traffic, so that probes are never pushed out by them.
pub const TRAFFIC_MAX: usize = 16;

/// A ring of samples, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    samples: VecDeque<Arc<Sample>>,
    traffic: usize,
}

impl Ring {
    /// From what a journal kept, oldest first. What seems to come from the future (the clock was set back) is of now.
    pub fn restored(samples: impl IntoIterator<Item = Sample>, now_ms: u64) -> Self {
        let mut ring = Self::default();
        for sample in samples {
            ring.push(Sample { at_ms: sample.at_ms.min(now_ms), ..sample });
        }
        ring
    }

    /// Adds the newest one; the oldest of its kind makes room.
    pub fn push(&mut self, sample: Sample) {
        let is_traffic = sample.source == Source::Traffic;
        if is_traffic && self.traffic == TRAFFIC_MAX {
            self.drop_oldest(|it| it.source == Source::Traffic);
        }
        if self.samples.len() == SAMPLES_MAX {
            self.drop_oldest(|_| true);
        }
        self.traffic += usize::from(is_traffic);
        self.samples.push_back(Arc::new(sample));
    }

    fn drop_oldest(&mut self, which: impl Fn(&Sample) -> bool) {
        let Some(at) = self.samples.iter().position(|it| which(it)) else { return };
        if self.samples.remove(at).is_some_and(|it| it.source == Source::Traffic) {
            self.traffic -= 1;
        }
    }

    /// For a policy, oldest first.
    pub fn samples(&self) -> Vec<Arc<Sample>> {
        self.samples.iter().cloned().collect()
    }

    /// The newest `count`, oldest first.
    pub fn newest(&self, count: usize) -> Vec<Sample> {
        self.samples
            .range(self.samples.len().saturating_sub(count)..)
            .map(|it| Sample::clone(it))
            .collect()
    }

    pub fn len(&self) -> usize {
        self.samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::model::health::Outcome;

    fn sample(at_ms: u64, source: Source) -> Sample {
        Sample {
            at_ms,
            source,
            kind: "http".to_owned(),
            latency_us: 900,
            outcome: Outcome::Ok,
            status: Some(200),
            body: Some("{\"status\":\"OK\",\"timestamp\":\"2026-11-23 23:24:39.76\"}".to_owned()),
            extra: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn the_newest_are_kept_in_order_and_traffic_never_pushes_probes_out(
            kinds in prop::collection::vec(any::<bool>(), 0..300),
        ) {
            let mut ring = Ring::default();
            for (at, traffic) in kinds.iter().enumerate() {
                let source = if *traffic { Source::Traffic } else { Source::Probe };
                ring.push(sample(at as u64, source));
                let seen = ring.samples();
                prop_assert_eq!(seen.last().map(|it| it.at_ms), Some(at as u64));
                prop_assert!(seen.len() <= SAMPLES_MAX && seen.is_sorted_by_key(|it| it.at_ms));
                let (passive, probes): (Vec<_>, Vec<_>) =
                    seen.into_iter().partition(|it| it.source == Source::Traffic);
                prop_assert!(passive.len() <= TRAFFIC_MAX);
                prop_assert_eq!(passive.len(), ring.traffic);
                let all = at + 1 - kinds.iter().take(at + 1).filter(|it| **it).count();
                prop_assert!(probes.len() >= all.min(SAMPLES_MAX - TRAFFIC_MAX));
            }
        }
    }

    #[test]
    fn what_comes_from_the_future_is_of_now() {
        let ring = Ring::restored([5, 900, 7].map(|at| sample(at, Source::Probe)), 100);
        let times: Vec<u64> = ring.samples().iter().map(|it| it.at_ms).collect();
        assert_eq!(times, [5, 100, 7]);
        assert_eq!(ring.newest(2).len(), 2);
        assert_eq!(ring.newest(9).len(), 3);
    }

    /// What a service costs: its ring is most of it. A thousand services must stay below 32 MiB.
    #[test]
    fn a_full_ring_is_small() {
        let one = sample(1, Source::Probe);
        let text = one.kind.len() + one.body.as_ref().map_or(0, String::len);
        let bytes = SAMPLES_MAX * (size_of::<Sample>() + text + 32);
        assert!(bytes <= 20_000, "{bytes}");
    }
}
