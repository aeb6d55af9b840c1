//! Filters that misbehave: the instance is lost, the request is not answered by what it said, the next instance is good.

use std::time::Duration;

use headgate::plugin::facts::{Fact, Facts};
use headgate::plugin::host::{FilterDecision, HeaderOp};
use headgate::plugin::{Fault, Said};

use super::assemble::{Decision, Field, Guest};
use super::{LOOP, loaded};
use crate::support::wait::timed;

fn facts() -> Facts {
    let mut facts = Facts::default();
    facts.set(Fact::Method, b"GET");
    facts.set(Fact::Path, b"/api/x");
    facts.set(Fact::Client, b"10.0.0.1");
    facts.set(Fact::Route, b"/api/");
    facts.add_header(b"x-tenant", b"acme");
    facts
}

/// One request through a new instance.
fn ask(guest: &Guest) -> Result<FilterDecision, Fault> {
    let mut instance = loaded(guest).instance("{}")?;
    instance.on_request(&mut facts(), &mut Said::default())
}

fn told(guest: &Guest) -> &'static str {
    ask(guest).map_or_else(|it| it.label(), |_| "ok")
}

fn edit(field: Field) -> Guest {
    Guest::filter().decides(Decision::Edit(vec![field]))
}

fn set(name: &str, value: &[u8]) -> Guest {
    edit(("set", name.into(), value.into()))
}

fn reply(status: u16, headers: &[(&str, &[u8])], body: Vec<u8>) -> Guest {
    let headers = headers.iter().map(|it| (it.0.into(), it.1.into())).collect();
    Guest::filter().decides(Decision::Reply { status, headers, body })
}

#[test]
fn edits_of_what_is_the_gates_own_are_refused() {
    let own = [
        "Host",
        "host",
        "Content-Length",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Upgrade",
        "TE",
        "Trailer",
        "X-API-Key",
        "x-api-key",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Request-Id",
    ];
    for name in own {
        for how in ["set", "append", "remove"] {
            let found = told(&edit((how, name.into(), b"1".to_vec())));
            assert_eq!(found, "invalid-output", "{how} {name}");
        }
    }
    assert_eq!(told(&set("X-Tenant", b"acme")), "ok");
    assert_eq!(
        ask(&edit(("remove", b"x-tenant".to_vec(), Vec::new()))),
        Ok(FilterDecision::Edit(vec![HeaderOp::Remove("x-tenant".into())]))
    );
}

#[test]
fn edits_that_would_split_a_head_are_refused() {
    let names: [&[u8]; 9] =
        [b"", b"a b", b"a:b", b"a\r\nb", b"a\n", b" a", b"a\0", b"caf\xc3\xa9", b"\xff\xfe"];
    for name in names {
        let found = told(&edit(("set", name.into(), b"1".to_vec())));
        assert!(matches!(found, "invalid-output" | "trap"), "{name:?}: {found}");
    }
    let values: [&[u8]; 5] =
        [b"a\r\nX-API-Key: forged", b"a\nb", b"a\rb", b"a\0b", b"x\r\n\r\nGET / HTTP/1.1"];
    for value in values {
        for how in ["set", "append"] {
            let found = told(&edit((how, b"x-note".to_vec(), value.into())));
            assert_eq!(found, "invalid-output", "{how} {value:?}");
        }
    }
    let long = |len: usize| told(&set(&"n".repeat(len), b"1"));
    assert_eq!((long(256), long(257)), ("ok", "invalid-output"));
    let long = |len: usize| told(&set("x-note", &vec![b'v'; len]));
    assert_eq!((long(4096), long(4097)), ("ok", "invalid-output"));
    let many = |count| {
        let ops = vec![("append", b"x-note".to_vec(), b"1".to_vec()); count];
        told(&Guest::filter().decides(Decision::Edit(ops)))
    };
    assert_eq!((many(32), many(33)), ("ok", "invalid-output"));
}

#[test]
fn replies_that_are_none_are_refused() {
    for status in [0, 99, 100, 101, 103, 199, 600, 1000, u16::MAX] {
        assert_eq!(told(&reply(status, &[], Vec::new())), "invalid-output", "{status}");
    }
    for status in [200, 204, 304, 403, 599] {
        assert_eq!(told(&reply(status, &[], Vec::new())), "ok", "{status}");
    }
    let bad: [(&str, &[u8]); 6] = [
        ("Content-Length", b"5"),
        ("Transfer-Encoding", b"chunked"),
        ("Connection", b"close"),
        ("Set-Cookie", b"a=b\r\nX: y"),
        ("", b"x"),
        ("a b", b"x"),
    ];
    for header in bad {
        assert_eq!(told(&reply(403, &[header], Vec::new())), "invalid-output", "{header:?}");
    }
    assert_eq!(told(&reply(403, &[("Content-Type", b"text/plain")], b"no".to_vec())), "ok");
    let large = |len| told(&reply(403, &[], vec![b'x'; len]));
    assert_eq!(large(60 << 10), "ok");
    assert!(matches!(large((64 << 10) + 1), "data" | "invalid-output"));
    assert_eq!(large(1 << 20), "data");
    assert_eq!(told(&Guest::filter().decides(Decision::Ext("later"))), "invalid-output");
}

#[test]
fn an_endless_filter_costs_its_budget() {
    let guest = Guest::filter().body("on-request", LOOP);
    let component = loaded(&guest);
    for _ in 0..20 {
        let mut instance = component.instance("{}").expect("configure is fine");
        let mut said = Said::default();
        let (outcome, took) = timed(|| instance.on_request(&mut facts(), &mut said));
        assert_eq!(outcome.map_err(|it| it.label()), Err("timeout"));
        // 2 ms of CPU time, on a machine that does other things meanwhile.
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn faults_in_an_instance_are_told_as_what_they_are() {
    let at_request = |text| Guest::filter().body("on-request", text);
    let bomb = "(loop $l (drop (memory.grow (i32.const 16))) (br $l)) unreachable";
    for (name, guest, expected) in [
        ("a trap", at_request("unreachable"), "trap"),
        ("recursion", at_request("(call $on_request)"), "trap"),
        ("memory", at_request(bomb), "memory"),
        ("a loop in configure", Guest::filter().body("configure", LOOP), "timeout"),
        ("a trap in configure", Guest::filter().body("configure", "unreachable"), "trap"),
    ] {
        assert_eq!(told(&guest), expected, "{name}");
    }
    assert_eq!(ask(&Guest::filter()), Ok(FilterDecision::Next));
}

#[test]
fn an_instance_after_a_fault_gives_nothing_but_faults() {
    let text = "(if (i32.eqz (i32.load (i32.const 64))) (then (i32.store (i32.const 64) (i32.const 1)) \
         unreachable)) $right";
    let component = loaded(&Guest::filter().body("on-request", text));
    let mut instance = component.instance("{}").expect("configure is fine");
    let mut said = Said::default();
    assert!(instance.on_request(&mut facts(), &mut said).is_err());
    assert!(instance.on_request(&mut facts(), &mut said).is_err());
}

#[test]
fn there_is_no_request_to_see_outside_of_a_request() {
    let text = "(call $path (i32.const 64)) $right";
    let component = loaded(&Guest::filter().body("configure", text));
    assert_eq!(component.instance("{}").map(|_| ()).map_err(|it| it.label()), Err("trap"));
    assert_eq!(told(&Guest::filter().body("on-request", text)), "ok");
}

#[test]
fn headers_that_were_not_granted_are_absent() {
    // The first byte of the option says whether the header was there.
    let mut guest = Guest::filter();
    let (granted, _) = guest.data.text("X-Tenant");
    let (other, _) = guest.data.text("cookie--");
    let probe = |at: u32| {
        format!(
            "(call $header (i32.const {at}) (i32.const 8) (i32.const 64))\n\
             (if (i32.load8_u (i32.const 64)) (then unreachable)) $right"
        )
    };
    assert_eq!(told(&guest.clone().body("on-request", &probe(granted))), "trap");
    assert_eq!(told(&guest.body("on-request", &probe(other))), "ok");
}

#[test]
fn a_filter_that_leaks_is_seen_to_grow() {
    let text = "(drop (memory.grow (i32.const 4))) $right";
    let component = loaded(&Guest::filter().body("on-request", text));
    let mut instance = component.instance("{}").expect("configure is fine");
    let mut said = Said::default();
    let before = instance.memory_bytes();
    for _ in 0..10 {
        assert_eq!(instance.on_request(&mut facts(), &mut said), Ok(FilterDecision::Next));
    }
    assert_eq!(instance.memory_bytes(), before + 40 * 65_536);
    // It ends at the limit of its memory, not of the machine's.
    let outcomes = (0..300).map(|_| instance.on_request(&mut facts(), &mut said));
    let fault = outcomes.filter_map(Result::err).next().expect("64 MiB are the end");
    assert_eq!(fault.label(), "memory");
}
