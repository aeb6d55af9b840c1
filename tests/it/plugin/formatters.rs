//! Formatters that misbehave: the fault is told, and what may not be kept silent is not.

use headgate::model::alert::Phase;
use headgate::model::health::Severity;

use super::assemble::{Guest, Message};
use super::stand::{NAME, Stand};
use super::{LOOP, event, label, loaded};
use crate::support::{Gateway, Upstream};

type Case = (&'static str, Guest, &'static [&'static str]);

fn says(change: impl FnOnce(&mut Message)) -> Guest {
    Guest::formatter().says(change)
}

#[test]
fn messages_that_break_the_contract_are_refused() {
    let opened = event(Phase::Opened, Severity::Critical);
    let any: &[&str] = &["trap", "invalid-output", "data"];
    let key = |len: usize| says(|it| it.dedup_key = Some("k".repeat(len)));
    let cases: Vec<Case> = vec![
        ("a good one", Guest::formatter(), &["ok"]),
        ("no line", says(|it| it.issues.clear()), &["invalid-output"]),
        ("65 lines", says(|it| it.issues = vec!["x".into(); 65]), &["invalid-output"]),
        ("64 lines", says(|it| it.issues = vec!["x".into(); 64]), &["ok"]),
        ("an empty line", says(|it| it.issues = vec![String::new()]), &["invalid-output"]),
        ("a line of 5 KiB", says(|it| it.issues = vec!["x".repeat(5 << 10)]), &["invalid-output"]),
        ("lines of 300 KiB", says(|it| it.issues = vec!["x".repeat(4096); 64]), &["data", "ok"]),
        (
            "nine channels",
            says(|it| it.channels = (0..9).map(|it| format!("c{it}")).collect()),
            &["invalid-output"],
        ),
        ("a key of 257 bytes", key(257), &["invalid-output"]),
        ("a key of 256 bytes", key(256), &["ok"]),
        (
            "33 pairs",
            says(|it| it.extra = (0..33).map(|it| (format!("k{it}"), String::new())).collect()),
            &["invalid-output"],
        ),
        ("a loop", Guest::formatter().body("format", LOOP), &["timeout"]),
        ("a trap", Guest::formatter().body("format", "unreachable"), &["trap"]),
        ("an answer nowhere", Guest::formatter().body("format", "i32.const -64"), any),
        (
            "lines without end",
            Guest::formatter()
                .body("format", "(i32.store offset=12 ($right) (i32.const -1)) $right"),
            any,
        ),
    ];
    let tame = loaded(&Guest::formatter());
    for (name, guest, expected) in cases {
        let called = loaded(&guest).format("{}", &opened);
        assert!(expected.contains(&label(&called)), "{name}: {called:?}");
        assert_eq!(label(&tame.format("{}", &opened)), "ok", "after {name}");
    }
}

#[test]
fn silence_is_an_answer_that_the_host_may_overrule() {
    let silent = loaded(
        &Guest::formatter().body("format", "(i32.store8 offset=4 ($right) (i32.const 0)) $right"),
    );
    let called = silent.format("{}", &event(Phase::Updated, Severity::Critical));
    assert_eq!(called.outcome, Ok(None));
}

#[test]
fn a_silent_formatter_holds_back_updates_alone_in_a_running_gate() {
    let silent =
        Guest::formatter().body("format", "(i32.store8 offset=4 ($right) (i32.const 0)) $right");
    let upstream = Upstream::named("upstream");
    let setup = Gateway::in_front_of("app", &upstream)
        .with(&format!("plugins: {{ {NAME}: {{ file: \"{{dir}}/{NAME}.wasm\" }} }}"))
        .with(&format!("alerts: {{ formatter: {NAME} }}"));
    let stand = Stand::of(setup, upstream, &silent.build());
    stand.active();
    for (phase, is_held_back) in
        [("opened", false), ("updated", true), ("resolved", false), ("test", false)]
    {
        let event = serde_json::json!({
            "now-ms": 1, "id": "i-1", "phase": phase, "severity": "info", "code": "late",
            "service": { "name": "app" }, "old": "ok", "new": "degraded",
        });
        let asked = stand.gate.admin_post("/api/admin/headgate/plugins/format");
        let answer = asked.body(event.to_string()).send().expect_status(200);
        let message = answer.field("message");
        assert_eq!(message.is_null(), is_held_back, "{phase}: {message}");
        if !is_held_back {
            assert_eq!(message["issues"][0].as_str().map(|it| it.starts_with("app")), Some(true));
        }
    }
    let denied = stand.gate.metric("headgate_plugin_suppressions_denied_total", NAME);
    assert_eq!(denied, 3.0, "{}", stand.gate.metrics());
}
