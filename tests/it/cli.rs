//! The command line: what it prints, and how it ends.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::gateway::TempDir;
use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Upstream};

fn headgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headgate"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("ended by itself")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A config file of this text.
fn file(yaml: &str) -> (TempDir, String) {
    let dir = TempDir::new();
    let path = dir.0.join("headgate.yaml");
    fs::write(&path, yaml).expect("a temp folder");
    let shown = path.display().to_string();
    (dir, shown)
}

const GOOD: &str = "services:\n  a: { upstreams: http://127.0.0.1:8000 }\n\
                    routes:\n  - { path: /, service: a, access: public }\n\
                    \x20 - { path: /vault/, service: a, access: \"key:vault\" }\n\
                    keys:\n  - { name: k, key: env:HEADGATE_TEST_CLI_KEY, scopes: [vault] }\n";

#[test]
fn check_ends_with_0_1_or_2() {
    let (_keep, good) = file(GOOD);
    let run = headgate(&["check", &good]);
    assert_eq!(code(&run), 0, "{}{}", stdout(&run), stderr(&run));
    let (_keep, bad) =
        file(&GOOD.replace("upstreams", "upstream").replace("service: a,", "service: b,"));
    let run = headgate(&["check", &bad]);
    let said = stdout(&run);
    assert_eq!(code(&run), 1, "{said}");
    for word in ["upstream", "upstreams", ":2:"] {
        assert!(said.contains(word), "{word} is not in\n{said}");
    }
    assert_eq!(code(&headgate(&["check", "/nowhere/at/all.yaml"])), 2);
    assert_eq!(code(&headgate(&["check"])), 2);
    assert_eq!(code(&headgate(&["nonsense"])), 2);
}

#[test]
fn check_says_the_same_as_json() {
    let (_keep, bad) = file(&GOOD.replace("routes:", "rotues:"));
    let run = headgate(&["check", &bad, "-o", "json"]);
    assert_eq!(code(&run), 1);
    let said: Value = serde_json::from_str(&stdout(&run)).expect("JSON");
    assert_eq!(said["ok"], Value::Bool(false));
    assert!(said["findings"].as_array().is_some_and(|it| !it.is_empty()), "{said}");
    assert!(said["findings"][0]["line"].is_number(), "{said}");
}

#[test]
fn a_broken_config_is_told_as_json_by_every_command_that_reads_one() {
    let (_keep, bad) = file(&GOOD.replace("routes:", "rotues:"));
    let commands: [&[&str]; 3] =
        [&["check", &bad], &["config", "print", &bad], &["explain", "GET", "/", "--config", &bad]];
    for command in commands {
        let run = headgate(&[command, &["-o", "json"]].concat());
        let said: Value = serde_json::from_str(&stdout(&run)).expect("JSON");
        assert_eq!((code(&run), &said["ok"]), (1, &Value::Bool(false)), "{command:?}");
        assert!(said["findings"].to_string().contains("rotues"), "{command:?}: {said}");
        assert!(headgate(command).stdout.is_empty() || command[0] == "check", "{command:?}");
    }
}

#[test]
fn explain_decides_as_the_data_path_does() {
    let (_keep, good) = file(GOOD);
    let explain = |arguments: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_headgate"))
            .args(["explain", "--config", &good])
            .args(arguments)
            .env("HEADGATE_TEST_CLI_KEY", OPERATOR)
            .output()
            .expect("the binary starts");
        (code(&run), stdout(&run) + &stderr(&run))
    };
    let (open, said) = explain(&["GET", "http://gate.test/a/../x"]);
    assert!(open == 0 && said.contains("/x"), "{said}");
    let (shut, said) = explain(&["GET", "http://gate.test/vault/x"]);
    assert!(shut == 1 && said.contains("401"), "{said}");
    let key = format!("X-API-Key: {OPERATOR}");
    let (keyed, said) = explain(&["GET", "http://gate.test/vault/x", "-H", &key]);
    assert_eq!(keyed, 0, "{said}");
    assert!(!said.contains(OPERATOR), "{said}");
    let (encoded, said) = explain(&["GET", "http://gate.test/%76ault%2Fx"]);
    assert_eq!(encoded, 1, "{said}");
    let (json, said) = explain(&["GET", "http://gate.test/x", "-o", "json"]);
    assert!(json == 0 && serde_json::from_str::<Value>(&said).is_ok(), "{said}");
}

#[test]
fn a_new_key_can_be_pasted_and_opens() {
    let run = headgate(&["key", "new", "-o", "json"]);
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    let made: Value = serde_json::from_str(&stdout(&run)).expect("JSON");
    let (key, digest) =
        (made["key"].as_str().expect("a key"), made["digest"].as_str().expect("a digest"));
    let upstream = Upstream::named("x");
    let gateway = Setup::default()
        .service("a", &upstream)
        .route("path: /, service: a, access: \"key:vault\"")
        .key_line(&format!("name: new, key: \"{digest}\", scopes: [vault]"))
        .start();
    gateway.get("/x").key(key).send().expect_text("x");
    gateway.get("/x").key(digest).send().expect_status(401);
}

#[test]
fn the_maintenance_command_switches_a_running_gate() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let url = format!("http://{}", gateway.admin.expect("an admin listener"));
    let run = headgate(&["maintenance", "on", "--gate", &url, "--reason", "by hand"]);
    assert_eq!(code(&run), 0, "{}", stderr(&run));
    gateway.get("/x").send().expect_status(503);
    let run = headgate(&["maintenance", "status", "--gate", &url]);
    assert!(stdout(&run).contains("on"), "{}", stdout(&run));
    assert_eq!(code(&headgate(&["maintenance", "off", "--gate", &url])), 0);
    gateway.get("/x").send().expect_text("x");
    let data = format!("http://{}", gateway.data);
    assert_eq!(code(&headgate(&["maintenance", "on", "--gate", &data])), 4);
    assert_eq!(code(&headgate(&["maintenance", "on", "--gate", "http://127.0.0.1:1"])), 3);
}

#[test]
fn the_maintenance_command_speaks_to_a_unix_socket_and_brings_a_key() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream)
        .with(
            "listeners: { data: 127.0.0.1:0, ops: 127.0.0.1:0, admin: \"unix:{dir}/admin.sock\" }",
        )
        .key(OPERATOR)
        .start();
    let socket = format!("unix:{}/admin.sock", gateway.dir.0.display());
    assert_eq!(code(&headgate(&["maintenance", "on", "--gate", &socket])), 0);
    gateway.get("/x").send().expect_status(503);
    let data = format!("http://{}", gateway.data);
    let keyed = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .args(["maintenance", "off", "--gate", &data, "--key", "env:HEADGATE_TEST_CLI_KEY"])
        .env("HEADGATE_TEST_CLI_KEY", OPERATOR)
        .output()
        .expect("the binary starts");
    assert_eq!(code(&keyed), 0, "{}", stderr(&keyed));
    gateway.get("/x").send().expect_text("x");
}

#[test]
fn a_gate_without_a_file_forwards_everything_behind_a_key() {
    let upstream = Upstream::named("x");
    let mut setup = Setup::default().env("HEADGATE_TEST_QUICK", OPERATOR);
    let url = upstream.url();
    let arguments = ["run", "--to", &url, "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"];
    let more =
        ["--admin", "127.0.0.1:0", "--key", "env:HEADGATE_TEST_QUICK", "--state", "quick-state"];
    setup.arguments = Some(arguments.iter().chain(&more).map(|it| (*it).to_owned()).collect());
    let gateway = setup.start();
    for path in ["/any/path", "/api/admin/any", "/api/admin/health"] {
        gateway.get(path).send().expect_status(401);
        gateway.get(path).key(OPERATOR).send().expect_text("x");
    }
    gateway.get("/any/path").key(OPERATOR).send().expect_text("x");
    gateway.get("/api/admin/maintenance/on").key(OPERATOR).send().expect_status(200);
    gateway.get("/any/path").key(OPERATOR).send().expect_status(503);
}

fn without_a_file(upstream: &RawUpstream, more: &[&str]) -> Gateway {
    let mut setup = Setup::default().env("HEADGATE_TEST_QUICK", OPERATOR);
    let url = upstream.url();
    let arguments = ["run", "--to", &url, "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"];
    let state = ["--admin", "127.0.0.1:0", "--state", "quick-state"];
    let all = arguments.iter().chain(&state).chain(more);
    setup.arguments = Some(all.map(|it| (*it).to_owned()).collect());
    setup.start()
}

#[test]
fn with_a_key_and_without_a_file_no_path_is_open() {
    let upstream = Upstream::named("x");
    let gateway = without_a_file(&upstream, &["--key", "env:HEADGATE_TEST_QUICK"]);
    for path in [
        "/",
        "/api/admin",
        "/api/admin/health",
        "/api/admin/maintenance/status",
        "/api/admin/maintenance/on",
        "/api/admin/anything",
        "/forward-auth",
    ] {
        gateway.get(path).send().expect_status(401);
    }
    gateway.get("/api/admin/health").key(OPERATOR).send().expect_text("x");
    gateway.get("/api/admin/anything").key(OPERATOR).send().expect_text("x");
    gateway.get("/api/admin/maintenance/status").key(OPERATOR).send().expect_field("status", "off");
}

#[test]
fn without_key_and_file_everything_is_forwarded_and_admin_is_on_its_listener_only() {
    let upstream = Upstream::named("x");
    let gateway = without_a_file(&upstream, &[]);
    for path in ["/", "/api/admin/health", "/api/admin/maintenance/on", "/api/admin/anything"] {
        gateway.get(path).send().expect_text("x");
    }
    gateway.get("/x").send().expect_text("x");
}

#[test]
fn a_gate_without_file_and_key_forwards_the_admin_prefix_as_well() {
    let upstream = Upstream::named("x");
    let mut setup = Setup::default();
    let url = upstream.url();
    let arguments = ["run", "--to", &url, "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0"];
    let more = ["--admin", "off", "--state", "quick-state"];
    setup.arguments = Some(arguments.iter().chain(&more).map(|it| (*it).to_owned()).collect());
    let gateway = setup.start();
    for path in ["/any/path", "/api/admin/any", "/api/admin/maintenance/on", "/API/admin;x/y"] {
        gateway.get(path).send().expect_text("x");
    }
}

#[test]
fn schema_completions_and_versions_are_printed() {
    let schema: Value =
        serde_json::from_str(&stdout(&headgate(&["config", "schema"]))).expect("JSON");
    assert!(schema["properties"]["services"].is_object());
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&headgate(&["completions", shell])).contains("headgate"), "{shell}");
    }
    assert!(stdout(&headgate(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
    let (_keep, good) = file(GOOD);
    let printed = stdout(&headgate(&["config", "print", &good]));
    assert!(
        printed.contains("env:HEADGATE_TEST_CLI_KEY") && printed.contains("default"),
        "{printed}"
    );
}

#[test]
fn a_gate_that_cannot_start_says_why() {
    let (_keep, bad) = file(&GOOD.replace("services:", "servces:"));
    let run = headgate(&["run", &bad]);
    assert_ne!(code(&run), 0);
    assert!((stderr(&run) + &stdout(&run)).contains("servces"));
    // The key's variable is not set.
    let (_keep, keyless) =
        file(&format!("listeners: {{ data: 127.0.0.1:0, ops: off, admin: off }}\n{GOOD}"));
    let run = headgate(&["run", &keyless]);
    assert_ne!(code(&run), 0);
    assert!((stderr(&run) + &stdout(&run)).contains("HEADGATE_TEST_CLI_KEY"));
}

#[test]
fn the_examples_are_good_configs() {
    for name in ["standalone", "stockflow"] {
        let path = format!("{}/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let run = headgate(&["check", &path]);
        assert_eq!(code(&run), 0, "{name}: {}", stdout(&run));
    }
}

#[test]
fn the_demo_walks_its_own_steps() {
    let run = headgate(&["demo", "--check"]);
    assert_eq!(code(&run), 0, "{}{}", stdout(&run), stderr(&run));
    let run = headgate(&["demo", "--check", "-o", "json"]);
    let steps: Value = serde_json::from_str(&stdout(&run)).expect("JSON");
    assert!(steps.as_array().is_some_and(|it| it.len() >= 5), "{steps}");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_to_do() {
    let (_keep, good) = file(GOOD);
    let table: [(&[&str], &str); 9] = [
        (&["run", "/nowhere/at/all.yaml"], "headgate demo"),
        (&["run", "--to", "nonsense"], "http://nonsense"),
        (&["run", "--to", "https://a"], "not supported yet"),
        (&["run", "--to", "http://127.0.0.1:1", "--key", "secret"], "env:NAME"),
        (&["run", &good, "--log", "a=b=c"], "--log"),
        (&["explain", "GET", "/", "--config", "/nowhere/at/all.yaml"], "--config FILE"),
        (&["explain", "GET", "/", "--config", &good, "--as", "nobody"], "it has k"),
        (&["maintenance", "status", "--key", "file:/nowhere/at/all"], "/nowhere/at/all"),
        (&["demo", "--check", "--key", "env:HEADGATE_TEST_NOT_SET"], "export it"),
    ];
    for (arguments, expected) in table {
        let run = headgate(arguments);
        let said = stderr(&run);
        assert_eq!(code(&run), 2, "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(
            !said.contains("error: error") && !said.contains("secret"),
            "{arguments:?}: {said}"
        );
    }
}

/// The example as it stands, but for addresses that a test can have.
fn example(name: &str, changes: &[(&str, &str)]) -> String {
    let path = format!("{}/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let mut text = fs::read_to_string(path).expect("an example");
    for (from, to) in changes {
        assert!(text.contains(from), "{name}.yaml has no {from}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn the_example_of_one_machine_runs() {
    let app = Upstream::named("app");
    let text = example("standalone", &[("http://127.0.0.1:3000", &app.url())]);
    let listeners = "listeners: { data: 127.0.0.1:0, ops: 127.0.0.1:0, admin: 127.0.0.1:0 }";
    let yaml = format!("{listeners}\nstate: {{dir}}/state\n{text}");
    let gateway = Gateway::config(&yaml).env("APP_KEY", OPERATOR).start();
    gateway.get("/x").send().expect_text("app");
    gateway.post("/x", "").send().expect_status(401);
    gateway.post("/x", "").key(OPERATOR).send().expect_text("app");
    gateway.get("/api/admin/maintenance/on").key(OPERATOR).send().expect_status(200);
    gateway.get("/x").send().expect_status(503);
}

#[test]
fn the_example_of_stockflow_runs_and_passes_its_smoke_script() {
    let engine = Upstream::named("engine");
    let controller = Upstream::named("controller");
    let kubesnap = Upstream::named("kubesnap");
    let changes = [
        ("0.0.0.0:8080", "127.0.0.1:0"),
        ("0.0.0.0:9901", "127.0.0.1:0"),
        ("127.0.0.1:9902", "127.0.0.1:0"),
        ("/var/lib/headgate", "{dir}/state"),
        ("http://signal-engine-service:8000", &engine.url()),
        ("http://sf-ctrl-service:9000", &controller.url()),
        ("http://kubesnap-service.kubesnap.svc.cluster.local:9001", &kubesnap.url()),
    ];
    let yaml = example("stockflow", &changes);
    let gateway = Gateway::config(&yaml).env("SF_API_KEY", OPERATOR).start();
    let status = gateway.get("/dev/api/admin/maintenance/status").send().expect_status(200);
    assert_eq!(status.field("status"), "off");
    gateway.get("/dev/api/health").send().expect_text("engine");
    gateway.get("/dev/api/admin/health").send().expect_text("controller");
    gateway.get("/dev/api/RELIANCE.NS").send().expect_text("engine");

    // A page of anywhere may read the refusal, as it may read the services' own.
    let stranger = gateway.get("/dev/api/admin/trigger-cron").header("Origin", "https://page.test");
    let refused = stranger.send().expect_status(401);
    assert_eq!(refused.header("Access-Control-Allow-Origin"), Some("https://page.test"));
    gateway.get("/dev/api/admin/trigger-cron").key(OPERATOR).send().expect_text("controller");
    assert_eq!(
        controller.wait_for("/dev/api/admin/trigger-cron").header("X-API-KEY"),
        Some(OPERATOR)
    );
    gateway.get("/dev/api/x").key(OPERATOR).send().expect_text("engine");
    assert_eq!(engine.wait_for("/dev/api/x").header("X-API-KEY"), None);
    gateway.get("/api/kubesnap/dev").send().expect_status(401);
    gateway.get("/api/kubesnap/dev").key(OPERATOR).send().expect_text("kubesnap");
    assert_eq!(kubesnap.wait_for("/api/kubesnap/dev").header("X-API-KEY"), Some(OPERATOR));
    gateway.get("/api/kubesnap/health").send().expect_text("kubesnap");
    gateway.get("/dev/api/kubesnap/dev").send().expect_text("engine");

    gateway.get("/dev/api/admin/maintenance/on").key(OPERATOR).send().expect_status(200);
    gateway.get("/dev/api/RELIANCE.NS").send().expect_status(503);
    gateway.get("/dev/api/admin/health").send().expect_text("controller");
    gateway.get("/api/kubesnap/health").send().expect_text("kubesnap");
}
