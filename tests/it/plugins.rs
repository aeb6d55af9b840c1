//! Plugins by config and by push: a bad one stops nothing, a new one acts without a restart, what was pushed stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use crate::support::gateway::{Ask, TempDir};
use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Upstream, until};

/// The bytes of a component that the gate ships.
fn shipped(name: &str) -> Vec<u8> {
    let file = format!("plugins/dist/{name}.wasm");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read(path).expect("a built component")
}

fn folder(file: &str, wasm: &[u8]) -> Arc<TempDir> {
    let dir = Arc::new(TempDir::new());
    fs::write(dir.0.join(file), wasm).expect("a temp folder");
    dir
}

/// `judge` from a file is the policy of `app`.
fn judged(upstream: &RawUpstream) -> Setup {
    Setup::default()
        .service_with("app", upstream, "health: { policy: judge }")
        .route("path: /, service: app, access: public")
        .with("plugins: { judge: { file: \"{dir}/judge.wasm\" } }")
        .key(OPERATOR)
}

fn plugin(gate: &Gateway, name: &str) -> Value {
    let list = gate.admin_get("/api/admin/headgate/plugins").send().expect_status(200).json();
    let all = list["plugins"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name}: {list}"))
}

fn digest(wasm: &[u8]) -> String {
    headgate::plugin::Digest::of(wasm).to_string()
}

fn push(target: &str) -> String {
    format!("/api/admin/headgate/plugins/push?{target}")
}

const SECOND: &str = "a-second-key-0123456789";

/// A plugin in every place, from a file that holds none.
fn bad_everywhere(upstream: &RawUpstream) -> Setup {
    let open = "filters: { plugin: bad, onFailure: open }";
    Setup::default()
        .service_with("app", upstream, "health: { policy: bad }")
        .route("path: /, service: app, access: public")
        .route("path: /closed/, service: app, access: public, filters: bad")
        .route(&format!("path: /open/, service: app, access: public, {open}"))
        .route("path: /keyed/, service: app, access: \"key:extra\"")
        .with("alerts: { formatter: bad }")
        .with("plugins: { bad: { file: \"{dir}/bad.wasm\" } }")
        .key(OPERATOR)
}

#[test]
fn a_broken_plugin_stops_neither_the_start_nor_a_revocation() {
    let upstream = Upstream::named("x");
    let setup = bad_everywhere(&upstream).key_with(SECOND, "scopes: [extra]");
    let gate = Gateway::start_in(setup, folder("bad.wasm", b"no component at all"));
    gate.get("/x").send().expect_status(200);
    gate.get("/closed/x").send().expect_status(503);
    gate.get("/open/x").send().expect_status(200);
    gate.get("/keyed/x").key(SECOND).send().expect_status(200);
    gate.ops_get("/readyz").send().expect_status(200);
    // On a busy machine the proof goes on for a while after the start.
    until("it is told", || {
        let health = gate.admin_get("/api/admin/headgate/health").send().expect_status(200).json();
        health["plugins"]["rejected"] == serde_json::json!(["bad"])
    });
    assert_eq!(plugin(&gate, "bad")["state"], "rejected");

    // The plugin is as bad as before, and the key must go all the same.
    gate.reload_with(&bad_everywhere(&upstream).yaml()).expect_status(200);
    gate.get("/keyed/x").key(SECOND).send().expect_status(401);
}

#[test]
fn settings_that_no_plugin_takes_are_refused_with_their_place() {
    let upstream = Upstream::named("x");
    let setup = |settings: &str| {
        let filter = format!("{{ plugin: require-header, settings: {{ {settings} }} }}");
        Gateway::in_front_of("app", &upstream)
            .route(&format!("path: /f/, service: app, access: public, filters: [{filter}]"))
    };
    let gate = setup("header: x-tenant").start();
    gate.get("/f/x").header("X-Tenant", "a").send().expect_status(200);
    gate.get("/f/x").send().expect_status(400);
    let before = gate.generation();

    let answer = gate.reload_with(&setup("header: x-tenant, status: 200").yaml());
    let findings = answer.expect_status(422).json();
    let paths: Vec<&str> = findings["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["path"].as_str())
        .collect();
    assert!(paths.contains(&"routes[1].filters[0].settings.status"), "{findings}");
    assert_eq!(gate.generation(), before);
    gate.get("/f/x").send().expect_status(400);

    gate.reload_with(&setup("header: x-tenant, status: 451").yaml()).expect_status(200);
    gate.get("/f/x").send().expect_status(451);
}

#[test]
fn a_file_that_is_replaced_makes_a_new_generation() {
    let upstream = Upstream::named("x");
    let (one, two) = (shipped("threshold"), shipped("latency-slo"));
    let gate = Gateway::start_in(judged(&upstream), folder("judge.wasm", &one));
    until("the first acts", || plugin(&gate, "judge")["digest"] == digest(&one).as_str());
    let before = gate.generation();
    let fresh = gate.dir.0.join("fresh.wasm");
    fs::write(&fresh, &two).expect("a temp folder");
    fs::rename(&fresh, gate.dir.0.join("judge.wasm")).expect("a temp folder");
    until("the second acts", || plugin(&gate, "judge")["digest"] == digest(&two).as_str());
    assert!(gate.generation() > before);
}

#[test]
fn what_is_pushed_acts_at_once_stays_over_a_restart_and_goes_by_roll_back() {
    let upstream = Upstream::named("x");
    let (one, two) = (shipped("threshold"), shipped("latency-slo"));
    let gate = Gateway::start_in(judged(&upstream), folder("judge.wasm", &one));
    until("the file acts", || plugin(&gate, "judge")["digest"] == digest(&one).as_str());

    let dry = gate.admin_post(&push("plugin=judge&dryRun=true")).body(&*two).send();
    assert_eq!(dry.expect_status(200).json()["changed"], false);
    assert_eq!(plugin(&gate, "judge")["digest"], digest(&one));
    let wrong = gate.admin_post(&push(&format!("plugin=judge&sha256={}", digest(&one))));
    wrong.body(&*two).send().expect_status(422);

    let broken = gate.admin_post(&push("plugin=judge")).body("no component").send();
    let broken = broken.expect_status(422).json();
    assert_eq!(broken["reasons"][0]["code"], "not-a-component", "{broken}");

    let before = gate.generation();
    // Over the data listener, with the key, as `headgate plugin push` does it from elsewhere.
    let pushed = gate.post(&push("plugin=judge"), two.clone()).key(OPERATOR).send();
    let pushed = pushed.expect_status(200).json();
    assert_eq!(pushed["proof"]["digest"], digest(&two), "{pushed}");
    assert_eq!(pushed["generation"], gate.generation());
    assert!(gate.generation() > before);
    let status = plugin(&gate, "judge");
    assert_eq!((&status["digest"], &status["source"]), (&digest(&two).into(), &"pushed".into()));
    let audit = gate.admin_get("/api/admin/headgate/audit?limit=1").send().json();
    assert_eq!(audit["entries"][0]["action"], "plugin.push");
    assert_eq!(audit["entries"][0]["by"], "key-0");

    let gate = gate.restart();
    until("the pushed one acts", || plugin(&gate, "judge")["digest"] == digest(&two).as_str());

    let back = "/api/admin/headgate/plugins/rollback?plugin=judge&to=config";
    let answer = gate.admin_post(back).send().expect_status(200);
    assert_eq!(answer.json()["digest"], digest(&one));
    assert_eq!(plugin(&gate, "judge")["digest"], digest(&one));
}

#[test]
fn a_push_over_a_pin_or_for_a_plugin_that_is_not_used_is_refused() {
    let upstream = Upstream::named("x");
    let one = shipped("threshold");
    let pin = format!(
        "plugins: {{ judge: {{ file: \"{{dir}}/judge.wasm\", sha256: {} }} }}",
        digest(&one)
    );
    let setup = Setup::default()
        .service_with("app", &upstream, "health: { policy: judge }")
        .route("path: /, service: app, access: public")
        .with(&pin);
    let gate = Gateway::start_in(setup, folder("judge.wasm", &one));
    let pinned = gate.admin_post(&push("plugin=judge")).body(shipped("latency-slo")).send();
    assert_eq!(pinned.expect_status(409).json()["type"], "urn:headgate:plugin-pinned");
    let unused = gate.admin_post(&push("plugin=latency-slo")).body("no component").send();
    unused.expect_status(404);
    gate.admin_post(&push("plugin=jugde")).body("x").send().expect_status(404);
}

#[test]
fn only_a_push_may_be_large_and_only_with_a_key() {
    let upstream = Upstream::named("x");
    let gate = Gateway::in_front_of("app", &upstream)
        .with("alerts: { formatter: plain }")
        .key(OPERATOR)
        .start();
    let large = vec![0; 1 << 20];
    let reload = "/api/admin/headgate/reload";
    gate.post(reload, large.clone()).key(OPERATOR).send().expect_status(413);
    gate.admin_post(reload).body(large.clone()).send().expect_status(413);
    gate.post(&push("plugin=plain"), large.clone()).key(OPERATOR).send().expect_status(422);
    gate.admin_post(&push("plugin=plain")).body(large).send().expect_status(422);

    // Only the length is told: nobody waits for the body of a request that is refused.
    for (address, key, length, status) in [
        (gate.data, "", 1 << 20, 401),
        (gate.data, "X-API-KEY: wrong-key-0123456789\r\n", 1 << 20, 401),
        (gate.data, &format!("X-API-KEY: {OPERATOR}\r\n"), (32 << 20) + 1, 413),
        (gate.admin.expect("an admin listener"), "", (32 << 20) + 1, 413),
    ] {
        let mut client = crate::support::RawClient::connect(address);
        let target = push("plugin=plain");
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: {address}\r\n{key}Content-Length: {length}\r\n\r\n"
        ));
        assert_eq!(client.response_to("POST").status, status, "{address} {key}");
    }
}

#[test]
fn a_third_upload_waits_for_its_turn() {
    let upstream = Upstream::named("x");
    let gate = Gateway::in_front_of("app", &upstream)
        .with("alerts: { formatter: plain }")
        .key(OPERATOR)
        .start();
    let admin = gate.admin.expect("an admin listener");
    let head = |address, key: &str| {
        let target = push("plugin=plain");
        format!(
            "POST {target} HTTP/1.1\r\nHost: {address}\r\n{key}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        )
    };
    let key = format!("X-API-KEY: {OPERATOR}\r\n");
    let mut first = crate::support::RawClient::connect(gate.data);
    first.send(head(gate.data, &key));
    assert!(first.head().start.contains(" 100 "));
    let mut second = crate::support::RawClient::connect(admin);
    second.send(head(admin, ""));
    assert!(second.head().start.contains(" 100 "));

    for address in [gate.data, admin] {
        let refused = Ask::new(address, "POST", &push("plugin=plain")).key(OPERATOR).body("x");
        let refused = refused.send().expect_status(503);
        assert_eq!(refused.header("Retry-After"), Some("5"));
    }
    first.send("component");
    assert_eq!(first.response_to("POST").status, 422);
    let again = Ask::new(admin, "POST", &push("plugin=plain")).body("component");
    until("a place is free", || again.send().status == 422);
}

fn check(dir: &Path, yaml: &str, more: &[&str]) -> (Option<i32>, String) {
    let file: PathBuf = dir.join("gate.yaml");
    fs::write(&file, yaml).expect("a temp folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    let output = command.arg("check").args(more).arg(&file).output().expect("the binary");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn check_loads_what_the_config_names() {
    let dir = TempDir::new();
    fs::write(dir.0.join("bad.wasm"), b"no component").expect("a temp folder");
    let yaml = |settings: &str, plugin: &str| {
        format!(
            "services: {{ app: {{ upstreams: http://a, health: {{ policy: {{ plugin: {plugin}, settings: {{ {settings} }} }} }} }} }}\n\
             routes: [{{ path: /, service: app, access: public }}]\n\
             plugins: {{ bad: {{ file: bad.wasm }}, gone: {{ file: gone.wasm }} }}\n"
        )
    };
    let (code, text) = check(&dir.0, &yaml("latencyMs: fast", "threshold"), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("services.app.health.policy.settings.latencyMs"), "{text}");
    assert!(text.contains("gate.yaml:1\n"), "{text}");
    let (code, text) = check(&dir.0, &yaml("", "bad"), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(check(&dir.0, &yaml("", "bad"), &["--no-plugins"]).0, Some(0));
}
