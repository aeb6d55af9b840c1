//! Listeners by trust, and whom the gate believes.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::super::raw;
use super::super::shapes::At;
use super::super::tree::NodeId;
use super::super::{AdminListen, Key, Listeners, defaults};
use super::{Cx, words};
use crate::model::SCOPE_ADMIN;

pub(super) fn listeners(raw: &raw::Document, cx: &Cx<'_>, keys: &[Key]) -> Listeners {
    let given = raw.listeners.as_ref().and_then(|it| it.value.as_ref());
    let ops_at = given.and_then(|it| it.ops.as_ref());
    let admin_at = given.and_then(|it| it.admin.as_ref());
    let mut taken = data(given, cx);
    let listeners_data = taken.iter().map(|it| it.address).collect();
    let ops = ops_at.map_or(Some(defaults::OPS), |at| {
        cx.word(at, words::address_or_off).unwrap_or(Some(defaults::OPS))
    });
    let loopback = Some(AdminListen::Tcp(defaults::ADMIN));
    let admin = admin_at.map_or_else(
        || loopback.clone(),
        |at| cx.word(at, |text| words::admin_listen(text, cx.folder)).unwrap_or(loopback.clone()),
    );
    taken.extend(ops.map(|address| Taken { id: ops_at.map(|it| it.id), what: "ops", address }));
    if let Some(AdminListen::Tcp(address)) = admin {
        taken.push(Taken { id: admin_at.map(|it| it.id), what: "admin", address });
    }
    refuse_overlaps(&taken, cx);
    let outside = matches!(&admin, Some(AdminListen::Tcp(it)) if !it.ip().is_loopback());
    if let (true, Some(at)) = (outside && !any_admin(keys), admin_at) {
        let message = "the admin listener is open to the network and no key could open it";
        let expected = "a loopback address, `unix:PATH`, `off`, or a key with scope `admin`";
        cx.push(cx.error(at.id, message).expected(expected));
    }
    let admin_needs_key = needs_key(raw, cx, outside);
    Listeners { data: listeners_data, ops, admin, admin_needs_key }
}

/// An address and who has it.
struct Taken {
    /// `None`: it is the default.
    id: Option<NodeId>,
    what: &'static str,
    address: SocketAddr,
}

fn data(given: Option<&raw::Listeners>, cx: &Cx<'_>) -> Vec<Taken> {
    let what = "data";
    let Some(at) = given.and_then(|it| it.data.as_ref()) else {
        return vec![Taken { id: None, what, address: defaults::DATA }];
    };
    let list = at.value.as_ref().map_or(&[][..], |it| &it.0);
    if list.is_empty() && at.value.is_some() {
        cx.push(cx.error(at.id, "the list is empty").expected("at least one address"));
    }
    let read = |at: &At<String>| {
        Some(Taken { id: Some(at.id), what, address: cx.word(at, words::address)? })
    };
    list.iter().filter_map(read).collect()
}

/// Always off loopback; else as the config says.
fn needs_key(raw: &raw::Document, cx: &Cx<'_>, outside: bool) -> bool {
    let admin = raw.admin.as_ref().and_then(|it| it.value.as_ref());
    let at = admin.and_then(|it| it.listener_needs_key.as_ref());
    if let Some(at) = at.filter(|at| outside && at.value == Some(false)) {
        let message = "the admin listener is open to the network: it always needs a key";
        cx.push(cx.error(at.id, message).expected("`true`, or a loopback address"));
    }
    outside || at.and_then(|it| it.value).unwrap_or(false)
}

fn any_admin(keys: &[Key]) -> bool {
    keys.iter().any(|key| key.scopes.iter().any(|it| it == SCOPE_ADMIN))
}

fn refuse_overlaps(taken: &[Taken], cx: &Cx<'_>) {
    for (index, later) in taken.iter().enumerate() {
        let earlier = taken.iter().take(index).find(|it| overlap(it.address, later.address));
        let Some(earlier) = earlier else { continue };
        // At the one that stands in the file.
        let (here, there) = if later.id.is_some() { (later, earlier) } else { (earlier, later) };
        let Some(id) = here.id else { continue };
        let whose = if there.id.is_some() { "" } else { ", by default" };
        let message = format!(
            "`{}` is taken: `{}` is the address of `listeners.{}`{whose}",
            here.address, there.address, there.what,
        );
        cx.push(cx.error(id, message).expected("an address of its own"));
    }
}

/// Whether both cannot be listened on: the same port, and one address within the other. Port 0 is any free one.
pub(in crate::config) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let ips = one.ip() == other.ip()
        || (one.is_ipv4() == other.is_ipv4()
            && (one.ip().is_unspecified() || other.ip().is_unspecified()));
    ips && one.port() == other.port() && one.port() != 0
}

pub(super) fn trusted_proxies(raw: &raw::Document, cx: &Cx<'_>) -> Vec<IpNet> {
    let Some(list) = raw.trusted_proxies.as_ref().and_then(|it| it.value.as_ref()) else {
        return Vec::new();
    };
    let mut networks = Vec::new();
    for at in list {
        let Some(network) = cx.word(at, words::network) else { continue };
        if network.prefix_len() == 0 {
            let message = "everybody is trusted to say who the client is";
            cx.push(cx.warning(at.id, message).expected("the networks of the proxies in front"));
        }
        networks.push(network);
    }
    networks
}
