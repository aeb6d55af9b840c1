//! Who the client is, and what the upstream is told about it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::semantics::head::RequestHead;

/// Scheme of the client's connection to the outermost trusted proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    Http,
    Https,
}

/// The client as derived from the peer and, when the peer is trusted, from what it says.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Right-most untrusted address.
    pub ip: IpAddr,
    /// Who connected to us.
    pub peer: IpAddr,
    /// Whether the peer is a trusted proxy (its forwarded headers are kept and extended).
    pub trusted_peer: bool,
    /// By `X-Forwarded-Proto` of a trusted peer (`ws`/`wss` count as `http`/`https`), else `http`.
    pub proto: Proto,
}

/// Derives the client.
pub fn client(peer: IpAddr, trusted: &[IpNet], _head: &RequestHead<'_>) -> Client {
    Client {
        ip: peer,
        peer,
        trusted_peer: trusted.iter().any(|it| it.contains(&peer)),
        proto: Proto::Http,
    }
}
