//! When a maintenance `until=healthy` is over: the rule, as a pure fold over verdicts.

use crate::model::health::Health;

/// Verdicts without which no window ends while nothing bad was seen: the one that was under way when it began may have
/// looked at the service before the work on it.
const VERDICTS_MIN: u32 = 2;

/// What was seen of one service since a window began.
///
/// It is well when its last `rise` verdicts were all `ok`, and either something else was seen since the window began or
/// there were at least two verdicts: a service that nobody has touched yet is well too. `unknown` breaks the row, but is no
/// sign of work. A restart of the gate begins anew, so it can only make the window longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// When the last probe was that has been counted (or was there before).
    probe_ms: Option<u64>,
    /// Verdicts that were `ok`, in a row.
    oks: u32,
    verdicts: u32,
    /// Whether it was seen otherwise than `ok`.
    otherwise: bool,
}

impl Seen {
    /// Nothing yet; what the probe at `probe_ms` said was before.
    pub fn since(probe_ms: Option<u64>) -> Self {
        Self { probe_ms, ..Self::default() }
    }

    /// The verdict after the probe at `probe_ms`; the same probe counts once.
    pub fn saw(&mut self, probe_ms: u64, verdict: Health) {
        if self.probe_ms.replace(probe_ms) == Some(probe_ms) {
            return;
        }
        self.verdicts = self.verdicts.saturating_add(1);
        self.oks = if verdict == Health::Ok { self.oks.saturating_add(1) } else { 0 };
        self.otherwise |= !matches!(verdict, Health::Ok | Health::Unknown);
    }

    /// Whether it is well again.
    pub fn is_well(&self, rise: u32) -> bool {
        self.oks >= rise.max(1) && (self.otherwise || self.verdicts >= VERDICTS_MIN)
    }
}

/// Whether a service whose maintenance is over has noticed: a verdict after a probe newer than `before` that is not the
/// maintenance word. `unknown` says nothing.
pub fn has_noticed(before: Option<u64>, probe_ms: u64, verdict: Health) -> bool {
    before != Some(probe_ms) && !matches!(verdict, Health::Maintenance | Health::Unknown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy as _, prop_oneof, proptest};

    use super::{Seen, has_noticed};
    use crate::model::health::Health;

    fn health(letter: char) -> Health {
        match letter {
            'o' => Health::Ok,
            'd' => Health::Degraded,
            'f' => Health::Failing,
            'm' => Health::Maintenance,
            _ => Health::Unknown,
        }
    }

    fn after(verdicts: &str) -> Seen {
        let mut seen = Seen::since(Some(7));
        for (index, letter) in verdicts.chars().enumerate() {
            seen.saw(100 + index as u64, health(letter));
        }
        seen
    }

    #[test]
    fn it_is_well_after_enough_good_verdicts_in_a_row() {
        for (verdicts, rise, well) in [
            ("", 1, false),
            ("o", 1, false),
            ("oo", 1, true),
            ("o", 2, false),
            ("oo", 2, true),
            ("oo", 3, false),
            ("ooo", 3, true),
            ("f", 1, false),
            ("fo", 1, true),
            ("fo", 2, false),
            ("ofo", 2, false),
            ("ofoo", 2, true),
            ("oof", 2, false),
            ("do", 1, true),
            ("mo", 1, true),
            ("?o", 1, true),
            ("?", 1, false),
            ("o?", 1, false),
            ("o?o", 2, false),
            ("fo", 0, true),
        ] {
            assert_eq!(after(verdicts).is_well(rise), well, "{verdicts:?} with rise {rise}");
        }
    }

    #[test]
    fn a_probe_counts_once_and_not_if_it_was_before() {
        let mut seen = Seen::since(Some(7));
        for _ in 0..5 {
            seen.saw(7, Health::Ok);
        }
        assert_eq!(seen, Seen::since(Some(7)));
        for _ in 0..5 {
            seen.saw(8, Health::Ok);
        }
        assert!(!seen.is_well(1));
        // The clock was set back: it is another probe all the same.
        seen.saw(3, Health::Ok);
        assert!(seen.is_well(2));
    }

    #[test]
    fn a_service_has_noticed_when_it_says_something_else() {
        for (before, probe, verdict, noticed) in [
            (Some(1), 1, Health::Ok, false),
            (Some(1), 2, Health::Maintenance, false),
            (Some(1), 2, Health::Unknown, false),
            (Some(1), 2, Health::Ok, true),
            (Some(1), 2, Health::Failing, true),
            (None, 2, Health::Degraded, true),
        ] {
            assert_eq!(has_noticed(before, probe, verdict), noticed, "{before:?} {verdict:?}");
        }
    }

    proptest! {
        #[test]
        fn it_never_ends_on_a_bad_verdict_nor_after_one(
            verdicts in proptest::collection::vec(
                prop_oneof![Just('o'), Just('f'), Just('d'), Just('?')], 0..20,
            ),
            rise in 0_u32..5,
        ) {
            let text: String = verdicts.iter().collect();
            let tail = text.chars().rev().take_while(|it| *it == 'o').count();
            let well = after(&text).is_well(rise);
            let enough = tail as u32 >= rise.max(1);
            assert!(!well || (enough && text.len() >= 2), "{text}");
            assert!(well || !enough || text.len() < 2, "{text}");
        }

        #[test]
        fn what_is_seen_first_does_not_matter_in_the_end(
            text in "[ofd?]{0,12}".prop_map(|it| it + "oooo"),
        ) {
            assert!(after(&text).is_well(4));
        }
    }
}
