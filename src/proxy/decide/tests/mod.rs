//! Decisions as a table: what comes in, what becomes of it.

mod passes;
mod table;

use std::net::IpAddr;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::sample::select;

use super::{Decision, decide};
use crate::config::Config;
use crate::generation::fixture::{
    ADMIN, BYPASS, EARLY, EXPIRED, NOW, SNAP, all_on, config, gate, keyed, public, window,
};
use crate::maintenance::Modes;
use crate::proxy::reject::Reject;
use crate::semantics::class::{Class, Field};
use crate::semantics::forwarded::{Client, Proto};
use crate::semantics::head::{Framing, RequestHead, Version};

/// A request in words: method, path, then any of `key:NAME`, `cors:METHOD` (a preflight's fields), `origin`, `on`
/// (everything in maintenance), `signal-on`, `trusted`, `upgrade`, `body`, `override:FIELD`.
struct Request<'a> {
    method: &'a str,
    path: String,
    key: Option<&'a str>,
    asks: Option<&'a str>,
    origin: bool,
    modes: Modes,
    trusted: bool,
    upgrade: bool,
    body: bool,
    overrides: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn parse(line: &'a str, prefix: &str) -> Self {
        let mut words = line.split_whitespace();
        let method = words.next().unwrap();
        let path = words.next().unwrap().replace("{p}", prefix);
        let (key, asks, modes) = (None, None, Modes::default());
        let (origin, trusted, upgrade, body, overrides) = (false, false, false, false, None);
        let mut request =
            Self { method, path, key, asks, origin, modes, trusted, upgrade, body, overrides };
        for word in words {
            match word.split_once(':') {
                Some(("key", name)) => request.key = Some(secret(name)),
                Some(("cors", method)) => (request.asks, request.origin) = (Some(method), true),
                Some(("override", field)) => request.overrides = Some(field),
                _ => match word {
                    "upgrade" => request.upgrade = true,
                    "body" => request.body = true,
                    "origin" => request.origin = true,
                    "on" => request.modes = all_on(),
                    "signal-on" => {
                        request.modes.services = vec![("signal-engine".to_owned(), window())];
                    }
                    "trusted" => request.trusted = true,
                    _ => panic!("{word}"),
                },
            }
        }
        request
    }

    fn decide(self, config: Config) -> String {
        let mut fields = Vec::new();
        let mut classes = Vec::new();
        if self.origin {
            fields.push(Field { name: "Origin", value: b"https://app.example" });
            classes.push(Class::Origin);
        }
        if let Some(method) = self.asks {
            fields.push(Field { name: "Access-Control-Request-Method", value: method.as_bytes() });
            classes.push(Class::CorsMethod);
        }
        if let Some(name) = self.overrides {
            fields.push(Field { name, value: b"POST" });
            classes.push(Class::Other);
        }
        let head = RequestHead {
            method: self.method,
            upgrade: self.upgrade.then_some("websocket"),
            framing: if self.body { Framing::Length(3) } else { Framing::None },
            api_key: self.key.map(str::as_bytes),
            fields: &fields,
            classes: &classes,
            ..head(&self.path)
        };
        let gate = gate(config, self.modes);
        shown(&decide(&gate, &head, &client(self.trusted), NOW))
    }
}

pub(crate) fn head(path: &str) -> RequestHead<'_> {
    RequestHead {
        version: Version::Http11,
        method: "GET",
        raw_path: path,
        query: None,
        authority: "gate.example",
        fields: &[],
        classes: &[],
        framing: Framing::None,
        keep_alive: true,
        expect_continue: false,
        upgrade: None,
        api_key: None,
    }
}

pub(crate) fn client(trusted_peer: bool) -> Client {
    let ip = IpAddr::from([192, 0, 2, 7]);
    Client { ip, peer: ip, trusted_peer, proto: Proto::Http }
}

fn secret(name: &str) -> &str {
    match name {
        "admin" => ADMIN,
        "snap" => SNAP,
        "bypass" => BYPASS,
        "expired" => EXPIRED,
        "early" => EARLY,
        "empty" => "",
        other => other,
    }
}

fn shown(decision: &Decision<'_, '_>) -> String {
    match decision {
        Decision::Forward(it) => {
            let bypassed = if it.bypassed { " bypassed" } else { "" };
            let key = it.key.map_or_else(String::new, |it| format!(" as {}", it.name));
            format!("{}{key}{bypassed}", it.service.service.name)
        }
        Decision::Admin(it) => format!("admin {} by {}", it.endpoint, it.actor.unwrap_or("-")),
        Decision::ForwardAuth => "forward-auth".to_owned(),
        Decision::Preflight => "preflight".to_owned(),
        Decision::OptionsStar => "star".to_owned(),
        Decision::Refuse(reject) => {
            let status = reject.status(&config(""));
            if status == 503 { reject.code().to_owned() } else { status.to_string() }
        }
    }
}

#[test]
fn every_row_of_the_contract_holds() {
    assert!(table::TABLE.len() >= 80);
    let mut wrong = Vec::new();
    for prefix in ["", "/dev"] {
        for (line, expected) in table::TABLE {
            let found = Request::parse(line, prefix).decide(config(prefix));
            if found != *expected {
                wrong.push(format!("{prefix:?} {line}: {found}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_prefix_does_not_answer_for_paths_without_it() {
    for (line, expected) in [
        ("GET /api/admin/maintenance/status", "404"),
        ("GET /api/admin/health", "404"),
        ("GET /api/x", "404"),
        ("GET /dev/api/admin/maintenance/status", "admin maintenance/status by -"),
        ("GET /devil/api/x", "404"),
    ] {
        assert_eq!(Request::parse(line, "").decide(config("/dev")), expected, "{line}");
    }
}

#[test]
fn status_needs_a_key_when_the_config_says_so() {
    let strict = || Config { status_needs_key: true, ..config("") };
    let asked = |line| Request::parse(line, "").decide(strict());
    assert_eq!(asked("GET /api/admin/maintenance/status"), "401");
    assert_eq!(asked("GET /api/admin/maintenance/status key:snap"), "403");
    assert_eq!(
        asked("GET /api/admin/maintenance/status key:admin"),
        "admin maintenance/status by stockflow"
    );
}

#[test]
fn a_403_names_the_routes_own_scope_first() {
    let head =
        RequestHead { api_key: Some(BYPASS.as_bytes()), ..head("/api/kubesnap/..%2fadmin/x") };
    let gate = gate(config(""), Modes::default());
    let Decision::Refuse(reject) = decide(&gate, &head, &client(false), NOW) else {
        panic!("not refused");
    };
    assert_eq!(reject, Reject::Forbidden { scope: "kubesnap".to_owned() });
}

/// `run --to URL`: one service behind everything.
fn quick(key: Option<&str>) -> Config {
    let route = key.map_or_else(|| public("", 0), |it| keyed("", 0, it));
    let keys = if key.is_some() { config("").keys } else { Vec::new() };
    let admin_on_data = key.is_some();
    Config { routes: vec![route], keys, admin_on_data, admin_service: None, ..config("") }
}

#[test]
fn a_gate_without_keys_forwards_the_admin_prefix_too() {
    for (line, expected) in [
        ("GET /", "signal-engine"),
        ("GET /api/admin/maintenance/on", "signal-engine"),
        ("GET /api/admin/headgate/config", "signal-engine"),
        ("GET /x/..%2fapi/admin", "signal-engine"),
        ("GET /x on", "maintenance"),
    ] {
        assert_eq!(Request::parse(line, "").decide(quick(None)), expected, "{line}");
    }
}

#[test]
fn a_gate_with_one_key_asks_for_it_everywhere() {
    for (line, expected) in [
        ("GET /", "401"),
        ("GET / key:admin", "signal-engine as stockflow"),
        ("GET /api/admin/x", "401"),
        ("GET /api/admin/x key:snap", "403"),
        ("GET /api/admin/x key:admin", "signal-engine as stockflow"),
        ("GET /api/admin/maintenance/on key:admin", "admin maintenance/on by stockflow"),
        ("GET / key:admin on", "maintenance"),
        ("GET /api/admin/x key:admin on", "maintenance"),
        ("OPTIONS / cors:GET", "signal-engine"),
    ] {
        assert_eq!(Request::parse(line, "").decide(quick(Some("admin"))), expected, "{line}");
    }
}

#[test]
fn without_an_admin_service_only_key_holders_learn_that_nothing_is_there() {
    let lone = || Config { admin_service: None, ..config("/dev") };
    for (line, expected) in [
        ("GET /dev/api/admin/none", "401"),
        ("GET /dev/api/admin/none key:snap", "403"),
        // The route of `/dev/api` has it then, for key holders.
        ("GET /dev/api/admin/none key:admin", "signal-engine as stockflow"),
        ("GET /dev/api/admin/health", "401"),
    ] {
        assert_eq!(Request::parse(line, "").decide(lone()), expected, "{line}");
    }
    let bare = || Config { routes: Vec::new(), ..lone() };
    for (line, expected) in [
        ("GET /dev/api/admin/none", "401"),
        ("GET /dev/api/admin/none key:admin", "404"),
        ("OPTIONS /dev/api/admin/none cors:GET", "preflight"),
        ("GET /dev/api/none", "404"),
    ] {
        assert_eq!(Request::parse(line, "").decide(bare()), expected, "{line}");
    }
}

#[test]
fn own_endpoints_can_be_kept_off_the_data_listener() {
    let apart = || Config { admin_on_data: false, ..config("") };
    for (line, expected) in [
        ("GET /api/admin/maintenance/on", "401"),
        ("GET /api/admin/maintenance/on key:admin", "controller as stockflow"),
        ("GET /api/admin/health", "controller"),
    ] {
        assert_eq!(Request::parse(line, "").decide(apart()), expected, "{line}");
    }
}

/// What a service that decodes repeatedly, drops parameters and ignores case takes a path for.
fn naive_readings(path: &str) -> Vec<String> {
    let mut readings = vec![path.to_owned()];
    for _ in 0..3 {
        let last = readings.last().cloned().unwrap_or_default();
        readings.push(once_decoded(&last));
    }
    let bare: Vec<String> = readings.iter().map(|it| without_params(it)).collect();
    let decoded: Vec<String> = bare.iter().map(|it| once_decoded(it)).collect();
    readings.into_iter().chain(bare).chain(decoded).map(|it| resolved(&it)).collect()
}

fn once_decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| path.get(at + 1..at + 3).and_then(|it| u8::from_str_radix(it, 16).ok()))
            .flatten();
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn without_params(path: &str) -> String {
    let cut = |it: &str| it.split(';').next().unwrap_or_default().to_owned();
    path.split('/').map(cut).collect::<Vec<_>>().join("/")
}

fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/")).to_ascii_lowercase()
}

fn any_path() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "/",
        "/",
        "/",
        "api",
        "API",
        "%61pi",
        "admin",
        "Admin",
        "%61dmin",
        "adm%69n",
        "%2561dmin",
        "kubesnap",
        "reports",
        "health",
        "x",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "%252e",
        "%2f",
        "%2F",
        "%252f",
        "%5c",
        "%255c",
        ";",
        ";v=1",
        "%3b",
        "%26",
        "M%26M",
        "maintenance",
        "on",
        "status",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|it| format!("/{}", it.concat()))
}

proptest! {
    #[test]
    fn nothing_protected_is_forwarded_without_its_scope(
        path in any_path(),
        key in prop_oneof![
            Just(None), Just(Some("snap")), Just(Some("bypass")), Just(Some("expired")), Just(Some("wrong")),
        ],
        on in any::<bool>(),
    ) {
        let key = key.map_or_else(String::new, |it| format!("key:{it}"));
        let line = format!("GET {path} {key} {}", if on { "on" } else { "" });
        let mut everything = config("");
        everything.routes.push(public("", 0));
        let found = Request::parse(&line, "").decide(everything);
        let forwarded = ["signal-engine", "controller", "kubesnap"].iter().any(|it| found.starts_with(it));
        if !forwarded {
            return Ok(());
        }
        let has = |scope: &str| match scope {
            "kubesnap" => key == "key:snap",
            "reports" => key == "key:bypass",
            _ => false,
        };
        for reading in naive_readings(&path) {
            for (protected, scope) in
                [("/api/admin", "admin"), ("/api/kubesnap", "kubesnap"), ("/api/reports", "reports")]
            {
                let below = reading.strip_prefix(protected).is_some_and(|it| it.is_empty() || it.starts_with('/'));
                let open = reading == format!("{protected}/health");
                assert!(!below || open || has(scope), "{line} → {found}, read as {reading}");
            }
        }
    }

    #[test]
    fn every_path_gets_some_decision(path in "/[ -~]{0,40}", method in "[A-Z]{1,7}") {
        let head = RequestHead { method: &method, ..head(&path) };
        let gate = gate(config(""), Modes::default());
        let _ = shown(&decide(&gate, &head, &client(true), NOW));
    }
}
