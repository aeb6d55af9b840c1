//! What filters are shown, and what becomes of what they say.

use std::net::IpAddr;
use std::sync::Arc;

use super::{About, CoreFilters, Filters, Passage, answer, as_edits, fill, of, sets};
use crate::config::{PluginUse, Route};
use crate::generation::Gate;
use crate::generation::fixture::{ADMIN, NOW, config, gate, keyed, public};
use crate::maintenance::Modes;
use crate::plugin::facts::{Fact, Facts};
use crate::plugin::host::{FilterReply, HeaderOp};
use crate::plugin::request_filter::{Did, OnFailure, RequestFilter};
use crate::proxy::decide::tests::{client, head};
use crate::proxy::decide::{Decision, Forward, decide};
use crate::proxy::reject::Reject;
use crate::semantics::class::{Class, Field, classify};
use crate::semantics::forwarded::Client;
use crate::semantics::head::RequestHead;
use crate::wire::h1::edit::Edit;

fn filter(headers: &[&str], on_failure: OnFailure) -> Arc<RequestFilter> {
    let headers = headers.iter().map(|it| (*it).to_owned()).collect();
    Arc::new(RequestFilter::new(1, "f".to_owned(), None, on_failure, headers))
}

fn closed(headers: &[&str]) -> Arc<RequestFilter> {
    filter(headers, OnFailure::Closed)
}

/// A gate with `/api/f` behind a filter; the filter's plugin is not there.
fn filtered(fail_open: bool) -> Gate {
    let of_route = PluginUse { fail_open, ..PluginUse::builtin("require-header", String::new()) };
    let mut config = config("");
    let number = config.routes.len();
    let route = Route { number: Some(number), filters: vec![of_route], ..public("/api/f", 0) };
    config.routes.push(route);
    gate(config, Modes::default())
}

fn forward<'g, 'a>(gate: &'g Gate, head: &RequestHead<'a>) -> Forward<'g, 'a> {
    match decide(gate, head, &client(false), NOW) {
        Decision::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

/// What the filters of a request with these fields see.
fn seen(filters: &[Arc<RequestFilter>], fields: &[(&str, &str)], client: &Client) -> Facts {
    let fields: Vec<Field<'_>> =
        fields.iter().map(|it| Field { name: it.0, value: it.1.as_bytes() }).collect();
    let classes: Vec<Class> = fields.iter().map(|it| classify(it.name.as_bytes())).collect();
    let head = RequestHead { fields: &fields, classes: &classes, ..head("/api/x") };
    let gate = gate(config(""), Modes::default());
    let forward = forward(&gate, &head);
    let mut facts = Facts::default();
    facts.add_header(b"stale", b"from the request before");
    fill(
        &mut facts,
        filters,
        &About { head: &head, client, forward: &forward, request_id: "r-1", now: NOW },
    );
    facts
}

fn names(facts: &mut Facts, place: usize) -> Vec<String> {
    facts.show_to(place);
    facts.headers().map(|it| String::from_utf8_lossy(it.0).into_owned()).collect()
}

#[test]
fn the_facts_are_those_that_were_decided_on() {
    let mut config = config("");
    config.routes.push(Route { host: Some("gate.example".to_owned()), ..keyed("/k", 0, "admin") });
    let gate = gate(config, Modes::default());
    let head = RequestHead {
        method: "QUERY",
        query: Some("a=%20b"),
        authority: "Gate.Example:80",
        api_key: Some(ADMIN.as_bytes()),
        ..head("/x/..//k/%7Ea")
    };
    let forward = forward(&gate, &head);
    let client = Client { ip: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), ..client(true) };
    let mut facts = Facts::default();
    fill(
        &mut facts,
        &[closed(&[])],
        &About { head: &head, client: &client, forward: &forward, request_id: "r-1", now: NOW },
    );
    let text = |fact| facts.get(fact).map(|it| String::from_utf8_lossy(it).into_owned());
    assert_eq!(
        Fact::ALL.map(text),
        [
            Some("QUERY"),
            Some("/k/~a"),
            Some("a=%20b"),
            Some("gate.example:80"),
            Some("2001:db8::1"),
            Some("gate.example/k/*"),
            Some("r-1"),
            Some("stockflow"),
        ]
        .map(|it| it.map(str::to_owned))
    );
    assert_eq!(facts.now_ms, NOW.0);
}

#[test]
fn what_is_absent_reads_as_absent() {
    let facts = seen(&[closed(&["*"])], &[], &client(false));
    assert_eq!((facts.get(Fact::Query), facts.get(Fact::KeyName)), (None, None));
    assert_eq!(facts.header("stale").count(), 0);
}

#[test]
fn each_filter_gets_what_it_was_granted() {
    let filters = [
        closed(&["x-tenant", "authorization"]),
        closed(&[]),
        closed(&["*"]),
        closed(&["cookie", "*"]),
    ];
    let sent = [
        ("X-Tenant", "one"),
        ("x-tenants", "no"),
        ("x-TENANT", "two"),
        ("Authorization", "Bearer x"),
        ("Cookie", "a=b"),
        ("Accept", "*/*"),
    ];
    let mut facts = seen(&filters, &sent, &client(false));
    assert_eq!(names(&mut facts, 0), ["X-Tenant", "x-TENANT", "Authorization"]);
    assert_eq!(names(&mut facts, 1), [""; 0]);
    assert_eq!(names(&mut facts, 2), ["X-Tenant", "x-tenants", "x-TENANT", "Accept"]);
    assert_eq!(names(&mut facts, 3), ["X-Tenant", "x-tenants", "x-TENANT", "Cookie", "Accept"]);
}

#[test]
fn nobody_is_shown_the_key_or_what_goes_no_further() {
    let hidden = [
        "X-API-KEY",
        "Host",
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Forwarded",
        "X-Real-IP",
        "X-Request-ID",
        "X-Headgate-Client",
        "X-Original-URL",
    ];
    let mut grants: Vec<String> = hidden.iter().map(|it| it.to_lowercase()).collect();
    grants.push("*".to_owned());
    let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
    let sent: Vec<(&str, &str)> = hidden.iter().map(|it| (*it, "x")).collect();
    for trusted in [false, true] {
        let mut facts = seen(&[closed(&grants)], &sent, &client(trusted));
        assert_eq!(names(&mut facts, 0), [""; 0]);
    }
}

#[test]
fn forwarded_fields_are_a_trusted_peers_word() {
    let sent = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Prefix", "/a")];
    let filters = [closed(&["x-forwarded-for", "*"])];
    assert_eq!(names(&mut seen(&filters, &sent, &client(false)), 0), [""; 0]);
    assert_eq!(names(&mut seen(&filters, &sent, &client(true)), 0).len(), 2);
}

#[test]
fn routes_without_filters_and_preflights_are_not_asked_about() {
    let gate = filtered(false);
    let generation = &gate.generation;
    assert_eq!(of(generation, &head("/api/f/x"), &forward(&gate, &head("/api/f/x"))).len(), 1);
    assert!(of(generation, &head("/api/x"), &forward(&gate, &head("/api/x"))).is_empty());
    let fields = [
        Field { name: "Origin", value: b"https://app.example" },
        Field { name: "Access-Control-Request-Method", value: b"GET" },
    ];
    let classes = [Class::Origin, Class::CorsMethod];
    let preflight =
        RequestHead { method: "OPTIONS", fields: &fields, classes: &classes, ..head("/api/f/x") };
    assert!(of(generation, &preflight, &forward(&gate, &preflight)).is_empty());
    let plain = RequestHead { method: "OPTIONS", ..head("/api/f/x") };
    assert_eq!(of(generation, &plain, &forward(&gate, &plain)).len(), 1);
}

#[test]
fn a_filter_that_is_not_there_fails_as_the_route_says() {
    for (fail_open, did) in
        [(false, Did::FailedClosed("unproven")), (true, Did::FailedOpen("unproven"))]
    {
        let gate = filtered(fail_open);
        let head = head("/api/f/x");
        let forward = forward(&gate, &head);
        let (client, mut filters) = (client(false), Filters::default());
        let about =
            About { head: &head, client: &client, forward: &forward, request_id: "r-1", now: NOW };
        let (passage, note) = filters.run(&of(&gate.generation, &head, &forward), &about);
        match passage {
            Passage::Refuse(Reject::FilterFailed) => assert!(!fail_open),
            Passage::Pass(edits) => assert!(fail_open && edits.is_empty()),
            other => panic!("{other:?}"),
        }
        assert_eq!(note.unwrap().did, did);
        filters.follow(&gate.generation);
        assert_eq!(filters.instances(), 0);
    }
    assert_eq!(CoreFilters::default().instances(), 0);
}

fn op(kind: char, name: &str, value: &str) -> HeaderOp {
    let (name, value) = (name.to_owned(), value.as_bytes().to_vec());
    match kind {
        '=' => HeaderOp::Set(name, value),
        '+' => HeaderOp::Append(name, value),
        _ => HeaderOp::Remove(name),
    }
}

#[test]
fn an_edge_is_told_what_is_set_and_nothing_else() {
    assert_eq!(sets(&[]), Some(vec![]));
    let twice = [op('=', "A", "1"), op('=', "B", "2"), op('=', "a", "3")];
    assert_eq!(sets(&twice), Some(vec![("B", &b"2"[..]), ("a", &b"3"[..])]));
    assert_eq!(sets(&[op('=', "A", "1"), op('+', "A", "2")]), None);
    assert_eq!(sets(&[op('-', "A", "")]), None);
}

#[test]
fn edits_keep_their_order() {
    let ops = [op('=', "A", "1"), op('+', "B", "2"), op('-', "C", "")];
    let expected = [Edit::Set("A", b"1"), Edit::Append("B", b"2"), Edit::Remove("C")];
    assert_eq!(as_edits(&ops), expected);
}

#[test]
fn a_reply_is_not_cached_unless_the_filter_says_so() {
    let reply = |headers: &[(&str, &str)]| FilterReply {
        status: 403,
        headers: headers.iter().map(|it| (it.0.to_owned(), it.1.as_bytes().to_vec())).collect(),
        body: b"no".to_vec(),
    };
    let (plain, fields) = answer(reply(&[("X-A", "1")]));
    assert_eq!(plain.headers, [("Cache-Control", "no-store".to_owned())]);
    assert_eq!((plain.status, plain.body, fields.len()), (403, b"no".to_vec(), 1));
    let (cached, _) = answer(reply(&[("cache-CONTROL", "max-age=60")]));
    assert!(cached.headers.is_empty());
    let (empty, _) = answer(FilterReply { status: 205, ..reply(&[]) });
    assert!(empty.body.is_empty());
}
