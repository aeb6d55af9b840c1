//! Maintenance: what callers see, who may switch it, and that the last word survives everything.

use std::fs;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::support::gateway::{Ask, TempDir, pipe_at};
use crate::support::wait::during;
use crate::support::{
    Gateway, OPERATOR, READER, RawClient, RawUpstream, Setup, Signal, Upstream, until,
};

const ON: &str = "/api/admin/maintenance/on";
const OFF: &str = "/api/admin/maintenance/off";
const STATUS: &str = "/api/admin/maintenance/status";

fn gate(upstream: &RawUpstream) -> Setup {
    Gateway::in_front_of("signal-engine", upstream).key(OPERATOR)
}

fn on(gateway: &Gateway, query: &str) {
    gateway.get(&format!("{ON}{query}")).key(OPERATOR).send().expect_status(200);
}

#[test]
fn it_answers_at_once_and_leaves_the_admin_api_open() {
    let upstream = Upstream::http1().route("/api/signal", "fresh").start();
    let gateway = gate(&upstream).start();

    gateway.get(ON).key(OPERATOR).send().expect_status(200).expect_field("status", "on");

    let answer = gateway.get("/api/signal").send().expect_status(503);
    answer
        .expect_field("message", "Maintenance mode enabled")
        .expect_header("Cache-Control", "no-store");
    gateway.get(STATUS).send().expect_status(200).expect_field("status", "on");
    assert_eq!(upstream.requests(), 0);

    gateway.get(OFF).key(OPERATOR).send().expect_status(200).expect_field("status", "off");
    gateway.get("/api/signal").send().expect_text("fresh");
    gateway.get(STATUS).send().expect_field("status", "off");
}

#[test]
fn its_answer_begins_as_the_services_own_and_holds_both_wordings() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    on(&gateway, "");
    let answer = gateway.get("/api/x").header("X-Request-ID", "the-id").send().expect_status(503);
    let begin = r#"{"status":"Maintenance mode is enabled","message":"Maintenance mode enabled","#;
    assert!(answer.text().starts_with(begin), "{}", answer.text());
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let wait: u32 = answer.header("Retry-After").and_then(|it| it.parse().ok()).expect("seconds");
    assert!(wait >= 1);
    let answer =
        answer.expect_field("service", "signal-engine").expect_field("request_id", "the-id");
    assert!(answer.field("since").is_string() && answer.field("retry_after").is_number());
}

#[test]
fn the_toggles_answers_are_those_of_the_controller() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    for (path, word) in [(ON, "on"), (OFF, "off")] {
        for method in ["GET", "POST"] {
            let answer =
                gateway.request(method, path).key(OPERATOR).body("").send().expect_status(200);
            let begin = format!(r#"{{"status":"{word}","timestamp":""#);
            assert!(answer.text().starts_with(&begin), "{}", answer.text());
            answer.expect_header("Cache-Control", "no-store");
        }
    }
    let status = gateway.get(STATUS).send().expect_status(200).text();
    assert!(status.starts_with(r#"{"status":"off","timestamp":""#), "{status}");
}

#[test]
fn it_can_be_asked_to_answer_200_as_the_services_do() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).with("maintenance: { status: 200 }").start();
    on(&gateway, "");
    let answer = gateway.get("/api/x").send().expect_status(200);
    answer.expect_field("status", "Maintenance mode is enabled");
}

#[test]
fn its_form_follows_accept() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    on(&gateway, "?reason=%3Cb%3Eupgrade%3C%2Fb%3E");
    for (accept, kind) in [
        ("*/*", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("text/html;q=0.1, application/json", "application/json"),
        ("image/png", "application/json"),
    ] {
        let answer = gateway.get("/api/x").header("Accept", accept).send().expect_status(503);
        let seen = answer.header("Content-Type").unwrap_or_default();
        assert!(seen.starts_with(kind), "{accept}: {seen}");
        assert!(answer.head.lists("Vary", "Accept"), "{:?}", answer.head);
        assert!(kind != "text/html" || !answer.text().contains("<b>upgrade"), "unescaped reason");
    }
}

#[test]
fn grpc_callers_get_a_grpc_status() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    on(&gateway, "");
    let answer =
        gateway.post("/pkg.Service/Call", "").header("Content-Type", "application/grpc").send();
    answer.expect_status(200).expect_header("grpc-status", "14");
}

#[test]
fn it_comes_before_the_key_check() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream)
        .route("path: /vault/, service: signal-engine, access: \"key:vault\"")
        .start();
    gateway.get("/vault/x").send().expect_status(401);
    on(&gateway, "");
    gateway.get("/vault/x").send().expect_status(503);
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn only_a_get_or_post_with_the_key_switches() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).key_with(READER, "scopes: [other]").start();
    gateway.get(ON).send().expect_status(401);
    gateway.get(ON).key("wrong-key-0123456789").send().expect_status(401);
    gateway.get(ON).key(READER).send().expect_status(403);
    for method in ["HEAD", "PUT", "DELETE", "PATCH"] {
        gateway.request(method, ON).key(OPERATOR).send().expect_status(405);
    }
    gateway.request("OPTIONS", ON).key(OPERATOR).send();
    for (name, value) in [
        ("Sec-Purpose", "prefetch"),
        ("Purpose", "prefetch"),
        ("Sec-Fetch-Site", "cross-site"),
        ("X-Moz", "prefetch"),
    ] {
        gateway.get(ON).key(OPERATOR).header(name, value).send().expect_status(403);
    }
    for word in ["onn", "ON", "toggle", "", "on/x"] {
        let path = format!("/api/admin/maintenance/{word}");
        gateway.get(&path).key(OPERATOR).send().expect_status(404);
        assert_ne!(gateway.get(&path).send().status, 200, "{word}");
    }
    gateway.get(STATUS).send().expect_field("status", "off");
    gateway.get("/api/x").send().expect_text("x");
}

#[test]
fn what_is_exempt_stays_reachable() {
    let (signal, controller) = (Upstream::named("signal"), Upstream::named("controller"));
    let gateway = gate(&signal)
        .with("admin: { service: controller }")
        .service_with("controller", &controller, "maintenance: exempt, forwardKey: true")
        .service_with("kubesnap", &controller, "maintenance: exempt")
        .route("path: /api/kubesnap/, service: kubesnap, access: public")
        .start();
    on(&gateway, "");
    gateway.get("/api/admin/health").send().expect_text("controller");
    gateway.get("/api/admin/trigger-cron").key(OPERATOR).send().expect_text("controller");
    gateway.get("/api/kubesnap/health").send().expect_text("controller");
    gateway.get("/api/health").send().expect_status(503);
}

#[test]
fn one_service_can_be_in_maintenance_alone() {
    let (a, b) = (Upstream::named("a"), Upstream::named("b"));
    let gateway = gate(&a)
        .service("other", &b)
        .service_with("fixed", &b, "maintenance: exempt")
        .route("path: /other/, service: other, access: public")
        .start();
    on(&gateway, "?service=other");
    gateway.get("/other/x").send().expect_status(503).expect_field("service", "other");
    gateway.get("/x").send().expect_text("a");
    gateway.get(&format!("{ON}?service=signal-engin")).key(OPERATOR).send().expect_status(404);
    gateway.get(&format!("{ON}?service=fixed")).key(OPERATOR).send().expect_status(409);
    gateway.get(&format!("{OFF}?service=other")).key(OPERATOR).send().expect_status(200);
    gateway.get("/other/x").send().expect_text("b");
}

#[test]
fn a_ttl_counts_down_and_ends_it() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    on(&gateway, "?ttl=2s");
    let answer = gateway.get("/api/x").send();
    let wait: u32 = answer.header("Retry-After").and_then(|it| it.parse().ok()).unwrap_or(0);
    // Rounded up from a clock that lags by a tick.
    assert!(answer.status == 200 || (1..=3).contains(&wait), "{} {wait}", answer.status);
    until("the ttl is over", || gateway.get("/api/x").send().status == 200);
    gateway.get(STATUS).send().expect_field("status", "off");
    let gateway = gateway.restart();
    gateway.get(STATUS).send().expect_field("status", "off");
    gateway.get("/api/x").send().expect_text("x");
}

#[test]
fn holders_of_the_bypass_scope_pass_and_are_marked() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).key_with(READER, "scopes: [\"maintenance:bypass\"]").start();
    on(&gateway, "");
    let answer = gateway.get("/api/x").key(READER).send().expect_text("x");
    answer.expect_header("X-Headgate-Maintenance", "bypassed");
    gateway.get("/api/x").key(OPERATOR).send().expect_status(503);
    gateway.get("/api/x").send().expect_status(503);
}

#[test]
fn no_core_forwards_a_request_after_the_toggle_has_answered() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).with("cores: 2").start();
    let mut clients: Vec<RawClient> = (0..12).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.get("/api/x", "").response().expect_text("x");
    }
    for _ in 0..20 {
        on(&gateway, "");
        for client in &mut clients {
            client.get("/api/x", "").response().expect_status(503);
        }
        gateway.get(OFF).key(OPERATOR).send().expect_status(200);
        for client in &mut clients {
            client.get("/api/x", "").response().expect_status(200);
        }
    }
}

#[test]
fn a_request_that_still_waits_for_its_connection_is_caught_by_the_toggle() {
    // A listener whose queue is full lets connections wait.
    let listener = full_listener();
    let address = listener.local_addr().expect("bound");
    let _fill: Vec<_> = (0..4).map(|_| connect_in_background(address)).collect();
    let gateway = Setup::default()
        .service_at("signal-engine", &format!("http://{address}"), "timeouts: { connect: 15s }")
        .route("path: /, service: signal-engine, access: public")
        .key(OPERATOR)
        .start();
    let mut waiting = gateway.connect();
    waiting.get("/x", "");
    assert!(waiting.is_silent_for(Duration::from_millis(300)), "it waits for a connection");
    on(&gateway, "");
    let received = std::thread::spawn(move || {
        let mut received = Vec::new();
        listener.set_nonblocking(true).expect("a socket");
        during(Duration::from_secs(4), || match listener.accept() {
            Ok((mut stream, _)) => {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
                let _ = std::io::Read::read_to_end(&mut stream, &mut received);
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(5)),
        });
        received
    });
    waiting.response().expect_status(503).expect_field("message", "Maintenance mode enabled");
    let received = received.join().expect("no panic");
    assert!(received.is_empty(), "the upstream got {:?}", String::from_utf8_lossy(&received));
}

/// Listens, with room for a single connection that was not accepted.
fn full_listener() -> std::net::TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).and_then(|()| socket.listen(0)).expect("a free port");
    socket.into()
}

/// Asks for a connection without waiting for it.
fn connect_in_background(address: std::net::SocketAddr) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    let _ = socket.connect(&address.into());
    socket
}

#[test]
fn a_drain_waits_for_running_requests_and_says_what_it_saw() {
    let finish = Signal::new();
    let upstream = Upstream::http1().slow("/slow", "done", &finish).start();
    let gateway = gate(&upstream).start();
    let mut running = gateway.connect();
    running.get("/slow", "");
    upstream.wait_for("/slow");
    let mut toggle = gateway.connect();
    toggle.send(gateway.get(&format!("{ON}?drain=15s")).key(OPERATOR).bytes());
    until("maintenance is on", || gateway.get("/x").send().status == 503);
    assert!(toggle.is_silent_for(Duration::from_millis(200)), "a drain waits");
    finish.set();
    running.response().expect_text("done");
    let answer = toggle.response().expect_status(200).expect_field("status", "on");
    assert!(answer.text().contains("drain"), "{}", answer.text());
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let never = Signal::new();
    let upstream = Upstream::http1().slow("/slow", "done", &never).start();
    let gateway = gate(&upstream).start();
    let mut running = gateway.connect();
    running.get("/slow", "");
    upstream.wait_for("/slow");
    let answer = gateway.get(&format!("{ON}?drain=300ms")).key(OPERATOR).send().expect_status(200);
    assert!(answer.text().contains("drain"), "{}", answer.text());
    never.set();
    running.response().expect_text("done");
}

#[test]
fn who_when_and_why_is_kept_and_shown() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    on(&gateway, "?reason=new%20disk");
    gateway.get(OFF).key(OPERATOR).send().expect_status(200);
    gateway.admin_post(&format!("{ON}?reason=again")).send().expect_status(200);
    let audit = fs::read_to_string(gateway.state_file("audit.jsonl")).expect("an audit file");
    let lines: Vec<Value> =
        audit.lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "{audit}");
    assert!(lines[0].to_string().contains("key-0") && lines[0].to_string().contains("new disk"));
    assert!(lines[2].to_string().contains("admin-listener"));
    let status = gateway.admin_get(STATUS).send().text();
    assert!(status.contains("again") && status.contains("admin-listener"), "{status}");
    assert!(!audit.contains(OPERATOR) && !status.contains(OPERATOR));
}

#[test]
fn a_state_that_cannot_be_written_is_an_error_and_changes_nothing() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    // The folder is moved away: that stops a superuser too, which permissions do not.
    fs::rename(gateway.dir.0.join("state"), gateway.dir.0.join("away")).expect("our folder");
    fs::write(gateway.dir.0.join("state"), "a file").expect("our folder");
    gateway.get(ON).key(OPERATOR).send().expect_status(500);
    gateway.get(STATUS).send().expect_field("status", "off");
    gateway.get("/api/x").send().expect_text("x");
}

#[test]
fn a_pipe_in_place_of_the_state_locks_nobody_out() {
    let upstream = Upstream::named("x");
    let mut gateway = gate(&upstream).start();
    on(&gateway, "");
    pipe_at(&gateway.state_file("maintenance.json"));
    pipe_at(&gateway.state_file("audit.jsonl"));
    gateway.admin_get("/api/admin/headgate/audit").send().expect_status(500);
    gateway.get("/api/x").send().expect_status(503);
    gateway.get(OFF).key(OPERATOR).send().expect_status(200);
    gateway.get("/api/x").send().expect_text("x");
    gateway.sigterm();
    assert!(gateway.wait().success());
}

#[test]
fn it_survives_a_restart() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    on(&gateway, "?reason=long%20work");
    let gateway = gateway.restart();
    gateway.get("/api/x").send().expect_status(503);
    gateway.get(STATUS).send().expect_field("status", "on");
    assert_eq!(upstream.requests(), 0);
}

/// What the toggling thread has asked for and what was acknowledged.
#[derive(Clone, Debug, Default)]
struct History {
    acknowledged: Option<bool>,
    asked: Option<bool>,
}

#[test]
fn the_last_acknowledged_word_survives_a_hundred_power_cuts() {
    let upstream = Upstream::named("x");
    let dir = Arc::new(TempDir::new());
    let history = Arc::new(Mutex::new(History::default()));
    let (mut seed, mut toggles) = (0x9e37_79b9_7f4a_7c15_u64, 0_usize);
    for round in 0..=100 {
        let mut gateway = Gateway::start_in(gate(&upstream), Arc::clone(&dir));
        let seen = gateway.get(STATUS).send().field("status") == "on";
        let known = history.lock().expect("no panic").clone();
        let possible = [known.acknowledged, known.asked];
        assert!(
            round == 0 || possible.contains(&Some(seen)),
            "round {round}: {seen}, not {known:?}"
        );
        let covered = gateway.get("/api/x").send().status == 503;
        assert_eq!(covered, seen, "round {round}");
        *history.lock().expect("no panic") = History { acknowledged: Some(seen), asked: None };

        let toggling = toggle_until_gone(&gateway, seen, &history);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        during(Duration::from_micros(seed >> 48), std::thread::yield_now);
        gateway.kill9();
        toggles += toggling.join().expect("the toggling thread ends");
    }
    assert!(toggles > 100, "only {toggles} toggles were acknowledged");
}

/// Switches back and forth until the gate is gone; gives how often it was acknowledged.
fn toggle_until_gone(
    gateway: &Gateway,
    start: bool,
    history: &Arc<Mutex<History>>,
) -> std::thread::JoinHandle<usize> {
    let (address, history) = (gateway.data, Arc::clone(history));
    std::thread::spawn(move || {
        let (mut is_on, mut count) = (start, 0);
        let Ok(stream) = std::net::TcpStream::connect(address) else { return 0 };
        let mut client = RawClient { wire: crate::support::wire::Wire::new(stream) };
        loop {
            let wanted = !is_on;
            history.lock().expect("no panic").asked = Some(wanted);
            client.send(
                Ask::new(address, "POST", if wanted { ON } else { OFF })
                    .key(OPERATOR)
                    .body("")
                    .bytes(),
            );
            match client.try_response("POST") {
                Ok(answer) if answer.status == 200 => {
                    let done = History { acknowledged: Some(wanted), asked: None };
                    *history.lock().expect("no panic") = done;
                    (is_on, count) = (wanted, count + 1);
                }
                Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
                Err(_) => return count,
            }
        }
    })
}
