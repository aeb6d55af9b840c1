//! Where alerts go: times, routes, quiet hours, Kubesnap.

use std::time::Duration;

use super::super::alerts::{AlertRoute, Alerts, Kubesnap, Quiet, SecretRef, SinkConfig};
use super::super::decode::one_of;
use super::super::quantity::{OrNone, Span};
use super::super::raw::{self, Opt};
use super::super::raw_alerts;
use super::super::shapes::{At, OneOrMany};
use super::super::tree::NodeId;
use super::super::{defaults, units};
use super::health::severity;
use super::{Cx, Wrong, clock, nearest, numbers, sinks, urls};
use crate::model::health::Severity;

/// Longer is never meant.
const MONTH: Duration = Duration::from_secs(31 * 86_400);
const MILLISECOND: Duration = Duration::from_millis(1);
/// A first notice that waits longer comes too late.
const GROUP_WAIT_MAX: Duration = Duration::from_mins(10);
/// Routes of alerts.
const ROUTES_MAX: usize = 256;

/// `services` are the names of all services, also those with mistakes.
pub(super) fn alerts(raw: &raw::Document, cx: &Cx<'_>, services: &[String]) -> Alerts {
    let kubesnap = raw.kubesnap.as_ref().and_then(|at| kubesnap(at, cx));
    let default = defaults::alerts();
    let Some(alerts) = raw.alerts.as_ref().and_then(|it| it.value.as_ref()) else {
        return Alerts { kubesnap, ..default };
    };
    let (names, sinks) = sinks::sinks(alerts, cx);
    let at_once = (Duration::ZERO, GROUP_WAIT_MAX);
    let long = (MILLISECOND, MONTH);
    Alerts {
        gateway: alerts
            .gateway
            .as_ref()
            .and_then(|at| cx.word(at, gateway))
            .unwrap_or(default.gateway),
        routes: routes(alerts, cx, (services, &names), &sinks),
        sinks,
        group_wait: cx.time_within(&alerts.group_wait, at_once, default.group_wait),
        remind_after: remind_after(&alerts.remind_after, cx),
        quiet: alerts.quiet_hours.as_ref().and_then(|at| quiet(at, cx)),
        give_up: cx.time_within(&alerts.give_up, long, default.give_up),
        outbox_rows: cx.count(&alerts.outbox_rows, (1, 1_000_000), default.outbox_rows),
        stale_maintenance: cx.time(&alerts.stale_maintenance, default.stale_maintenance),
        kubesnap,
    }
}

fn gateway(text: &str) -> Result<String, Wrong> {
    let fits = (1..=64).contains(&text.chars().count());
    if fits && text.trim() == text && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new("this cannot name a gate", "1 to 64 characters, for example `stockflow-dev`"))
}

fn remind_after(field: &Opt<OrNone<Span>>, cx: &Cx<'_>) -> Option<Duration> {
    if field.as_ref().is_none_or(|it| it.value.is_none()) {
        return Some(defaults::REMIND_AFTER);
    }
    cx.time_or_none(field, MONTH)
}

fn routes(
    raw: &raw_alerts::Alerts,
    cx: &Cx<'_>,
    (services, names): (&[String], &[String]),
    sinks: &[SinkConfig],
) -> Vec<AlertRoute> {
    let Some(field) = raw.routes.as_ref() else { return Vec::new() };
    let list = field.value.as_deref().unwrap_or_default();
    if list.len() > ROUTES_MAX {
        let message = format!("there are {} routes", list.len());
        cx.push(cx.error(field.id, message).expected(format!("at most {ROUTES_MAX}")));
    }
    let mut routes: Vec<AlertRoute> = Vec::new();
    for at in list {
        let Some(raw) = at.value.as_ref() else { continue };
        if routes.iter().any(catches_all) {
            let message = "this route is never asked: one before it matches everything";
            cx.push(cx.warning(at.id, message).expected("the route that matches all at the end"));
        }
        routes.push(AlertRoute {
            services: served(&raw.services, services, cx),
            severity: severity(&raw.severity, Severity::Info),
            sinks: targets(at.id, &raw.sinks, (names, sinks), cx),
        });
    }
    routes
}

fn catches_all(route: &AlertRoute) -> bool {
    route.services.is_empty() && route.severity == Severity::Info
}

fn served(field: &Opt<OneOrMany<String>>, services: &[String], cx: &Cx<'_>) -> Vec<String> {
    let Some((id, list)) = field.as_ref().and_then(|at| Some((at.id, at.value.as_ref()?))) else {
        return Vec::new();
    };
    if list.0.is_empty() {
        let expected = "at least one service; leave `services` out for all";
        cx.push(cx.error(id, "the list is empty").expected(expected));
    }
    let known = |at: &At<String>| {
        let index = position(at, ("service", "services"), services, cx)?;
        services.get(index).cloned()
    };
    list.0.iter().filter_map(known).collect()
}

fn targets(
    parent: NodeId,
    field: &Opt<OneOrMany<String>>,
    (names, sinks): (&[String], &[SinkConfig]),
    cx: &Cx<'_>,
) -> Vec<usize> {
    let says = ("sinks", "names of receivers; an empty list tells nobody");
    let Some((_, list)) = cx.required(parent, field, says) else { return Vec::new() };
    let mut found = Vec::new();
    for at in &list.0 {
        let Some(index) = position(at, ("sink", "alerts.sinks"), names, cx) else { continue };
        let name = names.get(index).map_or("", String::as_str);
        // A sink with a mistake has no place in the list, and the config is refused for it.
        let Some(index) = sinks.iter().position(|it| it.name == name) else { continue };
        if found.contains(&index) {
            cx.push(cx.warning(at.id, format!("sink `{name}` stands here twice")));
            continue;
        }
        found.push(index);
    }
    found
}

/// Where a name stands in a list of names; notes when it does not.
fn position(
    at: &At<String>,
    (noun, place): (&str, &str),
    names: &[String],
    cx: &Cx<'_>,
) -> Option<usize> {
    let name = at.value.as_deref()?;
    let index = names.iter().position(|it| it == name);
    if index.is_none() {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let expected = match known.as_slice() {
            [] => format!("a name under `{place}`"),
            some => one_of(some),
        };
        let near = nearest(name, known.iter().copied());
        let message = format!("there is no {noun} `{name}`");
        cx.push(cx.error(at.id, message).expected(expected).nearest(near));
    }
    index
}

fn quiet(at: &At<raw_alerts::QuietHours>, cx: &Cx<'_>) -> Option<Quiet> {
    let raw = at.value.as_ref()?;
    let says = |field| (field, "`HH:MM`");
    let from = cx.required(at.id, &raw.from, says("from")).and(raw.from.as_ref());
    let to = cx.required(at.id, &raw.to, says("to")).and(raw.to.as_ref());
    let zone = cx.required(at.id, &raw.zone, ("zone", "`Asia/Kolkata`, or an offset: `+05:30`"));
    let zone = zone.and(raw.zone.as_ref()).and_then(|at| cx.word(at, clock::zone));
    let begin = from.and_then(|at| cx.word(at, clock::time_of_day));
    let end = to.and_then(|at| cx.word(at, clock::time_of_day));
    let from_severity = severity(&raw.below, Severity::Critical);
    if let Some(at) = raw.below.as_ref().filter(|_| from_severity == Severity::Info) {
        let message = "nothing is quieter than `info`: nothing would wait";
        cx.push(cx.error(at.id, message).expected("`warning` or `critical`"));
    }
    if let (true, Some(to)) = (begin.is_some() && begin == end, to) {
        let message = "the quiet hours end when they begin";
        cx.push(cx.error(to.id, message).expected("another time than `from`"));
    }
    Some(Quiet { from: begin?, to: end?, zone: zone?, from_severity })
}

fn kubesnap(at: &At<raw_alerts::Kubesnap>, cx: &Cx<'_>) -> Option<Kubesnap> {
    let raw = at.value.as_ref()?;
    let url = cx.required(at.id, &raw.url, ("url", urls::BASE)).and(raw.url.as_ref());
    let url = url.and_then(|at| sinks::base_url(at, cx));
    let says = ("key", "`env:NAME` or `file:PATH`");
    let key = cx.required(at.id, &raw.key, says).and(raw.key.as_ref());
    let key = key.and_then(|at| sinks::secret(at, cx));
    let timeout = cx.time_within(
        &raw.timeout,
        (MILLISECOND, Duration::from_hours(1)),
        defaults::KUBESNAP_TIMEOUT,
    );
    let at_once = (Duration::ZERO, numbers::LONGEST);
    let wait = cx.time_within(&raw.wait, at_once, defaults::KUBESNAP_WAIT.min(timeout));
    if let Some(at) = raw.wait.as_ref().filter(|_| wait > timeout) {
        let message = "an alert would wait for a snapshot that has been given up";
        let expected = format!("at most `timeout`, `{}`", units::duration(timeout));
        cx.push(cx.error(at.id, message).expected(expected));
    }
    let (cooldown, budget) = (defaults::KUBESNAP_COOLDOWN, defaults::KUBESNAP_BUDGET);
    let cooldown = cx.time_within(&raw.cooldown, at_once, cooldown);
    let budget = cx.small(&raw.budget, (1, 10_000), budget);
    let (url, key): (String, SecretRef) = (url?, key?);
    Some(Kubesnap { url, key, timeout, wait, cooldown, budget })
}
