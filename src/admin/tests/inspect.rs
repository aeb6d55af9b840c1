//! Reload, keys and health.

use super::*;

#[tokio::test]
async fn reload_gives_the_new_generation_or_all_findings() {
    let done = Reloaded { number: 8, hash: "h".to_owned(), changed: true, warnings: Vec::new() };
    let rig = Rig::over(Switch::in_memory(), Some(Arc::new(FakeReload(Ok(done)))));
    let answer = rig.ask("POST", "headgate/reload").await;
    assert_eq!((answer.status, &json(&answer)["generation"]), (200, &Value::from(8)));
    let entries = json(&rig.ask("GET", "headgate/audit?limit=1").await);
    assert_eq!(entries["entries"][0]["action"], "config.reload");
    assert_eq!(entries["entries"][0]["by"], "ci");

    let findings = vec![Value::from("one"), Value::from("two")];
    let refused = FakeReload(Err(NotReloaded::Refused(findings)));
    let rig = Rig::over(Switch::in_memory(), Some(Arc::new(refused)));
    let answer = rig.ask("POST", "headgate/reload").await;
    assert_eq!(
        (answer.status, &json(&answer)["findings"]),
        (422, &serde_json::json!(["one", "two"]))
    );
    let config = json(&rig.ask("GET", "headgate/config").await);
    assert_eq!(config["generation"], 7);
    assert_eq!(config["since"], "1970-01-01T00:00:01.000Z");
    assert_eq!(config["last_error"]["findings"], serde_json::json!(["one", "two"]));

    let rig = Rig::new();
    assert_eq!(rig.ask("POST", "headgate/reload").await.status, 503);
    assert_eq!(json(&rig.ask("GET", "headgate/config").await)["last_error"], Value::Null);
}

#[tokio::test]
async fn keys_are_listed_without_what_they_are() {
    let rig = Rig::new();
    let answer = rig.ask("GET", "headgate/keys").await;
    let keys = json(&answer);
    assert_eq!(keys["keys"][0]["name"], "ci");
    assert_eq!(keys["keys"][0]["uses"], 3);
    assert_eq!(keys["keys"][0]["valid"], true);
    assert_eq!(keys["keys"][1]["valid"], false);
    assert_eq!(keys["keys"][1]["last_used"], Value::Null);
    assert!(!text(&answer).contains("digest"));
    assert!(!text(&answer).contains(&crate::model::hex(&digest(b"ci"))[..8]));
}

#[tokio::test]
async fn health_says_how_the_gate_itself_is() {
    let rig = Rig::new();
    rig.ask("POST", "maintenance/on?service=market-intel").await;
    let health = json(&rig.ask("GET", "headgate/health").await);
    assert_eq!(health["status"], "OK");
    assert_eq!(health["generation"]["number"], 7);
    assert_eq!(health["cores"]["count"], 2);
    assert_eq!(
        health["maintenance"],
        serde_json::json!({ "all": "off", "services": ["market-intel"] })
    );
    assert_eq!(health["services"][0]["upstreams"][0], "127.0.0.1:1");
}
