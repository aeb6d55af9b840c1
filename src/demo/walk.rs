//! The steps that a visitor of the demo would try, as curl lines and as a walk that checks itself.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use crate::demo::standins::Role;
use crate::demo::{Demo, DemoError};

/// Longest wait for one answer; real services may take many seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How much of a body is shown.
const SHOWN_CHARS: usize = 300;

/// Which listener a step asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listener {
    Data,
    Ops,
}

/// One thing to try and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it shows.
    pub title: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    listener: Listener,
    with_key: bool,
    body: Option<&'static str>,
    status: u16,
    /// Text that the body must hold.
    holds: &'static str,
    /// Sent only to a stand-in: what a real service has or keeps is not ours to ask or change.
    only_standin: Option<Role>,
}

const fn get(title: &'static str, path: &'static str, status: u16, holds: &'static str) -> Step {
    let listener = Listener::Data;
    let (with_key, body, only_standin) = (false, None, None);
    Step { title, method: "GET", path, listener, with_key, body, status, holds, only_standin }
}

const fn keyed(step: Step) -> Step {
    Step { with_key: true, ..step }
}

const fn only(role: Role, step: Step) -> Step {
    Step { only_standin: Some(role), ..step }
}

const fn post(body: &'static str, step: Step) -> Step {
    Step { method: "POST", body: Some(body), ..step }
}

const fn on_ops(step: Step) -> Step {
    Step { listener: Listener::Ops, ..step }
}

/// The walk.
pub const STEPS: &[Step] = &[
    get("a signal passes", "/api/RELIANCE.NS", 200, "\"buy\""),
    only(
        Role::SignalEngine,
        get("an escape in a stock id survives", "/api/M%26M.NS", 200, "\"buy\""),
    ),
    get("the service's health passes", "/api/health", 200, "\"OK\""),
    get("the Controller's health needs no key", "/api/admin/health", 200, "\"OK\""),
    get("its admin API does", "/api/admin/trigger-cron", 401, "Invalid or missing API Key"),
    get("in any spelling", "/api/%61dmin%2Ftrigger-cron", 401, "Invalid or missing API Key"),
    only(
        Role::Controller,
        keyed(post(
            r#"{"tickers":["RELIANCE.NS","TCS.NS"]}"#,
            get("with the key it is forwarded", "/api/admin/top-stocks", 200, "\"count\":2"),
        )),
    ),
    only(
        Role::Kubesnap,
        keyed(get(
            "Kubesnap gets the key as well",
            "/api/kubesnap/default",
            200,
            "\"snapshot_status\":\"success\"",
        )),
    ),
    get("maintenance is off", "/api/admin/maintenance/status", 200, "{\"status\":\"off\""),
    get("a stranger cannot switch it", "/api/admin/maintenance/on", 401, "Invalid or missing"),
    keyed(get("the key can", "/api/admin/maintenance/on", 200, "{\"status\":\"on\"")),
    get("signals are answered for", "/api/RELIANCE.NS", 503, "Maintenance mode enabled"),
    get("the Controller stays reachable", "/api/admin/health", 200, "\"OK\""),
    get("anybody may ask", "/api/admin/maintenance/status", 200, "{\"status\":\"on\""),
    keyed(get("it ends", "/api/admin/maintenance/off", 200, "{\"status\":\"off\"")),
    get("a signal passes again", "/api/RELIANCE.NS", 200, "\"buy\""),
    on_ops(get("all of it was counted", "/metrics", 200, "headgate_http_requests_total")),
];

/// What came of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub step: &'static str,
    /// Method and URL.
    pub request: String,
    /// Status that was to come.
    pub expected: u16,
    /// `None`: no answer.
    pub status: Option<u16>,
    /// The beginning of the body, or why there was no answer.
    pub seen: String,
    pub ok: bool,
}

/// Takes every step in order, over sockets; goes on after a step that fails.
///
/// # Errors
/// [`DemoError::Client`] when the HTTP client cannot be built.
pub async fn walk(demo: &Demo) -> Result<Vec<Outcome>, DemoError> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN)
        .build()
        .map_err(DemoError::Client)?;
    let mut outcomes = Vec::new();
    for step in STEPS {
        let is_for = |role: Role| demo.standins.plays(role);
        if step.only_standin.is_none_or(is_for) {
            outcomes.push(take(step, demo, &client).await);
        }
    }
    Ok(outcomes)
}

async fn take(step: &Step, demo: &Demo, client: &reqwest::Client) -> Outcome {
    let url = step.url(demo);
    let request = format!("{} {url}", step.method);
    let outcome = |status: Option<u16>, body: &str| Outcome {
        step: step.title,
        request: request.clone(),
        expected: step.status,
        status,
        seen: shown(body, step.holds),
        ok: status == Some(step.status) && body.contains(step.holds),
    };
    match ask(step, &url, &demo.key, client).await {
        Ok((status, body)) => outcome(Some(status), &body),
        Err(error) => outcome(None, &cause(&error)),
    }
}

async fn ask(
    step: &Step,
    url: &str,
    key: &SecretString,
    client: &reqwest::Client,
) -> reqwest::Result<(u16, String)> {
    let method = if step.method == "POST" { Method::POST } else { Method::GET };
    let mut request = client.request(method, url).header(ACCEPT, "application/json");
    if let Some(mut value) =
        HeaderValue::from_str(key.expose_secret()).ok().filter(|_| step.with_key)
    {
        value.set_sensitive(true);
        request = request.header("X-API-KEY", value);
    }
    if let Some(body) = step.body {
        request = request.header(CONTENT_TYPE, "application/json").body(body);
    }
    let response = request.send().await?;
    let status = response.status().as_u16();
    Ok((status, response.text().await?))
}

/// The innermost reason: the outer ones repeat the URL.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(next) = deepest.source() {
        deepest = next;
    }
    deepest.to_string()
}

/// The beginning of the body on one line; of a long one the line that was looked for.
pub(super) fn shown(body: &str, holds: &str) -> String {
    let line = body.lines().find(|it| it.contains(holds) && !it.starts_with('#'));
    let text = if body.len() > SHOWN_CHARS { line.unwrap_or(body) } else { body };
    let plain = text.trim().chars().map(|it| if it.is_control() { ' ' } else { it });
    plain.take(SHOWN_CHARS).collect()
}

impl Step {
    /// The role that only a stand-in may play for this step to be taken.
    pub fn only_standin(&self) -> Option<Role> {
        self.only_standin
    }

    fn address(&self, demo: &Demo) -> SocketAddr {
        match self.listener {
            Listener::Data => demo.gate.data,
            Listener::Ops => demo.gate.ops,
        }
    }

    fn url(&self, demo: &Demo) -> String {
        format!("http://{}{}", reachable(self.address(demo)), self.path)
    }

    /// The step as a line for a shell. `key` is how the key is written there: itself, or a variable.
    pub fn curl(&self, demo: &Demo, key: &str) -> String {
        let mut line = "curl -i".to_owned();
        if self.with_key {
            line.push_str(&format!(" -H \"X-API-KEY: {key}\""));
        }
        if let Some(body) = self.body {
            line.push_str(&format!(" -H 'Content-Type: application/json' -d '{body}'"));
        }
        format!("{line} {}", self.url(demo))
    }
}

/// An address that listens everywhere is asked on loopback.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    match address {
        SocketAddr::V4(_) => ([127, 0, 0, 1], address.port()).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_is_shown_by_the_line_that_matters() {
        let body = format!("# HELP x\nfirst {}\nwanted 1\n", "x".repeat(400));
        assert_eq!(shown(&body, "wanted"), "wanted 1");
        assert_eq!(shown("{\"a\":\n1}", "a"), "{\"a\": 1}");
        assert_eq!(shown(&"y".repeat(1000), "none").len(), SHOWN_CHARS);
    }

    #[test]
    fn an_address_for_all_interfaces_is_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()), "127.0.0.1:80".parse().unwrap());
        assert_eq!(reachable("[::]:80".parse().unwrap()), "[::1]:80".parse().unwrap());
        assert_eq!(reachable("10.0.0.1:80".parse().unwrap()), "10.0.0.1:80".parse().unwrap());
    }

    #[test]
    fn steps_that_change_a_service_are_for_stand_ins_alone() {
        let ours = |it: &&Step| it.path.starts_with("/api/admin/maintenance/");
        let changes = |it: &&Step| it.with_key && !it.path.starts_with("/api/admin/maintenance/");
        assert!(STEPS.iter().filter(changes).all(|it| it.only_standin.is_some()));
        assert!(STEPS.iter().filter(ours).count() >= 4);
    }
}
