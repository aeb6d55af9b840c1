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
        for entry in line.rsplit(|it| *it == b',') {
            bytes += entry.len() + 1;
            let entry = entry.trim_ascii();
            if entry.is_empty() && bytes <= BYTES_MAX {
                continue;
            }
            entries += 1;
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ipnet::IpNet;
    use proptest::prelude::{ProptestConfig, prop, prop_assert_eq, proptest};

    use super::{Client, Proto, client};
    use crate::semantics::class::{Class, Field};
    use crate::semantics::head::{HeadLimits, Parts, Version, inspect};

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|it| it.parse().expect("network")).collect()
    }

    fn trusted() -> Vec<IpNet> {
        networks(&["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"])
    }

    /// The client seen behind `peer`, which sends these fields.
    fn seen(peer: &str, sent: &[(&str, &str)]) -> Client {
        let mut fields = vec![Field { name: "Host", value: b"gate.test" }];
        fields.extend(sent.iter().map(|(name, value)| Field { name, value: value.as_bytes() }));
        let parts = Parts { version: Version::Http11, method: "GET", target: "/", fields: &fields };
        let mut classes = [Class::Other; 100];
        let limits = HeadLimits { head_bytes: 65_536, fields: 100, target_bytes: 100 };
        let head = inspect(&parts, &mut classes, &limits).expect("clean");
        client(peer.parse().expect("address"), &trusted(), &head)
    }

    fn lines<'a>(values: &[&'a str]) -> Vec<(&'static str, &'a str)> {
        values.iter().map(|it| ("X-Forwarded-For", *it)).collect()
    }

    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        let table: &[(&str, &[&str], &str)] = &[
            // An untrusted peer is the client whatever it says.
            ("203.0.113.5", &[], "203.0.113.5"),
            ("203.0.113.5", &["198.51.100.1"], "203.0.113.5"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1,198.51.100.1 , 10.0.0.9"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.9"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1:1234"], "198.51.100.1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1", "::ffff:10.0.0.7"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &["198.51.100.1"], "198.51.100.1"),
            // What is left of a malformed entry cannot be believed.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.9"], "10.0.0.9"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.0/8"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, 1.2.3.256"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, 127.1"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1 10.0.0.9"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, \"10.0.0.9\""], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, [10.0.0.9]"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.9:99999"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1,,10.0.0.9,"], "198.51.100.1"),
        ];
        for (peer, values, expected) in table {
            let seen = seen(peer, &lines(values));
            assert_eq!(seen.ip.to_string(), *expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn a_mapped_peer_is_written_as_ipv4() {
        let seen = seen("::ffff:203.0.113.5", &[]);
        assert_eq!((seen.peer.to_string().as_str(), seen.trusted_peer), ("203.0.113.5", false));
    }

    #[test]
    fn the_walk_is_bounded() {
        let nineteen = format!("198.51.100.1{}", ", 10.0.0.2".repeat(19));
        assert_eq!(seen("10.0.0.1", &lines(&[&nineteen])).ip.to_string(), "198.51.100.1");
        let twenty = format!("198.51.100.1{}", ", 10.0.0.2".repeat(20));
        assert_eq!(seen("10.0.0.1", &lines(&[&twenty])).ip.to_string(), "10.0.0.2");
        for (filling, expected) in
            [(",".repeat(900), "198.51.100.1"), (",".repeat(1100), "10.0.0.2")]
        {
            let long = format!("198.51.100.1{filling}10.0.0.2");
            assert_eq!(seen("10.0.0.1", &lines(&[&long])).ip.to_string(), expected);
        }
        let wide = format!("198.51.100.1,{}198.51.100.2, 10.0.0.2", " ".repeat(1100));
        assert_eq!(seen("10.0.0.1", &lines(&[&wide])).ip.to_string(), "10.0.0.2");
    }

    #[test]
    fn nothing_else_says_who_the_client_is() {
        let sent = [("Forwarded", "for=198.51.100.1"), ("X-Real-IP", "198.51.100.1")];
        assert_eq!(seen("10.0.0.1", &sent).ip.to_string(), "10.0.0.1");
    }

    #[test]
    fn the_scheme_is_a_trusted_peers_word() {
        let table = [
            ("10.0.0.1", "https", Proto::Https),
            ("10.0.0.1", "HTTPS", Proto::Https),
            ("10.0.0.1", "wss", Proto::Https),
            ("10.0.0.1", "ws", Proto::Http),
            ("10.0.0.1", "http", Proto::Http),
            ("10.0.0.1", "http, https", Proto::Https),
            ("10.0.0.1", "https, http", Proto::Http),
            ("10.0.0.1", "gopher", Proto::Http),
            ("10.0.0.1", "", Proto::Http),
            ("203.0.113.5", "https", Proto::Http),
        ];
        for (peer, value, expected) in table {
            assert_eq!(seen(peer, &[("X-Forwarded-Proto", value)]).proto, expected, "{value}");
        }
    }

    /// The same on owned strings: joined, split, walked backwards.
    fn model(peer: &str, values: &[String]) -> String {
        let trusted = trusted();
        let parse = |text: &str| -> Option<IpAddr> {
            let whole = text.parse::<IpAddr>().ok();
            let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|it| it.ip());
            let bracketed =
                || text.strip_prefix('[')?.strip_suffix(']')?.parse().map(IpAddr::V6).ok();
            whole.or_else(with_port).or_else(bracketed).map(|it| it.to_canonical())
        };
        let mut chain: Vec<Option<IpAddr>> = values
            .join(",")
            .split(',')
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .map(parse)
            .collect();
        chain.push(parse(peer));
        let mut client = None;
        for hop in chain.into_iter().rev() {
            let Some(hop) = hop else { break };
            client = Some(hop);
            if !trusted.iter().any(|it| it.contains(&hop)) {
                break;
            }
        }
        client.map(|it| it.to_string()).expect("peer")
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() })]

        #[test]
        fn the_walk_agrees_with_a_plain_model(
            peer in prop::sample::select(vec!["10.0.0.1", "192.0.2.1", "203.0.113.5", "fd00::1"]),
            values in prop::collection::vec(
                prop::collection::vec(
                    prop::sample::select(vec![
                        "10.1.2.3", " 192.0.2.1 ", "198.51.100.7", "[fd00::2]:80", "2001:db8::2",
                        "[2001:db8::3]", "10.0.0.5:80", "unknown", "", "::ffff:10.0.0.4", "_x",
                    ]),
                    0..5,
                ),
                0..4,
            ),
        ) {
            let values: Vec<String> =
                values.iter().map(|it| it.join(",").trim().to_owned()).collect();
            let texts: Vec<&str> = values.iter().map(String::as_str).collect();
            prop_assert_eq!(seen(peer, &lines(&texts)).ip.to_string(), model(peer, &values));
        }
    }
}
