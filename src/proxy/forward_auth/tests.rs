//! Questions of edges, and what they hear.

use super::{Denied, answer};
use crate::config::Config;
use crate::generation::Gate;
use crate::generation::fixture::{ADMIN, NOW, SNAP, all_on, config, gate};
use crate::maintenance::Modes;
use crate::proxy::decide::tests::{client, head};
use crate::proxy::reject::Asked;
use crate::semantics::class::{Class, Field};
use crate::semantics::head::RequestHead;
use crate::wire::answer::Answer;

/// One question: its target, its fields, its key. The answer that leaves, and whether a bad key is to be counted.
fn ask(gate: &Gate, target: &str, fields: &[(&str, &str)], key: Option<&str>) -> (Answer, bool) {
    let fields: Vec<Field<'_>> =
        fields.iter().map(|it| Field { name: it.0, value: it.1.as_bytes() }).collect();
    let classes: Vec<Class> = fields.iter().map(|it| class(it.name)).collect();
    let (path, query) = target.split_once('?').map_or((target, None), |it| (it.0, Some(it.1)));
    let question = RequestHead {
        query,
        fields: &fields,
        classes: &classes,
        api_key: key.map(str::as_bytes),
        ..head(path)
    };
    let own = Asked {
        head: Some(&question),
        request_id: "r-1",
        config: &gate.generation.config,
        now: NOW,
    };
    match answer(gate, &question, &client(true), NOW) {
        Ok(answer) => (answer, false),
        Err(denied) => {
            let Denied { reject, presented, .. } = &*denied;
            (denied.answer(reject, &own), *presented && reject.code() == "unauthorized")
        }
    }
}

fn class(name: &str) -> Class {
    match name {
        "Origin" => Class::Origin,
        "Access-Control-Request-Method" => Class::CorsMethod,
        "Accept" => Class::Accept,
        "Content-Type" => Class::ContentType,
        _ => Class::XForwardedOther,
    }
}

fn about<'a>(method: &'a str, uri: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("X-Forwarded-Method", method),
        ("X-Forwarded-Uri", uri),
        ("x-forwarded-host", "a.example"),
    ]
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
}

#[test]
fn what_passes_is_200_and_what_does_not_is_the_refusal() {
    for (method, uri, key, on, status) in [
        ("GET", "/api/RELIANCE.NS?x=1", None, false, 200),
        ("POST", "/api/chat", None, false, 200),
        ("GET", "/api/M%26M.NS", None, false, 200),
        ("GET", "/api/x", None, true, 503),
        ("GET", "/api/admin/health", None, true, 200),
        ("GET", "/api/admin/trigger-cron", None, false, 401),
        ("GET", "/api/admin/trigger-cron", Some("wrong-key-0123456789"), false, 401),
        ("GET", "/api/admin/trigger-cron", Some(SNAP), false, 403),
        ("GET", "/api/admin/trigger-cron", Some(ADMIN), false, 200),
        ("GET", "/nowhere", None, false, 404),
        ("DELETE", "/api/read/x", None, false, 405),
        // The edge forwards the raw path: another spelling never passes, with or without a key.
        ("GET", "/api/x/../admin/trigger-cron", Some(ADMIN), false, 403),
        ("GET", "/api/x/../admin/trigger-cron", None, false, 403),
        ("GET", "/api//x", None, false, 403),
        ("GET", "/api//x", None, true, 403),
        ("GET", "/api/%61dmin/health", None, false, 403),
        ("GET", "/api/x%2f", None, false, 403),
        ("GET", "/api/x/..%2Fadmin/x", None, false, 401),
        ("GET", "/api/%00", None, false, 400),
        // Ours: on the data listener only.
        ("GET", "/api/admin/maintenance/status", None, false, 403),
        ("GET", "/api/admin/maintenance/on", Some(ADMIN), false, 403),
        ("GET", "/api/admin/maintenance/on", None, false, 401),
        ("GET", "/forward-auth", None, false, 404),
        ("CONNECT", "/api/x", None, false, 405),
    ] {
        let modes = if on { all_on() } else { Modes::default() };
        let gate = gate(config(""), modes);
        let (answer, _) = ask(&gate, "/forward-auth", &about(method, uri), key);
        assert_eq!(answer.status, status, "{method} {uri} {key:?}");
    }
}

#[test]
fn questions_that_do_not_say_what_they_are_about_are_400() {
    let gate = gate(config(""), Modes::default());
    for fields in [
        &[][..],
        &[("X-Forwarded-Uri", "/api/x")],
        &[("X-Forwarded-Method", "GET")],
        &[("X_Forwarded_Uri", "/api/x"), ("X-Forwarded-Method", "GET")],
        &[("X-Forwarded-Uri", "/a"), ("x-forwarded-uri", "/b"), ("X-Forwarded-Method", "GET")],
        &[("X-Forwarded-Uri", "http://a/api/x"), ("X-Forwarded-Method", "GET")],
        &[("X-Forwarded-Uri", "*"), ("X-Forwarded-Method", "OPTIONS")],
        &[("X-Forwarded-Uri", "/api/x"), ("X-Forwarded-Method", "GET /")],
    ] {
        assert_eq!(ask(&gate, "/forward-auth", fields, None).0.status, 400, "{fields:?}");
    }
    // Inline such a Host is refused too: two servers may take different parts of it.
    for host in ["", "a.example,b.example", "a b", "a.example:x", "u@a.example"] {
        let mut fields = about("GET", "/api/x");
        fields.retain(|it| it.0 != "x-forwarded-host");
        fields.push(("X-Forwarded-Host", host));
        assert_eq!(ask(&gate, "/forward-auth", &fields, None).0.status, 400, "{host:?}");
    }
}

#[test]
fn a_yes_names_the_key_and_echoes_it_only_where_the_service_may_see_it() {
    let gate = gate(config(""), Modes::default());
    let (answer, _) = ask(&gate, "/forward-auth", &about("GET", "/api/admin/x"), Some(ADMIN));
    assert_eq!(header(&answer, "X-Headgate-Client"), Some("stockflow"));
    assert_eq!(header(&answer, "X-Api-Key"), Some(ADMIN));
    assert!(answer.body.is_empty());
    let (answer, _) = ask(&gate, "/forward-auth", &about("GET", "/api/x"), Some(ADMIN));
    assert_eq!(header(&answer, "X-Headgate-Client"), Some("stockflow"));
    assert_eq!(header(&answer, "X-Api-Key"), None);
    let (answer, _) = ask(&gate, "/forward-auth", &about("GET", "/api/x"), None);
    assert_eq!(header(&answer, "X-Headgate-Client"), None);
}

#[test]
fn only_presented_keys_count_as_bad() {
    let gate = gate(config(""), Modes::default());
    let bad = |key| ask(&gate, "/forward-auth", &about("GET", "/api/admin/x"), key).1;
    assert!(bad(Some("wrong-key-0123456789")));
    assert!(!bad(None));
    assert!(!bad(Some(SNAP)));
}

#[test]
fn a_refusal_is_never_2xx() {
    let strict = Config {
        maintenance: crate::config::Maintenance { status: 200, ..config("").maintenance },
        ..config("")
    };
    let gate = gate(strict, all_on());
    let mut grpc = about("POST", "/api/x");
    grpc.push(("Content-Type", "application/grpc"));
    let mut preflight = about("OPTIONS", "/api/x");
    preflight.extend([("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")]);
    for fields in [about("GET", "/api/x"), grpc, preflight] {
        let (answer, _) = ask(&gate, "/forward-auth", &fields, None);
        assert_eq!(answer.status, 503, "{fields:?}");
        assert!(answer.body.starts_with(b"{\"status\":\"Maintenance mode is enabled\","));
        assert_eq!(header(&answer, "Retry-After"), Some("30"));
    }
}

#[test]
fn a_preflight_for_our_own_endpoints_is_refused_with_advice() {
    let gate = gate(config(""), Modes::default());
    let mut fields = about("OPTIONS", "/api/admin/maintenance/on");
    fields.extend([("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")]);
    let (answer, _) = ask(&gate, "/forward-auth", &fields, None);
    assert_eq!(answer.status, 403);
    assert_eq!(header(&answer, "Access-Control-Allow-Origin"), Some("https://app.example"));
    let mut passes = about("OPTIONS", "/api/admin/top-stocks");
    passes.extend([("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")]);
    assert_eq!(ask(&gate, "/forward-auth", &passes, None).0.status, 200);
}

#[test]
fn the_second_question_is_never_answered_with_yes() {
    let gate = gate(config(""), Modes::default());
    for target in ["/forward-auth?denied", "/forward-auth/denied", "/forward-auth/denied?a=b"] {
        let (answer, _) = ask(&gate, target, &about("GET", "/api/x"), None);
        assert_eq!(answer.status, 503, "{target}");
        let (answer, _) = ask(&gate, target, &about("GET", "/api/admin/x"), None);
        assert_eq!(answer.status, 401, "{target}");
    }
    // The client's query, appended by Caddy, is not ours to read.
    let (answer, _) = ask(&gate, "/forward-auth?denied=1", &about("GET", "/api/x"), None);
    assert_eq!(answer.status, 200);
}
