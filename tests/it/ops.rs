//! Probes, metrics and the admin listener: who may see what, and that it is right.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::support::gateway::TempDir;
use crate::support::{Gateway, OPERATOR, Setup, Upstream, until};

#[test]
fn probes_answer_as_those_of_kubernetes_do() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    gateway.ops_get("/livez").send().expect_status(200);
    gateway.ops_get("/readyz").send().expect_status(200);
    let verbose = gateway.ops_get("/readyz?verbose").send().expect_status(200).text();
    assert!(verbose.contains("[+]"), "{verbose}");
    gateway.ops_get("/nothing").send().expect_status(404);
}

#[test]
fn readiness_does_not_depend_on_upstreams_or_maintenance() {
    let gateway = Setup::default()
        .service_at("gone", "http://127.0.0.1:1", "maintenance: covered")
        .route("path: /, service: gone, access: public")
        .start();
    gateway.get("/x").send();
    gateway.admin_post("/api/admin/maintenance/on").send().expect_status(200);
    gateway.ops_get("/readyz").send().expect_status(200);
}

#[test]
fn metrics_count_what_happened() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream)
        .route("path: /vault/, service: a, access: \"key:admin\"")
        .key(OPERATOR)
        .start();
    for _ in 0..3 {
        gateway.get("/x").send().expect_status(200);
    }
    gateway.get("/vault/x").send().expect_status(401);
    gateway.get("/vault/x").key(OPERATOR).send().expect_status(200);
    until("the requests are counted", || {
        gateway.metric("headgate_http_requests_total", "service=\"a\"") >= 4.0
    });
    let metrics = gateway.metrics();
    for name in [
        "headgate_http_request_duration_seconds_bucket",
        "headgate_connections",
        "headgate_refusals_total",
        "headgate_generation",
        "headgate_config_last_reload_successful",
        "headgate_build_info",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    assert!(metrics.trim_end().ends_with("# EOF"), "not OpenMetrics");
    assert!(metrics.contains("key=\"key-0\""), "{metrics}");
    assert!(!metrics.contains(OPERATOR));
}

#[test]
fn metrics_show_maintenance_and_the_generation() {
    let upstream = Upstream::named("x");
    let setup = || Gateway::in_front_of("a", &upstream).key(OPERATOR);
    let gateway = setup().start();
    assert!(gateway.metric("headgate_maintenance_enabled", "") < 0.5);
    gateway.admin_post("/api/admin/maintenance/on").send().expect_status(200);
    assert!(gateway.metric("headgate_maintenance_enabled", "") > 0.5);
    let before = gateway.metric("headgate_generation", "");
    gateway.reload_with(&setup().route("path: /b/, service: a, access: public").yaml());
    assert!(gateway.metric("headgate_generation", "") > before);
}

#[test]
fn the_ops_listener_only_reads_and_knows_no_admin() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let ops = gateway.ops.expect("an ops listener");
    crate::support::gateway::Ask::new(ops, "POST", "/readyz").body("").send().expect_status(405);
    gateway.ops_get("/api/admin/maintenance/status").send().expect_status(404);
    gateway.get("/metrics").send().expect_text("x");
}

#[test]
fn the_admin_listener_needs_no_key_on_loopback_but_no_stranger_page_may_use_it() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).key(OPERATOR).start();
    gateway.admin_get("/api/admin/headgate/config").send().expect_status(200);
    gateway.admin_get("/api/admin/headgate/health").send().expect_status(200);
    let keys = gateway.admin_get("/api/admin/headgate/keys").send().expect_status(200).text();
    assert!(keys.contains("key-0") && !keys.contains(OPERATOR));
    gateway.admin_get("/api/admin/headgate/nothing").send().expect_status(404);
    let page =
        gateway.admin_post("/api/admin/maintenance/on").header("Sec-Fetch-Site", "cross-site");
    page.send().expect_status(403);
    let rebound = gateway.admin_post("/api/admin/maintenance/on").host("evil.test").send();
    assert!([403, 421].contains(&rebound.status), "{}", rebound.status);
    gateway.admin_get("/api/admin/maintenance/status").send().expect_field("status", "off");
}

#[test]
fn everything_of_ours_on_the_data_listener_needs_the_key() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).key(OPERATOR).start();
    for endpoint in ["config", "health", "keys", "audit", "nothing"] {
        let path = format!("/api/admin/headgate/{endpoint}");
        gateway.get(&path).send().expect_status(401);
    }
    gateway.get("/api/admin/headgate/config").key(OPERATOR).send().expect_status(200);
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn the_admin_listener_may_be_a_unix_socket() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream)
        .with(
            "listeners: { data: 127.0.0.1:0, ops: 127.0.0.1:0, admin: \"unix:{dir}/admin.sock\" }",
        )
        .start();
    let path = gateway.dir.0.join("admin.sock");
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut socket = UnixStream::connect(path).expect("a listening gate");
    let ask = "GET /api/admin/maintenance/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    socket.write_all(ask.as_bytes()).expect("a listening gate");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"off\""), "{answer}");
}

#[test]
fn every_refusal_of_ours_names_the_request_on_every_listener() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).key(OPERATOR).start();
    let asks = [
        gateway.get("/api/admin/none"),
        gateway.ops_get("/none"),
        gateway.ops_get("/readyz/none"),
        gateway.admin_get("/none"),
        gateway.admin_get("/api/admin/none"),
        gateway.admin_post("/api/admin/maintenance/on?ttl=x"),
    ];
    for ask in asks {
        let refused = ask.header("X-Request-ID", "mine-1").send();
        assert!(refused.status >= 400, "{refused:?}");
        assert_eq!(refused.header("Content-Type"), Some("application/problem+json"));
        assert_eq!(refused.field("request_id"), "mine-1");
        assert_eq!(refused.head.all("X-Request-ID"), ["mine-1"]);
    }
}

#[test]
fn an_inherited_admin_listener_for_the_world_wants_the_key_whatever_the_config_says() {
    let upstream = Upstream::named("x");
    let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let mut gateway = Gateway::in_front_of("a", &upstream)
        .key(OPERATOR)
        .inherit(listener)
        .env("LISTEN_FDNAMES", "admin")
        .start();
    gateway.admin = Some(([127, 0, 0, 1], port).into());
    gateway.admin_post("/api/admin/maintenance/on").send().expect_status(401);
    gateway.admin_get("/api/admin/headgate/keys").send().expect_status(401);
    gateway.admin_post("/api/admin/maintenance/on").key(OPERATOR).send().expect_status(200);
}

#[test]
fn an_inherited_admin_listener_for_the_world_without_any_key_is_refused() {
    let upstream = Upstream::named("x");
    let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let setup =
        Gateway::in_front_of("a", &upstream).inherit(listener).env("LISTEN_FDNAMES", "admin");
    // What `start` says when the gate ends instead of listening has the gate's own words.
    let start = std::panic::AssertUnwindSafe(|| setup.start());
    let said = std::panic::catch_unwind(start).expect_err("the gate must not start");
    let said = said.downcast_ref::<String>().expect("words");
    assert!(said.contains("no key has the scope `admin`"), "{said}");
}

#[test]
fn an_admin_listener_for_the_world_without_a_key_is_refused() {
    let dir = TempDir::new();
    let file = dir.0.join("headgate.yaml");
    let yaml = "listeners: { data: 127.0.0.1:0, ops: 127.0.0.1:0, admin: 0.0.0.0:0 }\n\
                services: { a: { upstreams: http://127.0.0.1:1 } }\n\
                routes:\n  - { path: /, service: a, access: public }\n";
    std::fs::write(&file, yaml).expect("a temp folder");
    let run = Command::new(env!("CARGO_BIN_EXE_headgate"))
        .arg("run")
        .arg(&file)
        .output()
        .expect("the binary");
    assert!(!run.status.success());
    let said =
        String::from_utf8_lossy(&run.stderr).into_owned() + &String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("admin"), "{said}");
}
