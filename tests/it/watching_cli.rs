//! `headgate probe`, `incidents`, `outbox`, `alert`, `replay` and `plugin record`, as people and CronJobs call them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::support::gateway::TempDir;
use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Upstream, until};

fn headgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headgate"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

/// Exit code, standard output, standard error.
fn said(arguments: &[&str]) -> (i32, String, String) {
    let output = headgate(arguments);
    let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    (output.status.code().expect("ended by itself"), text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A config with these services, each with its health.
fn file(services: &[(&str, &str, &str)]) -> (TempDir, String) {
    let dir = TempDir::new();
    let mut yaml = String::from("services:\n");
    for (name, url, health) in services {
        yaml.push_str(&format!("  {name}: {{ upstreams: \"{url}\", health: {{ {health} }} }}\n"));
    }
    yaml.push_str(&format!(
        "routes:\n  - {{ path: /, service: {}, access: public }}\n",
        services[0].0
    ));
    let path = dir.0.join("headgate.yaml");
    fs::write(&path, yaml).expect("a temp folder");
    let shown = path.display().to_string();
    (dir, shown)
}

const PROBE: &str = "probe: { http: /health, interval: 1s }, policy: native";

/// A service whose health can be changed: 200 is well.
fn patient(status: &Arc<AtomicU16>) -> RawUpstream {
    let status = Arc::clone(status);
    Upstream::by(move |it| match status.load(Ordering::Relaxed) {
        200 => it.respond(200, "", br#"{"status":"OK"}"#),
        other => it.respond(other, "", b"oh\x1b[2J no\nsecond line"),
    })
}

#[test]
fn a_probe_ends_with_0_unless_something_fails() {
    let well = Upstream::http1().route("/health", r#"{"status":"OK"}"#).start();
    let away =
        Upstream::http1().route("/health", r#"{"status":"Maintenance mode is enabled"}"#).start();
    let sick = patient(&Arc::new(AtomicU16::new(503)));
    let (_keep, config) = file(&[
        ("well", &well.url(), PROBE),
        ("away", &away.url(), PROBE),
        ("sick", &sick.url(), PROBE),
        ("bare", &well.url(), "policy: native"),
    ]);
    let probe = |more: &[&str]| said(&[&["probe", "-c", &config], more].concat());

    let (code, out, err) = probe(&["well"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("well: ok ok: as expected\n"), "{out}");
    assert!(
        out.contains("http") && out.contains("200") && out.contains(r#"{"status":"OK"}"#),
        "{out}"
    );
    assert_eq!(well.requests(), 1);

    let (code, out, _) = probe(&["away"]);
    assert!(code == 0 && out.starts_with("away: maintenance maintenance"), "{out}");

    let (code, out, _) = probe(&["sick", "--tries", "2"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with("sick: failing bad-status: status 503 is not expected\n"), "{out}");
    assert!(out.contains("looked 2 times") && !out.contains('\u{1b}'), "{out}");
    assert!(out.contains("oh") && !out.contains("second line"), "{out}");
    assert_eq!(sick.requests(), 2);

    let (code, out, _) = probe(&["bare"]);
    assert!(code == 3 && out.contains("no probe"), "{out}");

    let (code, out, _) = probe(&["--all", "--tries", "1", "-o", "json"]);
    assert_eq!(code, 1, "{out}");
    let report = json(&out);
    let words: Vec<_> = (0..4)
        .map(|it| {
            let of = &report["services"][it];
            (of["service"].as_str().unwrap_or_default().to_owned(), of["verdict"]["status"].clone())
        })
        .collect();
    let word = |name: &str, status: Value| (name.to_owned(), status);
    let expected = [
        word("well", "ok".into()),
        word("away", "maintenance".into()),
        word("sick", "failing".into()),
        word("bare", Value::Null),
    ];
    assert_eq!(words, expected);
    assert_eq!(report["services"][2]["endpoints"][0]["sample"]["status"], 503);
    assert_eq!(report["services"][2]["by"], Value::Null);
}

#[test]
fn a_probe_that_nobody_answers_says_so() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let (_keep, config) = file(&[
        ("gone", &gone, PROBE),
        ("nowhere", "http://no-such-name.invalid:80", PROBE),
        (
            "shut",
            &gone,
            "probe: { tcp: true, interval: 1s }, policy: { plugin: native, settings: { path: null } }",
        ),
    ]);
    let (code, out, err) = said(&["probe", "-c", &config, "--all", "--tries", "1"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("gone: failing refused: connection refused\n"), "{out}");
    assert!(out.contains("nowhere: failing dns: the name does not resolve\n"), "{out}");
    assert!(out.contains("shut: failing refused"), "{out}");
}

#[test]
fn a_component_judges_where_the_config_names_one() {
    let well = Upstream::http1().route("/health", r#"{"status":"OK"}"#).start();
    let (_keep, config) = file(&[(
        "well",
        &well.url(),
        "probe: { http: /health, interval: 1s }, policy: latency-slo",
    )]);
    let (code, out, err) = said(&["probe", "-c", &config, "well", "--tries", "1", "-o", "json"]);
    assert_eq!(code, 0, "{out}{err}");
    let report = json(&out);
    let digest = report["services"][0]["by"].as_str().unwrap_or_default();
    assert_eq!(digest.len(), 64, "{out}");
}

#[test]
fn what_a_probe_cannot_use_is_named() {
    let well = Upstream::http1().route("/health", r#"{"status":"OK"}"#).start();
    let (_keep, config) = file(&[("signal-engine", &well.url(), PROBE)]);
    let (code, _, err) = said(&["probe", "-c", &config, "signal-engin"]);
    assert!(code == 2 && err.contains("did you mean signal-engine?"), "{err}");
    let (code, _, err) = said(&["probe", "-c", &config, "something-else"]);
    assert!(code == 2 && err.contains("there are signal-engine"), "{err}");
    for wrong in [
        &["probe", "-c", &config][..],
        &["probe", "-c", &config, "--all", "signal-engine"],
        &["probe", "--all", "-c", "/nowhere.yaml"],
        &["probe", "-c", &config, "--all", "--tries", "0"],
    ] {
        assert_eq!(said(wrong).0, 2, "{wrong:?}");
    }
    let (dir, bad) = file(&[("a", &well.url(), "prbe: /health")]);
    let (code, out, _) = said(&["probe", "--all", "-c", &bad, "-o", "json"]);
    assert!(code == 2 && json(&out)["ok"] == false, "{out}");
    drop(dir);
    assert_eq!(well.requests(), 0);
}

/// A running gate in front of a service that is watched closely.
fn watching(upstream: &RawUpstream, alerts: &str) -> Gateway {
    Setup::default()
        .service_with("a", upstream, "health: { probe: { http: /health, interval: 1s, unhealthyInterval: 1s }, fall: 1, rise: 1, policy: native }")
        .route("path: /, service: a, access: public")
        .with(&format!("alerts: {{ formatter: native, {alerts} }}"))
        .key(OPERATOR)
        .start()
}

fn url(gate: &Gateway) -> String {
    format!("http://{}", gate.admin.expect("an admin listener"))
}

#[test]
fn a_probe_works_beside_a_running_gate_and_opens_nothing_of_its_state() {
    let status = Arc::new(AtomicU16::new(200));
    let upstream = patient(&status);
    let gate = watching(&upstream, "sinks: []");
    let config = gate.config_file().display().to_string();
    let (code, out, err) = said(&["probe", "--all", "-c", &config]);
    assert_eq!(code, 0, "{out}{err}");
    // On a state folder that cannot even be made.
    let (_keep, elsewhere) = file(&[("a", &upstream.url(), PROBE)]);
    let text = fs::read_to_string(&elsewhere).expect("a file") + "state: /proc/none\n";
    fs::write(&elsewhere, text).expect("a temp folder");
    assert_eq!(said(&["probe", "--all", "-c", &elsewhere]).0, 0);
}

#[test]
fn commands_tell_a_gate_without_trouble_from_none_and_from_a_locked_one() {
    let upstream = Upstream::http1().route("/health", r#"{"status":"OK"}"#).start();
    let gate = watching(&upstream, "sinks: []");
    let admin = url(&gate);
    let data = format!("http://{}", gate.data);
    let commands: [&[&str]; 4] = [
        &["incidents"],
        &["outbox", "list"],
        &["outbox", "retry", "--dead"],
        &["alert", "preview"],
    ];
    for command in commands {
        let at = |gate: &str| said(&[command, &["--gate", gate]].concat());
        let (code, out, err) = at(&admin);
        assert_eq!(code, 0, "{command:?}: {out}{err}");
        let (code, out, _) = said(&[command, &["--gate", &admin, "-o", "json"]].concat());
        assert!(code == 0 && json(&out).is_object(), "{command:?}: {out}");
        assert_eq!(at("http://127.0.0.1:1").0, 3, "{command:?}");
        assert_eq!(at(&data).0, 4, "{command:?}");
        assert_eq!(at("ftp://x").0, 2, "{command:?}");
    }
    assert!(said(&["incidents", "--gate", &admin]).1.contains("no incidents"));
    assert!(said(&["outbox", "list", "--gate", &admin]).1.contains("nothing waits"));
    let (code, _, err) = said(&["incidents", "no/such id", "--gate", &admin]);
    assert!(code == 1 && err.contains("no incident"), "{err}");
    let (code, _, err) = said(&["alert", "test", "--gate", &admin]);
    assert!(code == 1 && err.contains("alerts.sinks"), "{err}");
    let (code, _, err) =
        said(&["outbox", "drop", "--sink", "nobody", "--number", "3", "--gate", &admin]);
    assert!(code == 1 && err.contains("no sink"), "{err}");
    for wrong in [
        &["outbox", "drop"][..],
        &["outbox", "drop", "--number", "3"],
        &["outbox", "retry", "--sink", "x", "--number", "3", "--dead"],
        &["outbox"],
        &["alert", "preview", "--incident", "x", "--event", "{}"],
        &["incidents", "x", "--open"],
        &["incidents", "--limit", "0"],
    ] {
        assert_eq!(said(wrong).0, 2, "{wrong:?}");
    }
    let (code, _, err) = said(&["alert", "preview", "--event", "nonsense", "--gate", &admin]);
    assert!(code == 2 && err.contains("--event"), "{err}");
}

/// Runs a command until its output has these words.
#[track_caller]
fn until_said(arguments: &[&str], words: &str) -> String {
    let mut last = String::new();
    until(&format!("{words} from {arguments:?}"), || {
        let (_, out, err) = said(arguments);
        last = out + &err;
        last.contains(words)
    });
    last
}

#[test]
fn an_outage_is_told_by_every_command() {
    let status = Arc::new(AtomicU16::new(200));
    let upstream = patient(&status);
    // A receiver that is gone, so that what has to be told waits.
    let gate =
        watching(&upstream, "sinks: [{ name: gone, eventDispatcher: \"http://127.0.0.1:1\" }]");
    let admin = url(&gate);
    until("the service is seen well", || {
        let health = gate.admin_get("/api/admin/headgate/health?service=a").send();
        health.field("services.0.health.health") == "ok"
    });
    status.store(503, Ordering::Relaxed);
    until_said(&["incidents", "--open", "--gate", &admin], "failing bad-status");
    let list = json(&said(&["incidents", "--gate", &admin, "-o", "json"]).1);
    let id = list["incidents"][0]["id"].as_str().expect("an id").to_owned();
    let one = until_said(&["incidents", &id, "--gate", &admin], "noticed");
    for words in [
        &format!("incident {id}\n")[..],
        "  service ",
        "timeline\n",
        " opened ",
        "evidence\n",
        "503",
    ] {
        assert!(one.contains(words), "{words}: {one}");
    }
    assert!(!one.contains('\u{1b}'), "{one}");

    let waiting = until_said(&["outbox", "list", "--sink", "gone", "--gate", &admin], "bad-status");
    assert!(waiting.contains("opened") && waiting.contains("waiting"), "{waiting}");
    let parcels = json(&said(&["outbox", "list", "--gate", &admin, "-o", "json"]).1);
    let number = parcels["parcels"][0]["number"].as_u64().expect("a number").to_string();
    assert_eq!(parcels["parcels"][0].get("message"), None);
    let whole =
        said(&["outbox", "list", "--sink", "gone", "--number", &number, "--gate", &admin]).1;
    assert!(json(&whole)[0]["message"]["issues"].is_array(), "{whole}");
    let preview = said(&["alert", "preview", "--incident", &id, "--gate", &admin]);
    assert!(preview.0 == 0 && preview.1.contains("to        gone"), "{preview:?}");
    until("the sink is named in the status, with the next try", || {
        let health = gate.admin_get("/api/admin/headgate/health").send();
        let troubles = health.field("troubles");
        let sink =
            troubles.as_array().into_iter().flatten().find(|it| it["kind"] == "sink").cloned();
        let named = |it: Value| {
            it["name"] == "gone" && it["reason"].is_string() && it["next_try"].is_string()
        };
        sink.is_some_and(named) && health.field("status") == "degraded"
    });
    let drop = ["outbox", "drop", "--sink", "gone", "--number", &number, "--gate", &admin];
    let (code, out, err) = said(&drop);
    assert!(code == 0 && out.contains("1 dropped"), "{out}{err}");
    assert_eq!(said(&drop).0, 1);

    status.store(200, Ordering::Relaxed);
    until_said(&["incidents", &id, "--gate", &admin], "resolved   ");
}

fn plugin(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/dist").join(name).display().to_string()
}

#[test]
fn a_replay_tells_what_would_have_been_different_from_a_gate_and_from_its_journal() {
    let status = Arc::new(AtomicU16::new(200));
    let upstream = patient(&status);
    let gate = watching(&upstream, "sinks: []");
    let admin = url(&gate);
    let threshold = plugin("threshold.wasm");
    let seen = |count: usize| {
        let page = gate.admin_get("/api/admin/headgate/observations?service=a").send().json();
        page["observations"].as_array().is_some_and(|it| it.len() >= count)
    };
    until("two observations", || seen(2));
    status.store(503, Ordering::Relaxed);
    until_said(&["incidents", "--open", "--gate", &admin], "failing bad-status");
    until("some more", || seen(5));

    // The native rule as a component: nothing differs.
    let same = ["replay", "--plugin", &threshold, "--last", "1h", "--gate", &admin];
    let (code, out, err) = said(&same);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("nothing would be different"), "{out}");
    // One to which 503 is as good as any.
    let other = r#"{"statuses":["100-599"],"path":null}"#;
    let (code, out, err) = said(&[&same[..], &["--settings", other, "-o", "json"]].concat());
    assert_eq!(code, 1, "{out}{err}");
    let report = json(&out);
    let of = &report["services"][0];
    assert!(of["verdicts"]["different"].as_u64().is_some_and(|it| it > 0), "{out}");
    assert_eq!(
        (&of["incidents"]["recorded"], &of["incidents"]["candidate"]),
        (&1.into(), &0.into()),
        "{out}"
    );
    assert_eq!(of["alerts"]["different"], 1, "{out}");
    // No side effect: the gate still says what it said.
    assert!(said(&["incidents", "--open", "--gate", &admin]).1.contains("1 open"));

    let formatter = plugin("slack-blocks.wasm");
    let (code, out, err) = said(&["replay", "--plugin", &formatter, "--gate", &admin]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("messages: 1 were, 1 would be, 1 differ"), "{out}");
    let (code, out, err) = said(&["replay", "--plugin", &plugin("plain.wasm"), "--gate", &admin]);
    assert_eq!(code, 0, "{out}{err}");

    let folder = gate.state_file("").display().to_string();
    let config = gate.config_file();
    until("the journal is on the disk", || gate.state_file("journal.redb").is_file());
    let mut gate = gate;
    gate.sigterm();
    gate.wait();
    let before = fs::read(gate.state_file("journal.redb")).expect("a journal");
    let config = config.display().to_string();
    let (code, out, err) =
        said(&["replay", "--plugin", &threshold, "--state", &folder, "-c", &config]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) =
        said(&["replay", "--plugin", &threshold, "--state", &folder, "--settings", other]);
    assert_eq!(code, 1, "{out}{err}");
    assert_eq!(fs::read(gate.state_file("journal.redb")).expect("a journal"), before);
}

#[test]
fn a_replay_refuses_what_it_cannot_try() {
    let threshold = plugin("threshold.wasm");
    let filter = plugin("require-header.wasm");
    let dir = TempDir::new();
    let folder = dir.0.display().to_string();
    let text = dir.0.join("text.wasm");
    fs::write(&text, "no component").expect("a temp folder");
    let text = text.display().to_string();
    for (arguments, code, words) in [
        (&["--plugin", "/nowhere.wasm"][..], 2, "cannot read"),
        (&["--plugin", &text], 2, "would not let it in"),
        (&["--plugin", &filter], 2, "plugin push --dry-run"),
        (&["--plugin", &threshold, "--last", "soon"], 2, "--last"),
        (&["--plugin", &threshold, "--settings", "{"], 2, "--settings"),
        (&["--plugin", &threshold, "--state", &folder], 2, "journal.redb"),
        (&["--plugin", &threshold, "--gate", "http://127.0.0.1:1"], 3, "cannot connect"),
        (&["--plugin", &threshold, "--config", "x.yaml"], 2, "--state"),
        (&[], 2, "--plugin"),
    ] {
        let (got, out, err) = said(&[&["replay"], arguments].concat());
        assert_eq!(got, code, "{arguments:?}: {out}{err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
}

#[test]
fn a_recorded_window_is_a_case_that_plugin_test_runs() {
    let status = Arc::new(AtomicU16::new(200));
    let upstream = patient(&status);
    let gate = watching(&upstream, "sinks: []");
    let admin = url(&gate);
    let dir = TempDir::new();
    let file = dir.0.join("live.json").display().to_string();
    let record = ["plugin", "record", "a", "--windows", "2", "--file", &file, "--gate", &admin];
    until("two windows", || {
        let answer = gate.admin_get("/api/admin/headgate/plugins/windows?service=a&limit=2").send();
        answer.json()["windows"].as_array().is_some_and(|it| it.len() == 2)
    });
    let (code, out, err) = said(&record);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = said(&record);
    assert!(code == 2 && err.contains("cannot write"), "{err}");
    let cases = dir.0.display().to_string();
    let test = ["plugin", "test", &plugin("threshold.wasm"), "--cases", &cases];
    let (code, out, err) = said(&[&test[..], &["--bless"]].concat());
    assert_eq!(code, 0, "{out}{err}");
    let blessed = json(&fs::read_to_string(&file).expect("the case"));
    assert_eq!(blessed["steps"][1]["expect"]["status"], "ok");
    assert_eq!(said(&test).0, 0);
    let (code, _, err) = said(&["plugin", "record", "b", "--gate", &admin]);
    assert!(code == 1 && err.contains("no service"), "{err}");
    // What was recorded is there again after a restart, long before as much has been seen anew.
    let recorded = |gate: &Gateway| {
        let answer =
            gate.admin_get("/api/admin/headgate/plugins/windows?service=a&limit=256").send();
        answer.json()["windows"].as_array().map_or(0, Vec::len)
    };
    until("more windows", || recorded(&gate) >= 4);
    let seen = |gate: &Gateway| {
        let page = gate.admin_get("/api/admin/headgate/observations?service=a").send().json();
        page["observations"].as_array().map_or(0, Vec::len)
    };
    until("they are kept", || seen(&gate) >= 4);
    let gate = gate.restart();
    until("the windows of before", || recorded(&gate) >= 4);
}

#[test]
fn a_test_alert_tells_what_each_receiver_answered() {
    let upstream = Upstream::http1().route("/health", r#"{"status":"OK"}"#).start();
    let answers = |status: u16| {
        Upstream::by(move |it| {
            it.respond(status, "Content-Type: application/json\r\n", br#"{"status":"x"}"#)
        })
    };
    let (good, bad) = (answers(200), answers(422));
    let sinks = format!(
        "sinks: [{{ name: good, eventDispatcher: \"{}\" }}, {{ name: bad, eventDispatcher: \"{}\" }}]",
        good.url(),
        bad.url()
    );
    let gate = watching(&upstream, &sinks);
    let admin = url(&gate);
    let (code, out, err) = said(&["alert", "test", "--sink", "good", "--gate", &admin]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("ok  good"), "{out}");
    assert_eq!((good.requests(), bad.requests()), (1, 0));
    let (code, out, err) = said(&["alert", "test", "--gate", &admin]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        out.contains("ok    good") && out.contains("FAIL  bad") && out.contains("422"),
        "{out}"
    );
    let (code, _, err) = said(&["alert", "test", "--sink", "god", "--gate", &admin]);
    assert!(code == 1 && err.contains("did you mean good?"), "{err}");
    let audit = gate.admin_get("/api/admin/headgate/audit?limit=1").send();
    assert_eq!(audit.field("entries.0.action"), Value::from("alert.test"));
    // Nothing of it is left behind.
    assert!(said(&["outbox", "list", "--gate", &admin]).1.contains("nothing waits"));
}
