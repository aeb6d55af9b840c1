//! Tests of the native rule: every line of it, in order, and its settings.

use serde_json::{Value, json};

use super::*;
use crate::model::health::ServiceFacts;

const NOW: u64 = 10_000_000;

fn sample(outcome: Outcome) -> Sample {
    let answered = matches!(outcome, Outcome::Ok | Outcome::BadStatus);
    Sample {
        at_ms: NOW - 1000,
        source: Source::Probe,
        kind: "http".to_owned(),
        latency_us: 5000,
        outcome,
        status: answered.then_some(200),
        body: answered.then(|| r#"{"status":"OK","timestamp":"2026-"#.to_owned()),
        extra: Vec::new(),
    }
}

fn body(text: &str) -> Sample {
    Sample { body: Some(text.to_owned()), ..sample(Outcome::Ok) }
}

fn window(samples: Vec<Sample>) -> Window {
    Window {
        now_ms: NOW,
        service: ServiceFacts {
            name: "engine".to_owned(),
            namespace: Some("dev".to_owned()),
            endpoint: String::new(),
            ready: None,
            desired: None,
            labels: Vec::new(),
        },
        current: Health::Ok,
        since_ms: 0,
        samples: samples.into_iter().map(std::sync::Arc::new).collect(),
        seed: 0,
        extra: Vec::new(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "each call writes its settings in place")]
fn judge(settings: Value, samples: Vec<Sample>) -> (Health, String, String) {
    let verdict = Threshold::new(&settings).unwrap().judge(&window(samples));
    (verdict.status, verdict.code, verdict.detail)
}

fn is(settings: Value, samples: Vec<Sample>, status: Health, code: &str, detail: &str) {
    let said = judge(settings, samples);
    assert_eq!(said, (status, code.to_owned(), detail.to_owned()));
}

#[test]
fn only_probes_and_schedules_that_were_made_count() {
    let none = "no probe has been made yet";
    let other = |source| Sample { source, ..sample(Outcome::Refused) };
    for samples in
        [vec![], vec![sample(Outcome::Skipped)], vec![other(Source::Traffic), other(Source::Peer)]]
    {
        is(json!({}), samples, Health::Unknown, "no-samples", none);
    }
    let behind = vec![sample(Outcome::Ok), sample(Outcome::Skipped), other(Source::Peer)];
    is(json!({}), behind, Health::Ok, "ok", "as expected");
    let job = vec![sample(Outcome::Ok), other(Source::Schedule)];
    assert_eq!(judge(json!({}), job).1, "refused");
}

#[test]
fn an_old_probe_says_nothing() {
    let old = |age: u64| vec![Sample { at_ms: NOW - age, ..sample(Outcome::Refused) }];
    assert_eq!(judge(json!({}), old(300_000)).1, "refused");
    is(json!({}), old(300_999), Health::Unknown, "stale", "the last probe was 300 s ago");
    is(json!({"staleMs": 1000}), old(1001), Health::Unknown, "stale", "the last probe was 1 s ago");
    let ahead = vec![Sample { at_ms: NOW + 1_000_000, ..sample(Outcome::Ok) }];
    assert_eq!(judge(json!({"staleMs": 1000}), ahead).1, "ok");
}

#[test]
fn the_maintenance_word_counts_whatever_the_outcome() {
    let word = r#"{"status":"Maintenance mode is enabled"}"#;
    for outcome in [Outcome::Ok, Outcome::BadStatus, Outcome::Timeout, Outcome::Refused] {
        let said = Sample { outcome, status: Some(503), ..body(word) };
        let detail = "the service says that it is in maintenance";
        is(json!({}), vec![said], Health::Maintenance, "maintenance", detail);
    }
    assert_eq!(judge(json!({"maintenanceWord": null}), vec![body(word)]).1, "bad-body");
    assert_eq!(judge(json!({"path": null}), vec![body(word)]).1, "ok");
    let own = || json!({"maintenanceWord": "down", "path": "$.a.b"});
    assert_eq!(judge(own(), vec![body(r#"{"a":{"b":"down"#)]).1, "bad-body");
    assert_eq!(judge(own(), vec![body(r#"{"a":{"b":"down""#)]).1, "maintenance");
}

#[test]
fn one_time_out_is_not_a_death() {
    let late = |n| vec![sample(Outcome::Timeout); n];
    is(json!({}), late(1), Health::Degraded, "late", "1 probe timed out");
    is(json!({}), late(2), Health::Failing, "timeout", "2 probes in a row timed out");
    is(json!({"timeouts": 3}), late(2), Health::Degraded, "late", "2 probes timed out");
    is(json!({"timeouts": 1}), late(1), Health::Failing, "timeout", "1 probes in a row timed out");
    let broken = vec![
        sample(Outcome::Timeout),
        sample(Outcome::Ok),
        sample(Outcome::Timeout),
        sample(Outcome::Skipped),
    ];
    is(json!({}), broken, Health::Degraded, "late", "1 probe timed out");
}

#[test]
fn an_answer_that_never_came_fails_by_its_name() {
    for (outcome, code, detail) in [
        (Outcome::Refused, "refused", "connection refused"),
        (Outcome::Reset, "reset", "connection reset"),
        (Outcome::Dns, "dns", "the name does not resolve"),
        (Outcome::Tls, "tls", "the TLS handshake failed"),
        (Outcome::Protocol, "protocol", "no valid answer"),
        (Outcome::Other, "probe-error", "the probe failed"),
    ] {
        is(json!({}), vec![sample(outcome)], Health::Failing, code, detail);
    }
}

#[test]
fn an_expectation_that_was_not_met_speaks_for_itself() {
    let with = |name: &str| Sample {
        extra: vec![
            ("endpoint".to_owned(), "127.0.0.1:1".to_owned()),
            (name.to_owned(), "$.a is 1, not 2".to_owned()),
        ],
        ..sample(Outcome::Other)
    };
    is(json!({}), vec![with("expect")], Health::Failing, "unexpected", "$.a is 1, not 2");
    is(json!({}), vec![with("expected")], Health::Failing, "probe-error", "the probe failed");
    let word = r#"{"status":"Maintenance mode is enabled"}"#.to_owned();
    let said = Sample { body: Some(word), ..with("expect") };
    assert_eq!(judge(json!({}), vec![said]).1, "maintenance");
}

#[test]
fn only_an_http_answer_is_judged_by_its_body() {
    for kind in ["tcp", "cronjob", "later"] {
        let bare =
            Sample { kind: kind.to_owned(), status: None, body: None, ..sample(Outcome::Ok) };
        is(json!({}), vec![bare.clone()], Health::Ok, "ok", "as expected");
        let word = r#"{"status":"Maintenance mode is enabled"}"#.to_owned();
        assert_eq!(judge(json!({}), vec![Sample { body: Some(word), ..bare }]).1, "ok");
    }
    let slow = Sample {
        kind: "tcp".to_owned(),
        status: None,
        body: None,
        latency_us: 1_000_001,
        ..sample(Outcome::Ok)
    };
    assert_eq!(judge(json!({"latencyMs": 1000}), vec![slow]).1, "slow");
}

#[test]
fn a_grpc_code_is_no_http_status() {
    let grpc = |status, outcome| {
        vec![Sample { kind: "grpc".to_owned(), status, body: None, ..sample(outcome) }]
    };
    let failing = |samples, detail: &str| {
        is(json!({"statuses": ["100-599"]}), samples, Health::Failing, "bad-status", detail);
    };
    is(json!({}), grpc(Some(0), Outcome::Ok), Health::Ok, "ok", "as expected");
    is(json!({}), grpc(None, Outcome::Ok), Health::Ok, "ok", "as expected");
    failing(grpc(Some(0), Outcome::BadStatus), "it says that it is not serving");
    failing(grpc(Some(12), Outcome::BadStatus), "gRPC status 12 is not expected");
    failing(grpc(Some(200), Outcome::Ok), "gRPC status 200 is not expected");
    failing(grpc(None, Outcome::BadStatus), "the status is not expected");
    assert_eq!(judge(json!({}), grpc(Some(14), Outcome::Refused)).1, "refused");
}

#[test]
fn the_settings_decide_about_statuses() {
    let with = |status, outcome| vec![Sample { status, ..sample(outcome) }];
    let failing = |settings, samples, detail: &str| {
        is(settings, samples, Health::Failing, "bad-status", detail);
    };
    failing(json!({}), with(Some(404), Outcome::Ok), "status 404 is not expected");
    failing(json!({}), with(Some(300), Outcome::BadStatus), "status 300 is not expected");
    failing(json!({}), with(None, Outcome::BadStatus), "the status is not expected");
    assert_eq!(judge(json!({}), with(Some(299), Outcome::BadStatus)).1, "ok");
    assert_eq!(judge(json!({}), with(None, Outcome::Ok)).1, "ok");
    let own = || json!({"statuses": ["404", "500-503"]});
    assert_eq!(judge(own(), with(Some(503), Outcome::BadStatus)).1, "ok");
    failing(own(), with(Some(504), Outcome::Ok), "status 504 is not expected");
}

#[test]
fn the_value_at_the_path_decides() {
    let failing = |settings, sample, detail: &str| {
        is(settings, vec![sample], Health::Failing, "bad-body", detail);
    };
    failing(json!({}), Sample { body: None, ..sample(Outcome::Ok) }, "the answer has no body");
    failing(json!({}), body("<html>"), "the body has no value at $.status");
    failing(json!({"path": "$.a.b"}), body("{}"), "the body has no value at $.a.b");
    failing(json!({}), body(r#"{"status":null}"#), r#"$.status is not "OK""#);
    failing(
        json!({"expected": "a\"\u{1}é"}),
        body(r#"{"status":1}"#),
        r#"$.status is not "a\"\u0001é""#,
    );
    failing(json!({"expected": -7}), body(r#"{"status":-7.0}"#), "$.status is not -7");
    failing(json!({"expected": true}), body(r#"{"status":"true"}"#), "$.status is not true");
    assert_eq!(judge(json!({"expected": -7}), vec![body(r#"{"status":-7}"#)]).1, "ok");
    assert_eq!(judge(json!({"expected": false}), vec![body(r#"{"status":false"#)]).1, "ok");
    assert_eq!(judge(json!({"path": null}), vec![body("<html>")]).1, "ok");
}

#[test]
fn slow_is_degraded() {
    let took = |latency_us| vec![Sample { latency_us, ..sample(Outcome::Ok) }];
    let bound = || json!({"latencyMs": 100});
    assert_eq!(judge(bound(), took(100_000)).1, "ok");
    is(bound(), took(100_001), Health::Degraded, "slow", "the answer took 100 ms");
    assert_eq!(judge(json!({}), took(u32::MAX)).1, "ok");
    assert_eq!(judge(json!({"latencyMs": 600_000}), took(u32::MAX)).1, "slow");
}

#[test]
fn actions_follow_from_the_status() {
    let rule = Threshold::default();
    let alert = |severity| {
        Action::Alert(AlertProposal {
            severity,
            issues: vec!["engine".to_owned()],
            channels: vec![],
        })
    };
    let failing = rule.judge(&window(vec![sample(Outcome::Dns)]));
    assert_eq!(failing.actions, [Action::Snapshot("dev".to_owned()), alert(Severity::Critical)]);
    assert_eq!(failing.next_check_ms, Some(10_000));
    let mut nowhere = window(vec![sample(Outcome::Dns)]);
    nowhere.service.namespace = None;
    assert_eq!(rule.judge(&nowhere).actions, [alert(Severity::Critical)]);
    let degraded = rule.judge(&window(vec![sample(Outcome::Timeout)]));
    assert_eq!(
        (degraded.actions, degraded.next_check_ms),
        (vec![alert(Severity::Warning)], Some(10_000))
    );
    for samples in [vec![], vec![sample(Outcome::Ok)]] {
        let calm = rule.judge(&window(samples));
        assert_eq!((calm.actions, calm.next_check_ms), (vec![], None));
        assert_eq!((calm.state, calm.extra), (None, vec![]));
    }
}

#[test]
fn everything_wrong_with_settings_is_told_at_once_and_in_order() {
    let settings = json!({
        "other": 1, "staleMs": 999, "timeouts": 11, "latencyMs": 0, "maintenanceWord": "", "expected": 1.5,
        "path": "status", "statuses": ["200", "2xx", 200, "300-200", "600", "200-", "+20"],
    });
    let issues = Threshold::new(&settings).unwrap_err();
    let paths: Vec<&str> = issues.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/statuses/1",
            "/statuses/2",
            "/statuses/3",
            "/statuses/4",
            "/statuses/5",
            "/statuses/6",
            "/path",
            "/expected",
            "/maintenanceWord",
            "/latencyMs",
            "/timeouts",
            "/staleMs",
            "/other",
        ]
    );
    assert_eq!(Threshold::new(&json!("x")).unwrap_err()[0].path, "");
}

#[test]
fn each_setting_has_its_bounds() {
    let long = "a".repeat(256);
    for (name, good, bad) in [
        ("statuses", json!(vec!["100-599"; 16]), json!(vec!["200"; 17])),
        ("statuses", json!(["599"]), json!([])),
        ("path", json!(format!("$.{}", "a".repeat(64))), json!(format!("$.{}", "a".repeat(65)))),
        ("path", json!("$.a.b.c.d.e.f.g.h"), json!("$.a.b.c.d.e.f.g.h.i")),
        ("path", json!(null), json!("$")),
        ("path", json!("$.a-b_C9"), json!("$.a..b")),
        ("expected", json!(""), json!(null)),
        ("expected", json!(i64::MIN), json!(u64::MAX)),
        ("expected", json!(long), json!(format!("{long}a"))),
        ("maintenanceWord", json!(long), json!(format!("{long}a"))),
        ("maintenanceWord", json!(null), json!(true)),
        ("latencyMs", json!(600_000), json!(600_001)),
        ("latencyMs", json!(null), json!(1.0)),
        ("timeouts", json!(1), json!(0)),
        ("staleMs", json!(86_400_000), json!(86_400_001)),
        ("staleMs", json!(1000), json!(null)),
    ] {
        assert!(Threshold::new(&json!({ name: good })).is_ok(), "{name} {good}");
        let issues = Threshold::new(&json!({ name: bad })).unwrap_err();
        assert_eq!(issues[0].path.split('/').nth(1), Some(name));
    }
}
