//! The stand-ins keep the contracts: one table of requests and the answers that StockFlow's own code gives.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::{Behaviour, Role, Standin, State, control};
use crate::wire::answer::Answer;
use crate::wire::serve::Asked;

const KEY: &str = "k-0123456789abcdef";

fn state(role: Role) -> State {
    State {
        role,
        behaviour: Arc::new(Behaviour::default()),
        key: SecretString::from(KEY),
        maintenance: AtomicBool::new(false),
    }
}

fn asked(method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Asked {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (target.to_owned(), None),
    };
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    Asked {
        method: method.to_owned(),
        path,
        query,
        headers,
        body,
        peer: None,
        request_id: String::new(),
        place: None,
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// Role, method, target, fields, body; then the status and a part of the answer's body.
type Row<'a> = (Role, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[test]
fn every_row_of_the_contracts_is_kept() {
    let key = ("x-api-key", KEY);
    let bad = ("x-api-key", "bad");
    let json = ("content-type", "application/json");
    #[rustfmt::skip]
    let rows: &[Row<'_>] = &[
        (Role::SignalEngine, "GET", "/api/health", &[], "", 200, r#"{"status":"OK","timestamp":""#),
        (Role::SignalEngine, "GET", "/dev/api/health", &[], "", 200, r#"{"status":"OK""#),
        (Role::SignalEngine, "GET", "/api/RELIANCE.NS", &[], "", 200, r#""buy":true"#),
        (Role::SignalEngine, "GET", "/api/M%26M.NS", &[], "", 200, r#""buy":true"#),
        (Role::SignalEngine, "GET", "/api/TCS.NS/daily", &[], "", 200, r#""option":"daily""#),
        (Role::SignalEngine, "GET", "/api/NOPE", &[], "", 200, r#"{"error":"Incorrect Stock ID"#),
        (Role::SignalEngine, "GET", "/api/TCS.NS/", &[("host", "h:1")], "", 307, ""),
        (Role::SignalEngine, "POST", "/api/TCS.NS", &[], "", 405, "Method Not Allowed"),
        (Role::SignalEngine, "GET", "/other", &[], "", 404, r#"{"detail":"Not Found"}"#),
        (Role::MarketIntel, "GET", "/health", &[], "", 200, r#"{"status":"OK""#),
        (Role::MarketIntel, "POST", "/chat", &[json], r#"{"prompt":"hi"}"#, 200, r#"{"result":""#),
        (Role::MarketIntel, "POST", "/chat", &[json], "{}", 422, "Field required"),
        (Role::Controller, "GET", "/api/admin/health", &[], "", 200, r#"{"status":"OK""#),
        (Role::Controller, "GET", "/api/%61dmin/health", &[], "", 200, r#"{"status":"OK""#),
        (Role::Controller, "GET", "/api/admin/maintenance/status", &[], "", 200, r#"{"status":"off","timestamp":""#),
        (Role::Controller, "GET", "/api/admin/maintenance/on", &[], "", 401, r#"{"detail":"Invalid or missing API Key"}"#),
        (Role::Controller, "GET", "/api/admin/maintenance/on", &[key], "", 200, r#"{"status":"on","timestamp":""#),
        (Role::Controller, "GET", "/api/admin/maintenance/nonsense", &[key], "", 200, r#"{"status":"off""#),
        (Role::Controller, "GET", "/api/admin/maintenance/on", &[key, bad], "", 200, r#"{"status":"on""#),
        (Role::Controller, "GET", "/api/admin/maintenance/on", &[bad, key], "", 401, "Invalid or missing"),
        (Role::Controller, "GET", "/dev/api/admin/trigger-cron", &[key], "", 200, r#"{"status":"success","job_name":""#),
        (Role::Controller, "GET", "/api/admin/trigger-cron", &[bad], "", 401, "Invalid or missing API Key"),
        (Role::Controller, "POST", "/api/admin/top-stocks", &[key, json], r#"{"tickers":["A","B"]}"#, 200, r#"{"status":"success","count":2}"#),
        (Role::Controller, "POST", "/api/admin/top-stocks", &[key, json], r#"{"tickers":[]}"#, 500, r#"{"detail":"400: Tickers list is empty"}"#),
        (Role::Controller, "POST", "/api/admin/top-stocks", &[json], r#"{"tickers":["A"]}"#, 401, "Invalid or missing API Key"),
        (Role::Controller, "POST", "/api/admin/top-stocks", &[json], "{", 422, "JSON decode error"),
        (Role::Controller, "POST", "/api/admin/top-stocks", &[], r#"{"tickers":["A"]}"#, 422, "detail"),
        (Role::Kubesnap, "GET", "/api/kubesnap/health", &[], "", 200, r#"{"status":"OK""#),
        (Role::Kubesnap, "GET", "/api/kubesnap/default", &[], "", 401, "Invalid or missing API Key"),
        (Role::Kubesnap, "GET", "/api/kubesnap/default", &[key], "", 200, r#"{"snapshot_status":"success","file_name":"kubesnap_default_"#),
        (Role::Kubesnap, "GET", "/api/kubesnap/none", &[key], "", 500, r#"{"status":"error","detail":"#),
        (Role::EventDispatcher, "GET", "/health", &[], "", 200, r#"{"status":"OK""#),
        (Role::EventDispatcher, "POST", "/api/v1/health-alert", &[json], r#"{"issues":["a"],"channels":["email","slack"],"channel":"stockflow"}"#, 200, r#"{"status":"Health alert process initiated","channels":["email","slack"]}"#),
        (Role::EventDispatcher, "POST", "/api/v1/health-alert", &[json], r#"{"issues":["a"]}"#, 200, r#""channels":["email"]"#),
        (Role::EventDispatcher, "POST", "/api/v1/health-alert", &[json], r#"{"issues":["a"],"channels":null}"#, 200, r#""channels":null"#),
        (Role::EventDispatcher, "POST", "/api/v1/health-alert", &[json], r#"{"issues":"a"}"#, 422, "issues"),
        (Role::EventDispatcher, "POST", "/api/v1/health-alert", &[json], "[", 422, "JSON decode error"),
    ];
    for (role, method, target, fields, body, status, part) in rows {
        let answer = state(*role).by_contract(&asked(method, target, fields, body));
        let seen = text(&answer);
        assert!(
            answer.status == *status && seen.contains(part),
            "{method} {target}: {} {seen}",
            answer.status
        );
    }
}

#[test]
fn timestamps_have_the_services_own_form() {
    let answer = state(Role::SignalEngine).by_contract(&asked("GET", "/api/health", &[], ""));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let stamp = body["timestamp"].as_str().unwrap();
    let shape: String =
        stamp.chars().map(|it| if it.is_ascii_digit() { '9' } else { it }).collect();
    assert_eq!(shape, "9999-99-99 99:99:99.99+99:99");
}

#[test]
fn a_redirect_goes_where_host_says() {
    let answer = state(Role::SignalEngine).by_contract(&asked(
        "GET",
        "/api/TCS.NS/",
        &[("host", "gate.test")],
        "",
    ));
    assert!(answer.headers.contains(&("Location", "http://gate.test/api/TCS.NS".to_owned())));
}

#[test]
fn a_service_in_maintenance_says_so_on_every_route() {
    let state = state(Role::SignalEngine);
    state.behaviour.maintain(true);
    for path in ["/api/health", "/api/TCS.NS", "/other"] {
        let answer = state.by_contract(&asked("GET", path, &[], ""));
        assert_eq!(
            (answer.status, text(&answer).as_str()),
            (200, r#"{"status":"Maintenance mode is enabled"}"#)
        );
    }
}

#[tokio::test]
async fn a_stand_in_fails_and_recovers_as_told() {
    let state = Arc::new(state(Role::SignalEngine));
    let standins = [Standin {
        role: Role::SignalEngine,
        url: String::new(),
        behaviour: Some(Arc::clone(&state.behaviour)),
    }];
    let told = |target: &str| control(&standins, &asked("POST", target, &[], "")).status;
    let health = || Arc::clone(&state).answer(asked("GET", "/api/health", &[], ""));
    assert_eq!(told("/signal-engine/fail?status=503"), 200);
    assert_eq!(health().await.status, 503);
    assert_eq!(told("/signal-engine/recover"), 200);
    assert_eq!(health().await.status, 200);
    assert_eq!(told("/nobody/fail"), 404);
    assert_eq!(told("/signal-engine/nonsense"), 404);
    assert_eq!(state.behaviour.received(), 2);
}
