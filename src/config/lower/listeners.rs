//! Listeners by trust, and whom the gate believes.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::super::raw;
use super::super::tree::NodeId;
use super::super::{AdminListen, Key, Listeners, defaults};
use super::{Cx, words};
use crate::model::SCOPE_ADMIN;

pub(super) fn listeners(raw: &raw::Document, cx: &Cx<'_>, keys: &[Key]) -> Listeners {
    let given = raw.listeners.as_ref().and_then(|it| it.value.as_ref());
    let data = given.and_then(|it| it.data.as_ref());
    let mut taken: Vec<(NodeId, SocketAddr)> = Vec::new();
    let data_addresses = match data.and_then(|at| at.value.as_ref().map(|it| (at.id, it))) {
        None => vec![defaults::DATA],
        Some((id, some)) => {
            if some.0.is_empty() {
                cx.push(cx.error(id, "the list is empty").expected("at least one address"));
            }
            let read = some.0.iter().filter_map(|at| Some((at.id, cx.word(at, words::address)?)));
            taken.extend(read);
            taken.iter().map(|it| it.1).collect()
        }
    };
    let ops_at = given.and_then(|it| it.ops.as_ref());
    let ops = ops_at.map_or(Some(defaults::OPS), |at| {
        cx.word(at, words::address_or_off).unwrap_or(Some(defaults::OPS))
    });
    let admin_at = given.and_then(|it| it.admin.as_ref());
    let loopback = Some(AdminListen::Tcp(defaults::ADMIN));
    let admin = admin_at.map_or_else(
        || loopback.clone(),
        |at| cx.word(at, |text| words::admin_listen(text, cx.folder)).unwrap_or(loopback.clone()),
    );
    taken.extend(ops_at.and_then(|at| ops.map(|it| (at.id, it))));
    if let (Some(at), Some(AdminListen::Tcp(address))) = (admin_at, &admin) {
        taken.push((at.id, *address));
    }
    refuse_doubles(&taken, cx);
    let outside = matches!(&admin, Some(AdminListen::Tcp(it)) if !it.ip().is_loopback());
    if let (true, Some(at)) = (outside && !any_admin(keys), admin_at) {
        let message = "the admin listener is open to the network and no key could open it";
        cx.push(
            cx.error(at.id, message)
                .expected("a loopback address, `unix:PATH`, `off`, or a key with scope `admin`"),
        );
    }
    Listeners { data: data_addresses, ops, admin, admin_needs_key: needs_key(raw, cx, outside) }
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

fn refuse_doubles(taken: &[(NodeId, SocketAddr)], cx: &Cx<'_>) {
    for (index, (id, address)) in taken.iter().enumerate() {
        let first = taken.iter().take(index).find(|it| it.1 == *address && address.port() != 0);
        if let Some((first, _)) = first {
            let path = &cx.tree.node(*first).path;
            let message = format!("`{address}` is already taken by `{path}`");
            cx.push(cx.error(*id, message).expected("an address of its own"));
        }
    }
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
