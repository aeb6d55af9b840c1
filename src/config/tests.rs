//! Holds the config to its examples and to a folder of bad files with the findings that they must give.

use std::fs;
use std::path::{Path, PathBuf};

use super::alerts::{Alerts, SecretRef, SinkConfig, SinkKind};
use super::findings::{Severity, render};
use super::health::{ProbeKind, Watching};
use super::{AdminListen, Authority, KeySource, PathMatch, defaults, parse};
use crate::model::{Access, Coverage, ServiceId};

const SHORTEST: &str = "\
services:
  app: { upstreams: http://127.0.0.1:3000 }
routes:
  - { path: /, service: app, access: key:app }
keys:
  - { name: me, key: env:APP_KEY, scopes: [app] }
";

fn root(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn findings_of(text: &str) -> String {
    match parse(text, Path::new("headgate.yaml")) {
        Ok(parsed) => render(&parsed.warnings),
        Err(findings) => render(&findings),
    }
}

/// `HEADGATE_BLESS=1 cargo test` writes the expected files anew, to be read before they are committed.
#[test]
fn every_bad_file_gives_exactly_its_findings() {
    let mut seen = 0;
    for entry in fs::read_dir(root("tests/config")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).unwrap();
        let name = Path::new(path.file_name().unwrap());
        let found = match parse(&text, name) {
            Ok(parsed) => render(&parsed.warnings),
            Err(findings) => render(&findings),
        };
        let expected = path.with_extension("expected");
        if std::env::var_os("HEADGATE_BLESS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(found, wanted, "{}", path.display());
        assert!(!found.is_empty(), "{} is not bad", path.display());
    }
    assert!(seen >= 25, "only {seen} files");
}

#[test]
fn the_shortest_useful_file_is_under_ten_lines_and_has_every_default() {
    let parsed = parse(SHORTEST, Path::new("/etc/headgate/headgate.yaml")).unwrap();
    assert!(SHORTEST.lines().count() < 10);
    assert!(parsed.warnings.is_empty(), "{}", render(&parsed.warnings));
    let config = parsed.config;
    assert_eq!(config.listeners.data, ["0.0.0.0:8080".parse().unwrap()]);
    assert_eq!(config.listeners.ops, Some("127.0.0.1:9901".parse().unwrap()));
    let admin = Some(AdminListen::Tcp("127.0.0.1:9902".parse().unwrap()));
    assert_eq!(config.listeners.admin, admin);
    assert!(!config.listeners.admin_needs_key);
    assert_eq!(config.state_dir.to_str(), Some("/etc/headgate/state"));
    assert_eq!(config.services[0].coverage, Coverage::Covered);
    assert_eq!(config.services[0].max_body_bytes, Some(10 << 20));
    assert_eq!(config.routes[0].path, PathMatch::Prefix(String::new()));
    assert_eq!(config.routes[0].access, Access::Key(String::from("app")));
    assert_eq!(config.keys[0].source, KeySource::Env(String::from("APP_KEY")));
    assert_eq!(config.timeouts.idle.as_secs(), 120);
    assert_eq!(config.limits.head_fields, 100);
}

#[test]
fn the_examples_are_valid_without_a_warning() {
    for entry in fs::read_dir(root("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# yaml-language-server: $schema=../headgate.schema.json\n"),
            "{} does not name the schema",
            path.display()
        );
        match parse(&text, &path) {
            Ok(parsed) => assert!(parsed.warnings.is_empty(), "{}", render(&parsed.warnings)),
            Err(findings) => panic!("{}", render(&findings)),
        }
    }
}

#[test]
fn the_stockflow_example_routes_what_stockflow_routes_today() {
    let text = fs::read_to_string(root("examples/stockflow.yaml")).unwrap();
    let config = parse(&text, Path::new("stockflow.yaml")).unwrap().config;
    let service = |id: ServiceId| config.services[id.0].name.as_str();
    let routes: Vec<_> = config
        .routes
        .iter()
        .map(|it| (it.path.clone(), service(it.service), it.access.clone()))
        .collect();
    let below = |it: &str| PathMatch::Prefix(it.to_owned());
    let exact = |it: &str| PathMatch::Exact(it.to_owned());
    let kubesnap = Access::Key(String::from("kubesnap"));
    assert_eq!(
        routes,
        [
            (below("/dev/api"), "signal-engine", Access::Public),
            (exact("/dev/api/admin/health"), "controller", Access::Public),
            (below("/api/kubesnap"), "kubesnap", kubesnap),
            (exact("/api/kubesnap/health"), "kubesnap", Access::Public),
        ]
    );
    assert_eq!(config.admin_service.map(service), Some("controller"));
    assert!(!config.status_needs_key);
    let covered: Vec<_> =
        config.services.iter().filter(|it| it.coverage == Coverage::Covered).collect();
    assert_eq!(covered.len(), 2);
    assert_eq!(covered[0].name, "signal-engine");
    assert_eq!(covered[1].name, "market-intel");
    assert!(!covered[0].forward_key);
    let upstream = Authority { host: String::from("signal-engine-service"), port: 8000 };
    assert_eq!(covered[0].upstreams, [upstream]);
    assert!(config.services.iter().filter(|it| it.forward_key).count() == 2);
}

#[test]
fn the_stockflow_example_is_watched_and_tells() {
    let text = fs::read_to_string(root("examples/stockflow.yaml")).unwrap();
    let config = parse(&text, Path::new("stockflow.yaml")).unwrap().config;
    let path = |name: &str| {
        let service = config.services.iter().find(|it| it.name == name).unwrap();
        match &service.watching.probe.as_ref().unwrap().kind {
            ProbeKind::Http(it) => it.path.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(path("signal-engine"), "/dev/api/health");
    assert_eq!(path("controller"), "/dev/api/admin/health");
    assert_eq!(path("kubesnap"), "/api/kubesnap/health");
    assert_eq!(path("market-intel"), "/health");
    assert_eq!(path("event-dispatcher"), "/health");
    let follows: Vec<&str> = config
        .services
        .iter()
        .filter(|it| it.watching.follows_maintenance)
        .map(|it| it.name.as_str())
        .collect();
    assert_eq!(follows, ["signal-engine", "market-intel"]);
    let SinkKind::EventDispatcher { channels, channel, allowed, .. } = &config.alerts.sinks[0].kind
    else {
        panic!("{:?}", config.alerts.sinks)
    };
    assert_eq!(channels, &["email", "slack"]);
    assert_eq!(
        (channel.as_deref(), allowed.as_slice()),
        (Some("stockflow"), &["stockflow".to_owned()][..])
    );
    let kubesnap = config.alerts.kubesnap.as_ref().unwrap();
    assert_eq!(kubesnap.key, SecretRef::Env(String::from("SF_API_KEY")));
}

#[test]
fn what_is_left_out_of_health_and_alerts_has_its_default() {
    let text = SHORTEST.replace("3000 }", "3000, health: { probe: { http: /h, interval: 3s } } }")
        + "alerts: { sinks: [{ name: a, eventDispatcher: HTTP://Ed:8000/ }], remindAfter: none }\n";
    let config = parse(&text, Path::new("f.yaml")).unwrap().config;
    let watching = &config.services[0].watching;
    let plain = Watching { probe: watching.probe.clone(), ..defaults::WATCHING };
    assert_eq!(*watching, plain);
    let probe = watching.probe.as_ref().unwrap();
    let seconds = [probe.interval, probe.unhealthy_interval, probe.timeout].map(|it| it.as_secs());
    assert_eq!(seconds, [3, 2, 3], "the time-out goes down with the interval");
    let ProbeKind::Http(http) = &probe.kind else { panic!("{probe:?}") };
    assert_eq!((http.method.as_str(), http.expect.statuses.as_slice()), ("GET", &[(200, 299)][..]));
    let kind = SinkKind::EventDispatcher {
        url: String::from("http://ed:8000"),
        channels: vec![String::from("email")],
        channel: None,
        allowed: Vec::new(),
    };
    let sink = SinkConfig { name: String::from("a"), kind, timeout: defaults::SINK_TIMEOUT };
    let alerts = Alerts { sinks: vec![sink], remind_after: None, ..defaults::alerts() };
    assert_eq!(config.alerts, alerts);
}

#[test]
fn three_typos_in_three_places_give_three_findings() {
    let text = "\
trustedProxy: []
services:
  app: { upstream: http://a, maintenence: exempt, upstreams: http://a }
routes:
  - { path: /, service: ap, access: publik }
";
    let Err(findings) = parse(text, Path::new("f.yaml")) else { panic!("it is bad") };
    let nearest: Vec<_> =
        findings.iter().map(|it| (it.path.as_str(), it.nearest.as_deref())).collect();
    assert_eq!(
        nearest,
        [
            ("trustedProxy", Some("trustedProxies")),
            ("services.app.upstream", Some("upstreams")),
            ("services.app.maintenence", Some("maintenance")),
            ("routes[0].service", Some("app")),
            ("routes[0].access", Some("public")),
        ]
    );
}

#[test]
fn no_finding_shows_a_key_that_stands_in_the_file() {
    for (name, keys) in [
        ("itself", "- { name: a, key: hunter2hunter2, scopes: [app] }"),
        ("beside a typo", "- { name: a, key: hunter2hunter2, scops: [app] }"),
        ("given twice", "- { name: a, key: hunter2hunter2, key: hunter2hunter2, scopes: [app] }"),
        ("in a misspelt field", "- { name: a, kye: hunter2hunter2, scopes: [app] }"),
        ("as a number", "- { name: a, key: 424242424242, scopes: [app] }"),
        ("as the item", "- hunter2hunter2"),
        ("in a mapping", "{ a: hunter2hunter2 }"),
        ("in a bad digest", "- { name: a, key: sha256:hunter2hunter2, scopes: [app] }"),
        ("behind a syntax error", "- { name: a, key: hunter2hunter2, scopes: [app }"),
        ("quoted", "- { name: a, key: \"hunter2hunter2\", scopes: app, x: 1 }"),
    ] {
        let text = SHORTEST.replace("- { name: me, key: env:APP_KEY, scopes: [app] }", keys);
        let Err(findings) = parse(&text, Path::new("f.yaml")) else { panic!("{name} is bad") };
        let json = serde_json::to_string(&findings).unwrap();
        for shown in [render(&findings), json] {
            assert!(!shown.contains("hunter2"), "{name}: {shown}");
            assert!(!shown.contains("424242"), "{name}: {shown}");
        }
    }
    for (name, from, to) in [
        ("below a route", "access: key:app", "access: key:app, apiKey: hunter2"),
        ("beside the sections", "routes:", "token: hunter2\nroutes:"),
        ("by an anchor", "key: env:APP_KEY", "key: &k hunter2, x: *k"),
        ("by a tag", "key: env:APP_KEY", "key: !!str hunter2, x: 1"),
    ] {
        let shown = findings_of(&SHORTEST.replace(from, to));
        assert!(!shown.is_empty() && !shown.contains("hunter2"), "{name}: {shown}");
    }
    for (name, line) in [
        (
            "a webhook's secret",
            "alerts: { sinks: [{ name: a, webhook: https://a, secret: hunter2 }] }",
        ),
        (
            "one of its secrets",
            "alerts: { sinks: [{ name: a, webhook: https://a, secret: [hunter2] }] }",
        ),
        ("Slack's URL", "alerts: { sinks: [{ name: a, slack: https://hooks.slack.com/hunter2 }] }"),
        (
            "a user in a URL",
            "alerts: { sinks: [{ name: a, eventDispatcher: http://me:hunter2@a }] }",
        ),
        ("a query in a URL", "alerts: { sinks: [{ name: a, webhook: https://a/?t=hunter2 }] }"),
        ("a secret behind a syntax error", "alerts: { sinks: [{ name: a, slack: https://hunter2 }"),
        ("Kubesnap's key", "kubesnap: { url: http://kubesnap, key: hunter2 }"),
        ("a user in Kubesnap's URL", "kubesnap: { url: http://me:hunter2@kubesnap, key: env:A }"),
    ] {
        let shown = findings_of(&format!("{SHORTEST}{line}\n"));
        assert!(!shown.is_empty() && !shown.contains("hunter2"), "{name}: {shown}");
    }
    let text = SHORTEST.replace("http://127.0.0.1:3000", "http://me:hunter2@host");
    assert!(!findings_of(&text).contains("hunter2"), "{}", findings_of(&text));
}

#[test]
fn a_text_that_is_too_large_or_a_bomb_is_refused() {
    let large = format!("{SHORTEST}# {}", "x".repeat(1 << 20));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &('b'..='j')
            .map(|c| {
                let before = char::from(u8::try_from(c).unwrap() - 1);
                format!("{c}: &{c} [*{before},*{before},*{before},*{before},*{before},*{before}]\n")
            })
            .collect::<String>();
    let deep = "[".repeat(5_000);
    for text in [large.as_str(), &bomb, &deep] {
        let Err(findings) = parse(text, Path::new("f.yaml")) else { panic!("it is bad") };
        assert!(findings.iter().any(|it| it.severity == Severity::Error));
        assert!(render(&findings).len() < 20_000);
    }
}

#[test]
fn a_thousand_routes_and_keys_and_a_thousand_mistakes_are_no_trouble() {
    use std::fmt::Write as _;
    let (mut good, mut bad) = (String::from(SHORTEST), String::from(SHORTEST));
    let mut routes = String::new();
    for index in 0..1000 {
        let _ = writeln!(routes, "  - {{ path: /r{index}/, service: app, access: key:app }}");
        let _ = writeln!(good, "  - {{ name: k{index}, key: file:k{index}, scopes: [app] }}");
        let _ = writeln!(bad, "  - {{ name: k{index}, key: k{index}, scops: [app] }}");
    }
    let routed = |text: &str| text.replace("keys:\n", &format!("{routes}keys:\n"));
    let config = parse(&routed(&good), Path::new("/etc/f.yaml")).unwrap().config;
    assert_eq!((config.routes.len(), config.keys.len()), (1001, 1001));
    assert_eq!(config.key_files()[999], Path::new("/etc/k999"));
    let Err(findings) = parse(&routed(&bad), Path::new("f.yaml")) else { panic!("it is bad") };
    assert_eq!(findings.len(), 3000);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "([ \\n:,{}\\[\\]\"'&*#|>-]|[a-z]{1,3}|keys|routes|services|health|probe|alerts|sinks|é|\t){0,60}") {
        let _ = findings_of(&text);
    }

    /// Cuts and doubles of a valid file are near the real mistakes.
    #[test]
    fn no_damaged_file_panics(at in 0usize..3500, remove in 0usize..20, insert in ".{0,3}") {
        let mut text: Vec<char> =
            fs::read_to_string(root("examples/stockflow.yaml")).unwrap().chars().collect();
        let at = at.min(text.len());
        let end = (at + remove).min(text.len());
        text.splice(at..end, insert.chars());
        let text: String = text.into_iter().collect();
        let _ = findings_of(&text);
    }
}
