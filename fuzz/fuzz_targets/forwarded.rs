//! The client is the peer, or an address that a trusted peer has named; an untrusted peer decides nothing.
#![no_main]

use headgate::semantics::class::{Class, Field};
use headgate::semantics::forwarded::client;
use headgate::semantics::head::{HeadLimits, Parts, Version, inspect};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 1 << 20, fields: 100, target_bytes: 8 * 1024 };

fuzz_target!(|bytes: &[u8]| {
    let mut fields = vec![Field { name: "Host", value: b"gate.test" }];
    let values = bytes.split(|it| *it == b'\n').take(50);
    fields.extend(values.map(|value| Field { name: "X-Forwarded-For", value }));
    let mut classes = [Class::Other; 100];
    let parts = Parts { version: Version::Http11, method: "GET", target: "/", fields: &fields };
    let Ok(head) = inspect(&parts, &mut classes, &LIMITS) else { return };
    let peer = [10, 0, 0, 1].into();
    assert_eq!(client(peer, &[], &head).ip, peer);
    let trusted = [[10, 0, 0, 0], [192, 168, 0, 0]].map(|it| (it, 8));
    let trusted: Vec<_> = trusted.iter().filter_map(|(ip, bits)| network(*ip, *bits)).collect();
    let seen = client(peer, &trusted, &head).ip;
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let named = seen.to_string();
    // An address may be written in more than one way; IPv4 without a mapping in only one.
    assert!(seen == peer || seen.is_ipv6() || text.contains(&named) || text.contains(':'), "{seen}");
});

fn network(ip: [u8; 4], bits: u8) -> Option<ipnet::IpNet> {
    ipnet::IpNet::new(ip.into(), bits).ok()
}
