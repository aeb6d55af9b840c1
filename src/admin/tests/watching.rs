//! Health, incidents, outbox, observations, alerts, events and the table of endpoints.

use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::admin::endpoints::{Body, ENDPOINTS, Manner};
use crate::admin::events::FOLLOWERS_MAX;
use crate::health::board::{EndpointHealth, ServiceHealth, Told};
use crate::model::health::{Health, Verdict};
use crate::wire::answer::Streamed;

fn failing(service: &str) -> ServiceHealth {
    ServiceHealth {
        service: service.to_owned(),
        health: Health::Failing,
        since_ms: 1_795_502_400_000,
        verdict: Some(Verdict {
            status: Health::Failing,
            code: "connect-refused".to_owned(),
            detail: "3 of 3 probes were refused".to_owned(),
            actions: Vec::new(),
            next_check_ms: None,
            state: Some(vec![1, 2, 3]),
            extra: Vec::new(),
        }),
        by: None,
        reason: None,
        flapping: false,
        muted: false,
        incident: Some("inc-1".to_owned()),
        endpoints: vec![EndpointHealth {
            address: "127.0.0.1:1".to_owned(),
            up: true,
            sample: None,
        }],
        last_probe_ms: Some(1_795_502_400_000),
        next_probe_ms: Some(1_795_502_402_000),
    }
}

fn board(rig: &Rig) -> Arc<Board> {
    Arc::clone(&rig.admin.parts.watched.board)
}

async fn follow(rig: &Rig) -> Streamed {
    match rig.admin.answer(call("GET", "headgate/events")).await {
        Reply::Streamed(it) => it,
        Reply::Whole(it) => panic!("{it:?}"),
    }
}

async fn piece(streamed: &mut Streamed) -> Option<String> {
    let piece: Option<Bytes> =
        timeout(Duration::from_secs(60), streamed.body.recv()).await.expect("a piece in time");
    piece.map(|it| String::from_utf8(it.to_vec()).unwrap())
}

#[tokio::test]
async fn a_service_in_trouble_is_named_with_reason_and_next_try() {
    let rig = Rig::new();
    board(&rig).post(failing("market-intel"));
    board(&rig).post(ServiceHealth {
        health: Health::Unknown,
        verdict: None,
        reason: Some("the roots in ca.pem cannot be read".to_owned()),
        ..failing("controller")
    });
    let health = json(&rig.ask("GET", "headgate/health").await);
    // The gate itself is well: it is the services that are not.
    assert_eq!(health["status"], "OK");
    assert_eq!(health["services"][0]["health"], Value::Null);
    let of = &health["services"][1]["health"];
    assert_eq!(
        (&of["health"], &of["verdict"]["code"]),
        (&json!("failing"), &json!("connect-refused"))
    );
    assert_eq!((&of["verdict"]["state-bytes"], &of["verdict"]["state"]), (&json!(3), &Value::Null));
    assert_eq!(of["endpoints"][0]["address"], "127.0.0.1:1");
    let troubles = health["troubles"].as_array().unwrap();
    let names: Vec<&str> = troubles.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["controller", "market-intel"]);
    assert_eq!(troubles[0]["reason"], "the roots in ca.pem cannot be read");
    assert_eq!(troubles[1]["reason"], "connect-refused: 3 of 3 probes were refused");
    assert_eq!(troubles[1]["next_try"], "2026-11-24T06:40:02.000Z");
    assert_eq!(health["stores"]["ledger"]["state"], "memory-only");

    let one = json(&rig.ask("GET", "headgate/health?service=market-intel").await);
    assert_eq!(one["services"].as_array().unwrap().len(), 1);
    assert_eq!(one["troubles"].as_array().unwrap().len(), 1);
    let none = rig.ask("GET", "headgate/health?service=market-intl").await;
    assert_eq!(none.status, 404);
    assert!(text(&none).contains("did you mean market-intel"), "{}", text(&none));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_that_says_so() {
    let rig = Rig::new();
    let rows = [
        ("GET", "headgate/incidents/none", 404, "unknown-incident", "headgate/incidents"),
        ("GET", "headgate/incidents/a/b", 404, "unknown-endpoint", "no endpoint"),
        ("GET", "headgate/incidents/", 404, "unknown-endpoint", "did you mean headgate/incidents"),
        ("GET", "headgate/incidents?open=perhaps", 422, "bad-parameter", "`true` or `false`"),
        ("GET", "headgate/incidents?limit=0", 422, "bad-parameter", "1 to 1000"),
        ("GET", "headgate/outbox?sink=nobody", 404, "unknown-sink", "no sink"),
        ("GET", "headgate/outbox?number=x", 422, "bad-parameter", "number"),
        ("POST", "headgate/outbox/retry", 400, "bad-query", "say which"),
        ("POST", "headgate/outbox/drop?dead=false", 400, "bad-query", "say which"),
        ("POST", "headgate/outbox/drop?number=3", 400, "bad-query", "say which"),
        ("POST", "headgate/outbox/drop?sink=nobody&number=3", 404, "unknown-sink", "no sink"),
        ("GET", "headgate/outbox/drop?dead=true", 405, "method-not-allowed", "POST"),
        ("GET", "headgate/observations?after=x", 422, "bad-parameter", "after"),
        ("GET", "headgate/observations?since=ever", 422, "bad-parameter", "90s"),
        ("GET", "headgate/observations?limit=2001", 422, "bad-parameter", "2000"),
        ("POST", "headgate/alerts/test", 409, "no-sinks", "alerts.sinks"),
        ("POST", "headgate/alerts/test?sink=nobody", 404, "unknown-sink", "no sink"),
        ("POST", "headgate/alerts/preview", 400, "bad-query", "?incident=ID"),
        ("POST", "headgate/alerts/preview?incident=none", 404, "unknown-incident", "none"),
        ("GET", "headgate/events?since=1", 400, "bad-query", "no parameter"),
        ("HEAD", "headgate/events", 405, "method-not-allowed", "GET"),
        ("GET", "headgate/plugins/windows?service=x", 404, "unknown-service", "no service"),
    ];
    for (method, target, status, code, words) in rows {
        let answer = rig.ask(method, target).await;
        let body = json(&answer);
        assert_eq!(answer.status, status, "{target}: {body}");
        assert_eq!(body["type"], format!("urn:headgate:{code}"), "{target}");
        assert!(body["detail"].as_str().unwrap().contains(words), "{target}: {body}");
    }
    assert!(rig.switch.audit(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn empty_lists_are_lists() {
    let rig = Rig::new();
    let incidents = json(&rig.ask("GET", "headgate/incidents?service=a&open=true&limit=7").await);
    assert_eq!(incidents, json!({ "incidents": [], "open": 0, "total": 0 }));
    let outbox = json(&rig.ask("GET", "headgate/outbox?dead=true").await);
    assert_eq!((&outbox["parcels"], &outbox["total"]), (&json!([]), &json!(0)));
    let seen = json(&rig.ask("GET", "headgate/observations?since=24h&limit=5").await);
    assert_eq!((&seen["observations"], &seen["next"]), (&json!([]), &Value::Null));
    let none = json(&rig.ask("POST", "headgate/outbox/retry?dead=true").await);
    assert_eq!((&none["changed"], &none["count"]), (&json!(false), &json!(0)));
    let entries = json(&rig.ask("GET", "headgate/audit?limit=1").await);
    assert_eq!(entries["entries"][0]["action"], "outbox.retry");
    assert_eq!(entries["entries"][0]["changed"], false);
}

#[tokio::test]
async fn a_preview_takes_events_and_nothing_else() {
    let rig = Rig::new();
    let preview = |body: &str| Call {
        body: body.as_bytes().to_vec(),
        ..call("POST", "headgate/alerts/preview")
    };
    let event = json!({
        "now-ms": 1, "id": "i", "phase": "opened", "severity": "critical", "service": { "name": "a" },
        "old": "ok", "new": "failing", "code": "c",
    });
    let answer = json(&rig.call(preview(&event.to_string())).await);
    assert_eq!((&answer["event"]["id"], &answer["parcels"]), (&json!("i"), &json!([])));
    for bad in ["[]", "{\"phase\":1}", "nonsense"] {
        assert_eq!(rig.call(preview(bad)).await.status, 422, "{bad}");
    }
    let page = Call { suspicious_fetch: true, ..preview(&event.to_string()) };
    assert_eq!(rig.call(page).await.status, 403);
}

#[tokio::test]
async fn the_table_is_what_dispatch_knows() {
    let rig = Rig::new();
    for endpoint in ENDPOINTS {
        let path = endpoint.path.replace("{id}", "x");
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
            let answer =
                rig.admin.answer(call(method, &format!("{path}?no-such-parameter=1"))).await;
            let head = answer.head();
            let allowed = endpoint.methods.contains(&method);
            assert_eq!(head.status == 405, !allowed, "{method} {path}: {head:?}");
            if allowed && endpoint.path != endpoints::STATUS {
                let said = text(head);
                assert_eq!(head.status, 400, "{method} {path}: {said}");
                // What is offered instead is what the table says.
                if said.contains("bad-query") && said.contains("no parameter") {
                    let body = json(head);
                    let offered = body["parameters"].as_array().unwrap();
                    let mut offered: Vec<&str> =
                        offered.iter().map(|it| it.as_str().unwrap()).collect();
                    let mut known: Vec<&str> =
                        endpoint.parameters.iter().map(|it| it.name).collect();
                    offered.sort_unstable();
                    known.sort_unstable();
                    assert_eq!(offered, known, "{path}");
                }
            }
        }
        assert!(endpoint.body == Body::None || endpoint.manner == Manner::Means, "{path}");
    }
    let unknown = json(&rig.ask("GET", "headgate/nowhere").await);
    assert_eq!(unknown["endpoints"].as_array().unwrap().len(), ENDPOINTS.len());
}

#[tokio::test]
async fn the_document_names_every_endpoint_and_no_secret() {
    let rig = Rig::new();
    let answer = rig.ask("GET", "headgate/openapi.json").await;
    let document = json(&answer);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], "/api/admin");
    assert!(document["paths"]["/headgate/incidents/{id}"]["get"].is_object());
    assert!(document["paths"]["/maintenance/on"]["post"].is_object());
    assert!(!text(&answer).contains("signal-engine"));
}

#[tokio::test(start_paused = true)]
async fn events_come_as_they_happen_with_a_sign_of_life_between() {
    let rig = Rig::new();
    let mut stream = follow(&rig).await;
    assert_eq!(stream.head.headers[0], ("Content-Type", "text/event-stream".to_owned()));
    let greeting = piece(&mut stream).await.unwrap();
    assert!(greeting.starts_with("retry: ") && greeting.ends_with("\n\n"), "{greeting}");
    let data = json!({ "service": "a", "text": "two\nlines" });
    board(&rig).tell(Told { kind: "health", at_ms: 5, data });
    let event = piece(&mut stream).await.unwrap();
    assert_eq!(
        event,
        "id: 5-1\nevent: health\ndata: {\"service\":\"a\",\"text\":\"two\\nlines\"}\n\n"
    );
    assert_eq!(piece(&mut stream).await.unwrap(), ": still here\n\n");
    let large = json!("x".repeat(70_000));
    board(&rig).tell(Told { kind: "incident", at_ms: 6, data: large });
    let lost = piece(&mut stream).await.unwrap();
    assert!(lost.contains("event: lost\n") && lost.len() < 500, "{lost}");
}

#[tokio::test(start_paused = true)]
async fn who_lags_is_told_how_much_and_who_does_not_read_is_left() {
    let rig = Rig::new();
    let mut stream = follow(&rig).await;
    tokio::task::yield_now().await;
    // More than channel and broadcast hold.
    for at_ms in 0..1000 {
        board(&rig).tell(Told { kind: "health", at_ms, data: Value::Null });
    }
    let mut lost = None;
    while lost.is_none() {
        let piece = piece(&mut stream).await.unwrap();
        lost = piece.contains("event: lost").then_some(piece);
    }
    let lost = lost.unwrap();
    let data: Value =
        serde_json::from_str(lost.lines().find_map(|it| it.strip_prefix("data: ")).unwrap())
            .unwrap();
    assert!(data["count"].as_u64().unwrap() > 0, "{lost}");

    // Without a reader the place is given back after a while.
    for at_ms in 0..100 {
        board(&rig).tell(Told { kind: "health", at_ms, data: Value::Null });
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(rig.admin.followers.available_permits(), FOLLOWERS_MAX);
    assert_eq!(stream.sender.strong_count(), 0);
}

#[tokio::test]
async fn places_of_followers_are_few_and_come_back() {
    let rig = Rig::new();
    let mut streams = Vec::new();
    for _ in 0..FOLLOWERS_MAX {
        streams.push(follow(&rig).await);
    }
    let full = rig.ask("GET", "headgate/events").await;
    assert_eq!((full.status, header(&full, "Retry-After")), (503, Some("15")));
    drop(streams);
    while rig.admin.followers.available_permits() < FOLLOWERS_MAX {
        tokio::task::yield_now().await;
    }
    drop(follow(&rig).await);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_revoked_follows_no_more() {
    let rig = Rig::new();
    let mut stream = follow(&rig).await;
    piece(&mut stream).await.unwrap();
    let mut next = generation(config(None));
    next.keyring = Keyring::build(Vec::new());
    rig.live.publish(&Arc::new(next));
    board(&rig).tell(Told { kind: "health", at_ms: 1, data: Value::Null });
    assert_eq!(piece(&mut stream).await, None);
}

#[tokio::test(start_paused = true)]
async fn maintenance_and_generations_are_told() {
    let rig = Rig::new();
    let news = news::run(Arc::clone(&rig.live), Arc::clone(&rig.switch), board(&rig));
    let news = tokio::spawn(news);
    let mut stream = follow(&rig).await;
    piece(&mut stream).await.unwrap();
    rig.ask("POST", "maintenance/on?service=market-intel").await;
    let told = piece(&mut stream).await.unwrap();
    assert!(
        told.contains(
            "event: maintenance\ndata: {\"all\":\"off\",\"services\":[\"market-intel\"]}"
        ),
        "{told}"
    );
    let mut next = generation(config(None));
    next.number = 8;
    rig.live.publish(&Arc::new(next));
    let told = piece(&mut stream).await.unwrap();
    assert!(told.contains("event: generation\ndata: {") && told.contains("\"number\":8"), "{told}");
    news.abort();
}
