//! Collects the steps of a decision and tells them, as text or JSON.

use std::fmt;

use serde::Serialize;

use crate::config::{Config, PathMatch, PluginUse, Route};
use crate::generation::Generation;
use crate::model::Access;
use crate::proxy::decide::{Because, Decision, Forward, Origin, Step, Witness};
use crate::proxy::reject::Reject;
use crate::semantics::forwarded::Client;
use crate::semantics::head::RequestHead;

/// What would happen, and why.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// `forward`, `admin`, `forward-auth`, `preflight`, `options` or `refuse`.
    pub(super) decision: &'static str,
    /// One sentence.
    pub(super) why: String,
    /// Status of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// Code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    /// As sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) raw_path: Option<String>,
    /// What is matched, authorised and forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<RouteNote>,
    /// Every scope that a key must have.
    pub(super) needs: Vec<Need>,
    pub(super) key: KeyNote,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) coverage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<String>,
    /// URLs of the service.
    pub(super) upstreams: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<String>,
    /// What the answer could not take into account.
    pub(super) warnings: Vec<String>,
}

/// Which route has the path.
#[derive(Debug, Serialize)]
pub(super) struct RouteNote {
    /// Its place in the config.
    at: String,
    matches: String,
    access: String,
    why: &'static str,
    /// Plugins that decide after the key, in this order; they are not run here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    filters: Vec<String>,
}

/// A scope, and the reason why it is needed.
#[derive(Debug, Serialize)]
pub(super) struct Need {
    pub(super) scope: String,
    pub(super) because: String,
}

/// The key that came with the request; its value is never told.
#[derive(Debug, Default, Serialize)]
pub(super) struct KeyNote {
    presented: bool,
    /// Name of the key when it is a valid one.
    pub(super) name: Option<String>,
    scopes: Vec<String>,
    /// Whether it was looked at.
    #[serde(skip)]
    looked: bool,
}

/// Listens to a decision.
#[derive(Debug)]
pub(super) struct Notes<'c> {
    config: &'c Config,
    report: Report,
    preflight: bool,
}

impl Report {
    /// For a head that was refused before there was anything to decide on.
    pub(super) fn unread(config: &Config, reject: &Reject) -> Self {
        let mut report = Self::default();
        report.refused(config, reject);
        report
    }

    /// Whether the client would get a refusal.
    pub(super) fn is_refused(&self) -> bool {
        self.decision == "refuse"
    }

    /// Names the filters that the request passes, also those of other routes that its path could be read as.
    pub(super) fn asks(
        &mut self,
        generation: &Generation,
        head: &RequestHead<'_>,
        forward: &Forward<'_, '_>,
    ) {
        let Some(note) = &mut self.route else { return };
        note.filters.clear();
        if forward.preflight {
            return;
        }
        let routes = &generation.config.routes;
        generation.filtered.each(head.authority, &forward.path, forward.route, |number| {
            let route = routes.iter().find(|it| it.number == Some(number));
            let filters = route.into_iter().flat_map(|it| &it.filters);
            note.filters.extend(filters.filter_map(filter));
        });
    }

    /// Makes it a refusal.
    pub(super) fn refused(&mut self, config: &Config, reject: &Reject) {
        self.decision = "refuse";
        self.status = Some(reject.status(config));
        self.code = Some(reject.code());
        self.why = reject.detail().into_owned();
    }
}

impl<'c> Notes<'c> {
    pub(super) fn new(config: &'c Config, presented: bool) -> Self {
        let key = KeyNote { presented, ..KeyNote::default() };
        Self { config, report: Report { key, ..Report::default() }, preflight: false }
    }

    /// Adds what was decided.
    pub(super) fn conclude(
        mut self,
        decision: &Decision<'_, '_>,
        head: &RequestHead<'_>,
        client: &Client,
    ) -> Report {
        let report = &mut self.report;
        report.raw_path = Some(head.raw_path.to_owned());
        report.client = Some(match (client.trusted_peer, client.ip == client.peer) {
            (false, _) => format!("{} (no trusted proxy: X-Forwarded-* is replaced)", client.ip),
            (true, true) => format!("{} (a trusted proxy itself)", client.ip),
            (true, false) => format!("{} (by the trusted proxy {})", client.ip, client.peer),
        });
        let (word, why) = match decision {
            Decision::Forward(_) if self.preflight => {
                ("forward", "a preflight passes without a key")
            }
            Decision::Forward(it) if it.bypassed => {
                ("forward", "the key's scope maintenance:bypass passes the maintenance")
            }
            Decision::Forward(_) if report.needs.is_empty() => ("forward", "the path is public"),
            Decision::Forward(_) => ("forward", "the key has every scope that is needed"),
            Decision::Admin(it) if it.actor.is_none() => {
                ("admin", "the gate answers maintenance status itself, without a key")
            }
            Decision::Admin(_) => ("admin", "the gate answers it itself"),
            Decision::ForwardAuth => ("forward-auth", "a trusted proxy asks about another request"),
            Decision::Preflight => ("preflight", "the gate answers this preflight itself"),
            Decision::OptionsStar => ("options", "the gate answers for itself as a whole"),
            Decision::Refuse(reject) => {
                report.refused(self.config, reject);
                return self.report;
            }
        };
        (report.decision, report.why) = (word, why.to_owned());
        self.report
    }

    fn routed(&mut self, route: &Route, origin: Origin) {
        let (at, why) = match origin {
            Origin::Config(number) => (format!("routes[{number}]"), why_route(route)),
            Origin::AdminService => {
                ("admin.service".to_owned(), "the admin prefix belongs to the admin service")
            }
            Origin::AdminHealth => {
                ("admin.service".to_owned(), "the admin service's health is public")
            }
        };
        let matches = matched(route);
        let access = match &route.access {
            Access::Public => "public".to_owned(),
            Access::Key(scope) => format!("key:{scope}"),
        };
        let filters = route.filters.iter().filter_map(filter).collect();
        self.report.route = Some(RouteNote { at, matches, access, why, filters });
        if let Some(service) = self.config.services.get(route.service.0) {
            self.report.service = Some(service.name.clone());
            self.report.upstreams =
                service.upstreams.iter().map(|it| url(&it.host, it.port)).collect();
        }
    }

    fn needed(&mut self, scope: &str, because: Because<'_>) {
        let because = match because {
            Because::Route => "the route says so".to_owned(),
            Because::AdminPrefix => "the path is under the admin prefix".to_owned(),
            Because::CouldReach(path) => {
                format!("a server could read the path as one under {path}")
            }
        };
        self.report.needs.push(Need { scope: scope.to_owned(), because });
    }
}

impl Witness for Notes<'_> {
    fn saw(&mut self, step: &Step<'_>) {
        match step {
            Step::Canonical(path) => self.report.path = Some((*path).to_owned()),
            Step::Preflight => self.preflight = true,
            Step::Own(endpoint) => {
                self.report.coverage =
                    Some("the gate's own endpoints are never covered".to_owned());
                self.report.service = Some(format!("headgate ({endpoint})"));
            }
            Step::Routed(route, origin) => self.routed(route, *origin),
            Step::Covered(window) => {
                let reason =
                    window.reason.as_ref().map_or_else(String::new, |it| format!(": {it}"));
                self.report.coverage = Some(format!("in maintenance{reason}"));
            }
            Step::Passes(_) => {
                self.report.coverage = Some("in maintenance, but its health passes".to_owned());
            }
            Step::Open => self.report.coverage = Some("covered, no maintenance is on".to_owned()),
            Step::Exempt => self.report.coverage = Some("exempt from maintenance".to_owned()),
            Step::Demanded(scope, because) => self.needed(scope, *because),
            Step::Key(key) => {
                let note = &mut self.report.key;
                note.looked = true;
                note.name = key.map(|it| it.name.clone());
                note.scopes = key.map(|it| it.scopes.clone()).unwrap_or_default();
            }
        }
    }
}

/// The filter's name, and what happens when it gives no answer.
fn filter(it: &PluginUse) -> Option<String> {
    let mode = if it.fail_open { "open" } else { "closed" };
    it.plugin.as_ref().map(|name| format!("{name} (fails {mode})"))
}

fn why_route(route: &Route) -> &'static str {
    match (&route.host, &route.path) {
        (Some(_), PathMatch::Exact(_)) => "this host, exactly this path",
        (Some(_), PathMatch::Prefix(_)) => "this host, its longest prefix",
        (None, PathMatch::Exact(_)) => "any host, exactly this path",
        (None, PathMatch::Prefix(_)) => "any host, the longest prefix",
    }
}

fn matched(route: &Route) -> String {
    let host = route.host.as_deref().unwrap_or_default();
    let path = match &route.path {
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Prefix(path) => format!("{path}/*"),
    };
    let methods = route.methods.join(", ");
    let gap = if methods.is_empty() { "" } else { " " };
    format!("{host}{path}{gap}{methods}")
}

fn url(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or_else(String::new, |it| format!(" {it}"));
        let code = self.code.map_or_else(String::new, |it| format!(" ({it})"));
        writeln!(out, "decision  {}{status}{code}: {}", self.decision, Shown(&self.why))?;
        if let Some(path) = &self.path {
            let raw = self.raw_path.as_ref().filter(|it| *it != path);
            let sent = raw.map_or_else(String::new, |it| format!("  (sent as {})", Shown(it)));
            writeln!(out, "path      {}{sent}", Shown(path))?;
        }
        if let Some(it) = &self.route {
            writeln!(out, "route     {} {}, {}: {}", it.at, Shown(&it.matches), it.access, it.why)?;
            if !it.filters.is_empty() {
                writeln!(out, "filters   {}; not run here", it.filters.join(", "))?;
            }
        }
        for need in &self.needs {
            writeln!(out, "needs     scope {}: {}", need.scope, Shown(&need.because))?;
        }
        writeln!(out, "key       {}", self.key)?;
        if let Some(coverage) = &self.coverage {
            writeln!(out, "coverage  {}", Shown(coverage))?;
        }
        if let Some(service) = &self.service {
            writeln!(out, "upstream  {} {}", Shown(service), self.upstreams.join(" "))?;
        }
        if let Some(client) = &self.client {
            writeln!(out, "client    {client}")?;
        }
        self.warnings.iter().try_for_each(|it| writeln!(out, "warning   {}", Shown(it)))
    }
}

impl fmt::Display for KeyNote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(out, "{} (scopes: {})", Shown(name), self.scopes.join(", ")),
            None if !self.presented => out.write_str("none presented"),
            None if !self.looked => out.write_str("presented, not looked at"),
            None => out.write_str("presented, but unknown or not valid now"),
        }
    }
}

/// Text of others without anything that a terminal obeys.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|it| match it {
            it if it.is_control() => write!(out, "{}", it.escape_default()),
            it => fmt::Write::write_char(out, it),
        })
    }
}
