//! Policies that misbehave in a call: it ends by its budget, is told as what it was, and the next call is as good as ever.

use std::time::Duration;

use headgate::model::health::Health;
use headgate::plugin::host::Component;
use headgate::plugin::{Fault, Level};

use super::assemble::Guest;
use super::{LOOP, label, loaded, resident, window};
use crate::support::wait::timed;

/// Longest that a call of 100 ms of CPU time may take on a machine that is busy with other things.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How a call that does nothing but misbehave in `evaluate` may end.
type Case = (&'static str, Guest, &'static [&'static str]);

fn in_evaluate(text: &str) -> Guest {
    Guest::policy().body("evaluate", text)
}

fn tame() -> Component {
    loaded(&Guest::policy())
}

#[track_caller]
fn expect_good(tame: &Component, after: &str) {
    let called = tame.evaluate("{}", &window(), None);
    let verdict = called.outcome.unwrap_or_else(|fault| panic!("after {after}: {fault}"));
    assert_eq!((verdict.status, verdict.code.as_str()), (Health::Ok, "fine"), "after {after}");
}

/// Runs each case twice (the second finds a used slot of memory) and a good plugin after each.
#[track_caller]
fn check(cases: Vec<Case>) {
    let tame = tame();
    for (name, guest, expected) in cases {
        let component = loaded(&guest);
        for round in 0..2 {
            let (called, took) = timed(|| component.evaluate("{}", &window(), None));
            let found = label(&called);
            assert!(
                expected.contains(&found),
                "{name}, round {round}: {found}, not {expected:?}: {:?}",
                called.outcome
            );
            assert!(took < ENDS_WITHIN, "{name} took {took:?}");
            assert!(called.said.lines.len() <= 32, "{name} said {} lines", called.said.lines.len());
            expect_good(&tame, name);
        }
    }
}

#[test]
fn calls_without_end_are_cut_by_their_budget() {
    let fills = "(drop (memory.grow (i32.const 900)))\n\
         (loop $l (memory.fill (i32.const 65536) (i32.const 7) (i32.const 58000000)) (br $l))\n\
         unreachable";
    let logs =
        "(loop $l (call $log (i32.const 2) (i32.const 0) (i32.const 8)) (br $l)) unreachable";
    let post = "(func (export \"cabi_post_headgate:plugin/health-policy@0.1.0#evaluate\") (param i32) \
         (loop $l (br $l)))";
    check(vec![
        ("a loop", in_evaluate(LOOP), &["timeout"]),
        ("a loop of large fills", in_evaluate(fills), &["timeout"]),
        ("a loop that logs", in_evaluate(logs), &["timeout"]),
        ("a loop in realloc", Guest::policy().body("realloc", LOOP), &["timeout"]),
        ("a loop in configure", Guest::policy().body("configure", LOOP), &["timeout"]),
        ("a loop in post-return", Guest::policy().field(post), &["timeout"]),
    ]);
}

#[test]
fn traps_are_told_with_the_function_that_trapped() {
    let table = "(table $t 1 funcref) (type $thunk (func (result i32)))";
    let post = "(func (export \"cabi_post_headgate:plugin/health-policy@0.1.0#evaluate\") (param i32) \
         unreachable)";
    check(vec![
        ("unreachable", in_evaluate("unreachable"), &["trap"]),
        ("recursion", in_evaluate("(call $evaluate (local.get $a))"), &["trap"]),
        (
            "division by zero",
            in_evaluate("(i32.div_u (i32.const 1) (i32.and (local.get $a) (i32.const 0)))"),
            &["trap"],
        ),
        (
            "overflow of a division",
            in_evaluate("(i32.div_s (i32.const 0x80000000) (i32.const -1))"),
            &["trap"],
        ),
        ("a load out of bounds", in_evaluate("(i32.load (i32.const -4))"), &["trap"]),
        (
            "a fill out of bounds",
            in_evaluate("(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) $right"),
            &["trap"],
        ),
        (
            "a call of nothing",
            in_evaluate("(call_indirect $t (type $thunk) (i32.const 0))").field(table),
            &["trap"],
        ),
        (
            "a call beyond the table",
            in_evaluate("(call_indirect $t (type $thunk) (i32.const 9999))").field(table),
            &["trap"],
        ),
        ("a trap in realloc", Guest::policy().body("realloc", "unreachable"), &["trap"]),
        ("a trap in configure", Guest::policy().body("configure", "unreachable"), &["trap"]),
        ("a trap in post-return", Guest::policy().field(post), &["trap"]),
    ]);
    let called = loaded(&in_evaluate("unreachable")).evaluate("{}", &window(), None);
    let Err(Fault::Trap { message }) = called.outcome else { panic!("{called:?}") };
    assert!(message.contains("evaluate"), "{message}");
}

#[test]
fn memory_ends_at_the_limit_and_comes_back() {
    let steps = "(loop $l (drop (memory.grow (i32.const 1)))\n\
         (memory.fill (i32.mul (i32.sub (memory.size) (i32.const 1)) (i32.const 65536))\n\
          (i32.const 1) (i32.const 65536)) (br $l)) unreachable";
    let once = "(drop (memory.grow (i32.const 65000))) $right";
    let table =
        "(loop $l (drop (table.grow $t (ref.null func) (i32.const 500))) (br $l)) unreachable";
    let table_once = "(drop (table.grow $t (ref.null func) (i32.const 100000000))) $right";
    let tables = |text| in_evaluate(text).field("(table $t 1 funcref)");
    check(vec![
        ("memory page by page", in_evaluate(steps), &["memory"]),
        ("memory at once", in_evaluate(once), &["memory"]),
        ("memory in realloc", Guest::policy().body("realloc", steps), &["memory"]),
        ("a table step by step", tables(table), &["memory", "timeout"]),
        // A refusal of the engine's own is no fault: the guest was told -1 and went on.
        ("a table at once", tables(table_once), &["memory", "ok"]),
    ]);
    let bomb = loaded(&in_evaluate(steps));
    let settle = || {
        for _ in 0..8 {
            assert_eq!(label(&bomb.evaluate("{}", &window(), None)), "memory");
        }
        resident()
    };
    let before = settle();
    for _ in 0..30 {
        assert_eq!(label(&bomb.evaluate("{}", &window(), None)), "memory");
    }
    let after = settle();
    let grown = after.saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB did not come back", grown >> 20);
}

#[test]
fn answers_that_are_too_much_are_refused_whole() {
    let state = |len: u32| {
        in_evaluate(&format!(
            "(i32.store8 offset=40 ($right) (i32.const 1))\n\
             (i32.store offset=44 ($right) (i32.const 16))\n\
             (i32.store offset=48 ($right) (i32.const {len})) $right"
        ))
        .pages(400)
    };
    let detail = |len: u32| {
        in_evaluate(&format!(
            "(memory.fill (i32.const 131072) (i32.const 120) (i32.const {len}))\n\
             (i32.store offset=16 ($right) (i32.const 131072))\n\
             (i32.store offset=20 ($right) (i32.const {len})) $right"
        ))
        .pages(400)
    };
    let actions = |count: u32| {
        in_evaluate(&format!("(i32.store offset=28 ($right) (i32.const {count})) $right"))
            .pages(400)
    };
    let snapshots =
        |count| Guest::policy().judges(|it| it.snapshots = vec!["default".into(); count]);
    let pairs = |count: usize| {
        let pair = |number| (format!("key-{number}"), "value".to_owned());
        Guest::policy().judges(|it| it.extra = (0..count).map(pair).collect())
    };
    let code = |it: &str| {
        let it = it.to_owned();
        Guest::policy().judges(|verdict| verdict.code = it)
    };
    check(vec![
        ("a state of 10 MiB", state(10 << 20), &["data"]),
        ("a state of 65 KiB", state(65 << 10), &["invalid-output"]),
        ("a state of 64 KiB", state(64 << 10), &["ok"]),
        ("a detail of 10 MiB", detail(10 << 20), &["data"]),
        ("a detail of 5 KiB", detail(5 << 10), &["invalid-output"]),
        ("a million actions", actions(1_000_000), &["data", "invalid-output"]),
        ("seventeen actions", snapshots(17), &["invalid-output"]),
        ("sixteen actions", snapshots(16), &["ok"]),
        ("33 pairs", pairs(33), &["invalid-output"]),
        ("no code", code(""), &["invalid-output"]),
        ("a code with a capital", code("Bad"), &["invalid-output"]),
        ("a code with a space", code("it is bad"), &["invalid-output"]),
        ("a code of 49 letters", code(&"a".repeat(49)), &["invalid-output"]),
        ("a code of 48 letters", code(&"a".repeat(48)), &["ok"]),
        ("a code with a line end", code("bad\n"), &["invalid-output"]),
    ]);
}

#[test]
fn answers_that_are_none_are_faults() {
    let any: &[&str] = &["trap", "invalid-output", "data"];
    let store = |offset: u32, value: i64| {
        in_evaluate(&format!("(i32.store offset={offset} ($right) (i32.const {value})) $right"))
    };
    let broken = Guest::policy().judges(|it| it.detail = vec![b'a', 0xff, 0xc0, 0x80]);
    check(vec![
        ("bad UTF-8", broken, any),
        ("a status that is none", Guest::policy().judges(|it| it.status = 9), any),
        ("a result that is neither", store(0, 7), any),
        ("an answer nowhere", in_evaluate("i32.const -8"), any),
        ("an answer at an odd place", in_evaluate("(i32.add ($right) (i32.const 1))"), any),
        ("a text nowhere", store(16, -64), any),
        ("a text without end", store(20, -1), any),
        ("a list without end", store(28, -1), any),
        ("a list that wraps around", store(28, 0x1000_0000), any),
        ("memory for the input nowhere", Guest::policy().body("realloc", "i32.const -16"), any),
        ("memory at an odd place", Guest::policy().body("realloc", "i32.const 1001"), any),
    ]);
}

#[test]
fn an_error_of_the_guest_is_told_as_such() {
    let said = |len: u32| {
        let mut guest = Guest::policy();
        let (at, _) = guest.data.text("cannot\u{1b}[31m say\n");
        guest.pages(40).body(
            "evaluate",
            &format!(
                "(i32.store ($right) (i32.const 1)) (i32.store offset=4 ($right) (i32.const {at}))\n\
                 (i32.store offset=8 ($right) (i32.const {len})) $right"
            ),
        )
    };
    check(vec![
        ("an error", said(16), &["error"]),
        ("an error without end", said(2 << 20), &["data"]),
    ]);
    let called = loaded(&said(16)).evaluate("{}", &window(), None);
    let Err(Fault::Failed { message }) = called.outcome else { panic!("{called:?}") };
    assert!(message.contains("cannot"), "{message}");
    assert!(!message.contains(['\u{1b}', '\n']), "control characters are escaped: {message:?}");
}

#[test]
fn ten_thousand_lines_are_thirty_two() {
    let mut guest = Guest::policy();
    let (at, len) = guest.data.text("one\nline \u{1b}[31mred\u{7}");
    let guest = guest.body(
        "evaluate",
        &format!(
            "(local.set $i (i32.const 10000))\n\
             (loop $l (call $log (i32.const 3) (i32.const {at}) (i32.const {len}))\n\
             (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1))))) $right"
        ),
    );
    let called = loaded(&guest).evaluate("{}", &window(), None);
    assert_eq!(label(&called), "ok", "{called:?}");
    assert_eq!((called.said.lines.len(), called.said.lines_dropped), (32, 9968));
    for line in &called.said.lines {
        assert_eq!(line.level, Level::Warn);
        assert!(!line.text.chars().any(char::is_control), "{:?}", line.text);
    }
}

#[test]
fn a_line_is_cut_at_its_limit() {
    let log = |len: u32| {
        let mut guest = Guest::policy();
        let (at, _) = guest.data.text(&"ä".repeat(100_000));
        guest.body(
            "evaluate",
            &format!("(call $log (i32.const 2) (i32.const {at}) (i32.const {len})) $right"),
        )
    };
    let called = loaded(&log(100_000)).evaluate("{}", &window(), None);
    assert_eq!(label(&called), "ok", "{called:?}");
    let line = called.said.lines.first().expect("a line");
    assert!((2000..=2060).contains(&line.text.len()), "{} bytes", line.text.len());
    // Half a character at the end is no text.
    assert_ne!(label(&loaded(&log(99_999)).evaluate("{}", &window(), None)), "ok");
}

#[test]
fn metrics_that_were_not_declared_are_dropped() {
    let mut guest =
        Guest::policy().describes(|it| it.metrics = vec![("seen".into(), "Things seen".into(), 1)]);
    let (seen, _) = guest.data.text("seen");
    let (other, _) = guest.data.text("unseen");
    let record = |at: u32, len: u32, value: &str| {
        format!("(call $record (i32.const {at}) (i32.const {len}) (f64.const {value}))\n")
    };
    let text = [
        record(seen, 4, "1.5"),
        record(other, 6, "2"),
        record(seen, 4, "nan"),
        record(seen, 4, "inf"),
        "$right".to_owned(),
    ];
    let called =
        loaded(&guest.clone().body("evaluate", &text.concat())).evaluate("{}", &window(), None);
    assert_eq!(label(&called), "ok", "{called:?}");
    assert_eq!(called.said.metrics, [(0, 1.5)]);
    assert_eq!(called.said.metrics_dropped, 3);

    let flood = format!(
        "(local.set $i (i32.const 5000))\n(loop $l {}\n\
         (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1))))) $right",
        record(seen, 4, "1")
    );
    let called = loaded(&guest.body("evaluate", &flood)).evaluate("{}", &window(), None);
    assert_eq!((called.said.metrics.len(), called.said.metrics_dropped), (64, 4936));
}

#[test]
fn nothing_is_kept_from_one_call_to_the_next() {
    // The status is how often the instance was called, and memory remembers it as well.
    let text = "(global.set $n (i32.add (global.get $n) (i32.const 1)))\n\
         (i32.store8 (i32.const 64) (i32.add (i32.load8_u (i32.const 64)) (i32.const 1)))\n\
         (i32.store8 offset=4 ($right) (i32.add (global.get $n) (i32.load8_u (i32.const 64)))) $right";
    let guest = in_evaluate(text).field("(global $n (mut i32) (i32.const 0))");
    let component = loaded(&guest);
    for round in 0..50 {
        let verdict = component.evaluate("{}", &window(), None).outcome.expect("a verdict");
        assert_eq!(verdict.status, Health::Degraded, "round {round}");
    }
}

#[test]
fn bad_calls_beside_good_ones_do_not_disturb_them() {
    let (tame, endless) = (tame(), loaded(&in_evaluate(LOOP)));
    let trapping = loaded(&in_evaluate("unreachable"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5 {
                assert_eq!(label(&endless.evaluate("{}", &window(), None)), "timeout");
            }
        });
        scope.spawn(|| {
            for _ in 0..500 {
                assert_eq!(label(&trapping.evaluate("{}", &window(), None)), "trap");
            }
        });
        for _ in 0..500 {
            expect_good(&tame, "calls beside it");
        }
    });
}

#[test]
fn settings_that_a_plugin_does_not_take_are_told_with_their_paths() {
    let issues = |count: usize| {
        let mut guest = Guest::policy();
        let (path, message) = (guest.data.text("/limit"), guest.data.text("is too high"));
        let issue = super::assemble::Cells::default().slice(path).slice(message);
        let list = guest.data.list(vec![issue; count]);
        guest.body(
            "configure",
            &format!(
                "(i32.store ($right) (i32.const 1)) (i32.store offset=4 ($right) (i32.const {}))\n\
                 (i32.store offset=8 ($right) (i32.const {})) $right",
                list.0, list.1
            ),
        )
    };
    let none = serde_json::json!({});
    let called = loaded(&issues(2)).check_settings(&none);
    let told = called.outcome.expect("an answer");
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].path.as_str(), told[0].message.as_str()), ("/limit", "is too high"));
    // The same in a call, where they were good when it was proven.
    assert_eq!(label(&loaded(&issues(2)).evaluate("{}", &window(), None)), "settings");
    let many = loaded(&issues(5000)).check_settings(&none);
    assert!(many.outcome.is_err() || many.outcome.is_ok_and(|it| it.len() <= 64));
    for text in [LOOP, "unreachable"] {
        let called = loaded(&Guest::policy().body("configure", text)).check_settings(&none);
        assert!(matches!(label(&called), "timeout" | "trap"), "{called:?}");
    }
}
