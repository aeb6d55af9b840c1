//! Runs the table of request heads against the reader, whole, cut short and in parts.

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use crate::semantics::class::Class;
use crate::semantics::head::{
    FIELDS_MAX, HeadError, HeadLimits, Parsed, Parts, Storage, Version, inspect, parse_request,
};
use crate::semantics::path::canonical;

#[path = "../../tests/it/vectors/heads.rs"]
pub(crate) mod heads;

use heads::{Expect, HEADS};

pub(crate) const LIMITS: HeadLimits =
    HeadLimits { head_bytes: 32 * 1024, fields: FIELDS_MAX, target_bytes: 8 * 1024 };

/// What is known of a head once it is read and its path is canonical.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    used: usize,
    keep_alive: bool,
    whole: String,
}

fn read(bytes: &[u8]) -> Result<Option<Seen>, HeadError> {
    let mut storage = Storage::default();
    match parse_request(bytes, &mut storage, &LIMITS)? {
        Parsed::Partial => Ok(None),
        Parsed::Whole(head, used) => {
            let path = canonical(head.raw_path)?;
            let whole = format!("{path} {head:?}");
            Ok(Some(Seen { used, keep_alive: head.keep_alive, whole }))
        }
    }
}

fn head_end(bytes: &[u8]) -> usize {
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    bytes[start..].windows(4).position(|it| it == b"\r\n\r\n").expect("whole head") + start + 4
}

#[test]
fn every_head_of_the_table_is_judged_as_it_says() {
    assert!(HEADS.len() >= 150);
    let mut faults = Vec::new();
    for head in HEADS {
        let seen = read(head.bytes);
        let fits = match (&head.expect, &seen) {
            (Expect::Pass { .. }, Ok(Some(seen))) => {
                seen.used == head_end(head.bytes) && seen.keep_alive == head.survives
            }
            (Expect::Refuse { status, code }, Err(error)) => {
                error.status == *status && error.code == *code && !head.survives
            }
            _ => false,
        };
        if !fits {
            faults.push(format!("{}: {seen:?}", head.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_of_the_table_are_unique() {
    let mut names: Vec<_> = HEADS.iter().map(|it| it.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), HEADS.len());
}

#[test]
fn a_good_head_cut_short_is_partial_and_never_refused() {
    for head in HEADS.iter().filter(|it| matches!(it.expect, Expect::Pass { .. })) {
        for end in 0..head_end(head.bytes) {
            assert_eq!(read(&head.bytes[..end]), Ok(None), "{} cut at {end}", head.name);
        }
    }
}

#[test]
fn a_bad_head_cut_short_never_passes() {
    for head in HEADS.iter().filter(|it| matches!(it.expect, Expect::Refuse { .. })) {
        let step = head.bytes.len() / 200 + 1;
        for end in (0..head.bytes.len()).step_by(step) {
            if let Ok(Some(seen)) = read(&head.bytes[..end]) {
                panic!("{} cut at {end}: {seen:?}", head.name);
            }
        }
    }
}

#[test]
fn what_follows_a_head_changes_nothing() {
    for head in HEADS.iter().filter(|it| matches!(it.expect, Expect::Pass { .. })) {
        let alone = read(&head.bytes[..head_end(head.bytes)]);
        for after in [&b"\r\n"[..], b"\n", b"GET / HTTP/1.1\r\n\r\n", b"\0\xff"] {
            let with: Vec<u8> = [&head.bytes[..head_end(head.bytes)], after].concat();
            assert_eq!(read(&with), alone, "{}", head.name);
        }
    }
}

#[test]
fn parts_are_judged_as_the_whole_is() {
    for head in HEADS {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        if !matches!(request.parse(head.bytes), Ok(httparse::Status::Complete(_))) {
            continue;
        }
        let version = match request.version {
            Some(0) => Version::Http10,
            _ => Version::Http11,
        };
        let parts = Parts {
            version,
            method: request.method.expect("whole"),
            target: request.path.expect("whole"),
            fields: request.headers,
        };
        let mut classes = [Class::Other; FIELDS_MAX];
        let judged = inspect(&parts, &mut classes, &LIMITS).map(|it| format!("{it:?}"));
        let mut storage = Storage::default();
        match parse_request(head.bytes, &mut storage, &LIMITS) {
            Ok(Parsed::Whole(whole, _)) => {
                assert_eq!(judged, Ok(format!("{whole:?}")), "{}", head.name);
            }
            Ok(Parsed::Partial) => panic!("{} is whole", head.name),
            // Line ends and tabs are gone from parts.
            Err(error) if matches!(error.code, "bare-lf" | "leading-lines") => {}
            Err(error) if head.name.starts_with("tab ") => assert_eq!(error.status, 400),
            Err(error) => assert_eq!(judged, Err(error), "{}", head.name),
        }
    }
}

#[test]
fn http2_has_no_connection_fields() {
    let host = httparse::Header { name: "host", value: b"gate.test" };
    let mut classes = [Class::Other; 8];
    let alone = [host];
    let parts = |fields| Parts { version: Version::Http2, method: "GET", target: "/v", fields };
    let seen = inspect(&parts(&alone), &mut classes, &LIMITS).expect("plain");
    assert_eq!(seen.authority, "gate.test");
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"] {
        let field = httparse::Header { name, value: b"chunked" };
        let fields = [host, field];
        let parts = Parts { version: Version::Http2, method: "GET", target: "/v", fields: &fields };
        let mut classes = [Class::Other; 8];
        assert!(inspect(&parts, &mut classes, &LIMITS).is_err(), "{name}");
    }
}

#[test]
fn values_with_line_ends_are_no_parts() {
    for value in [&b"a\r\nX: b"[..], b"a\nb", b"a\0b", b" a", b"a\t"] {
        let fields = [
            httparse::Header { name: "Host", value: b"gate.test" },
            httparse::Header { name: "X", value },
        ];
        let parts =
            Parts { version: Version::Http11, method: "GET", target: "/v", fields: &fields };
        let mut classes = [Class::Other; 8];
        let error = inspect(&parts, &mut classes, &LIMITS).expect_err("refused");
        assert_eq!(error.code, "bad-header-value");
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let bytes = b"GET /12345 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let read = |limits: HeadLimits| {
        let mut storage = Storage::default();
        parse_request(bytes, &mut storage, &limits).map(|it| matches!(it, Parsed::Whole(_, _)))
    };
    let exact = HeadLimits { head_bytes: bytes.len(), fields: 2, target_bytes: 6 };
    assert_eq!(read(exact), Ok(true));
    let code = |limits| read(limits).expect_err("refused").code;
    assert_eq!(code(HeadLimits { head_bytes: bytes.len() - 1, ..exact }), "head-too-large");
    assert_eq!(code(HeadLimits { fields: 1, ..exact }), "too-many-fields");
    assert_eq!(code(HeadLimits { target_bytes: 5, ..exact }), "target-too-long");
}

#[test]
fn an_unfinished_head_is_refused_once_it_cannot_fit() {
    let bytes = b"GET /12345 HTTP/1.1\r\nHost: a\r\nX: yyyyyyyy";
    let read = |head_bytes: usize, target_bytes: usize| {
        let mut storage = Storage::default();
        let limits = HeadLimits { head_bytes, fields: 2, target_bytes };
        parse_request(bytes, &mut storage, &limits).map(|_| ()).map_err(|it| it.code)
    };
    assert_eq!(read(bytes.len() + 1, 6), Ok(()));
    assert_eq!(read(bytes.len(), 6), Err("head-too-large"));
    assert_eq!(read(bytes.len() + 1, 5), Err("target-too-long"));
}

#[test]
fn long_names_and_lists_are_refused() {
    let code = |lines: &str| {
        let bytes = format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n");
        read(bytes.as_bytes()).map(|it| it.is_some()).map_err(|it| it.code)
    };
    assert_eq!(code(&format!("Host: {}:65535", "a".repeat(255))), Ok(true));
    assert_eq!(code(&format!("Host: {}:65535", "a".repeat(256))), Err("bad-host"));
    let options = |count: usize| format!("Host: a\r\nConnection: {}", vec!["x"; count].join(","));
    assert_eq!(code(&options(64)), Ok(true));
    assert_eq!(code(&options(65)), Err("bad-connection"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_and_what_passes_is_clean(
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..4),
        which in any::<prop::sample::Index>(),
    ) {
        let head = which.get(HEADS);
        if head.bytes.len() < 10_000 {
            let (at, cut) = (at.index(head.bytes.len()), cut.index(4));
            let rest = &head.bytes[(at + cut).min(head.bytes.len())..];
            let bytes = [&head.bytes[..at], &noise, rest].concat();
            if let Ok(Some(seen)) = read(&bytes) {
                let lines = &bytes[..seen.used];
                assert!(lines.ends_with(b"\r\n\r\n"));
                assert!(!crate::semantics::lines::has_bare_lf(lines));
                assert!(lines.iter().all(|it| *it >= b' ' || b"\r\n\t".contains(it)));
            }
        }
    }
}
