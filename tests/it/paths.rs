//! No spelling of a protected path, up to three transformations deep, reaches a service without the key.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::support::{Gateway, OPERATOR, RawClient, Upstream};

/// One way to write a path differently.
type Transform = fn(&str) -> String;

const TRANSFORMS: &[Transform] = &[
    |it| it.replacen("admin", "%61dmin", 1),
    |it| it.replacen("admin", "aDMin", 1),
    |it| it.replacen("/admin", "//admin", 1),
    |it| it.replacen("/admin", "/./admin", 1),
    |it| it.replacen("/admin", "/x/../admin", 1),
    |it| it.replacen("/admin", "/x/%2e%2E/admin", 1),
    |it| it.replacen("/admin", "%2Fadmin", 1),
    |it| it.replacen("/admin", "%5cadmin", 1),
    |it| it.replacen("/admin", ";v=1/admin", 1),
    |it| it.replacen("/top", ";v=1/top", 1),
    |it| it.replacen("/admin", "/x/..;/admin", 1),
    |it| it.replacen("/api", "/API", 1),
    |it| it.replacen("/api", "/public/../api", 1),
    |it| it.replacen("/api", "/.//api", 1),
    |it| it.replace('%', "%25"),
    |it| format!("{it}/"),
    |it| format!("{it}/..%2f"),
];

fn spellings() -> BTreeSet<String> {
    let mut all = BTreeSet::from(["/api/admin/top-stocks".to_owned()]);
    for _ in 0..3 {
        let deeper = |it: &String| TRANSFORMS.iter().map(|turn| turn(it)).collect::<Vec<_>>();
        let next: Vec<String> = all.iter().flat_map(deeper).collect();
        all.extend(next);
    }
    all
}

fn decode(path: &str) -> String {
    let mut out = Vec::new();
    let bytes = path.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = path.get(at + 1..at + 3).and_then(|it| u8::from_str_radix(it, 16).ok());
        match hex.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Removes empty and dot segments, and what follows `;` in a segment.
fn resolve(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').map(|it| it.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => _ = kept.pop(),
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Whether a server that decodes once, twice or three times would take this for an admin path.
fn is_dangerous(path: &str) -> bool {
    let mut read = path.to_owned();
    (0..4).any(|_| {
        let resolved = resolve(&read.replace('\\', "/")).to_ascii_lowercase();
        read = decode(&read);
        resolved == "/api/admin" || resolved.starts_with("/api/admin/")
    })
}

#[test]
fn no_spelling_of_a_protected_path_passes_without_a_key() {
    let (public, controller) = (Upstream::named("public"), Upstream::named("controller"));
    let gateway = Gateway::in_front_of("public", &public)
        .with("admin: { service: controller }")
        .with("limits: { badKeysPerMinute: 100000 }")
        .with("log: { access: false }")
        .service_with("controller", &controller, "maintenance: exempt")
        .key(OPERATOR)
        .start();
    let (mut report, mut dangerous) = (String::new(), 0);
    let mut client = gateway.connect();
    for path in spellings().iter().filter(|it| is_dangerous(it)) {
        dangerous += 1;
        let status = ask(&gateway, &mut client, path);
        if ![Some(400), Some(401)].contains(&status) {
            let _ = writeln!(report, "{path}: {status:?}");
        }
    }
    assert!(report.is_empty(), "{} pass:\n{report}", report.lines().count());
    assert!(dangerous > 1000, "only {dangerous} spellings");
    assert_eq!((public.requests(), controller.requests()), (0, 0));
    // The rule is no wall around everything: what cannot be read as an admin path passes.
    for path in ["/api/administer", "/api/x;admin", "/api/M%26M.NS", "/api/x%2Fy", "/admin/api"] {
        assert_eq!(ask(&gateway, &mut client, path), Some(200), "{path}");
    }
}

/// The status of an answer; a refused head ends the connection, so the next request gets a new one.
fn ask(gateway: &Gateway, client: &mut RawClient, path: &str) -> Option<u16> {
    let answer = client.get(path, "").try_response("GET");
    let status = answer.as_ref().ok().map(|it| it.status);
    if !answer.is_ok_and(|it| it.status != 400 && !it.head.lists("Connection", "close")) {
        *client = gateway.connect();
    }
    status
}
