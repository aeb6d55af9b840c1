//! Services: where they are and how they are treated.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::raw::{self, Maintained};
use super::super::shapes::At;
use super::super::{Authority, Config, Service, ServiceTimeouts, defaults, units};
use super::plugins::{Known, policy};
use super::{Cx, health, numbers, probe, words};
use crate::model::Coverage;

/// Names in file order, also those of services with mistakes, so that a route to one of them is not a second mistake.
pub(super) fn names(raw: &raw::Document, cx: &Cx<'_>) -> Vec<String> {
    entries(raw).iter().map(|(name, _)| cx.tree.text(name.id).to_owned()).collect()
}

pub(super) fn services(
    raw: &raw::Document,
    cx: &Cx<'_>,
    (plugins, prefix): (&Known, &str),
) -> Vec<Service> {
    let given = raw.services.as_ref().filter(|at| at.value.is_some());
    if let Some(at) = given.filter(|_| entries(raw).is_empty()) {
        cx.push(cx.error(at.id, "there is no service").expected("at least one service"));
    }
    let one = |(name, at): &(At<String>, At<raw::Service>)| {
        let mut service = service(name, at, cx, plugins);
        if let Some(raw) = at.value.as_ref() {
            service.watching = health::watching(raw, &service, prefix, cx);
        }
        service
    };
    entries(raw).iter().map(one).collect()
}

fn entries(raw: &raw::Document) -> &[(At<String>, At<raw::Service>)] {
    raw.services.as_ref().and_then(|it| it.value.as_ref()).map_or(&[], |it| &it.0)
}

fn service(name: &At<String>, at: &At<raw::Service>, cx: &Cx<'_>, plugins: &Known) -> Service {
    let name = cx.word(name, words::service_name).unwrap_or_default();
    let Some(raw) = at.value.as_ref() else { return Service::with_defaults(&name) };
    let mut service = Service::with_defaults(&name);
    service.upstreams = upstreams(at, raw, cx);
    service.coverage = match cx.or(&raw.maintenance, Maintained::Covered) {
        Maintained::Covered => Coverage::Covered,
        Maintained::Exempt => Coverage::Exempt,
    };
    service.forward_key = cx.or(&raw.forward_key, false);
    service.max_in_flight = cx.or(&raw.max_in_flight, defaults::MAX_IN_FLIGHT);
    if let Some(at) = raw.max_in_flight.as_ref().filter(|at| at.value == Some(0)) {
        cx.push(cx.error(at.id, "0 requests could be under way").expected("1 or more"));
    }
    if let Some((at, max)) = raw.max_body.as_ref().and_then(|at| at.value.map(|it| (at, it.0))) {
        service.max_body_bytes = max.map(|it| it.0);
        if service.max_body_bytes == Some(0) {
            let expected = format!("{}, or `none`; to refuse bodies, name `methods`", units::SIZE);
            cx.push(cx.error(at.id, "no body could be sent").expected(expected));
        }
    }
    if let Some(times) = raw.timeouts.as_ref().and_then(|it| it.value.as_ref()) {
        service.timeouts = timeouts(times, cx);
    }
    service.policy = policy(raw, &name, cx, plugins);
    service
}

fn upstreams(at: &At<raw::Service>, raw: &raw::Service, cx: &Cx<'_>) -> Vec<Authority> {
    let says = ("upstreams", "`upstreams: [http://HOST:PORT]`");
    let Some((id, list)) = cx.required(at.id, &raw.upstreams, says) else { return Vec::new() };
    if list.0.is_empty() {
        cx.push(cx.error(id, "the list is empty").expected("at least one upstream"));
    }
    let mut found: Vec<Authority> = Vec::new();
    for at in &list.0 {
        let Some(one) = cx.word(at, words::upstream) else { continue };
        if found.contains(&one) {
            let message = format!("`{}:{}` stands here twice", one.host, one.port);
            cx.push(cx.error(at.id, message).expected("each upstream once"));
        }
        found.push(one);
    }
    found
}

/// Refuses upstreams that are the gate's own data listener, for every request would go round until a limit stops it, and
/// probes that ask the gate.
pub(super) fn refuse_loops(raw: &raw::Document, cx: &Cx<'_>, config: &Config) {
    for (index, (_, at)) in entries(raw).iter().enumerate() {
        let probe =
            at.value.as_ref().and_then(|it| it.health.as_ref()?.value.as_ref()?.probe.as_ref());
        if let Some(at) = probe {
            probe::refuse_loops(config, index, at.id, cx);
        }
        let list = at.value.as_ref().and_then(|it| it.upstreams.as_ref()?.value.as_ref());
        for at in list.into_iter().flat_map(|it| &it.0) {
            let Some(Ok(one)) = at.value.as_deref().map(words::upstream) else { continue };
            if let Some(own) = config.listeners.data.iter().find(|it| leads_to(&one, it)) {
                let message = format!("this upstream is the gate's own data listener `{own}`");
                cx.push(cx.error(at.id, message).expected("the address of the service"));
            }
        }
    }
}

/// Whether this machine would take a connection to `upstream` for one to `listener`.
pub(super) fn leads_to(upstream: &Authority, listener: &SocketAddr) -> bool {
    let address = match upstream.host.as_str() {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.parse::<IpAddr>(),
    };
    let here = address.is_ok_and(|it| {
        it == listener.ip() || (listener.ip().is_unspecified() && it.is_loopback())
    });
    here && upstream.port == listener.port()
}

fn timeouts(raw: &raw::ServiceTimeouts, cx: &Cx<'_>) -> ServiceTimeouts {
    let default = defaults::SERVICE_TIMEOUTS;
    ServiceTimeouts {
        connect: cx.time(&raw.connect, default.connect),
        response_head: cx.time(&raw.response_head, default.response_head),
        response_stall: cx.time(&raw.response_stall, default.response_stall),
        tunnel_idle: cx.time(&raw.tunnel_idle, default.tunnel_idle),
        request: cx.time_or_none(&raw.request, numbers::LONGEST),
    }
}
