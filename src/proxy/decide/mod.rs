//! One synchronous pure function decides on every request, whatever the protocol or tool.

mod coverage;
mod preflight;

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::KeyEntry;
use crate::config::Route;
use crate::generation::routes::{Found, takes};
use crate::generation::{Gate, Generation, LiveService};
use crate::maintenance::Window;
use crate::model::{Access, SCOPE_ADMIN, SCOPE_BYPASS, UnixMs};
use crate::proxy::decide::preflight::preflight_for;
use crate::proxy::reject::Reject;
use crate::semantics::forwarded::Client;
use crate::semantics::head::RequestHead;
use crate::semantics::path::{canonical, could_reach};

/// Where trusted proxies ask; matched by the path alone, since Caddy appends the client's query.
pub const FORWARD_AUTH: &str = "/forward-auth";

/// The same, never answered with 2xx: the second question that nginx needs to pass a refusal on.
pub const FORWARD_AUTH_DENIED: &str = "/forward-auth/denied";

/// Allowed on the admin service's paths.
const ADMIN_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What happens to a request.
#[derive(Debug)]
pub enum Decision<'g, 'a> {
    /// Goes to an upstream.
    Forward(Forward<'g, 'a>),
    /// Is answered by the admin API; the key (if any is needed) has been admitted.
    Admin(AdminCall<'g>),
    /// `/forward-auth` of a trusted peer.
    ForwardAuth,
    /// A CORS preflight that the gate answers itself (own endpoints, and covered services in maintenance).
    Preflight,
    /// `OPTIONS *`.
    OptionsStar,
    /// Refused.
    Refuse(Reject),
}

/// A request that may go on.
#[derive(Debug)]
pub struct Forward<'g, 'a> {
    pub route: &'g Route,
    pub service: &'g Arc<LiveService>,
    /// Canonical; matched, authorised and to be forwarded.
    pub path: Cow<'a, str>,
    /// The admitted key, if a valid one was presented.
    pub key: Option<&'g KeyEntry>,
    /// Passed a maintenance by scope `maintenance:bypass`.
    pub bypassed: bool,
    /// Asks for the health of a service that lets this pass in maintenance, whether one is on or not.
    pub passes: bool,
    /// A CORS preflight, which passes without what the request to come must have.
    pub preflight: bool,
}

/// A request for an endpoint of our own.
#[derive(Debug, PartialEq, Eq)]
pub struct AdminCall<'g> {
    /// Path below `{prefix}/api/admin/`, for example `maintenance/on` or `headgate/config`; an unknown word is the
    /// handler's to answer (404).
    pub endpoint: String,
    /// Name of the admitted key; always one with scope `admin`, `None` only for the keyless status.
    pub actor: Option<&'g str>,
}

/// Hears what a decision rests on, step by step (`explain`). The request path uses `()`, which costs nothing.
pub trait Witness {
    /// One step.
    fn saw(&mut self, step: &Step<'_>);
}

impl Witness for () {
    fn saw(&mut self, _step: &Step<'_>) {}
}

/// One step on the way to a decision.
#[derive(Clone, Debug)]
pub enum Step<'s> {
    /// The path that counts.
    Canonical(&'s str),
    /// A CORS preflight: passes without a key.
    Preflight,
    /// The path is answered by the gate itself.
    Own(&'s str),
    /// The path belongs to this route.
    Routed(&'s Route, Origin),
    /// The service's maintenance is on.
    Covered(&'s Window),
    /// It is on, and the path is that of the service's health, which passes.
    Passes(&'s Window),
    /// The service is covered, and no maintenance is on.
    Open,
    /// The service does not obey maintenance.
    Exempt,
    /// A key with this scope is needed.
    Demanded(&'s str, Because<'s>),
    /// The key that was admitted; `None`: none, or not a valid one.
    Key(Option<&'s KeyEntry>),
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Index in `config.routes`.
    Config(usize),
    /// The config's admin service.
    AdminService,
    /// Its health, which is public.
    AdminHealth,
}

/// Why a scope is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because<'s> {
    /// The route says so.
    Route,
    /// The path is under the admin prefix.
    AdminPrefix,
    /// A server could read the path as one under this protected path.
    CouldReach(&'s str),
}

/// Decides. Looks at nothing but its arguments.
pub fn decide<'g, 'a>(
    gate: &'g Gate,
    head: &RequestHead<'a>,
    client: &Client,
    now: UnixMs,
) -> Decision<'g, 'a> {
    decide_before(gate, head, client, now, &mut ())
}

/// Decides, and tells `witness` why.
pub fn decide_before<'g, 'a>(
    gate: &'g Gate,
    head: &RequestHead<'a>,
    client: &Client,
    now: UnixMs,
    witness: &mut impl Witness,
) -> Decision<'g, 'a> {
    if head.raw_path == "*" {
        return Decision::OptionsStar;
    }
    let path = match canonical(head.raw_path) {
        Ok(path) => path,
        Err(error) => return Decision::Refuse(Reject::Head(error)),
    };
    witness.saw(&Step::Canonical(&path));
    if client.trusted_peer && matches!(&*path, FORWARD_AUTH | FORWARD_AUTH_DENIED) {
        return Decision::ForwardAuth;
    }
    let asked = Asked { gate, head, now, preflight_for: preflight_for(head) };
    if asked.preflight_for.is_some() {
        witness.saw(&Step::Preflight);
    }
    match asked.place(&path) {
        Place::Own(endpoint) => {
            witness.saw(&Step::Own(endpoint));
            asked.own(endpoint, witness)
        }
        Place::Route(target) => {
            witness.saw(&Step::Routed(target.route, target.origin));
            match asked.through(&path, &target, witness) {
                Ok(passed) => Decision::Forward(Forward {
                    route: target.route,
                    service: passed.service,
                    path,
                    key: passed.key,
                    bypassed: passed.bypassed,
                    passes: passed.passes,
                    preflight: asked.preflight_for.is_some(),
                }),
                Err(Stopped::Preflight) => Decision::Preflight,
                Err(Stopped::Refused(reject)) => Decision::Refuse(reject),
            }
        }
        Place::BehindKey(reject) if asked.preflight_for.is_none() => {
            witness.saw(&Step::Demanded(SCOPE_ADMIN, Because::AdminPrefix));
            let key = asked.key();
            witness.saw(&Step::Key(key));
            Decision::Refuse(require(key, SCOPE_ADMIN).err().unwrap_or(reject))
        }
        Place::BehindKey(_) => Decision::Preflight,
        Place::Nowhere(reject) => Decision::Refuse(reject),
    }
}

/// Whose a path is.
enum Place<'g, 'p> {
    /// Ours: what comes after the admin prefix.
    Own(&'p str),
    Route(Target<'g>),
    /// Nobody's, but only key holders are told.
    BehindKey(Reject),
    Nowhere(Reject),
}

struct Target<'g> {
    route: &'g Route,
    origin: Origin,
    /// Whether scope `admin` is needed besides what the route demands.
    admin: bool,
}

struct Passed<'g> {
    service: &'g Arc<LiveService>,
    key: Option<&'g KeyEntry>,
    bypassed: bool,
    passes: bool,
}

enum Stopped {
    Preflight,
    Refused(Reject),
}

/// One request before the gate.
struct Asked<'g, 'h, 'a> {
    gate: &'g Gate,
    head: &'h RequestHead<'a>,
    now: UnixMs,
    preflight_for: Option<&'a str>,
}

impl<'g> Asked<'g, '_, '_> {
    fn generation(&self) -> &'g Generation {
        &self.gate.generation
    }

    fn place<'p>(&self, path: &'p str) -> Place<'g, 'p> {
        let generation = self.generation();
        let admin = &generation.admin;
        let Some(below) = path.strip_prefix(admin.prefix.as_str()).filter(|it| is_below(it)) else {
            return self.routed(path, false);
        };
        if let Some(route) = admin.health_route.as_ref().filter(|_| path == admin.health) {
            return Place::Route(Target { route, origin: Origin::AdminHealth, admin: false });
        }
        // Also what another server would read as ours (`maintenance%2Fon`): it must not reach the admin service.
        if generation.config.admin_on_data && admin.own.iter().any(|it| could_reach(path, it)) {
            return Place::Own(below.trim_start_matches('/'));
        }
        if let Some(route) = &admin.route {
            return Place::Route(Target { route, origin: Origin::AdminService, admin: false });
        }
        self.routed(path, generation.guards.holds_admin())
    }

    /// By the config's routes; `admin` when the path is under the admin prefix and nobody passes without its scope.
    fn routed<'p>(&self, path: &str, admin: bool) -> Place<'g, 'p> {
        let routes = &self.generation().routes;
        let authority = self.head.authority;
        let target = |route, number| Target { route, origin: Origin::Config(number), admin };
        if let Some(method) = self.preflight_for
            && let Some((route, number)) = routes.owner(authority, path, method)
        {
            return Place::Route(target(route, number));
        }
        let reject = match routes.find(authority, path, self.head.method) {
            Found::Route(route, number) => return Place::Route(target(route, number)),
            Found::MethodNotAllowed(allow) => Reject::MethodNotAllowed { allow },
            Found::None => Reject::NoRoute,
        };
        if admin { Place::BehindKey(reject) } else { Place::Nowhere(reject) }
    }

    fn own<'a>(&self, endpoint: &str, witness: &mut impl Witness) -> Decision<'g, 'a> {
        if self.preflight_for.is_some() {
            return Decision::Preflight;
        }
        let keyless =
            endpoint == "maintenance/status" && !self.generation().config.status_needs_key;
        let key = self.key();
        witness.saw(&Step::Key(key));
        let admitted = require(key, SCOPE_ADMIN);
        if !keyless {
            witness.saw(&Step::Demanded(SCOPE_ADMIN, Because::AdminPrefix));
            if let Err(reject) = admitted {
                return Decision::Refuse(reject);
            }
        }
        let actor = admitted.ok().map(|it| it.name.as_str());
        Decision::Admin(AdminCall { endpoint: endpoint.to_owned(), actor })
    }

    /// Maintenance first, then keys.
    fn through(
        &self,
        path: &str,
        target: &Target<'g>,
        witness: &mut impl Witness,
    ) -> Result<Passed<'g>, Stopped> {
        let Some(service) = self.generation().service(target.route.service) else {
            let detail = "the route leads to no service".to_owned();
            return Err(Stopped::Refused(Reject::Internal { detail }));
        };
        // A public path looks at a key only if there is one; every other path pays for the look anyhow.
        let key = self.head.api_key.and_then(|_| self.key());
        let passes = self.passes(path, service);
        let window = self.window(service, passes, witness);
        let preflight = self.preflight_for.is_some();
        let bypassed = match window {
            Some(_) if preflight => return Err(Stopped::Preflight),
            Some(window) if !key.is_some_and(|it| it.has(SCOPE_BYPASS)) => {
                let service = service.service.name.clone();
                let window = window.clone();
                return Err(Stopped::Refused(Reject::Maintenance { service, window }));
            }
            window => window.is_some(),
        };
        if preflight {
            return Ok(Passed { service, key: None, bypassed, passes });
        }
        witness.saw(&Step::Key(key));
        self.admit(path, target, key, witness).map_err(Stopped::Refused)?;
        if target.origin != Origin::AdminService || takes(target.route, self.head.method) {
            return Ok(Passed { service, key, bypassed, passes });
        }
        Err(Stopped::Refused(Reject::MethodNotAllowed { allow: ADMIN_METHODS.to_owned() }))
    }

    /// The key must have every scope that the path demands, by whatever reading.
    fn admit(
        &self,
        path: &str,
        target: &Target<'g>,
        key: Option<&KeyEntry>,
        witness: &mut impl Witness,
    ) -> Result<(), Reject> {
        let mut missing: Option<&str> = None;
        let mut demand = |scope: &'g str, because: Because<'_>| {
            witness.saw(&Step::Demanded(scope, because));
            if missing.is_none() && !key.is_some_and(|it| it.has(scope)) {
                missing = Some(scope);
            }
        };
        if target.admin {
            demand(SCOPE_ADMIN, Because::AdminPrefix);
        }
        if let Access::Key(scope) = &target.route.access {
            demand(scope, Because::Route);
        }
        self.generation().guards.each(self.head.authority, path, target.route, |guard| {
            demand(&guard.needs, Because::CouldReach(&guard.path));
        });
        let Some(scope) = missing else { return Ok(()) };
        if key.is_some() {
            return Err(Reject::Forbidden { scope: scope.to_owned() });
        }
        if self.head.api_key.is_none() {
            self.key(); // a missing key takes as long as a wrong one
        }
        Err(Reject::Unauthorized)
    }

    fn key(&self) -> Option<&'g KeyEntry> {
        self.generation().keyring.admit(self.head.api_key, self.now)
    }
}

fn require<'g>(key: Option<&'g KeyEntry>, scope: &str) -> Result<&'g KeyEntry, Reject> {
    match key {
        Some(key) if key.has(scope) => Ok(key),
        Some(_) => Err(Reject::Forbidden { scope: scope.to_owned() }),
        None => Err(Reject::Unauthorized),
    }
}

fn is_below(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

#[cfg(test)]
pub(super) mod tests;
