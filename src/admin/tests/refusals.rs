//! What is refused, in which words, and that nothing changes by it.

use super::*;
use crate::maintenance::Modes;
use crate::maintenance::audit::Audit;
use crate::maintenance::store::{Loaded, State, Store, StoreError};

#[tokio::test]
async fn what_changes_state_does_not_act_by_accident() {
    let rig = Rig::new();
    for word in ["on", "off"] {
        for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "get", "TRACE", ""] {
            let answer = rig.ask(method, &format!("maintenance/{word}")).await;
            assert_eq!(answer.status, 405, "{method} {word}");
            assert_eq!(header(&answer, "Allow"), Some("GET, POST"));
        }
        let prefetch =
            Call { suspicious_fetch: true, ..call("GET", &format!("maintenance/{word}")) };
        assert_eq!(rig.call(prefetch).await.status, 403);
        let nobody =
            Call { actor: ANONYMOUS.to_owned(), ..call("GET", &format!("maintenance/{word}")) };
        assert_eq!(rig.call(nobody).await.status, 401);
        let body = Call {
            body: br#"{"service":"signal-engine"}"#.to_vec(),
            ..call("POST", &format!("maintenance/{word}"))
        };
        assert_eq!(rig.call(body).await.status, 400);
    }
    assert_eq!(*rig.switch.current(), Modes::default());
    assert!(rig.seen.lock().unwrap().is_empty());
    let reload = rig.ask("GET", "headgate/reload").await;
    assert_eq!((reload.status, header(&reload, "Allow")), (405, Some("POST")));
    let empty = Call { body: b" {}\n".to_vec(), ..call("POST", "maintenance/on") };
    assert_eq!(rig.call(empty).await.status, 200);
}

#[tokio::test]
async fn wrong_calls_are_problems_and_change_nothing() {
    let rig = Rig::new();
    let rows = [
        ("maintenance/enable", 404, "urn:headgate:unknown-endpoint", "no endpoint"),
        ("maintenance/On", 404, "urn:headgate:unknown-endpoint", "maintenance/on"),
        ("maintenance/on/", 404, "urn:headgate:unknown-endpoint", "maintenance/on"),
        ("maintenance", 404, "urn:headgate:unknown-endpoint", "no endpoint"),
        ("headgate/confg", 404, "urn:headgate:unknown-endpoint", "headgate/config"),
        ("", 404, "urn:headgate:unknown-endpoint", "no endpoint"),
        ("maintenance/on?tll=30m", 400, "urn:headgate:bad-query", "did you mean ttl"),
        ("maintenance/on?ttl=30m&ttl=40m", 400, "urn:headgate:bad-query", "more than once"),
        ("maintenance/on?reason=%zz", 400, "urn:headgate:bad-query", "percent"),
        ("maintenance/off?ttl=30m", 400, "urn:headgate:bad-query", "no parameter"),
        ("maintenance/on?ttl=30", 422, "urn:headgate:bad-parameter", "30m"),
        ("maintenance/on?ttl=0s", 422, "urn:headgate:bad-parameter", "at once"),
        ("maintenance/on?ttl=400d", 422, "urn:headgate:bad-parameter", "longest"),
        ("maintenance/on?drain=1h", 422, "urn:headgate:bad-parameter", "5m"),
        ("maintenance/on?reason=a%0Ab", 422, "urn:headgate:bad-parameter", "control"),
        ("maintenance/on?reason=%C2%85", 422, "urn:headgate:bad-parameter", "control"),
        (
            "maintenance/on?until=healthy",
            409,
            "urn:headgate:not-probed",
            "signal-engine, market-intel",
        ),
        ("maintenance/on?until=friday", 422, "urn:headgate:bad-parameter", "ttl="),
        (
            "maintenance/on?service=signal-engin",
            404,
            "urn:headgate:unknown-service",
            "did you mean signal-engine",
        ),
        ("maintenance/on?service=", 404, "urn:headgate:unknown-service", "no service"),
        (
            "maintenance/on?service=market-intel&service=nope",
            404,
            "urn:headgate:unknown-service",
            "no service",
        ),
        ("maintenance/on?service=controller", 409, "urn:headgate:service-exempt", "exempt"),
        ("headgate/audit?limit=0", 422, "urn:headgate:bad-parameter", "1000"),
        ("headgate/keys?all", 400, "urn:headgate:bad-query", "no parameter"),
    ];
    for (target, status, kind, words) in rows {
        let answer = rig.ask("GET", target).await;
        let body = json(&answer);
        assert_eq!(answer.status, status, "{target}: {body}");
        assert_eq!(header(&answer, "Content-Type"), Some("application/problem+json"));
        assert_eq!(body["type"], kind, "{target}");
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], "r-1");
        assert!(body["detail"].as_str().unwrap().contains(words), "{target}: {body}");
    }
    assert_eq!(*rig.switch.current(), Modes::default());
    assert!(rig.switch.audit(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn without_a_key_the_status_tells_no_names_and_no_reasons() {
    let rig = Rig::new();
    rig.ask("POST", "maintenance/on?ttl=1m&reason=secret-reason").await;
    let answer =
        rig.call(Call { actor: ANONYMOUS.to_owned(), ..call("GET", "maintenance/status") }).await;
    assert_eq!(answer.status, 200);
    assert!(text(&answer).starts_with(r#"{"status":"on","timestamp":"#));
    assert_eq!(json(&answer)["remaining_seconds"], 60);
    for word in ["secret-reason", "ci\"", "signal-engine", "audit", "in_flight"] {
        assert!(!text(&answer).contains(word), "{word}");
    }
    let mut closed = config(None);
    closed.status_needs_key = true;
    rig.live.publish(&Arc::new(generation(closed)));
    for endpoint in
        ["maintenance/status", "headgate/health", "headgate/keys", "headgate/audit", "nowhere"]
    {
        let answer = rig.call(Call { actor: ANONYMOUS.to_owned(), ..call("GET", endpoint) }).await;
        assert_eq!(answer.status, 401, "{endpoint}");
    }
}

#[tokio::test]
async fn a_longest_ttl_demands_one() {
    let rig = Rig::with(Switch::in_memory(), None, config(Some(Duration::from_hours(1))), 2);
    for target in ["maintenance/on", "maintenance/on?ttl=61m"] {
        let answer = rig.ask("POST", target).await;
        assert_eq!((answer.status, &json(&answer)["max_ttl_seconds"]), (422, &Value::from(3600)));
    }
    assert_eq!(rig.ask("POST", "maintenance/on?ttl=60m").await.status, 200);
}

#[derive(Debug)]
struct Full;

impl Store for Full {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async { Ok(Loaded::default()) })
    }

    fn save(&self, _: State) -> BoxFuture<'_, Result<(), StoreError>> {
        let source = std::io::Error::from_raw_os_error(28);
        Box::pin(async {
            Err(StoreError::Write { path: "/state/maintenance.json".into(), source })
        })
    }
}

#[tokio::test]
async fn a_state_that_cannot_be_written_is_told_and_nothing_changes() {
    let (switch, _) = Switch::open(Arc::new(Full), Audit::in_memory()).await.unwrap();
    let rig = Rig::over(switch, None);
    let answer = rig.ask("POST", "maintenance/on").await;
    assert_eq!(answer.status, 500);
    let detail = json(&answer)["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("No space left") && detail.contains("nothing has changed"), "{detail}");
    assert!(!rig.covered("signal-engine"));
    assert!(rig.seen.lock().unwrap().is_empty());
}

/// A disk that never answers.
#[derive(Debug)]
struct Hanging;

impl Store for Hanging {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async { Ok(Loaded::default()) })
    }

    fn save(&self, _: State) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_holds_no_caller() {
    let (switch, _) = Switch::open(Arc::new(Hanging), Audit::in_memory()).await.unwrap();
    let rig = Rig::over(switch, None);
    for _ in 0..2 {
        let before = tokio::time::Instant::now();
        let answer = rig.ask("POST", "maintenance/on").await;
        assert_eq!(answer.status, 500);
        assert!(before.elapsed() < Duration::from_secs(12));
        assert!(json(&answer)["detail"].as_str().unwrap().contains("may still come"));
    }
    assert_eq!(rig.ask("GET", "maintenance/status").await.status, 200);
}
