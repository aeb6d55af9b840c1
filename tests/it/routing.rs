//! Which request goes to which service, by which path.

use std::net::TcpListener;

use crate::support::peers::skip;
use crate::support::{Gateway, OPERATOR, Setup, Upstream, until};

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let [any, api, exact, other] = ["any", "api", "exact", "other"].map(Upstream::named);
    let gateway = Setup::default()
        .service("any", &any)
        .service("api", &api)
        .service("exact", &exact)
        .service("other", &other)
        .route("path: /, service: any, access: public")
        .route("path: /api/, service: api, access: public")
        .route("exact: /api/one, service: exact, access: public")
        .route("host: other.test, path: /, service: other, access: public")
        .start();
    for (host, path, service) in [
        ("gate.test", "/", "any"),
        ("gate.test", "/apix", "any"),
        ("gate.test", "/api", "api"),
        ("gate.test", "/api/", "api"),
        ("gate.test", "/api/two", "api"),
        ("gate.test", "/api/one", "exact"),
        ("gate.test", "/api/one/more", "api"),
        ("other.test", "/api/one", "other"),
        ("OTHER.test:8080", "/x", "other"),
        ("other.test.", "/x", "other"),
    ] {
        let seen = gateway.get(path).host(host).send().expect_status(200).text();
        assert_eq!(seen, service, "{host}{path}");
    }
}

#[test]
fn a_path_without_a_route_is_404_and_names_the_request() {
    let upstream = Upstream::named("a");
    let gateway = Setup::default()
        .service("a", &upstream)
        .route("path: /a/, service: a, access: public")
        .start();
    let answer = gateway.get("/b").header("X-Request-ID", "id-of-the-test").send();
    let answer = answer.expect_status(404).expect_field("request_id", "id-of-the-test");
    answer.expect_header("Content-Type", "application/problem+json");
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_method_that_no_route_has_is_405_and_names_those_it_has() {
    let upstream = Upstream::named("a");
    let gateway = Setup::default()
        .service("a", &upstream)
        .route("path: /a/, methods: [GET, POST], service: a, access: public")
        .start();
    gateway.get("/a/x").send().expect_status(200);
    let answer = gateway.request("DELETE", "/a/x").send().expect_status(405);
    let allowed = answer.header("Allow").unwrap_or_default();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    for method in ["CONNECT", "TRACE"] {
        let status = gateway.request(method, "/a/x").send().status;
        assert!([400, 405].contains(&status), "{method}: {status}");
    }
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn the_canonical_path_is_forwarded_and_the_query_is_left_alone() {
    let upstream = Upstream::named("a");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    for (sent, seen) in [
        ("/api/M%26M.NS", "/api/M%26M.NS"),
        ("/api/%4d%26M.NS/%7euser", "/api/M%26M.NS/~user"),
        ("/a/./b/../c//d", "/a/c/d"),
        ("/a%2fb%2Fc", "/a%2Fb%2Fc"),
        ("/a/b/..", "/a/"),
        ("/a?x=/../%41&y=[1]{2}", "/a?x=/../%41&y=[1]{2}"),
        ("/a?", "/a?"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/", "/"),
    ] {
        gateway.get(sent).send().expect_status(200);
        assert_eq!(upstream.last().target, seen, "for {sent}");
    }
}

#[test]
fn no_spelling_of_a_protected_path_passes_without_its_key() {
    let (public, controller) = (Upstream::named("public"), Upstream::named("controller"));
    let gateway = Gateway::in_front_of("public", &public)
        .service_with("controller", &controller, "maintenance: exempt, forwardKey: true")
        .with("admin: { service: controller }")
        .route("path: /api/, service: public, access: public")
        .key(OPERATOR)
        .start();
    for path in [
        "/api/admin",
        "/api/admin/",
        "/api/admin/top-stocks",
        "/api//admin/top-stocks",
        "/api/./admin/top-stocks",
        "/api/x/../admin/top-stocks",
        "/api/x/%2e%2e/admin/top-stocks",
        "/api/%61dmin/top-stocks",
        "/api/%2561dmin/top-stocks",
        "/api%2Fadmin/top-stocks",
        "/api%2fadmin%2ftop-stocks",
        "/api%252Fadmin/top-stocks",
        "/api/x/..%2Fadmin/top-stocks",
        "/api/x%2F..%2Fadmin/top-stocks",
        "/api/;a=b/admin/top-stocks",
        "/api;a=b/admin/top-stocks",
        "/api/admin;a=b/top-stocks",
        "/api/%5cadmin/top-stocks",
        "/api/\\admin/top-stocks",
        "/API/ADMIN/top-stocks",
        "/Api/Admin/top-stocks",
        "/api/admin%00/top-stocks",
        "//api/admin/top-stocks",
        "/api/admin%2e/top-stocks",
    ] {
        let status = gateway.get(path).send().status;
        assert!([400, 401].contains(&status), "{path}: {status}");
    }
    assert_eq!((public.requests(), controller.requests()), (0, 0));
    gateway.get("/api/admin/top-stocks").key(OPERATOR).send().expect_text("controller");
    gateway.get("/api/administer").send().expect_text("public");
}

#[test]
fn the_routes_of_stockflow_end_where_they_do_today() {
    let [signal, controller, kubesnap] = ["signal", "controller", "kubesnap"].map(Upstream::named);
    let gateway = Setup::default()
        .with("prefix: /dev")
        .with("admin: { service: controller }")
        .service("signal-engine", &signal)
        .service_with("controller", &controller, "maintenance: exempt, forwardKey: true")
        .service_with("kubesnap", &kubesnap, "maintenance: exempt, forwardKey: true")
        .route("path: \"{prefix}/api/\", service: signal-engine, access: public")
        .route("path: /api/kubesnap/, service: kubesnap, access: \"key:kubesnap\"")
        .route("exact: /api/kubesnap/health, service: kubesnap, access: public")
        .key_with(OPERATOR, "scopes: [admin, kubesnap]")
        .start();
    let row = |path: &str, key: bool| {
        let ask = gateway.get(path);
        let answer = if key { ask.key(OPERATOR).send() } else { ask.send() };
        (answer.status, answer.text())
    };
    let served = |name: &str| (200, name.to_owned());
    assert_eq!(row("/dev/api/RELIANCE.NS", false), served("signal"));
    assert_eq!(row("/dev/api/health", false), served("signal"));
    assert_eq!(row("/dev/api/admin/health", false), served("controller"));
    assert_eq!(row("/dev/api/admin/trigger-cron", true), served("controller"));
    assert_eq!(row("/api/kubesnap/default", true), served("kubesnap"));
    assert_eq!(row("/api/kubesnap/health", false), served("kubesnap"));
    assert_eq!(row("/dev/api/admin/trigger-cron", false).0, 401);
    assert_eq!(row("/api/kubesnap/default", false).0, 401);
    assert_eq!(row("/api/RELIANCE.NS", false).0, 404);
    assert_eq!(row("/dev/api/kubesnap/default", false), served("signal"));
}

#[test]
fn a_preflight_passes_without_a_key_on_every_path() {
    let (signal, controller) = (Upstream::named("signal"), Upstream::named("controller"));
    let gateway = Gateway::in_front_of("signal", &signal)
        .with("admin: { service: controller }")
        .service_with("controller", &controller, "maintenance: exempt, forwardKey: true")
        .route("path: /secret/, service: signal, access: \"key:admin\"")
        .key(OPERATOR)
        .start();
    for (path, service) in
        [("/api/x", "signal"), ("/secret/x", "signal"), ("/api/admin/top-stocks", "controller")]
    {
        let ask = gateway.request("OPTIONS", path).header("Origin", "https://app.test");
        let answer = ask.header("Access-Control-Request-Method", "POST").send();
        answer.expect_status(200).expect_text(service);
    }
    gateway.request("OPTIONS", "/secret/x").send().expect_status(401);
    let requests = signal.requests() + controller.requests();
    for path in ["/secret/x", "/api/admin/top-stocks"] {
        for acts in [
            ("Upgrade", "websocket"),
            ("X-HTTP-Method-Override", "POST"),
            ("X_HTTP_Method_Override", "POST"),
        ] {
            let ask = gateway.request("OPTIONS", path).header("Origin", "https://app.test");
            let ask = ask.header("Access-Control-Request-Method", "POST").header(acts.0, acts.1);
            let upgrade = if acts.0 == "Upgrade" { "Upgrade" } else { "close" };
            ask.header("Connection", upgrade).send().expect_status(401);
        }
        let ask = gateway.request("OPTIONS", path).header("Origin", "https://app.test");
        let ask = ask.header("Access-Control-Request-Method", "POST");
        ask.body("{\"tickers\":[\"A\"]}").send().expect_status(401);
    }
    assert_eq!(signal.requests() + controller.requests(), requests);
}

#[test]
fn an_upstream_that_is_not_there_is_502_and_others_are_not_hurt() {
    let (here, gone) = (Upstream::named("here"), closed_port());
    let gateway = Gateway::in_front_of("here", &here)
        .service_at("gone", &gone, "maintenance: covered")
        .route("path: /gone/, service: gone, access: public")
        .start();
    for _ in 0..5 {
        let answer = gateway.get("/gone/x").send();
        assert!([502, 503].contains(&answer.status), "{}", answer.status);
        assert!(answer.header("X-Request-ID").is_some());
        gateway.get("/x").send().expect_text("here");
    }
    gateway.get("/gone/x").send();
}

#[test]
fn one_dead_endpoint_of_two_fails_no_request() {
    let alive = Upstream::named("alive");
    let dead = closed_port();
    let gateway = Gateway::config(&format!(
        "listeners: {{ data: 127.0.0.1:0, ops: 127.0.0.1:0, admin: 127.0.0.1:0 }}\n\
         state: \"{{dir}}/state\"\n\
         services:\n  two: {{ upstreams: [\"{dead}\", \"{}\"] }}\n\
         routes:\n  - {{ path: /, service: two, access: public }}\n",
        alive.url()
    ))
    .start();
    for _ in 0..20 {
        gateway.get("/x").send().expect_status(200).expect_text("alive");
    }
    // Tried in turn until it is taken for dead; then it is seen as such.
    until("the dead one is out of the balance", || {
        gateway.get("/x").send().expect_text("alive");
        let seen = gateway.admin_get("/api/admin/headgate/health").send();
        let ejected = |at: usize| seen.field(&format!("services.0.endpoints.{at}.ejected")) == true;
        ejected(0) != ejected(1)
    });
}

#[test]
fn endpoints_that_are_equally_free_take_turns() {
    let (one, two) = (Upstream::named("one"), Upstream::named("two"));
    let gateway = Setup::default()
        .service_at_all("a", &[one.url(), two.url()], "maintenance: covered")
        .route("path: /, service: a, access: public")
        .start();
    for _ in 0..10 {
        gateway.get("/x").send().expect_status(200);
    }
    assert_eq!((one.requests(), two.requests()), (5, 5));
}

#[test]
fn an_upstream_may_be_a_name() {
    let upstream = Upstream::named("by name");
    let url = format!("http://localhost:{}", upstream.address.port());
    let gateway = Setup::default()
        .service_at("named", &url, "maintenance: covered")
        .route("path: /, service: named, access: public")
        .start();
    gateway.get("/x").send().expect_text("by name");
}

#[test]
fn a_name_that_does_not_resolve_is_an_answer_and_hurts_nobody_else() {
    let here = Upstream::named("here");
    let gateway = Gateway::in_front_of("here", &here)
        .service_at("lost", "http://no-such-host.invalid:80", "maintenance: covered")
        .route("path: /lost/, service: lost, access: public")
        .start();
    let answer = gateway.get("/lost/x").send();
    assert!([502, 503].contains(&answer.status), "{}", answer.status);
    gateway.get("/x").send().expect_text("here");
    gateway.ops_get("/readyz").send().expect_status(200);
}

#[test]
fn several_listeners_and_ipv6_serve_alike() {
    let upstream = Upstream::named("x");
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("several listeners and IPv6", "IPv6 on loopback");
    }
    let gateway = Gateway::in_front_of("a", &upstream)
        .with("listeners: { data: [\"[::1]:0\", \"127.0.0.1:0\"], ops: 127.0.0.1:0, admin: 127.0.0.1:0 }")
        .start();
    assert!(gateway.data.is_ipv6());
    gateway.get("/x").send().expect_text("x");
    assert_eq!(upstream.last().header("X-Real-IP"), Some("::1"));
}

#[test]
fn options_of_the_whole_server_is_answered_by_the_gate() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let answer = gateway.request("OPTIONS", "*").send();
    assert!([200, 204].contains(&answer.status), "{}", answer.status);
    assert_eq!(upstream.requests(), 0);
}

/// URL of a port that nobody listens on.
fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("bound"))
}
