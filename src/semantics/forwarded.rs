//! Who the client is, and what the upstream is told about it.
//!
//! `X-Forwarded-*` is authoritative and only from trusted peers. `Forwarded` and `X-Real-IP` are never read and never
//! passed on: Traefik, Caddy, nginx and HAProxy all let a client's own `Forwarded` through, and all but Traefik its
//! `X-Real-IP`, so that even a trusted peer's may be the client's word.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::semantics::class::Class;
use crate::semantics::fields::list;
use crate::semantics::head::RequestHead;

/// Most entries of `X-Forwarded-For` that are looked at, from the right.
const ENTRIES_MAX: usize = 20;
/// Most bytes of `X-Forwarded-For` that are looked at, over all lines, from the right.
const BYTES_MAX: usize = 1024;

/// Scheme of the client's connection to the outermost trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    Http,
    Https,
}

impl Proto {
    /// As in `X-Forwarded-Proto`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The client as derived from the peer and, when the peer is trusted, from what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Right-most untrusted address; IPv4 when it was mapped into IPv6.
    pub ip: IpAddr,
    /// Who connected to us; IPv4 when it was mapped into IPv6.
    pub peer: IpAddr,
    /// Whether the peer is a trusted proxy (its forwarded headers are kept and extended).
    pub trusted_peer: bool,
    /// By `X-Forwarded-Proto` of a trusted peer (`ws`/`wss` count as `http`/`https`), else `http`.
    pub proto: Proto,
}

/// Derives the client.
pub fn client(peer: IpAddr, trusted: &[IpNet], head: &RequestHead<'_>) -> Client {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return Client { ip: peer, peer, trusted_peer: false, proto: Proto::Http };
    }
    let ip = right_most_untrusted(peer, trusted, head);
    Client { ip, peer, trusted_peer: true, proto: proto(head) }
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|it| it.contains(&ip))
}

/// Walks from the peer outwards and stops at the first address that is not trusted, at the first entry that is no
/// address (nothing left of it can be believed), or at the limits.
fn right_most_untrusted(peer: IpAddr, trusted: &[IpNet], head: &RequestHead<'_>) -> IpAddr {
    let lines = head.fields.iter().zip(head.classes).rev();
    let lines = lines.filter(|it| *it.1 == Class::XForwardedFor).map(|it| it.0.value);
    let (mut ip, mut entries, mut bytes) = (peer, 0, 0);
    for line in lines {
        for entry in list(line).rev() {
            entries += 1;
            bytes += entry.len() + 1;
            if entries > ENTRIES_MAX || bytes > BYTES_MAX {
                return ip;
            }
            let Some(next) = address(entry) else { return ip };
            ip = next;
            if !is_trusted(ip, trusted) {
                return ip;
            }
        }
    }
    ip
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let bracketed = text.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ip = match bracketed {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => text.parse().ok(),
    };
    let ip = ip.or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()))?;
    Some(ip.to_canonical())
}

/// Of several values the last, which the trusted peer itself has set.
fn proto(head: &RequestHead<'_>) -> Proto {
    let last = head.all(Class::XForwardedProto).last();
    match last.and_then(|it| list(it).next_back()) {
        Some(it) if it.eq_ignore_ascii_case(b"https") || it.eq_ignore_ascii_case(b"wss") => {
            Proto::Https
        }
        _ => Proto::Http,
    }
}
