//! Folds a judge over observations, with the windows and the tracker of the gate. Pure but for the judge.

use crate::cli::replay::difference::Opinion;
use crate::health::tracker::{Rules, Seen, Track};
use crate::health::window::Ring;
use crate::model::health::{Saved, ServiceFacts, Verdict, Window};
use crate::model::incident::Change;
use crate::store::journal::Observation;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub(super) opinions: Vec<Opinion>,
    /// With whether the service was in maintenance then.
    pub(super) changes: Vec<(Change, bool)>,
}

/// What is judged and by which rules.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) facts: ServiceFacts,
    pub(super) rules: Rules,
}

/// What was concluded then, tracked anew from the same empty beginning as the candidate.
pub(super) fn recorded(observations: &[Observation], of: &Judged) -> Folded {
    let (mut track, mut folded) = (Track::default(), Folded::default());
    for it in observations {
        let verdict = Verdict {
            status: it.status,
            code: it.code.clone(),
            detail: String::new(),
            actions: Vec::new(),
            next_check_ms: None,
            state: None,
            extra: Vec::new(),
        };
        folded.take(it, &verdict, &mut track, of);
    }
    folded
}

/// What a policy would have concluded, with its own memory and its own last word. `judge` gives a verdict in any case.
pub(super) fn candidate(
    observations: &[Observation],
    of: &Judged,
    version: u32,
    mut judge: impl FnMut(&Window, Option<&Saved>) -> Verdict,
) -> Folded {
    let (mut track, mut folded) = (Track::default(), Folded::default());
    let (mut ring, mut prior): (Ring, Option<Saved>) = (Ring::default(), None);
    for it in observations {
        it.samples.iter().cloned().for_each(|sample| ring.push(sample));
        let window = Window {
            now_ms: it.at_ms,
            service: of.facts.clone(),
            current: track.health,
            since_ms: track.since_ms.min(it.at_ms),
            samples: ring.samples(),
            // Any number will do, as long as it is the same the next time.
            seed: it.at_ms,
            extra: Vec::new(),
        };
        let verdict = judge(&window, prior.as_ref());
        match verdict.state.as_deref() {
            Some([]) => prior = None,
            Some(bytes) => prior = Some(Saved { version, bytes: bytes.to_vec() }),
            None => {}
        }
        folded.take(it, &verdict, &mut track, of);
    }
    folded
}

impl Folded {
    fn take(&mut self, it: &Observation, verdict: &Verdict, track: &mut Track, of: &Judged) {
        let seen =
            Seen { at_ms: it.at_ms, service: &of.facts, verdict, by: None, covered: it.muted };
        let changes = track.step(&seen, &of.rules);
        self.changes.extend(changes.into_iter().map(|change| (change, it.muted)));
        self.opinions.push((verdict.status, verdict.code.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults::WATCHING;
    use crate::model::health::{Health, Outcome, Sample, Severity, Source};
    use crate::model::incident::Happened;
    use crate::plugin::threshold::Threshold;

    fn of() -> Judged {
        Judged {
            facts: ServiceFacts {
                name: "a".to_owned(),
                namespace: None,
                endpoint: String::new(),
                ready: None,
                desired: None,
                labels: Vec::new(),
            },
            rules: Rules {
                rise: 2,
                fall: 3,
                flap: WATCHING.flap,
                severity: Severity::Critical,
                stale_maintenance_ms: 300_000,
            },
        }
    }

    /// Ten well, ten refused, ten well; as the native rule saw them.
    fn observations() -> Vec<Observation> {
        (0..30_u64)
            .map(|it| {
                let bad = (10..20).contains(&it);
                let sample = Sample {
                    at_ms: it * 10_000,
                    source: Source::Probe,
                    kind: "http".to_owned(),
                    latency_us: 1_000,
                    outcome: if bad { Outcome::Refused } else { Outcome::Ok },
                    status: (!bad).then_some(200),
                    body: (!bad).then(|| r#"{"status":"OK"}"#.to_owned()),
                    extra: Vec::new(),
                };
                Observation {
                    at_ms: it * 10_000,
                    service: "a".to_owned(),
                    samples: vec![sample],
                    status: if bad { Health::Failing } else { Health::Ok },
                    code: if bad { "refused" } else { "ok" }.to_owned(),
                    by: None,
                    muted: false,
                }
            })
            .collect()
    }

    #[test]
    fn the_same_rule_over_the_same_observations_changes_nothing() {
        let (observations, of) = (observations(), of());
        let old = recorded(&observations, &of);
        let new = candidate(&observations, &of, 1, |window, _| Threshold::default().judge(window));
        assert_eq!(old.opinions, new.opinions);
        let whats =
            |it: &Folded| it.changes.iter().map(|it| (it.0.what, it.0.at_ms)).collect::<Vec<_>>();
        assert_eq!(whats(&old), whats(&new));
        assert_eq!(whats(&old), [(Happened::Opened, 120_000), (Happened::Resolved, 210_000)]);
    }

    #[test]
    fn a_policy_has_its_own_memory_and_sees_what_it_said() {
        let (observations, of) = (observations(), of());
        let mut seen = Vec::new();
        candidate(&observations, &of, 7, |window, prior| {
            let count = prior.map_or(0, |it| it.bytes[0]);
            assert!(prior.is_none_or(|it| it.version == 7));
            seen.push((count, window.samples.len(), window.current));
            let state = if count == 4 { vec![] } else { vec![count + 1] };
            Verdict { state: Some(state), ..Threshold::default().judge(window) }
        });
        let counts: Vec<u8> = seen.iter().map(|it| it.0).take(7).collect();
        assert_eq!(counts, [0, 1, 2, 3, 4, 0, 1]);
        assert_eq!(seen[29].1, 30);
        assert_eq!((seen[0].2, seen[15].2), (Health::Unknown, Health::Failing));
    }
}
