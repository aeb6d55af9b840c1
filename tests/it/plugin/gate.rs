//! Plugins that mean harm in a running gate: refused visibly, or ended, while requests go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::LOOP;
use super::assemble::{Decision, Guest, stamped};
use super::stand::{NAME, Stand, refused, saying, setup, status};
use crate::support::gateway::Gateway;
use crate::support::{OPERATOR, Upstream, until};

/// A component and the codes of which one must be told.
type Case = (&'static str, Vec<u8>, &'static [&'static str]);

fn bad_components() -> Vec<Case> {
    let good = saying("never");
    let filter = Guest::filter;
    vec![
        ("an empty file", Vec::new(), &["not-a-component"]),
        ("half a file", good[..good.len() / 2].to_vec(), &["not-a-component"]),
        ("a core module", filter().module(), &["not-a-component"]),
        ("9 MiB", stamped(&good, &vec![0; 9 << 20]), &["too-large"]),
        ("a policy", Guest::policy().build(), &["wrong-world", "kind"]),
        ("two worlds", filter().in_world("both").build(), &["wrong-world"]),
        ("no world", filter().in_world("neither").build(), &["wrong-world"]),
        ("a clock", filter().in_world("clocked").build(), &["import"]),
        ("a loop in start", filter().start("(loop $l (br $l))").build(), &["describe"]),
        ("a loop in describe", filter().body("describe", LOOP).build(), &["describe"]),
        ("a trap in describe", filter().body("describe", "unreachable").build(), &["describe"]),
        ("a nameless one", filter().describes(|it| it.name.clear()).build(), &["describe"]),
        (
            "a loop in configure",
            filter().body("configure", LOOP).build(),
            &["settings", "configure"],
        ),
        (
            "a trap in configure",
            filter().body("configure", "unreachable").build(),
            &["settings", "configure"],
        ),
        ("a loop in self-test", filter().body("self-test", LOOP).build(), &["self-test"]),
        ("a trap in self-test", filter().body("self-test", "unreachable").build(), &["self-test"]),
        (
            "a failed golden case",
            filter().checks(vec![("it".into(), false)]).build(),
            &["self-test"],
        ),
        ("no golden case", filter().checks(Vec::new()).build(), &["self-test"]),
    ]
}

#[test]
fn bad_components_are_refused_visibly_while_the_active_one_goes_on() {
    let stand = Stand::with(&saying("one"));
    assert_eq!(stand.ask(), (200, "one".to_owned()));
    let active = stand.active();
    let (stop, served, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = stand.gate.connect();
            while !stop.load(Ordering::Relaxed) {
                let (path, word) = if served.load(Ordering::Relaxed) % 2 == 0 {
                    ("/x", "upstream")
                } else {
                    ("/f/x", "one")
                };
                match client.get(path, "").try_response("GET") {
                    Ok(answer) if answer.status == 200 && answer.text() == word => {
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {
                        failed.fetch_add(1, Ordering::Relaxed);
                        client = stand.gate.connect();
                    }
                }
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for (what, wasm, codes) in bad_components() {
                let before = served.load(Ordering::Relaxed);
                let status = stand.replace(&wasm);
                let found = refused(&status);
                assert!(
                    found.iter().any(|it| codes.contains(&it.as_str())),
                    "{what}: {found:?}, none of {codes:?}: {status}"
                );
                assert_eq!(status["digest"], active, "{what}: another one acts");
                assert!(served.load(Ordering::Relaxed) > before, "{what}: requests stood still");
                until(&format!("{what} in the log"), || {
                    let log = stand.gate.output();
                    codes.iter().any(|it| log.contains(it))
                });
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    let refusals = stand.gate.metric("headgate_plugin_swaps_total", "result=\"refused\"");
    assert!(refusals >= 15.0, "{refusals} refusals in the metric");
    stand.replace(&saying("two"));
    assert_eq!(stand.ask(), (200, "two".to_owned()));
}

#[test]
fn a_bad_component_at_the_start_stops_nothing_but_its_route() {
    let stand = Stand::with(b"no component at all");
    stand.expect_plain();
    assert_eq!(stand.ask().0, 503);
    assert_eq!(stand.upstream.requests(), 1);
    let status = stand.status();
    assert_eq!(status["state"], "rejected", "{status}");
    stand.replace(&saying("one"));
    assert_eq!(stand.ask(), (200, "one".to_owned()));

    let open = format!("{{ plugin: {NAME}, onFailure: open }}");
    let stand = Stand::configured(b"no component at all", &open);
    assert_eq!(stand.ask(), (200, "upstream".to_owned()));
}

#[test]
fn an_endless_filter_costs_its_budget_until_it_is_put_away() {
    let endless = Guest::filter().body("on-request", LOOP).build();
    let stand = Stand::with(&endless);
    for round in 0..120 {
        assert_eq!(stand.ask().0, 503, "round {round}");
        if round % 10 == 0 {
            stand.expect_plain();
        }
    }
    // Most requests were refused without asking it: it was put away.
    let counted = |labels| stand.gate.metric("headgate_plugin_calls_total", labels);
    let (calls, timeouts) = (counted(""), counted("outcome=\"timeout\""));
    assert!(
        timeouts > 0.0 && calls < 100.0,
        "{calls} calls, {timeouts} too long: {}",
        stand.status()
    );
    assert_eq!(stand.status()["state"], "quarantined", "{}", stand.status());
    assert!(stand.upstream.received().iter().all(|it| !it.path_is_under("/f")));
    stand.replace(&saying("one"));
    until("the good one acts", || stand.ask() == (200, "one".to_owned()));

    let open = format!("{{ plugin: {NAME}, onFailure: open }}");
    let stand = Stand::configured(&endless, &open);
    for round in 0..60 {
        assert_eq!(stand.ask(), (200, "upstream".to_owned()), "round {round}");
    }
}

#[test]
fn a_filter_that_traps_again_and_again_gives_way_to_the_last_good_one() {
    let stand = Stand::with(&saying("one"));
    assert_eq!(stand.ask(), (200, "one".to_owned()));
    stand.replace(&Guest::filter().body("on-request", "unreachable").build());
    // It is refused for the recorded requests on which it traps, or it is let in and put away again.
    until("the good one acts again", || (0..10).all(|_| stand.ask() == (200, "one".to_owned())));
    stand.expect_plain();
    let status = stand.status().to_string();
    assert!(status.contains("trap") || status.contains("faulted"), "{status}");
}

#[test]
fn the_trap_of_a_filter_is_in_the_log_and_its_quarantine_is_counted() {
    let stand = Stand::with(&Guest::filter().body("on-request", "unreachable").build());
    for _ in 0..3 {
        assert_eq!(stand.ask().0, 503);
    }
    until("the trap is told with its function", || {
        let output = stand.gate.output();
        output.lines().any(|it| it.contains("trapped: ") && it.contains(" in "))
    });
    until("the quarantine is counted", || {
        stand.gate.metric("headgate_plugin_swaps_total", "result=\"quarantined\"") >= 1.0
    });
}

#[test]
fn what_a_filter_forges_reaches_nobody() {
    let edit = |name: &str, value: &[u8]| {
        Guest::filter().decides(Decision::Edit(vec![("set", name.into(), value.into())])).build()
    };
    let reply = |status, body: Vec<u8>| {
        Guest::filter().decides(Decision::Reply { status, headers: Vec::new(), body }).build()
    };
    for (what, wasm) in [
        ("a key", edit("X-API-Key", OPERATOR.as_bytes())),
        ("a length", edit("Content-Length", b"5")),
        ("a second request", edit("X-Note", b"a\r\n\r\nGET /secret HTTP/1.1\r\nHost: x")),
        ("a host", edit("Host", b"elsewhere")),
        ("a status of 99", reply(99, Vec::new())),
        ("an upgrade", reply(101, Vec::new())),
        ("a body of 1 MiB", reply(200, vec![b'x'; 1 << 20])),
    ] {
        let stand = Stand::with(&wasm);
        for _ in 0..3 {
            assert_eq!(stand.ask().0, 503, "{what}");
        }
        assert_eq!(stand.upstream.requests(), 0, "{what}");
        stand.expect_plain();
        let outcome = stand.gate.metric("headgate_plugin_calls_total", "outcome=\"ok\"");
        assert!(outcome < 0.5, "{what}: {outcome} calls were counted as good");
    }
}

#[test]
fn a_filter_that_leaks_is_recycled() {
    // One page a request: without another instance the end of its memory would come after a thousand of them.
    let leak = "(drop (memory.grow (i32.const 1))) $right";
    let stand = Stand::with(&Guest::filter().body("on-request", leak).build());
    stand.active();
    let mut client = stand.gate.connect();
    for round in 0..4000 {
        let answer = client.get("/f/x", "").response();
        assert_eq!(answer.status, 200, "request {round}: {}\n{}", answer.text(), stand.status());
    }
    assert!(stand.gate.metric("headgate_plugin_calls_total", "outcome=\"memory\"") < 0.5);
}

#[test]
fn ten_thousand_lines_a_request_flood_no_log() {
    let mut guest = Guest::filter();
    let (at, len) = guest.data.text("a line of the flood");
    let flood = format!(
        "(local.set $i (i32.const 1000))\n\
         (loop $l (call $log (i32.const 3) (i32.const {at}) (i32.const {len}))\n\
         (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1))))) $right"
    );
    let stand = Stand::with(&guest.body("on-request", &flood).build());
    for _ in 0..50 {
        assert_eq!(stand.ask(), (200, "upstream".to_owned()));
    }
    let lines = stand.gate.output().matches("a line of the flood").count();
    assert!(lines <= 50 * 32, "{lines} lines");
    until("lines are counted as dropped", || {
        stand.gate.metric("headgate_plugin_log_dropped_total", "") >= 50.0 * 968.0
    });
}

#[test]
fn a_looping_policy_is_proven_and_refused_while_requests_go_on() {
    let upstream = Upstream::named("upstream");
    let policy = setup(&upstream, NAME).without_routes();
    let policy = policy
        .only_service("app", &upstream, &format!("health: {{ policy: {NAME} }}"))
        .route("path: /, service: app, access: public");
    let stand = Stand::of(policy, upstream, &Guest::policy().build());
    let active = stand.active();
    for (what, guest) in [
        ("self-test", Guest::policy().body("self-test", LOOP)),
        ("describe", Guest::policy().body("describe", LOOP)),
        ("configure", Guest::policy().body("configure", LOOP)),
    ] {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let (mut client, mut served) = (stand.gate.connect(), 0);
                while !done.load(Ordering::Relaxed) {
                    client.get("/x", "").response().expect_text("upstream");
                    served += 1;
                }
                served
            });
            stand.replace(&guest.build());
            done.store(true, Ordering::Relaxed);
            let served = load.join().expect("every request was answered");
            assert!(served > 20, "{what}: {served} requests meanwhile");
        });
        let status = stand.status();
        assert_eq!(status["digest"], active, "{what}: {status}");
        assert!(!refused(&status).is_empty(), "{what}: {status}");
    }
}

#[test]
fn one_component_serves_two_routes_with_settings_of_their_own() {
    let upstream = Upstream::named("upstream");
    let setup = setup(&upstream, NAME)
        .route(&format!("path: /g/, service: app, access: public, filters: {NAME}"));
    let stand = Stand::of(setup, upstream, &saying("one"));
    assert_eq!(stand.ask(), (200, "one".to_owned()));
    stand.gate.get("/g/x").send().expect_text("one");
    let uses = stand.status()["uses"].as_array().map_or(0, Vec::len);
    assert_eq!(uses, 2, "{}", stand.status());
}

#[test]
fn a_warm_start_compiles_nothing() {
    let stand = Stand::with(&saying("one"));
    assert_eq!(stand.ask(), (200, "one".to_owned()));
    assert_eq!(stand.status()["proof"]["compiled"], true, "{}", stand.status());
    let gate: Gateway = stand.gate.restart();
    gate.get("/f/x").send().expect_text("one");
    assert_eq!(status(&gate, NAME)["proof"]["compiled"], false, "{}", status(&gate, NAME));
}

#[test]
fn bad_components_that_are_pushed_are_refused_with_every_reason() {
    let stand = Stand::with(&saying("one"));
    let push = |wasm: &[u8], more: &str| {
        let path = format!("/api/admin/headgate/plugins/push?plugin={NAME}{more}");
        stand.gate.admin_post(&path).body(wasm).send()
    };
    let active = stand.active();
    for (what, wasm, codes) in bad_components() {
        let answer = push(&wasm, "");
        assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
        let told = answer.text();
        assert!(wasm.is_empty() || codes.iter().any(|it| told.contains(it)), "{what}: {told}");
        assert_eq!(stand.ask(), (200, "one".to_owned()), "{what}");
    }
    let lost = push(&Guest::filter().in_world("lost").build(), "").text();
    assert!(lost.contains("import") && lost.contains("wrong-world"), "{lost}");
    assert_eq!(stand.status()["digest"], active);

    push(&saying("two"), "&dryRun=true").expect_status(200);
    assert_eq!(stand.ask(), (200, "one".to_owned()));
    let wrong = "0".repeat(64);
    let answer = push(&saying("two"), &format!("&sha256={wrong}"));
    assert!((400..500).contains(&answer.status), "{}", answer.text());
    push(&saying("two"), "").expect_status(200);
    assert_eq!(stand.ask(), (200, "two".to_owned()));
    assert_eq!(stand.status()["source"], "pushed", "{}", stand.status());
    let gate: Gateway = stand.gate.restart();
    gate.get("/f/x").send().expect_text("two");
}
