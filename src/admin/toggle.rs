//! `maintenance/on` and `maintenance/off`: save, publish, wait for every core, drain, answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::admin::problem::{Problem, shown};
use crate::admin::query::{Query, nearest};
use crate::admin::status::{timestamp, window_form};
use crate::admin::{Admin, Call, DRAIN_MAX, until};
use crate::config::Config;
use crate::generation::LiveService;
use crate::generation::live::{Acknowledged, Live};
use crate::maintenance::store::StoreError;
use crate::maintenance::switch::{Asker, Changed, On, chain};
use crate::maintenance::{Modes, Scope};
use crate::model::{Coverage, UnixMs};

/// How long the disk may take to keep a state.
const SAVE: Duration = Duration::from_secs(10);

/// How long a core may take to see a toggle before it is named as a laggard.
const SETTLE: Duration = Duration::from_secs(1);

/// How often a drain looks at the number of running exchanges.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// How long closed tunnels may take to be counted out.
const DRAIN_REST: Duration = Duration::from_secs(1);

/// Beyond this `ttl` nobody means it.
const TTL_MAX: Duration = Duration::from_hours(24 * 366);

const REASON_BYTES_MAX: usize = 1024;

/// What a call of `on` asks for.
#[derive(Debug)]
struct Wish {
    scope: Scope,
    ttl: Option<Duration>,
    until_healthy: bool,
    reason: Option<String>,
    drain: Option<Duration>,
}

impl Admin {
    pub(super) async fn on(&self, call: &Call) -> Result<Value, Problem> {
        let generation = Arc::clone(&self.parts.live.load().generation);
        let wish = wish(call, &generation.config)?;
        let ttl_ms = wish.ttl.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        let on = On {
            scope: wish.scope.clone(),
            until: ttl_ms.map(|it| UnixMs(UnixMs::now().0.saturating_add(it))),
            until_healthy: wish.until_healthy,
            follows: followers(&generation.config),
            reason: wish.reason,
        };
        let drained: Vec<Arc<LiveService>> =
            generation.services.iter().filter(|it| in_scope(it, &wish.scope)).cloned().collect();
        let publish = Arc::clone(&self.publish);
        let changed = kept(self.parts.switch.on(on, asker(call), publish)).await?;
        let seen = self.parts.live.settle(SETTLE).await;
        let mut body = toggled("on", &wish.scope, &changed, &seen);
        body.extend(windows(&changed.modes, &wish.scope));
        if let Some(patience) = wish.drain {
            let live = Arc::clone(&self.parts.live);
            // A task of its own: a caller who hangs up early still wants the tunnels closed at the deadline.
            let drain = tokio::spawn(drain(live, wish.scope, drained, patience));
            body.insert("drain".to_owned(), drain.await.unwrap_or(Value::Null));
        }
        Ok(Value::Object(body))
    }

    pub(super) async fn off(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["service"])?;
        let gate = self.parts.live.load();
        let scope = scope(&query, &gate.generation.config, &gate.modes)?;
        if scope != Scope::All && gate.modes.everywhere(UnixMs::now()).is_some() {
            return Err(Problem::new(
                409,
                "covered-by-all",
                "All services are in maintenance",
                "maintenance is on for all services, so it cannot be switched off for one; \
                 switch it off for all, then on for those that need it",
            ));
        }
        let publish = Arc::clone(&self.publish);
        let what = (scope.clone(), followers(&gate.generation.config));
        let changed = kept(self.parts.switch.off(what, asker(call), publish)).await?;
        let seen = self.parts.live.settle(SETTLE).await;
        let mut body = toggled("off", &scope, &changed, &seen);
        let ending = changed.modes.all_ending(UnixMs::now());
        if !ending.is_empty() {
            body.insert("ending".to_owned(), json!(ending));
        }
        Ok(Value::Object(body))
    }
}

/// Waits until nothing runs on the services or `patience` is over, then closes their tunnels. Exchanges of keys that
/// bypass maintenance count too.
async fn drain(
    live: Arc<Live>,
    scope: Scope,
    services: Vec<Arc<LiveService>>,
    patience: Duration,
) -> Value {
    let before = running(&services);
    quiet(&services, patience).await;
    let tunnels = match &scope {
        Scope::All => live.close_tunnels(None, SETTLE).await,
        Scope::Services(names) => {
            let mut closed = 0;
            for name in names {
                closed += live.close_tunnels(Some(name), SETTLE).await;
            }
            closed
        }
    };
    if tunnels > 0 {
        quiet(&services, DRAIN_REST).await;
    }
    let still = running(&services);
    let tunnels = u64::try_from(tunnels).unwrap_or(u64::MAX);
    json!({
        "in_flight_before": before,
        "finished": before.saturating_sub(still).saturating_sub(tunnels),
        "tunnels_closed": tunnels,
        "still_running": still,
    })
}

async fn quiet(services: &[Arc<LiveService>], patience: Duration) {
    let deadline = Instant::now() + patience;
    while running(services) > 0 && Instant::now() < deadline {
        tokio::time::sleep_until(deadline.min(Instant::now() + DRAIN_LOOK)).await;
    }
}

fn running(services: &[Arc<LiveService>]) -> u64 {
    services.iter().map(|it| u64::from(it.in_flight.load(Relaxed))).sum()
}

fn in_scope(it: &LiveService, scope: &Scope) -> bool {
    match scope {
        Scope::All => it.service.coverage == Coverage::Covered,
        Scope::Services(names) => names.contains(&it.service.name),
    }
}

fn asker(call: &Call) -> Asker {
    Asker { actor: call.actor.clone(), request_id: call.request_id.clone() }
}

fn wish(call: &Call, config: &Config) -> Result<Wish, Problem> {
    let query = Query::parse(call.query.as_deref())?;
    query.only(&["service", "ttl", "reason", "drain", "until"])?;
    let drain = query.duration("drain")?;
    if drain.is_some_and(|it| it > DRAIN_MAX) {
        return Err(Problem::bad_value("drain", "a drain waits for 5m at most"));
    }
    let scope = scope(&query, config, &Modes::default())?;
    Ok(Wish {
        until_healthy: until::healthy(query.one("until")?, config, &scope)?,
        scope,
        ttl: ttl(&query, config.maintenance.max_ttl)?,
        reason: reason(query.one("reason")?)?,
        drain,
    })
}

/// Services that obey maintenance and whose pods follow it themselves.
fn followers(config: &Config) -> Vec<String> {
    let covered = config.services.iter().filter(|it| it.coverage == Coverage::Covered);
    covered.filter(|it| it.watching.follows_maintenance).map(|it| it.name.clone()).collect()
}

fn ttl(query: &Query, max: Option<Duration>) -> Result<Option<Duration>, Problem> {
    let ttl = query.duration("ttl")?;
    let longest = max.unwrap_or(TTL_MAX);
    let seconds = longest.as_secs();
    match ttl {
        Some(Duration::ZERO) => {
            Err(Problem::bad_value("ttl", "a ttl of nothing would be over at once"))
        }
        Some(it) if it > longest => {
            let detail = format!("the longest ttl is {seconds}s");
            Err(Problem::bad_value("ttl", detail).with("max_ttl_seconds", json!(seconds)))
        }
        None if max.is_some() => {
            let detail = format!(
                "the config demands a ttl (at most {seconds}s), so that maintenance is never forgotten; add ttl=30m"
            );
            Err(Problem::bad_value("ttl", detail).with("max_ttl_seconds", json!(seconds)))
        }
        it => Ok(it),
    }
}

/// Cut at 1 KiB; without control characters, which have no place in logs and terminals.
fn reason(text: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(text) = text.map(|it| it.trim_matches(' ')).filter(|it| !it.is_empty()) else {
        return Ok(None);
    };
    if text.chars().any(char::is_control) {
        return Err(Problem::bad_value("reason", "a reason has no control characters"));
    }
    Ok(text.get(..text.floor_char_boundary(REASON_BYTES_MAX)).map(str::to_owned))
}

/// The services that are named; all if none is. Those that have a window in `modes` need not be in the config any more.
fn scope(query: &Query, config: &Config, modes: &Modes) -> Result<Scope, Problem> {
    let mut names: Vec<String> = Vec::new();
    for name in query.all("service") {
        if !names.iter().any(|it| it == name) {
            names.push(name.to_owned());
        }
        if modes.services.iter().any(|it| it.0 == name) {
            continue;
        }
        let Some(service) = config.services.iter().find(|it| it.name == name) else {
            return Err(unknown_service(name, config));
        };
        if service.coverage == Coverage::Exempt {
            let detail = format!(
                "{name} stays reachable in maintenance (maintenance: exempt in the config)"
            );
            return Err(Problem::new(
                409,
                "service-exempt",
                "Service obeys no maintenance",
                detail,
            ));
        }
    }
    if names.is_empty() { Ok(Scope::All) } else { Ok(Scope::Services(names)) }
}

pub(super) fn unknown_service(name: &str, config: &Config) -> Problem {
    let known: Vec<&str> = config.services.iter().map(|it| it.name.as_str()).collect();
    let covered = config.services.iter().filter(|it| it.coverage == Coverage::Covered);
    let covered: Vec<&str> = covered.map(|it| it.name.as_str()).collect();
    let detail = match nearest(name, &known) {
        Some(it) => format!("there is no service {}; did you mean {it}?", shown(name)),
        None => format!("there is no service {}", shown(name)),
    };
    Problem::new(404, "unknown-service", "No such service", detail).with("services", json!(covered))
}

/// Waits for the disk, but not for ever. The toggle itself goes on: it may still come to be when the disk answers.
async fn kept(
    toggle: impl Future<Output = Result<Changed, StoreError>>,
) -> Result<Changed, Problem> {
    match tokio::time::timeout(SAVE, toggle).await {
        Ok(outcome) => outcome.map_err(|error| not_kept(&error)),
        Err(_) => {
            let seconds = SAVE.as_secs();
            let detail = format!(
                "the disk has not kept the state for {seconds}s; the toggle may still come into force: ask maintenance/status"
            );
            Err(Problem::new(500, "state-not-kept", "State could not be kept", detail))
        }
    }
}

fn not_kept(error: &StoreError) -> Problem {
    let outcome = match error {
        StoreError::Unsure { .. } | StoreError::Interrupted => {
            "what is live has not changed, but a restart may find the new state; repeat the call"
        }
        StoreError::Folder { .. }
        | StoreError::Read { .. }
        | StoreError::Write { .. }
        | StoreError::Encode(_) => "nothing has changed",
    };
    let detail = format!("{}; {outcome}", chain(error));
    Problem::new(500, "state-not-kept", "State could not be kept", detail)
}

/// The window of one service or of all as further fields, those of several services as a list.
fn windows(modes: &Modes, scope: &Scope) -> Map<String, Value> {
    let now = UnixMs::now();
    let names = match scope {
        Scope::All => {
            return modes.all.as_ref().map_or_else(Map::new, |it| window_form(it, now));
        }
        Scope::Services(names) => names,
    };
    let mut found = modes.services.iter().filter(|it| names.contains(&it.0));
    if let [_] = names.as_slice() {
        return found.next().map_or_else(Map::new, |it| window_form(&it.1, now));
    }
    let forms = found.map(|(name, window)| {
        let mut form = Map::from_iter([("service".to_owned(), json!(name))]);
        form.extend(window_form(window, now));
        Value::Object(form)
    });
    Map::from_iter([("windows".to_owned(), forms.collect())])
}

/// Begins as the Controller's answer does; scripts read no further.
fn toggled(
    status: &str,
    scope: &Scope,
    changed: &Changed,
    seen: &Acknowledged,
) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("status".to_owned(), json!(status));
    body.insert("timestamp".to_owned(), json!(timestamp(UnixMs::now())));
    let services = match scope {
        Scope::All => json!("all"),
        Scope::Services(names) => json!(names),
    };
    body.insert("services".to_owned(), services);
    body.insert("changed".to_owned(), json!(changed.changed));
    let acknowledged = seen.cores.saturating_sub(seen.laggards.len());
    let cores = json!({
        "count": seen.cores,
        "acknowledged": acknowledged,
        "laggards": seen.laggards,
    });
    body.insert("cores".to_owned(), cores);
    if let Some(warning) = &changed.warning {
        body.insert("warning".to_owned(), json!(warning));
    }
    body
}
