//! Where monitors begin after a restart: trackers from the ledger, streaks and windows from the journal.

use std::collections::HashMap;
use std::sync::Arc;

use crate::health::monitor::Begin;
use crate::health::tracker::Track;
use crate::health::window::{Ring, SAMPLES_MAX};
use crate::model::UnixMs;
use crate::model::health::{Sample, Verdict};
use crate::store::journal::{Journal, Latest, Observation};

/// What the last process left, by service. `tracks` are the ledger's.
pub async fn begins(
    tracks: Vec<(String, Track)>,
    journal: Arc<dyn Journal>,
) -> HashMap<String, Begin> {
    // It reads from the disk.
    let read =
        tokio::task::spawn_blocking(move || (journal.all_latest(), journal.newest(SAMPLES_MAX)));
    let (latest, observations) = read.await.unwrap_or_default();
    merged(tracks, latest, observations, UnixMs::now().0)
}

fn merged(
    tracks: Vec<(String, Track)>,
    latest: Vec<(String, Latest)>,
    observations: Vec<Observation>,
    now_ms: u64,
) -> HashMap<String, Begin> {
    let mut begins: HashMap<String, Begin> = HashMap::new();
    for (service, track) in tracks {
        begins.insert(service, Begin { track, ..Begin::default() });
    }
    for (service, latest) in latest {
        let begin = begins.entry(service).or_default();
        if let Ok(track) = serde_json::from_value(latest.track) {
            begin.track = newer(std::mem::take(&mut begin.track), track);
        }
        begin.verdict = serde_json::from_value::<Option<Verdict>>(latest.verdict).ok().flatten();
    }
    let mut samples: HashMap<String, Vec<Sample>> = HashMap::new();
    for observation in observations {
        samples.entry(observation.service).or_default().extend(observation.samples);
    }
    for (service, samples) in samples {
        begins.entry(service).or_default().ring = Ring::restored(samples, now_ms);
    }
    begins
}

/// The ledger knows what is open: people have been told of it. The journal, which is written more often, knows better how
/// the last verdicts were.
fn newer(kept: Track, journal: Track) -> Track {
    let id = |it: &Track| it.open.as_ref().map(|it| it.id.clone());
    let same = id(&kept) == id(&journal) && (kept.flapping == journal.flapping);
    match same && journal.last_ms >= kept.last_ms {
        true => Track { open: kept.open, ..journal },
        // The ledger knows nothing of the service at all, or not of this incident: it was lost, and opens again.
        false if kept.last_ms == 0 => Track { open: None, flapping: false, ..journal },
        false => kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::flap::History;
    use crate::health::tracker::Open;
    use crate::model::health::{Health, Outcome, Severity, Source};

    fn track(open: Option<&str>, streak: u32, last_ms: u64) -> Track {
        Track {
            health: Health::Failing,
            streak,
            last_ms,
            history: History(vec![true; streak as usize]),
            open: open.map(|id| Open {
                id: id.to_owned(),
                severity: Severity::Critical,
                code: "refused".to_owned(),
                muted: false,
            }),
            ..Track::default()
        }
    }

    #[test]
    fn the_ledger_knows_what_is_open_and_the_journal_how_it_went_on() {
        for (kept, journal, open, streak, why) in [
            (track(Some("a"), 3, 10), track(Some("a"), 9, 30), Some("a"), 9, "the same incident"),
            (track(Some("a"), 3, 10), track(None, 9, 5), Some("a"), 3, "opened since"),
            (track(None, 2, 10), track(Some("a"), 9, 5), None, 2, "resolved since"),
            (track(None, 2, 10), track(None, 9, 30), None, 9, "nothing open"),
            (track(Some("b"), 3, 10), track(Some("a"), 9, 5), Some("b"), 3, "another one"),
            (Track::default(), track(Some("a"), 9, 5), None, 9, "the ledger was lost"),
            (track(Some("a"), 3, 90), track(Some("a"), 9, 30), Some("a"), 3, "the clock went back"),
        ] {
            let begin = newer(kept, journal);
            assert_eq!(begin.open.map(|it| it.id).as_deref(), open, "{why}");
            assert_eq!(begin.streak, streak, "{why}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        let latest = Latest { track: serde_json::json!({"health": 7}), verdict: "x".into() };
        let sample = Sample {
            at_ms: 5_000,
            source: Source::Probe,
            kind: "tcp".to_owned(),
            latency_us: 1,
            outcome: Outcome::Ok,
            status: None,
            body: None,
            extra: Vec::new(),
        };
        let observation = Observation {
            at_ms: 5_000,
            service: "b".to_owned(),
            samples: vec![sample],
            status: Health::Ok,
            code: "ok".to_owned(),
            by: None,
            muted: false,
        };
        let kept = track(Some("a"), 3, 10);
        let begins = merged(
            vec![("a".to_owned(), kept.clone())],
            vec![("a".to_owned(), latest)],
            vec![observation],
            1_000,
        );
        assert_eq!((begins["a"].track.clone(), &begins["a"].verdict), (kept, &None));
        assert_eq!(begins["b"].ring.samples()[0].at_ms, 1_000);
    }
}
