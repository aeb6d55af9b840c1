//! What leaves for every refusal.

use std::time::Duration;

use super::{Asked, Reject, dress, options_star, preflight};
use crate::config::{Config, Cors, Maintenance};
use crate::generation::fixture::{NOW, config, window};
use crate::maintenance::Window;
use crate::model::UnixMs;
use crate::proxy::decide::tests::head;
use crate::semantics::class::{Class, Field};
use crate::semantics::head::{HeadError, RequestHead};
use crate::wire::answer::Answer;

fn class(name: &str) -> Class {
    match name {
        "Origin" => Class::Origin,
        "Access-Control-Request-Method" => Class::CorsMethod,
        "Access-Control-Request-Headers" => Class::CorsHeaders,
        "Accept" => Class::Accept,
        "Content-Type" => Class::ContentType,
        _ => Class::Other,
    }
}

/// Calls `then` with a request for `/api/x` that has these fields.
fn asked<T>(config: &Config, fields: &[(&str, &str)], then: impl Fn(&Asked<'_>) -> T) -> T {
    let fields: Vec<Field<'_>> =
        fields.iter().map(|it| Field { name: it.0, value: it.1.as_bytes() }).collect();
    let classes: Vec<Class> = fields.iter().map(|it| class(it.name)).collect();
    let head = RequestHead { fields: &fields, classes: &classes, ..head("/api/x") };
    then(&Asked { head: Some(&head), request_id: "r-1", config, now: NOW })
}

fn answer(reject: &Reject, fields: &[(&str, &str)]) -> Answer {
    asked(&config(""), fields, |it| reject.answer(it))
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut values = answer.headers.iter().filter(|it| it.0 == name);
    let first = values.next().map(|it| it.1.as_str());
    assert!(values.next().is_none(), "{name} twice");
    first
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn maintenance() -> Reject {
    Reject::Maintenance { service: "signal-engine".to_owned(), window: window() }
}

fn all() -> Vec<Reject> {
    let service = || "signal-engine".to_owned();
    vec![
        Reject::Head(HeadError { status: 400, code: "cl-with-te", detail: "both" }),
        Reject::NoRoute,
        Reject::MethodNotAllowed { allow: "GET, HEAD".to_owned() },
        Reject::Unauthorized,
        Reject::Forbidden { scope: "admin".to_owned() },
        Reject::TooManyBadKeys { retry_after: Duration::from_millis(2500) },
        maintenance(),
        Reject::Question { status: 403, code: "path-not-canonical", detail: "differently read" },
        Reject::BodyTooLarge,
        Reject::ClientTooSlow,
        Reject::BadBody("bad-chunk"),
        Reject::Overloaded { service: service() },
        Reject::TooManyConnections,
        Reject::NoEndpoint { service: service() },
        Reject::ConnectFailed { service: service(), detail: "10.0.0.7:8000 refused".to_owned() },
        Reject::ConnectTimeout { service: service() },
        Reject::BadUpstream { service: service(), code: "upstream-closed" },
        Reject::UpstreamTimeout { service: service() },
        Reject::RequestTimeout { service: service() },
        Reject::FilterFailed,
        Reject::Internal { detail: "/etc/secret was not found".to_owned() },
    ]
}

#[test]
fn status_code_grpc_status_and_fields_of_every_refusal() {
    let rows = [
        (400, "cl-with-te", 13, None, None),
        (404, "no-route", 12, None, None),
        (405, "method-not-allowed", 12, None, None),
        (401, "unauthorized", 16, None, Some("http_request_denied")),
        (403, "forbidden", 7, None, Some("http_request_denied")),
        (429, "too-many-bad-keys", 14, Some("3"), Some("http_request_denied")),
        (503, "maintenance", 14, Some("30"), Some("destination_unavailable")),
        (403, "path-not-canonical", 7, None, Some("http_request_denied")),
        (413, "body-too-large", 8, None, None),
        (408, "client-too-slow", 4, None, None),
        (400, "bad-chunk", 13, None, None),
        (503, "overloaded", 14, Some("1"), Some("connection_limit_reached")),
        (503, "too-many-connections", 14, Some("1"), None),
        (503, "no-endpoint", 14, Some("5"), Some("destination_unavailable")),
        (502, "connect-failed", 14, None, Some("connection_refused")),
        (504, "connect-timeout", 4, None, Some("connection_timeout")),
        (502, "upstream-closed", 14, None, Some("connection_terminated")),
        (504, "upstream-timeout", 4, None, Some("http_response_timeout")),
        (504, "request-timeout", 4, None, Some("http_response_timeout")),
        (503, "filter-failed", 14, Some("5"), Some("proxy_internal_error")),
        (500, "internal", 13, None, Some("proxy_internal_error")),
    ];
    assert_eq!(rows.len(), all().len());
    for (reject, (status, code, grpc, retry_after, error)) in all().iter().zip(rows) {
        let plain = answer(reject, &[]);
        assert_eq!((plain.status, reject.code()), (status, code));
        assert_eq!(header(&plain, "Retry-After"), retry_after, "{code}");
        let proxy_status = error.map(|it| format!("headgate; error={it}"));
        assert_eq!(header(&plain, "Proxy-Status"), proxy_status.as_deref(), "{code}");
        assert_eq!(header(&plain, "Cache-Control"), Some("no-store"), "{code}");
        assert_eq!(header(&plain, "X-Request-ID"), Some("r-1"), "{code}");
        assert_eq!(header(&plain, "Vary"), Some("Accept, Origin"), "{code}");
        assert_eq!(json(&plain)["request_id"], "r-1", "{code}");

        let called = answer(reject, &[("Content-Type", "application/grpc+proto")]);
        assert_eq!(called.status, 200, "{code}");
        assert_eq!(header(&called, "Grpc-Status"), Some(grpc.to_string().as_str()), "{code}");
        assert_eq!(header(&called, "Content-Type"), Some("application/grpc+proto"), "{code}");
        assert!(called.body.is_empty());
    }
}

#[test]
fn problems_have_the_members_of_rfc_9457() {
    for reject in all().iter().filter(|it| !matches!(it, Reject::Maintenance { .. })) {
        let answer = answer(reject, &[("Accept", "*/*")]);
        assert_eq!(header(&answer, "Content-Type"), Some("application/problem+json"));
        let body = json(&answer);
        assert_eq!(body["type"], format!("urn:headgate:{}", reject.code()));
        assert_eq!(body["status"], answer.status);
        assert_eq!(body["instance"], "/api/x");
        assert!(body["title"].as_str().is_some_and(|it| !it.is_empty() && it != "Refused"));
        assert!(body["detail"].as_str().is_some_and(|it| !it.is_empty()));
    }
}

#[test]
fn causes_inside_the_deployment_are_not_told() {
    for reject in all() {
        for accept in ["*/*", "text/html"] {
            let body = answer(&reject, &[("Accept", accept)]);
            assert!(!text(&body).contains("10.0.0.7"), "{reject:?}");
            assert!(!text(&body).contains("/etc/secret"), "{reject:?}");
            assert!(!text(&body).contains("stockflow"), "who switched is for key holders");
        }
    }
}

#[test]
fn forms_follow_accept() {
    let html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (accept, refusal, in_maintenance) in [
        ("", "application/problem+json", "application/json"),
        ("*/*", "application/problem+json", "application/json"),
        ("application/json", "application/json", "application/json"),
        ("application/problem+json", "application/problem+json", "application/problem+json"),
        (html, "text/html; charset=utf-8", "text/html; charset=utf-8"),
        ("image/png", "application/problem+json", "application/json"),
    ] {
        let fields = [("Accept", accept)];
        let fields = if accept.is_empty() { &[][..] } else { &fields };
        let media =
            |reject: &Reject| header(&answer(reject, fields), "Content-Type").unwrap().to_owned();
        assert_eq!(media(&Reject::NoRoute), refusal, "{accept}");
        assert_eq!(media(&maintenance()), in_maintenance, "{accept}");
    }
}

#[test]
fn a_401_is_stockflows_with_a_challenge() {
    let answer = answer(&Reject::Unauthorized, &[("Origin", "https://app.example")]);
    assert!(text(&answer).contains("\"detail\":\"Invalid or missing API Key\""));
    assert_eq!(
        header(&answer, "WWW-Authenticate"),
        Some("ApiKey realm=\"headgate\", header=\"X-API-KEY\"")
    );
    assert_eq!(header(&answer, "Access-Control-Allow-Origin"), Some("https://app.example"));
}

#[test]
fn a_405_lists_what_the_path_takes() {
    let reject = Reject::MethodNotAllowed { allow: "GET, HEAD".to_owned() };
    assert_eq!(header(&answer(&reject, &[]), "Allow"), Some("GET, HEAD"));
}

#[test]
fn maintenance_begins_as_stockflows_own_and_has_both_wordings() {
    let answer = answer(&maintenance(), &[]);
    assert_eq!(
        text(&answer),
        "{\"status\":\"Maintenance mode is enabled\",\"message\":\"Maintenance mode enabled\",\
         \"service\":\"signal-engine\",\"since\":\"2027-01-15T07:59:59.000Z\",\"retry_after\":30,\
         \"until\":null,\"reason\":\"<upgrade> & \\\"more\\\"\",\"request_id\":\"r-1\"}"
    );
    let problem = super::tests::answer(&maintenance(), &[("Accept", "application/problem+json")]);
    let problem = json(&problem);
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["title"], "Maintenance mode is enabled");
    assert_eq!(problem["detail"], "Maintenance mode enabled");
    assert_eq!(problem["service"], "signal-engine");
}

#[test]
fn retry_after_counts_a_time_limited_maintenance_down() {
    for (left_ms, seconds) in [(90_000, "90"), (89_001, "90"), (1_500, "2"), (1, "1"), (0, "1")] {
        let until = Some(UnixMs(NOW.0 + left_ms));
        let window = Window { until, ..window() };
        let reject = Reject::Maintenance { service: "s".to_owned(), window };
        let answer = answer(&reject, &[]);
        assert_eq!(header(&answer, "Retry-After"), Some(seconds), "{left_ms}");
        assert_eq!(json(&answer)["retry_after"].to_string(), seconds, "{left_ms}");
    }
}

/// A core's clock may be behind the one that switched maintenance on.
#[test]
fn retry_after_is_never_longer_than_the_maintenance() {
    let window =
        Window { since: UnixMs(NOW.0 + 60), until: Some(UnixMs(NOW.0 + 90_060)), ..window() };
    let reject = Reject::Maintenance { service: "s".to_owned(), window };
    assert_eq!(header(&answer(&reject, &[]), "Retry-After"), Some("90"));
}

#[test]
fn maintenance_can_be_200_for_strict_compatibility() {
    let strict =
        Config { maintenance: Maintenance { status: 200, ..config("").maintenance }, ..config("") };
    let answer = asked(&strict, &[], |it| maintenance().answer(it));
    assert_eq!(answer.status, 200);
    assert_eq!(header(&answer, "Retry-After"), Some("30"));
    let to_edge = asked(&strict, &[], |it| maintenance().answer_to_edge(it));
    assert_eq!(to_edge.status, 503);
}

#[test]
fn html_escapes_everything() {
    let answer = answer(&maintenance(), &[("Accept", "text/html")]);
    assert!(text(&answer).contains("<p>&lt;upgrade&gt; &amp; &quot;more&quot;</p>"));
    assert!(!text(&answer).contains("<upgrade>"));
    assert!(header(&answer, "Content-Security-Policy").is_some());
    let reject = Reject::Forbidden { scope: "<script>'".to_owned() };
    let answer = super::tests::answer(&reject, &[("Accept", "text/html")]);
    assert!(text(&answer).contains("&lt;script&gt;&#39;"));
}

#[test]
fn grpc_messages_are_percent_encoded_and_other_types_are_no_grpc() {
    let window = Window { reason: Some("50% – näher".to_owned()), ..window() };
    let reject = Reject::Maintenance { service: "s".to_owned(), window };
    for (sent, media) in [
        ("application/grpc", Some("application/grpc")),
        ("Application/gRPC; x=y", Some("application/grpc")),
        ("application/grpc-web+proto", Some("application/grpc-web+proto")),
        ("application/grpcx", None),
        ("application/grpc+a b", None),
        ("application/json", None),
    ] {
        let answer = answer(&reject, &[("Content-Type", sent), ("Origin", "https://app.example")]);
        let message = header(&answer, "Grpc-Message");
        assert_eq!(message.is_some(), media.is_some(), "{sent}");
        if let (Some(media), Some(message)) = (media, message) {
            assert_eq!(header(&answer, "Content-Type"), Some(media));
            assert_eq!(message, "Maintenance mode enabled: 50%25 %E2%80%93 n%C3%A4her");
            let exposed = header(&answer, "Access-Control-Expose-Headers").unwrap();
            assert!(exposed.contains("Grpc-Status"), "{exposed}");
        }
    }
}

#[test]
fn cors_answers_allowed_origins_only() {
    let with = |origins: &[&str], credentials| Config {
        cors: Some(Cors {
            origins: origins.iter().map(|it| (*it).to_owned()).collect(),
            credentials,
        }),
        ..config("")
    };
    let mine = [("Origin", "https://app.example")];
    for (config, fields, allowed, credentials, vary) in [
        (with(&["https://app.example"], true), &mine[..], true, true, "Accept, Origin"),
        (with(&["https://app.example"], false), &mine, true, false, "Accept, Origin"),
        (with(&["*"], true), &mine, true, false, "Accept, Origin"),
        (with(&["https://b.example"], true), &mine, false, false, "Accept, Origin"),
        (with(&["https://app.example"], true), &[], false, false, "Accept, Origin"),
        (with(&["*"], false), &[("Origin", "a\tb")], false, false, "Accept, Origin"),
        (Config { cors: None, ..config("") }, &mine, false, false, "Accept"),
    ] {
        let answer = asked(&config, fields, |it| Reject::NoRoute.answer(it));
        let origin = header(&answer, "Access-Control-Allow-Origin");
        assert_eq!(origin, allowed.then_some("https://app.example"), "{:?}", config.cors);
        let sent = header(&answer, "Access-Control-Allow-Credentials");
        assert_eq!(sent.is_some(), credentials, "{:?}", config.cors);
        assert_eq!(header(&answer, "Vary"), Some(vary), "{:?}", config.cors);
    }
}

#[test]
fn preflights_are_204_and_say_what_is_allowed() {
    let fields = [
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "x-api-key, x-more"),
    ];
    let allowed = asked(&config(""), &fields, preflight);
    assert_eq!(allowed.status, 204);
    assert_eq!(header(&allowed, "Access-Control-Allow-Origin"), Some("https://app.example"));
    assert_eq!(header(&allowed, "Access-Control-Allow-Headers"), Some("x-api-key, x-more"));
    assert_eq!(
        header(&allowed, "Vary"),
        Some("Access-Control-Request-Method, Access-Control-Request-Headers, Origin")
    );
    let odd = [fields[0], fields[1], ("Access-Control-Request-Headers", "x\u{7f}<>")];
    let odd = asked(&config(""), &odd, preflight);
    assert_eq!(header(&odd, "Access-Control-Allow-Headers"), Some("X-API-KEY, Content-Type"));
    let other = [("Origin", "https://other.example"), fields[1]];
    let other = asked(&config(""), &other, preflight);
    assert_eq!(other.status, 204);
    assert_eq!(header(&other, "Access-Control-Allow-Origin"), None);
    assert_eq!(header(&other, "Access-Control-Allow-Methods"), None);
}

#[test]
fn answers_of_others_are_dressed_alike() {
    let dressed =
        asked(&config(""), &[("Origin", "https://app.example")], |it| dress(options_star(), it));
    assert!(header(&dressed, "Allow").is_some_and(|it| it.contains("DELETE")));
    assert_eq!(header(&dressed, "X-Request-ID"), Some("r-1"));
    assert_eq!(header(&dressed, "Vary"), Some("Origin"));
    assert_eq!(header(&dressed, "Access-Control-Allow-Origin"), Some("https://app.example"));
}

#[test]
fn only_what_breaks_the_connection_closes_it() {
    let closing: Vec<&str> = all().iter().filter(|it| it.closes()).map(Reject::code).collect();
    assert_eq!(closing, ["cl-with-te", "client-too-slow", "bad-chunk"]);
}
