//! Tables of heads and of upstream misbehaviours, run over real sockets.

mod heads;
mod upstreams;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use crate::support::wire::WireError;
use crate::support::{Exchange, Gateway, RawClient, RawUpstream, Signal, until};
use heads::HEADS;
use upstreams::{Expect, Misbehaviour, Reuse, Step, TABLES};

/// As the table of heads assumes.
const LIMITS: &str = "limits: { targetBytes: 16KiB, headBytes: 64KiB, headFields: 100 }";

/// Short, so that upstreams that say nothing do not cost a test run minutes.
const TIMEOUTS: &str = "timeouts: { connect: 5s, responseHead: 900ms, responseStall: 900ms }";

#[test]
fn every_upstream_misbehaviour_has_its_one_answer_on_a_new_connection() {
    run_misbehaviours(false);
}

#[test]
fn every_upstream_misbehaviour_has_its_one_answer_on_a_reused_connection() {
    run_misbehaviours(true);
}

fn run_misbehaviours(warm: bool) {
    let cue = Arc::new(Mutex::new(Signal::new()));
    let for_upstream = Arc::clone(&cue);
    let upstream = RawUpstream::start(move |it| misbehave(it, &for_upstream));
    let gateway =
        Gateway::in_front_of("odd", &upstream).only_service("odd", &upstream, TIMEOUTS).start();
    let mut report = String::new();
    for case in TABLES.iter().copied().flatten() {
        let fresh = Signal::new();
        *cue.lock().expect("no panic") = fresh.clone();
        if let Err(why) = run(&gateway, &upstream, case, (warm, &fresh)) {
            let _ = writeln!(report, "{}: {why}", case.name);
        }
    }
    assert!(report.is_empty(), "{} rows differ:\n{report}", report.lines().count());
    assert_eq!(upstream.faults(), Vec::<String>::new());
}

#[test]
fn the_table_of_misbehaviours_is_large_and_has_no_name_twice() {
    let mut names: Vec<&str> = TABLES.iter().copied().flatten().map(|it| it.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert!(count >= 60 && names.len() == count, "{count} rows, {} names", names.len());
}

#[test]
fn every_head_has_its_one_outcome() {
    let upstream = RawUpstream::start(|it| {
        let path = it.path();
        it.respond(200, "", path.as_bytes());
    });
    let gateway = Gateway::in_front_of("a", &upstream).with(LIMITS).start();
    let mut report = String::new();
    for case in HEADS {
        if let Err(why) = run_head(&gateway, &upstream, case) {
            let _ = writeln!(report, "{}: {why}", case.name);
        }
    }
    assert!(report.is_empty(), "{} rows differ:\n{report}", report.lines().count());
    assert_eq!(upstream.faults(), Vec::<String>::new());
    assert!(HEADS.len() >= 150, "only {} rows", HEADS.len());
    let connections = upstream.connections();
    assert!(connections < 20, "{connections} upstream connections: pooled ones were not reused");
}

/// One head on a fresh client connection, over upstream connections that all heads share.
fn run_head(gateway: &Gateway, upstream: &RawUpstream, case: &heads::Head) -> Result<(), String> {
    let before = upstream.requests();
    let mut client = gateway.connect();
    client.send(case.bytes);
    let text = String::from_utf8_lossy(case.bytes);
    let method = text.trim_start().split(' ').next().unwrap_or_default();
    let answer = client.try_response(method).map_err(|it| format!("no answer: {it:?}"))?;
    let seen = upstream.received().split_off(before);
    match case.expect {
        heads::Expect::Refuse { status, code } => {
            let found = (answer.status, answer.code().unwrap_or_default());
            // An answer to HEAD has no body and so no code.
            let same = found.0 == status && (found.1 == code || method == "HEAD");
            same.then_some(()).ok_or_else(|| format!("{found:?}, not {:?}", (status, code)))?;
            seen.is_empty().then_some(()).ok_or("the upstream saw it")?;
        }
        heads::Expect::Pass { upstream_sees, upstream_lacks } => {
            let [seen] = seen.as_slice() else {
                return Err(format!("{} requests upstream, answer {}", seen.len(), answer.status));
            };
            let raw = &seen.head.raw;
            for part in upstream_sees {
                raw.contains(part)
                    .then_some(())
                    .ok_or_else(|| format!("no {part:?} in {raw:?}"))?;
            }
            for part in upstream_lacks {
                let has = raw.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
                (!has).then_some(()).ok_or_else(|| format!("{part:?} in {raw:?}"))?;
            }
        }
    }
    if case.survives {
        normal(&mut client, "same").map_err(|it| format!("same connection: {it}"))?;
    } else if !client.is_closed() {
        return Err("the connection stays open".to_owned());
    }
    normal(&mut gateway.connect(), "next").map_err(|it| format!("next connection: {it}"))
}

/// One row: a fresh client connection over an upstream connection that is new (`!warm`) or has served before.
fn run(
    gateway: &Gateway,
    upstream: &RawUpstream,
    case: &Misbehaviour,
    (warm, cue): (bool, &Signal),
) -> Result<(), String> {
    if warm {
        normal(&mut gateway.connect(), case.name)?;
    } else {
        upstream.drop_connections();
    }
    let mut client = gateway.connect();
    let path = format!("/case/{}", case.name);
    client.send(format!("{} {path} HTTP/1.1\r\nHost: gate.test\r\n\r\n", case.method));
    if case.steps.iter().any(|it| matches!(it, Step::Await)) {
        wait_for_begin(&mut client, case.expect)?;
        cue.set();
    }
    let survives = check(case, &mut client)?;
    let used = upstream.last();
    if used.target != path {
        return Err(format!("the newest request at the upstream is {}", used.target));
    }
    if case.steps.iter().any(|it| matches!(it, Step::Close | Step::Reset)) {
        // A close that is still under way may meet the next request, which no proxy can tell from a refusal.
        until("the upstream has closed", || !upstream.is_open(used.connection));
    }
    if survives {
        normal(&mut client, case.name).map_err(|it| format!("same client connection: {it}"))?;
    } else if !client.is_closed() {
        return Err("the client connection stays open".to_owned());
    }
    normal(&mut gateway.connect(), case.name).map_err(|it| format!("next connection: {it}"))?;
    let reused = upstream
        .received()
        .iter()
        .rev()
        .take(2)
        .any(|it| it.target.starts_with("/normal/") && it.connection == used.connection);
    let expected = case.reuse == Reuse::Kept;
    (reused == expected)
        .then_some(())
        .ok_or_else(|| format!("upstream connection reused: {reused}"))
}

/// Reads until the part of the response that was sent before the misbehaviour is here.
fn wait_for_begin(client: &mut RawClient, expect: Expect) -> Result<(), String> {
    let Expect::Broken(_, begin) = expect else { return Ok(()) };
    let mut seen = String::new();
    while !(seen.contains("\r\n\r\n") && seen.contains(begin)) {
        match client.wire.fill() {
            Ok(1..) => seen = String::from_utf8_lossy(client.wire.rest()).into_owned(),
            end => return Err(format!("{end:?} after {seen:?}")),
        }
    }
    Ok(())
}

/// Compares what the client sees; says whether its connection survives.
fn check(case: &Misbehaviour, client: &mut RawClient) -> Result<bool, String> {
    match (case.expect, client.try_response(case.method)) {
        (Expect::Refused(status, code), Ok(response)) => {
            let seen = (response.status, response.code().unwrap_or_default());
            let expected = (status, code.to_owned());
            let same = seen == expected;
            same.then_some(true).ok_or_else(|| format!("{seen:?}, not {expected:?}"))
        }
        (Expect::Passes(status, body), Ok(response)) => {
            let same = response.status == status && response.text() == body;
            same.then_some(true).ok_or_else(|| format!("{} {:?}", response.status, response.text()))
        }
        (Expect::Broken(status, begin), Err(broken)) => {
            let head = broken.head.ok_or_else(|| format!("no head: {:?}", broken.why))?;
            let ended = matches!(broken.why, WireError::Truncated | WireError::Reset);
            let same = head.start.starts_with(&format!("HTTP/1.1 {status} "));
            let begins = broken.body.starts_with(begin.as_bytes());
            let seen = || format!("{}, {:?}, {:?}", head.start, broken.why, broken.body.len());
            (ended && same && begins).then_some(false).ok_or_else(seen)
        }
        (expected, Ok(response)) => {
            Err(format!("whole {} {:?}, not {expected:?}", response.status, response.text()))
        }
        (expected, Err(broken)) => Err(format!("{:?}, not {expected:?}", broken.why)),
    }
}

/// A request that any gate must get right, whatever went before.
fn normal(client: &mut RawClient, name: &str) -> Result<(), String> {
    let path = format!("/normal/{name}");
    let seen = client.get(&path, "").try_response("GET").map_err(|it| format!("{it:?}"))?;
    let right = seen.status == 200 && seen.text() == path;
    right.then_some(()).ok_or_else(|| format!("normal request: {} {:?}", seen.status, seen.text()))
}

/// Answers normal paths with themselves, and a case by its steps.
fn misbehave(exchange: &mut Exchange, cue: &Mutex<Signal>) {
    let path = exchange.path();
    let Some(name) = path.strip_prefix("/case/") else {
        return exchange.respond(200, "", path.as_bytes());
    };
    let case =
        TABLES.iter().copied().flatten().find(|it| it.name == name).expect("a row of the table");
    for step in case.steps {
        match step {
            Step::Say(bytes) => _ = exchange.send(bytes),
            Step::Repeat(bytes, times) => _ = exchange.send(bytes.repeat(*times)),
            Step::Await => {
                let cue = cue.lock().expect("no panic").clone();
                exchange.wait(&cue);
            }
            Step::Close => exchange.close(),
            Step::Reset => exchange.reset(),
            Step::Hang => exchange.hang(),
        }
    }
}
