//! Answers probes and scrapes: `/livez`, `/readyz`, `/metrics`; read-only.

mod readiness;

use std::sync::Arc;

pub use readiness::Readiness;

use crate::telemetry::metrics::{self, Metrics};
use crate::wire::answer::Answer;
use crate::wire::serve::{Asked, problem};

/// Every endpoint with what it is for; the index lists them.
const ENDPOINTS: [(&str, &str); 5] = [
    ("/livez", "the process runs"),
    ("/readyz", "the gate takes requests; ?verbose shows each check, ?exclude=NAME leaves one out"),
    ("/healthz", "the same as /livez, for older habits"),
    ("/ping", "the same as /livez, for older habits"),
    ("/metrics", "OpenMetrics text"),
];

/// The ops listener's endpoints.
#[derive(Clone, Debug)]
pub struct Ops {
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

impl Ops {
    /// Answers from these.
    pub fn new(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Self {
        Self { readiness, metrics }
    }

    /// Answers one request. Nothing can be changed here, so that the listener may leave loopback.
    pub fn answer(&self, asked: &Asked) -> Answer {
        if asked.method != "GET" && asked.method != "HEAD" {
            return problem(
                405,
                "method-not-allowed",
                "this listener is read-only",
                &asked.request_id,
            )
            .with("Allow", "GET, HEAD");
        }
        let query = asked.query.as_deref().unwrap_or_default();
        match asked.path.as_str() {
            "/" => text(200, index()),
            "/metrics" => Answer {
                status: 200,
                headers: vec![("Content-Type", metrics::CONTENT_TYPE.to_owned())],
                body: self.metrics.render().into_bytes(),
            },
            path => self.probe(path, query, &asked.request_id),
        }
    }

    /// `/NAME` runs all checks of a probe, `/NAME/CHECK` one of them.
    fn probe(&self, path: &str, query: &str, request_id: &str) -> Answer {
        let (name, single) = match path.strip_prefix('/').unwrap_or(path).split_once('/') {
            Some((name, single)) => (name, Some(single)),
            None => (path.trim_start_matches('/'), None),
        };
        let checks = match name {
            "livez" | "healthz" | "ping" => vec![("ping", true)],
            "readyz" => self.readiness.checks().to_vec(),
            _ => return unknown(request_id),
        };
        match single {
            None => report(name, &checks, query),
            Some(single) => match checks.iter().find(|it| it.0 == single) {
                Some((_, true)) => text(200, "ok".to_owned()),
                Some((_, false)) => text(503, format!("{single} check failed\n")),
                None => unknown(request_id),
            },
        }
    }
}

/// The Kubernetes API server's words: `ok`, or one line for each check when asked for or when one fails.
/// Its status for a failure is 500; ours is 503, which load balancers take for "not now" rather than for a fault.
fn report(name: &str, checks: &[(&str, bool)], query: &str) -> Answer {
    let options = || query.split('&').map(|it| it.split_once('=').unwrap_or((it, "")));
    let excluded: Vec<&str> =
        options().filter(|it| it.0 == "exclude").flat_map(|it| it.1.split(',')).collect();
    let mut lines = String::new();
    let mut all_passed = true;
    for (check, passed) in checks {
        let is_excluded = excluded.contains(check);
        all_passed &= *passed || is_excluded;
        lines.push_str(&match (is_excluded, passed) {
            (true, _) => format!("[+]{check} excluded: ok\n"),
            (false, true) => format!("[+]{check} ok\n"),
            (false, false) => format!("[-]{check} failed\n"),
        });
    }
    if !all_passed {
        return text(503, format!("{lines}{name} check failed\n"));
    }
    if options().any(|it| it.0 == "verbose") {
        return text(200, format!("{lines}{name} check passed\n"));
    }
    text(200, "ok".to_owned())
}

fn index() -> String {
    ENDPOINTS.iter().fold(String::from("headgate ops listener\n\n"), |page, (path, what)| {
        page + &format!("{path:<10} {what}\n")
    })
}

fn unknown(request_id: &str) -> Answer {
    problem(404, "no-endpoint", "no such endpoint here; / lists them", request_id)
}

fn text(status: u16, body: String) -> Answer {
    let answer = Answer { status, headers: Vec::new(), body: body.into_bytes() };
    answer
        .with("Content-Type", "text/plain; charset=utf-8")
        .with("Cache-Control", "no-store")
        .with("X-Content-Type-Options", "nosniff")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(readiness: &Arc<Readiness>, method: &str, target: &str) -> (u16, String) {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let ops = Ops::new(Arc::clone(readiness), Metrics::new(1));
        let answer = ops.answer(&Asked {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            headers: hyper::HeaderMap::new(),
            body: bytes::Bytes::new(),
            peer: None,
            request_id: String::new(),
            place: None,
        });
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn probes_speak_as_the_kubernetes_api_server_does() {
        let starting = Arc::new(Readiness::default());
        let ready = Arc::new(Readiness::default());
        ready.set_config_live();
        ready.set_cores_running();
        let draining = Arc::new(Readiness::default());
        draining.set_config_live();
        draining.set_cores_running();
        draining.set_draining();
        for (state, target, status, body) in [
            (&starting, "/livez", 200, "ok"),
            (&starting, "/livez?verbose", 200, "[+]ping ok\nlivez check passed\n"),
            (&starting, "/healthz", 200, "ok"),
            (&starting, "/ping", 200, "ok"),
            (
                &starting,
                "/readyz",
                503,
                "[-]config failed\n[-]cores failed\n[+]shutdown ok\nreadyz check failed\n",
            ),
            (&ready, "/readyz", 200, "ok"),
            (
                &ready,
                "/readyz?verbose",
                200,
                "[+]config ok\n[+]cores ok\n[+]shutdown ok\nreadyz check passed\n",
            ),
            (
                &ready,
                "/readyz?verbose=true&exclude=cores",
                200,
                "[+]config ok\n[+]cores excluded: ok\n[+]shutdown ok\nreadyz check passed\n",
            ),
            (&ready, "/readyz/config", 200, "ok"),
            (&draining, "/livez", 200, "ok"),
            (
                &draining,
                "/readyz",
                503,
                "[+]config ok\n[+]cores ok\n[-]shutdown failed\nreadyz check failed\n",
            ),
            (&draining, "/readyz?exclude=shutdown", 200, "ok"),
            (&draining, "/readyz/shutdown", 503, "shutdown check failed\n"),
        ] {
            assert_eq!(ask(state, "GET", target), (status, body.to_owned()), "{target}");
        }
    }

    #[test]
    fn nothing_can_be_changed_and_nothing_else_is_here() {
        let state = Arc::new(Readiness::default());
        for (method, target, status) in [
            ("POST", "/readyz", 405),
            ("DELETE", "/metrics", 405),
            ("OPTIONS", "/", 405),
            ("HEAD", "/livez", 200),
            ("GET", "/", 200),
            ("GET", "/metrics", 200),
            ("GET", "/metrics/", 404),
            ("GET", "/readyz/nothing", 404),
            ("GET", "//readyz", 404),
            ("GET", "/api/admin/maintenance/on", 404),
            ("GET", "", 404),
        ] {
            assert_eq!(ask(&state, method, target).0, status, "{method} {target}");
        }
        assert!(ask(&state, "GET", "/metrics").1.ends_with("# EOF\n"));
        assert!(ask(&state, "GET", "/").1.contains("/readyz "));
    }
}
