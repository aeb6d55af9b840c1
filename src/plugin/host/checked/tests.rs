//! Tables of answers that hold and that break the contract.

use super::{checks, issues, message, verdict, wit};
use crate::model::health::{Action, Health, ServiceFacts, Window};
use crate::plugin::Fault;

fn window(namespace: Option<&str>) -> Window {
    Window {
        now_ms: 1,
        service: ServiceFacts {
            name: "signal-engine".to_owned(),
            namespace: namespace.map(str::to_owned),
            endpoint: "http://signal:8000/health".to_owned(),
            ready: None,
            desired: None,
            labels: Vec::new(),
        },
        current: Health::Ok,
        since_ms: 0,
        samples: Vec::new(),
        seed: 0,
        extra: Vec::new(),
    }
}

fn judged() -> wit::Verdict {
    wit::Verdict {
        status: wit::Health::Failing,
        code: "bad-status".to_owned(),
        detail: "answered 500".to_owned(),
        actions: Vec::new(),
        next_check_ms: None,
        state: None,
        extra: Vec::new(),
    }
}

fn worded() -> wit::Message {
    wit::Message {
        issues: vec!["signal-engine is failing".to_owned()],
        channels: vec!["email".to_owned(), "slack".to_owned()],
        channel: Some("alerts_1".to_owned()),
        dedup_key: Some("key".to_owned()),
        extra: vec![("slack-blocks".to_owned(), "[]\n".repeat(2_000))],
    }
}

fn alert(issues: usize, channels: usize) -> wit::Action {
    let severity = wit::Severity::Critical;
    let channels = (0..channels).map(|it| format!("c{it}")).collect();
    wit::Action::Alert(wit::Alert { severity, issues: vec!["x".to_owned(); issues], channels })
}

fn snapshot(namespace: &str) -> wit::Action {
    wit::Action::Snapshot(namespace.to_owned())
}

fn ext(kind: &str) -> wit::Action {
    wit::Action::Ext(wit::Extension { kind: kind.to_owned(), params: Vec::new() })
}

#[test]
fn verdicts_at_their_limits_pass() {
    type Change = fn(&mut wit::Verdict);
    let changes: [Change; 9] = [
        |_| {},
        |it| it.code = "a-0".repeat(16),
        |it| it.detail = "d".repeat(4096),
        |it| it.detail = String::new(),
        |it| it.state = Some(vec![0; 64 * 1024]),
        |it| it.actions = vec![snapshot("apps")],
        |it| it.actions = (0..16).map(|_| alert(64, 8)).collect(),
        |it| it.actions = vec![ext("later-kind")],
        |it| it.extra = vec![("k".repeat(64), "v".repeat(4096)); 32],
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut given = judged();
        change(&mut given);
        let found = verdict(given, &window(Some("apps")));
        assert!(found.is_ok(), "change {number}: {found:?}");
    }
}

#[test]
fn verdicts_over_their_limits_are_refused() {
    type Change = fn(&mut wit::Verdict);
    let changes: [Change; 17] = [
        |it| it.code = String::new(),
        |it| it.code = "a".repeat(49),
        |it| it.code = "Bad".to_owned(),
        |it| it.code = "bad_status".to_owned(),
        |it| it.code = "bad status".to_owned(),
        |it| it.code = "grün".to_owned(),
        |it| it.detail = "d".repeat(4097),
        |it| it.detail = "two\nlines".to_owned(),
        |it| it.detail = "\u{1b}[31m".to_owned(),
        |it| it.state = Some(vec![0; 64 * 1024 + 1]),
        |it| it.actions = (0..17).map(|_| alert(0, 0)).collect(),
        |it| it.actions = vec![alert(65, 0)],
        |it| it.actions = vec![alert(0, 9)],
        |it| it.actions = vec![snapshot("kube-system")],
        |it| it.actions = vec![ext("Not A Slug")],
        |it| it.extra = vec![(String::new(), String::new()); 33],
        |it| it.extra = vec![("k".repeat(65), String::new())],
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut given = judged();
        change(&mut given);
        let found = verdict(given, &window(Some("apps")));
        assert!(matches!(found, Err(Fault::Invalid { .. })), "change {number}: {found:?}");
    }
}

#[test]
fn a_snapshot_is_of_the_service_or_of_nothing() {
    let given = || wit::Verdict { actions: vec![snapshot("apps")], ..judged() };
    let apps = verdict(given(), &window(Some("apps"))).expect("its own namespace");
    assert_eq!(apps.actions, [Action::Snapshot("apps".to_owned())]);
    assert!(verdict(given(), &window(Some("other"))).is_err());
    assert!(verdict(given(), &window(None)).is_err());
}

#[test]
fn the_next_look_is_neither_at_once_nor_never() {
    for (asked, kept) in [(0, 1_000), (999, 1_000), (5_000, 5_000), (u32::MAX, 86_400_000)] {
        let given = wit::Verdict { next_check_ms: Some(asked), ..judged() };
        let found = verdict(given, &window(None)).expect("a valid verdict");
        assert_eq!(found.next_check_ms, Some(kept), "{asked}");
    }
}

#[test]
fn messages_at_their_limits_pass_and_beyond_are_refused() {
    type Change = (bool, fn(&mut wit::Message));
    let changes: [Change; 17] = [
        (true, |_| {}),
        (true, |it| it.issues = vec!["i".repeat(4096); 64]),
        (true, |it| it.issues = vec!["two\nlines".to_owned()]),
        (true, |it| it.channels = Vec::new()),
        (true, |it| it.dedup_key = Some("k".repeat(256))),
        (true, |it| it.channel = None),
        (false, |it| it.issues = Vec::new()),
        (false, |it| it.issues = vec![" ".to_owned()]),
        (false, |it| it.issues = vec!["i".repeat(4097)]),
        (false, |it| it.issues = vec!["i".to_owned(); 65]),
        (false, |it| it.issues = vec!["\u{1b}[2J".to_owned()]),
        (false, |it| it.channels = vec!["email".to_owned(), "email".to_owned()]),
        (false, |it| it.channels = (0..9).map(|it| it.to_string()).collect()),
        (false, |it| it.channel = Some("#alerts".to_owned())),
        (false, |it| it.channel = Some(String::new())),
        (false, |it| it.dedup_key = Some("k".repeat(257))),
        (false, |it| it.extra = vec![("slack-blocks".to_owned(), " ".repeat(65_537))]),
    ];
    for (number, (holds, change)) in changes.iter().enumerate() {
        let mut given = worded();
        change(&mut given);
        let found = message(given);
        assert_eq!(found.is_ok(), *holds, "change {number}: {found:?}");
    }
}

#[test]
fn issues_are_made_fit_to_be_shown() {
    let issue = |path: &str, message: &str| wit::Issue {
        path: path.to_owned(),
        message: message.to_owned(),
    };
    let found = issues(vec![issue("/a\n", "\u{1b}no")]).expect("one issue");
    let shown: Vec<_> = found.iter().map(|it| (it.path.as_str(), it.message.as_str())).collect();
    assert_eq!(shown, [("/a\\n", "\\u{1b}no")]);
    assert!(issues((0..65).map(|_| issue("", "")).collect()).is_err());
}

#[test]
fn a_self_test_has_named_cases() {
    let check =
        |name: &str| wit::Check { name: name.to_owned(), passed: true, message: "\n".to_owned() };
    assert!(checks(Vec::new()).is_err());
    assert!(checks(vec![check("a"), check("a")]).is_err());
    assert!(checks((0..257).map(|it| check(&it.to_string())).collect()).is_err());
    let found = checks(vec![check("a"), check("b")]).expect("two cases");
    assert_eq!(found.iter().map(|it| it.message.as_str()).collect::<Vec<_>>(), ["\\n", "\\n"]);
}
