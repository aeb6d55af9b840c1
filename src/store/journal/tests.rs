//! The journal: kept, read in pages, trimmed, begun anew, and never in the way.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use proptest::prelude::{Strategy, proptest};
use proptest::{prop_assert_eq, test_runner::Config};
use redb::Database;
use serde_json::json;

use super::ring::{FILE, RedbJournal};
use super::rows::{self, Facts};
use super::*;
use crate::model::UnixMs;
use crate::model::health::{Outcome, Source};
use crate::store::file::faults::Faults;
use crate::store::file::{Opening, Sync};
use crate::store::fixture::{Folder, child, child_folder, tell, told, until};
use crate::store::journal::buffer::Taken;

const HOUR: u64 = 3_600_000;

fn seen(service: &str, at_ms: u64) -> Observation {
    Observation {
        at_ms,
        service: service.to_owned(),
        samples: vec![Sample {
            at_ms,
            source: Source::Probe,
            kind: "http".to_owned(),
            latency_us: 1_234,
            outcome: Outcome::Ok,
            status: Some(200),
            body: Some(r#"{"status":"OK"}"#.to_owned()),
            extra: Vec::new(),
        }],
        status: Health::Ok,
        code: "ok".to_owned(),
        by: Some("ab".repeat(32)),
        muted: false,
    }
}

fn all() -> Wanted {
    Wanted { limit: usize::MAX, ..Wanted::default() }
}

fn times(found: &[((u64, u64), Observation)]) -> Vec<u64> {
    found.iter().map(|it| it.1.at_ms).collect()
}

fn fallible(dir: &Folder) -> (Arc<RedbJournal>, Arc<Faults>) {
    let opening = Opening::new(dir.0.join(FILE), Sync::Kernel, 1024 * 1024);
    let faults = Arc::clone(&opening.faults);
    (RedbJournal::start(opening), faults)
}

#[test]
fn what_was_told_is_read_at_once_and_after_a_restart() {
    let dir = Folder::new();
    let now = UnixMs::now().0;
    let saved = |it: u8| Some(Saved { version: 1, bytes: vec![it] });
    let state = |it: Option<Saved>| vec![("a".to_owned(), "d".to_owned(), it)];
    let latest = |it: u32| Latest { track: json!({ "n": it }), verdict: json!(null) };
    let journal = RedbJournal::open(&dir.0);
    journal.observed(seen("a", now));
    journal.observed(seen("b", now));
    journal.latest("a", latest(1));
    journal.latest("a", latest(2));
    journal.saved(state(saved(1)));
    journal.saved(state(saved(2)));
    let mut before = Some(journal);
    for _ in 0..2 {
        let journal = before.take().unwrap_or_else(|| RedbJournal::open(&dir.0));
        let found = journal.read(&all());
        assert_eq!(
            found.iter().map(|it| &it.1).collect::<Vec<_>>(),
            [&seen("a", now), &seen("b", now)]
        );
        assert_eq!(journal.all_latest(), [("a".to_owned(), latest(2))]);
        assert_eq!(journal.all_saved(), state(saved(2)));
        assert_eq!((journal.condition(), journal.dropped()), (Condition::Good, 0));
    }
    let journal = RedbJournal::open(&dir.0);
    journal.saved(state(None));
    drop(journal);
    assert_eq!(RedbJournal::open(&dir.0).all_saved(), []);
}

#[test]
fn pages_meet_without_gap_or_overlap() {
    let dir = Folder::new();
    let journal = RedbJournal::open(&dir.0);
    let now = UnixMs::now().0;
    // Several at one time, and a clock that goes back.
    for at in [5, 5, 5, 9, 7, 5, 8] {
        journal.observed(seen("a", now + at));
        journal.observed(seen("b", now + at));
    }
    let mut wanted =
        Wanted { service: Some("a".to_owned()), since_ms: now + 5, after: None, limit: 2 };
    let mut found = Vec::new();
    loop {
        let page = journal.read(&wanted);
        let Some((key, _)) = page.last() else { break };
        wanted.after = Some(*key);
        found.extend(page);
    }
    assert_eq!(times(&found), [5, 5, 5, 5, 7, 8, 9].map(|it| now + it));
    assert!(found.iter().all(|it| it.1.service == "a"));
    wanted = Wanted { since_ms: now + 8, after: Some((now, 0)), limit: 10, service: None };
    assert_eq!(times(&journal.read(&wanted)), [8, 8, 9, 9].map(|it| now + it));
    assert_eq!(journal.read(&Wanted { limit: 0, ..all() }), []);
}

#[test]
fn the_newest_of_each_service_are_found_oldest_first() {
    let dir = Folder::new();
    let journal = RedbJournal::open(&dir.0);
    let now = UnixMs::now().0;
    (0..20).for_each(|at| journal.observed(seen("busy", now + at)));
    (0..3).for_each(|at| journal.observed(seen("rare", now + at)));
    let newest = journal.newest(2);
    let names: Vec<_> = newest.iter().map(|it| (it.service.as_str(), it.at_ms - now)).collect();
    assert_eq!(names, [("rare", 1), ("rare", 2), ("busy", 18), ("busy", 19)]);
    assert_eq!(journal.newest(0), []);
}

fn file(dir: &Folder) -> Database {
    let db = Database::create(dir.0.join(FILE)).unwrap();
    rows::begin_new(&db).unwrap();
    db
}

fn taken(observations: Vec<Observation>) -> Taken {
    Taken { observations, ..Taken::default() }
}

#[test]
fn old_ones_are_trimmed_in_small_steps() {
    let dir = Folder::new();
    let db = file(&dir);
    let now = 100 * HOUR;
    let old = (0..500).map(|it| seen("a", now - 30 * HOUR + it)).collect();
    let (mut facts, _) = rows::write(&db, Facts::default(), &taken(old), now - 29 * HOUR).unwrap();
    let left = |db: &Database| rows::read(db, &all()).unwrap().len();
    assert_eq!(left(&db), 500);
    // One more, three are gone with it, and some.
    (facts, _) = rows::write(&db, facts, &taken(vec![seen("a", now)]), now).unwrap();
    assert_eq!(left(&db), 501 - 66);
    for _ in 0..10 {
        (facts, _) = rows::write(&db, facts, &taken(vec![seen("a", now)]), now).unwrap();
    }
    assert_eq!(left(&db), 11);
    let bytes = facts.bytes;
    // Too many bytes: the oldest go, whatever their age.
    facts.bytes += 224 * 1024 * 1024;
    (facts, _) = rows::write(&db, facts, &taken(vec![seen("a", now + 1)]), now).unwrap();
    assert_eq!((left(&db), facts.bytes), (0, 0));
    assert!(bytes > 0);
}

#[test]
fn one_that_is_too_large_is_dropped_alone() {
    let dir = Folder::new();
    let db = file(&dir);
    let mut large = seen("a", 5);
    large.code = "x".repeat(300 * 1024);
    let (_, dropped) =
        rows::write(&db, Facts::default(), &taken(vec![large, seen("a", 6)]), 6).unwrap();
    assert_eq!(dropped, 1);
    assert_eq!(times(&rows::read(&db, &all()).unwrap()), [6]);
}

proptest! {
    #![proptest_config(Config { cases: 16, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_sequence_is_read_as_a_sorted_list_would_be(
        steps in proptest::collection::vec((0..40_u64, 0..3_usize, proptest::bool::weighted(0.1)), 1..40),
        from in 0..40_u64,
    ) {
        let dir = Folder::new();
        let now = UnixMs::now().0;
        let mut journal = RedbJournal::open(&dir.0);
        let mut model = Vec::new();
        for (at, service, reopen) in steps {
            let one = seen(["a", "b", "c"][service], now + at);
            model.push(one.clone());
            journal.observed(one);
            if reopen {
                drop(journal);
                journal = RedbJournal::open(&dir.0);
            }
        }
        model.sort_by_key(|it| it.at_ms);
        model.retain(|it| it.at_ms >= now + from);
        let found = journal.read(&Wanted { since_ms: now + from, ..all() });
        prop_assert_eq!(found.into_iter().map(|it| it.1).collect::<Vec<_>>(), model);
    }

    #[test]
    fn an_observation_comes_back_as_it_was(
        service in "[^\\x00]{0,12}", code in "\\PC{0,12}", body in proptest::option::of("\\PC{0,40}"),
        at in 0..=u64::MAX, muted in proptest::bool::ANY,
        extra in proptest::collection::vec(("\\PC{0,5}", "\\PC{0,5}").prop_map(|it| it), 0..3),
    ) {
        let dir = Folder::new();
        let db = file(&dir);
        let mut one = seen(&service, at);
        (one.code, one.muted, one.samples[0].body, one.samples[0].extra) = (code, muted, body, extra);
        rows::write(&db, Facts::default(), &taken(vec![one.clone()]), 0).unwrap();
        let wanted = Wanted { service: Some(service), ..all() };
        prop_assert_eq!(rows::read(&db, &wanted).unwrap(), [((at, 0), one)]);
    }
}

#[test]
fn a_disk_that_refuses_costs_what_does_not_fit_and_no_more() {
    let dir = Folder::new();
    let (journal, faults) = fallible(&dir);
    let now = UnixMs::now().0;
    journal.observed(seen("a", now));
    assert_eq!(journal.read(&all()).len(), 1);
    faults.set(28);
    journal.observed(seen("a", now + 1));
    until("it fails", || {
        journal.read(&all());
        matches!(journal.condition(), Condition::Failing { .. })
    });
    for number in 0..20_100 {
        journal.observed(seen("a", now + 2 + number));
    }
    journal.latest("a", Latest::default());
    assert_eq!(journal.dropped(), 100);
    let Condition::Failing { reason, pending, .. } = journal.condition() else {
        panic!("{:?}", journal.condition())
    };
    assert!(reason.contains("free some there") && pending == 20_000, "{pending} {reason}");
    faults.set(0);
    until("the disk is back", || journal.condition() == Condition::Good);
    assert_eq!(journal.read(&all()).len(), 1 + 1 + 20_000);
    assert_eq!(journal.all_latest().len(), 1);
    assert_eq!(journal.dropped(), 100);
}

#[test]
fn a_broken_file_is_begun_anew() {
    let dir = Folder::new();
    let now = UnixMs::now().0;
    let full = || {
        let journal = RedbJournal::open(&dir.0);
        (0..300).for_each(|it| journal.observed(seen("a", now + it)));
        assert!(journal.read(&all()).len() >= 300);
    };
    let path = dir.0.join(FILE);
    let damages: [(&str, &dyn Fn()); 4] = [
        ("empty", &|| fs::write(&path, "").unwrap()),
        ("zeros", &|| fs::write(&path, vec![0; 9000]).unwrap()),
        ("cut", &|| {
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(70_000).unwrap()
        }),
        ("garbage", &|| {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let length = file.metadata().unwrap().len();
            for at in (4096..length).step_by(1024) {
                file.write_all_at(&[0xa5; 512], at).unwrap();
            }
        }),
    ];
    for (what, damage) in damages {
        full();
        damage();
        let journal = RedbJournal::open(&dir.0);
        until(what, || {
            journal.observed(seen("b", now));
            !journal.read(&Wanted { service: Some("b".to_owned()), ..all() }).is_empty()
        });
        assert_eq!(journal.condition(), Condition::Good, "{what}");
        drop(journal);
        assert_eq!(dir.names(), [FILE], "{what}");
    }
}

#[test]
fn after_another_boot_every_page_is_verified() {
    let dir = Folder::new();
    let now = UnixMs::now().0;
    let journal = RedbJournal::open(&dir.0);
    (0..300).for_each(|it| journal.observed(seen("a", now + it)));
    drop(journal);
    let db = Database::create(dir.0.join(FILE)).unwrap();
    let facts = rows::facts(&db).unwrap();
    assert_eq!((facts.boot, facts.number), (crate::linux::boot::id(), 300));
    rows::mark(&db, Facts { boot: facts.boot ^ 2, ..facts }).unwrap();
    drop(db);
    let journal = RedbJournal::open(&dir.0);
    assert_eq!(journal.read(&all()).len(), 300);
}

#[test]
fn what_is_none_of_ours_is_left_alone() {
    let dir = Folder::new();
    fs::write(dir.0.join(FILE), b"not a database\n".repeat(1000)).unwrap();
    let journal = RedbJournal::open(&dir.0);
    assert_eq!(journal.read(&all()), []);
    assert!(matches!(journal.condition(), Condition::MemoryOnly { .. }));
    journal.observed(seen("a", 1));
    assert_eq!(journal.dropped(), 1);
    drop(journal);
    assert!(fs::read(dir.0.join(FILE)).unwrap().starts_with(b"not a database"));
}

#[test]
fn a_second_process_waits_and_then_goes_on() {
    let dir = Folder::new();
    let now = UnixMs::now().0;
    let first = RedbJournal::open(&dir.0);
    first.observed(seen("a", now));
    assert_eq!(first.read(&all()).len(), 1);
    let second = RedbJournal::open(&dir.0);
    second.observed(seen("a", now + 1));
    assert!(matches!(second.condition(), Condition::Waiting { .. }));
    drop(first);
    until("it is open", || second.condition() == Condition::Good);
    assert_eq!(second.read(&all()).len(), 2);
}

/// Tells how many observations can be read, until it is killed.
#[test]
fn child_observes() {
    let Some(dir) = child_folder() else { return };
    let journal = RedbJournal::open(&dir);
    let now = UnixMs::now().0;
    for number in 0.. {
        journal.observed(seen("a", now + number));
        if number % 10 == 0 {
            tell(journal.read(&all()).len());
        }
    }
}

#[test]
fn a_kill_keeps_what_was_committed() {
    let dir = Folder::new();
    let mut kept = 0;
    for round in 0..8 {
        let (mut process, mut lines) = child("store::journal::tests::child_observes", &dir, &[]);
        for _ in 0..=round * 2 {
            kept = told(&mut lines).expect("the child observes").parse().unwrap();
        }
        process.kill().unwrap();
        while let Some(more) = told(&mut lines) {
            kept = more.parse().unwrap();
        }
        process.wait().unwrap();
        let journal = RedbJournal::open(&dir.0);
        let found = journal.read(&all()).len();
        assert!(
            found >= kept && journal.condition() == Condition::Good,
            "{round}: {found} of {kept}"
        );
    }
}
