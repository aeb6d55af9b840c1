//! Tables of the tracker, and the language of its properties.

mod properties;

use super::*;
use crate::model::health::{Action, AlertProposal};

const RULES: Rules = Rules {
    rise: 2,
    fall: 3,
    flap: Flap { window: 20, high: 30, low: 20 },
    severity: Severity::Critical,
    stale_maintenance_ms: 300_000,
};
const NOW: u64 = 1_800_000_000_000;

fn facts() -> ServiceFacts {
    ServiceFacts {
        name: "api".to_owned(),
        namespace: Some("dev".to_owned()),
        endpoint: String::new(),
        ready: None,
        desired: None,
        labels: Vec::new(),
    }
}

fn verdict(status: Health, code: &str) -> Verdict {
    let alert = AlertProposal {
        severity: Severity::Info,
        issues: vec!["api".to_owned()],
        channels: vec!["slack".to_owned()],
    };
    let actions = match status {
        Health::Failing => vec![Action::Snapshot("dev".to_owned()), Action::Alert(alert)],
        _ => Vec::new(),
    };
    Verdict {
        status,
        code: code.to_owned(),
        detail: format!("said {code}"),
        actions,
        next_check_ms: None,
        state: None,
        extra: Vec::new(),
    }
}

/// `.` ok, `d` degraded, `f` and `g` failing with different codes, `m` the maintenance word, `u` unknown; upper case (and `:`
/// for ok): the gate answers for the service.
fn read(letter: char) -> (Health, &'static str, bool) {
    let covered = letter.is_ascii_uppercase() || letter == ':';
    let (status, code) = match letter.to_ascii_lowercase() {
        '.' | ':' => (Health::Ok, "ok"),
        'd' => (Health::Degraded, "slow"),
        'f' => (Health::Failing, "refused"),
        'g' => (Health::Failing, "timeout"),
        'm' => (Health::Maintenance, "maintenance"),
        _ => (Health::Unknown, "no-samples"),
    };
    (status, code, covered)
}

struct Run {
    track: Track,
    at_ms: u64,
    every_ms: u64,
    said: Vec<Change>,
}

impl Run {
    fn new(every_ms: u64) -> Self {
        Self { track: Track::default(), at_ms: NOW, every_ms, said: Vec::new() }
    }

    fn step(&mut self, letter: char, rules: &Rules) -> Vec<Change> {
        self.at_ms = self.at_ms.saturating_add(self.every_ms);
        let (status, code, covered) = read(letter);
        let (verdict, service) = (verdict(status, code), facts());
        let seen =
            Seen { at_ms: self.at_ms, service: &service, verdict: &verdict, by: None, covered };
        let changes = self.track.step(&seen, rules);
        self.said.extend(changes.iter().cloned());
        changes
    }

    /// The verdicts with what each changed behind it: `ff f(opened:refused) ..(resolved:ok)`.
    fn all(&mut self, letters: &str, rules: &Rules) -> String {
        let mut told = String::new();
        for letter in letters.chars() {
            told.push(letter);
            for it in self.step(letter, rules) {
                let what = format!("{:?}", it.what).to_lowercase();
                let severity = format!("{:?}", it.severity).to_lowercase();
                told.push_str(&format!("({what} {} {severity})", it.code));
            }
        }
        told
    }
}

fn told(letters: &str) -> String {
    Run::new(2_000).all(letters, &RULES)
}

#[test]
fn rise_and_fall() {
    for (letters, expected) in [
        ("....", "...."),
        ("ff.", "ff."),
        (".ff.", ".ff."),
        ("fff", "fff(opened refused critical)"),
        (".ffffff", ".fff(opened refused critical)fff"),
        ("fff.f..", "fff(opened refused critical).f..(resolved ok critical)"),
        ("ddd", "ddd(opened slow warning)"),
        ("fdd", "fdd(opened slow critical)"),
        // Unknown neither opens nor resolves, and breaks no row.
        ("fufuf", "fufuf(opened refused critical)"),
        ("fff.u.", "fff(opened refused critical).u.(resolved ok critical)"),
        ("uuuuuu", "uuuuuu"),
        // The word that is expected is no fault; it ends a row of faults.
        ("ffMf", "ffMf"),
        ("MMMMMMMMMM", "MMMMMMMMMM"),
        // Nobody is served: the row goes on.
        ("ffmf", "ffmf(opened refused critical)"),
    ] {
        assert_eq!(told(letters), expected, "{letters}");
    }
}

#[test]
fn worse_is_told_when_it_has_proven_itself_and_anything_else_once_a_minute() {
    for (letters, expected) in [
        ("dddfff", "ddd(opened slow warning)fff(updated refused critical)"),
        ("dddfdfdffdffd", "ddd(opened slow warning)fdfdffdffd"),
        ("fffgggg", "fff(opened refused critical)gggg"),
        ("fffdddd", "fff(opened refused critical)dddd"),
    ] {
        assert_eq!(told(letters), expected, "{letters}");
    }
    let mut run = Run::new(2_000);
    let text = run.all(&format!("fff{}", "gf".repeat(300)), &RULES);
    assert_eq!(text.matches("updated").count(), 19, "20 minutes, once a minute: {text}");
    let mut run = Run::new(20_000);
    let text = run.all("fffdddddddd", &RULES);
    assert_eq!(text, "fff(opened refused critical)ddd(updated slow warning)ddddd");
    assert_eq!(run.track.health, Health::Degraded);
}

#[test]
fn a_restless_service_is_one_incident() {
    for (letters, expected) in [
        (".f.f.f.f.f.f.f", ".f.f.f.(opened flapping critical)f.f.f.f"),
        (".d.d.d.d.d.d.d", ".d.d.d.(opened flapping warning)d.d.d.d"),
        (".fff.fff.fff.", ".fff(opened refused critical).fff.fff.(flapping flapping critical)"),
        (
            ".f.f.f.f.f...................",
            ".f.f.f.(opened flapping critical)f.f.................(resolved ok critical)..",
        ),
        (
            ".f.f.f.f.ffffffffffffffffffff",
            ".f.f.f.(opened flapping critical)f.fffffffffffffffff(settled refused critical)fff",
        ),
    ] {
        assert_eq!(told(letters), expected, "{letters}");
    }
}

#[test]
fn who_relapses_must_prove_himself_longer() {
    let mut run = Run::new(2_000);
    let text = run.all("fff..fff..", &RULES);
    assert!(text.ends_with("fff(opened refused critical).."), "{text}");
    assert!(run.all("..", &RULES).contains("resolved"), "four good ones the second time");
    run.at_ms += RELAPSE_MS;
    assert!(run.all("fff..", &RULES).ends_with("..(resolved ok critical)"), "long ago");
}

#[test]
fn maintenance_mutes_and_is_over_at_its_end() {
    for (letters, expected) in [
        ("FFF", "FFF(opened refused critical)(muted refused critical)"),
        ("fffF", "fff(opened refused critical)F(muted refused critical)"),
        ("FFFf", "FFF(opened refused critical)(muted refused critical)f(unmuted refused critical)"),
        (
            "fffFMM::",
            "fff(opened refused critical)F(muted refused critical)MM::(resolved ok critical)",
        ),
        // It is well as soon as maintenance is over: that it outlived it would be a lie.
        ("FFF:.", "FFF(opened refused critical)(muted refused critical):.(resolved ok critical)"),
    ] {
        assert_eq!(told(letters), expected, "{letters}");
    }
    let mut run = Run::new(2_000);
    let text = run.all("fffFMM", &RULES);
    assert_eq!(run.track.health, Health::Maintenance);
    let text = text + &run.all("FDFFf", &RULES);
    let changes = ["opened refused", "muted refused", "unmuted refused"];
    assert_eq!(
        text,
        format!(
            "fff({0} critical)F({1} critical)MMFDFFf({2} critical)",
            changes[0], changes[1], changes[2]
        )
    );
    assert_eq!(run.track.health, Health::Failing, "away for a while, and bad again");
    let mut run = Run::new(2_000);
    run.all("...M", &RULES);
    assert_eq!(run.track.health, Health::Maintenance);
    run.all(":", &RULES);
    assert_eq!(run.track.health, Health::Ok);
}

#[test]
fn the_maintenance_word_long_after_maintenance_is_an_incident() {
    let every = |ms: u64, letters: &str| Run::new(ms).all(letters, &RULES);
    let opened = "(opened stale-maintenance critical)";
    assert_eq!(every(100_000, "Mmmmm"), format!("Mmmmm{opened}"));
    assert_eq!(every(100_000, "MmmmMmmm.."), "MmmmMmmm..");
    assert_eq!(
        every(100_000, "mmmmm.."),
        format!("mmmm{opened}m..(resolved ok critical)"),
        "the first sight counts"
    );
    assert_eq!(
        every(100_000, "mmmmMM"),
        format!("mmmm{opened}M(resolved maintenance critical)M"),
        "maintenance again: it is expected"
    );
    // One of two pods behind one name: it is not forgotten because the other answers now and then, and told once.
    let text = every(10_000, &"m..".repeat(60));
    assert_eq!(text.matches('(').count(), 1, "{text}");
    assert!(text.contains(opened), "{text}");
    // An outage that turns into the word goes on.
    let text = every(50_000, "fffmmmmmmmm");
    assert_eq!(text, "fff(opened refused critical)mmmmmmm(updated stale-maintenance critical)m");
}

#[test]
fn changes_carry_what_notices_need() {
    let mut run = Run::new(2_000);
    run.all(".fff..", &RULES);
    let [opened, resolved] = run.said.as_slice() else { panic!("{:?}", run.said) };
    assert_eq!(opened.incident, incident_id("api", opened.at_ms));
    assert_eq!(opened.incident, resolved.incident);
    assert_eq!((opened.old, opened.new), (Health::Ok, Health::Failing));
    assert_eq!((resolved.old, resolved.new), (Health::Failing, Health::Ok));
    assert!(opened.snapshot && !resolved.snapshot);
    assert_eq!((opened.issues.len(), opened.channels.len()), (1, 1));
    assert_eq!(opened.detail, "said refused");
    assert_eq!(run.track.since_ms, resolved.at_ms);
}

#[test]
fn a_service_that_is_removed_leaves_nothing_open() {
    let mut run = Run::new(2_000);
    assert_eq!(run.track.removed(NOW, &facts()), None);
    run.all("fff", &RULES);
    let id = run.track.open.as_ref().unwrap().id.clone();
    let change = run.track.removed(NOW + 9, &facts()).unwrap();
    assert_eq!(
        (change.what, change.incident, change.code.as_str()),
        (Happened::Resolved, id, NOT_WATCHED)
    );
    assert_eq!(run.track.open, None);
}

#[test]
fn a_saved_track_goes_on_where_it_was() {
    let letters = ".f.ff.fff.f.f..MMmm.fffdd..";
    let mut whole = Run::new(2_000);
    whole.all(letters, &RULES);
    let mut parts = Run::new(2_000);
    for letter in letters.chars() {
        parts.step(letter, &RULES);
        let saved = serde_json::to_string(&parts.track).unwrap();
        parts.track = serde_json::from_str(&saved).unwrap();
    }
    assert_eq!(whole.said, parts.said);
    let old = r#"{"health":"ok","since-ms":1,"leaning":"ok","streak":1,"history":[true],"flapping":false,"open":null}"#;
    assert!(serde_json::from_str::<Track>(old).is_ok());
}

#[test]
fn a_clock_that_jumps_changes_nothing() {
    const DAY: i64 = 86_400_000;
    for jump in [-DAY, -1, 1, DAY, 400 * DAY] {
        for (letters, at) in [("....", 2), ("fffff", 4), ("MMMM", 2), ("mmm", 1), (".f.f", 2)] {
            let mut straight = Run::new(2_000);
            let expected = straight.all(letters, &RULES);
            let mut run = Run::new(2_000);
            let mut text = run.all(&letters[..at], &RULES);
            run.at_ms = run.at_ms.saturating_add_signed(jump);
            text.push_str(&run.all(&letters[at..], &RULES));
            assert_eq!(text, expected, "{letters} {jump}");
        }
    }
    let mut run = Run::new(0);
    for at_ms in [0, u64::MAX, 0, u64::MAX, 1, u64::MAX - 1] {
        run.at_ms = at_ms;
        "mffd.".chars().for_each(|it| drop(run.step(it, &RULES)));
    }
}
