//! What holds for any row of verdicts.

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

use super::*;

fn rules() -> impl Strategy<Value = Rules> {
    let flap = (4_u32..65, 20_u32..100, 1_u32..20);
    (1_u32..6, 1_u32..6, flap).prop_map(|(rise, fall, (window, high, low))| Rules {
        rise,
        fall,
        flap: Flap { window, high, low },
        ..RULES
    })
}

/// Notices within one stretch in which an incident was open and flapped.
fn notices_of_worst_episode(said: &[Change]) -> usize {
    let (mut worst, mut now, mut flapping) = (0, 0, false);
    for it in said {
        match it.what {
            Happened::Opened if it.code == FLAPPING => (now, flapping) = (1, true),
            Happened::Flapping => (now, flapping) = (1, true),
            Happened::Resolved if flapping => (now, flapping) = (now + 1, false),
            Happened::Settled => flapping = false,
            Happened::Muted | Happened::Unmuted => {}
            _ if flapping => now += 1,
            _ => {}
        }
        worst = worst.max(now);
    }
    worst
}

proptest! {
    #[test]
    fn every_incident_is_opened_once_and_resolved_once(
        letters in "[.:dDfFgGmMuU]{0,400}",
        gaps in prop::collection::vec((any::<bool>(), 0_u64..200_000), 400),
        rules in rules(),
    ) {
        let mut run = Run::new(0);
        let mut open: Option<(String, bool)> = None;
        for (letter, (back, gap)) in letters.chars().zip(gaps) {
            run.at_ms = if back && gap % 7 == 0 { run.at_ms - gap } else { run.at_ms + gap };
            for it in run.step(letter, &rules) {
                match it.what {
                    Happened::Opened => {
                        prop_assert!(open.is_none());
                        prop_assert_eq!(&it.incident, &incident_id("api", it.at_ms));
                        open = Some((it.incident, false));
                    }
                    Happened::Resolved => {
                        prop_assert_eq!(open.take().map(|it| it.0), Some(it.incident));
                    }
                    Happened::Muted | Happened::Unmuted => {
                        let muted = it.what == Happened::Muted;
                        prop_assert_eq!(open.clone(), Some((it.incident.clone(), !muted)));
                        open = Some((it.incident, muted));
                    }
                    _ => prop_assert_eq!(open.as_ref().map(|it| &it.0), Some(&it.incident)),
                }
            }
            let known = run.track.open.as_ref().map(|it| (it.id.clone(), it.muted));
            prop_assert_eq!(&known, &open);
            prop_assert!(run.track.history.0.len() <= 64);
            prop_assert!(!run.track.flapping || run.track.open.is_some());
        }
        prop_assert!(notices_of_worst_episode(&run.said) <= 2);
    }

    #[test]
    fn an_alternating_service_is_never_silent_and_never_a_storm(
        period in 1_usize..40,
        rise in 2_u32..7,
        fall in 1_u32..7,
        high in 20_u32..51,
    ) {
        let flap = Flap { window: 20, high, low: 15 };
        let rules = Rules { rise, fall, flap, ..RULES };
        let cycle = format!("{}{}", "f".repeat(period), ".".repeat(period));
        let mut run = Run::new(2_000);
        let text = run.all(&cycle.repeat(100), &rules);
        let notices = run.said.iter().filter(|it| {
            matches!(it.what, Happened::Opened | Happened::Flapping | Happened::Resolved)
        });
        prop_assert!(notices.count() <= 2 * (RELAPSES_MAX as usize + 1), "{}", text);
        let is_told = run.said.is_empty() || run.track.open.is_some();
        prop_assert!(is_told, "told of, and not resolved in between: {}", text);
        // What is missed by both rules is slower than the flap rule sees and shorter than the fall.
        let shortest = 100_usize.div_ceil(high as usize);
        let is_seen = period < shortest || period >= fall as usize;
        prop_assert!(!is_seen || !run.said.is_empty(), "silent");
        if period < shortest {
            let first = run.said.iter().position(|it| it.code == FLAPPING);
            prop_assert_eq!(first.map(|it| it + 1), Some(run.said.len()), "{}", text);
        }
    }

    #[test]
    fn a_service_that_is_bad_at_random_is_no_storm(
        bad in prop::collection::vec(any::<bool>(), 1800),
    ) {
        // An hour at the interval of a service that is not well.
        let letters: String = bad.iter().map(|it| if *it { 'f' } else { '.' }).collect();
        let mut run = Run::new(2_000);
        run.all(&letters, &RULES);
        let opened = run.said.iter().filter(|it| it.what == Happened::Opened).count();
        prop_assert!((1..=4).contains(&opened), "{}", opened);
    }

    #[test]
    fn a_service_that_stays_well_ends_everything(letters in "[.dfgmu]{0,200}", rules in rules()) {
        let mut run = Run::new(2_000);
        run.all(&letters, &rules);
        run.all(&".".repeat(100), &rules);
        prop_assert_eq!(run.track.open, None);
        prop_assert_eq!(run.track.health, Health::Ok);
    }
}
