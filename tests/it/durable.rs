//! What outlives a kill, and what the gate does when its state folder is of no use: it serves.

use std::fs;
use std::sync::Arc;

use headgate::store::journal::Journal as _;
use headgate::store::journal::ring::RedbJournal;

use crate::plugin::assemble::Guest;
use crate::plugin::stand::{Stand, status};
use crate::support::gateway::TempDir;
use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Upstream, until};

const OK: &str = r#"{"status":"OK"}"#;

fn judged(upstream: &RawUpstream, probe: &str) -> Setup {
    let health = format!("health: {{ policy: slo, probe: {{ http: /health, {probe} }} }}");
    Setup::default()
        .with("plugins: { slo: { builtin: latency-slo } }")
        .service_with("app", upstream, &format!("maintenance: covered, {health}"))
        .route("path: /, service: app, access: public")
        .key(OPERATOR)
}

fn store(gate: &Gateway, name: &str) -> String {
    let health = gate.admin_get("/api/admin/headgate/health").send().expect_status(200).json();
    health["stores"][name]["state"].as_str().unwrap_or_default().to_owned()
}

/// What the file holds, read from a copy: another process writes to it.
fn is_kept(gate: &Gateway) -> bool {
    let copy = TempDir::new();
    let copied = fs::copy(gate.state_file("journal.redb"), copy.0.join("journal.redb"));
    copied.is_ok() && !RedbJournal::open(&copy.0).all_saved().is_empty()
}

#[test]
fn a_policy_goes_on_with_its_memory_after_a_kill() {
    let well = Upstream::http1().route("/health", OK).otherwise("x").start();
    let hangs = Upstream::http1().handle("/health", |it| it.hang()).otherwise("x").start();
    let mut gate = judged(&well, "interval: 200ms").start();
    until("the policy's memory is in the file", || is_kept(&gate));
    let before = status(&gate, "slo")["uses"][0]["state"][0]["digest"].clone();
    assert!(before.is_string(), "{}", status(&gate, "slo"));
    gate.kill9();
    let dir = Arc::clone(&gate.dir);
    drop(gate);
    // No probe ends, so what is there is what was kept.
    let gate = Gateway::start_in(judged(&hangs, "interval: 60s, timeout: 50s"), dir);
    until("the policy has its memory", || {
        status(&gate, "slo")["uses"][0]["state"][0]["digest"] == before
    });
}

#[test]
fn a_component_in_quarantine_stays_there_after_a_kill() {
    let mut stand = Stand::with(&Guest::filter().body("on-request", "unreachable").build());
    until("it is put away", || {
        stand.ask();
        stand.status()["state"] == "quarantined"
    });
    let note = stand.gate.state_file("plugins/conduct/conduct.json");
    until("that is written down", || {
        fs::read_to_string(&note).is_ok_and(|it| it.contains("traps or time-outs"))
    });
    let until_then = stand.status()["quarantined"][0]["until"].clone();
    stand.gate = stand.gate.restart();
    let status = stand.status();
    assert_eq!(status["quarantined"][0]["until"], until_then, "{status}");
    assert_eq!(stand.ask().0, 503);
    assert!(stand.gate.metric("headgate_plugin_calls_total", "") < 1.0, "it is not even asked");
}

#[test]
fn a_gate_whose_files_cannot_be_used_serves_and_says_so() {
    let upstream = Upstream::named("upstream");
    let dir = Arc::new(TempDir::new());
    for name in ["ledger.redb", "journal.redb"] {
        fs::create_dir_all(dir.0.join("state").join(name)).expect("a temp folder");
    }
    let gate = Gateway::start_in(Gateway::in_front_of("app", &upstream), dir);
    gate.get("/x").send().expect_status(200);
    for name in ["ledger", "journal"] {
        until("that is told", || store(&gate, name) == "memory-only");
    }
    assert!(gate.output().contains("do not outlive this process"), "{}", gate.output());
}

#[test]
fn a_second_gate_on_the_folder_serves_and_takes_over_when_the_first_is_gone() {
    let upstream = Upstream::named("upstream");
    let mut first = Gateway::in_front_of("app", &upstream).start();
    until("the first one has it", || store(&first, "ledger") == "good");
    let dir = Arc::clone(&first.dir);
    let second = Gateway::start_in(Gateway::in_front_of("app", &upstream), dir);
    until("the second one waits", || store(&second, "ledger") == "waiting");
    second.get("/x").send().expect_status(200);
    first.kill9();
    for name in ["ledger", "journal"] {
        until("the second one has it", || store(&second, name) == "good");
    }
}

#[test]
fn a_broken_ledger_is_set_aside_and_told() {
    let upstream = Upstream::named("upstream");
    let dir = Arc::new(TempDir::new());
    fs::create_dir_all(dir.0.join("state")).expect("a temp folder");
    fs::write(dir.0.join("state/ledger.redb"), vec![0; 20_000]).expect("a temp folder");
    let gate = Gateway::start_in(Gateway::in_front_of("app", &upstream), dir);
    until("the ledger is begun anew", || store(&gate, "ledger") == "good");
    let health = gate.admin_get("/api/admin/headgate/health").send().expect_status(200).json();
    let loss = health["stores"]["losses"][0].as_str().map(str::to_owned);
    let loss = loss.or_else(|| health["losses"][0].as_str().map(str::to_owned));
    assert!(loss.is_some_and(|it| it.contains("set aside")), "{health}");
    assert!(gate.state_file("ledger.redb.broken-1").exists());
}
