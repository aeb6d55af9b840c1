//! Components that are not let in: each at its step, with its code and what to do.

use std::time::Duration;

use headgate::plugin::{Class, Kind, Refusal};

use super::assemble::{Guest, Info, stamped};
use super::{LOOP, host, label, load, loaded, window};
use crate::support::wait::timed;

#[track_caller]
fn refusals(wasm: &[u8], what: &str) -> Vec<Refusal> {
    let (outcome, took) = timed(|| load(wasm));
    assert!(took < Duration::from_secs(30), "{what} took {took:?}");
    let refusals = match outcome {
        Err(refusals) => refusals,
        Ok(component) => panic!("{what} was let in as {:?}", component.info()),
    };
    assert!(!refusals.is_empty(), "{what}: no reason");
    for refusal in &refusals {
        assert!(!refusal.message.is_empty() && refusal.message.len() < 4096, "{what}: {refusal:?}");
        assert!(!refusal.message.chars().any(|it| it == '\u{1b}'), "{what}: {refusal:?}");
    }
    // Whatever it was, the next one is taken.
    assert_eq!(label(&loaded(&Guest::policy()).evaluate("{}", &window(), None)), "ok");
    refusals
}

#[track_caller]
fn expect_code(wasm: &[u8], code: &str, what: &str) -> Vec<Refusal> {
    let found = refusals(wasm, what);
    let mut codes = found.iter().map(|it| it.code);
    assert!(codes.any(|it| it == code), "{what}: no {code} in {found:?}");
    found
}

#[track_caller]
fn expect_advice(found: &[Refusal], code: &str, words: &[&str]) {
    let refusal = found.iter().find(|it| it.code == code).expect("that code");
    let advice = refusal.advice.as_deref().unwrap_or_default();
    let told = words.iter().any(|it| advice.contains(it) || refusal.message.contains(it));
    assert!(told && !advice.is_empty(), "none of {words:?} in {refusal:?}");
}

#[test]
fn bytes_that_are_no_component() {
    let good = Guest::policy().build();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("an empty file", Vec::new()),
        ("one byte", vec![0]),
        ("a header alone", b"\0asm\x0d\0\x01\0".to_vec()),
        ("text", b"(component)".to_vec()),
        ("HTML", b"<!doctype html><title>404 Not Found</title>".to_vec()),
        ("an ELF file", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec()),
        ("a gzip file", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()),
        ("a whole that lost its end", good[..good.len() - 1].to_vec()),
        ("half of it", good[..good.len() / 2].to_vec()),
        ("a tail too many", [good.as_slice(), b"tail"].concat()),
        ("zeroes", vec![0; 4096]),
    ];
    for (what, bytes) in cases {
        let found = refusals(&bytes, what);
        let known = ["not-a-component", "wrong-world", "precompiled"];
        assert!(found.iter().any(|it| known.contains(&it.code)), "{what}: {found:?}");
    }
    let found = expect_code(&Guest::policy().module(), "not-a-component", "a core module");
    expect_advice(&found, "not-a-component", &["component", "plugin build"]);
}

#[test]
fn machine_code_from_elsewhere() {
    let wasm = Guest::policy().build();
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(true);
    let engine = wasmtime::Engine::new(&config).expect("an engine");
    let code = engine.precompile_component(&wasm).expect("compiles");
    let found = expect_code(&code, "precompiled", "a .cwasm file");
    expect_advice(&found, "precompiled", &[".wasm", "component"]);
}

#[test]
fn a_component_that_is_too_large() {
    let padded = stamped(&Guest::policy().build(), &vec![0; 9 << 20]);
    let found = expect_code(&padded, "too-large", "9 MiB");
    expect_advice(&found, "too-large", &["large"]);
    let seen = headgate::plugin::host::inspect(&padded, Class::Large).expect("32 MiB are allowed");
    assert_eq!((seen.kind, seen.bytes), (Kind::Policy, padded.len()));
}

#[test]
fn worlds_that_are_none() {
    let policy = |world| Guest::policy().in_world(world).build();
    let both = Guest::policy().in_world("both").build();
    expect_code(&both, "wrong-world", "two worlds at once");
    let neither = expect_code(&policy("neither"), "wrong-world", "no world");
    expect_advice(&neither, "wrong-world", &["health-policy-plugin", "health-policy"]);
    expect_code(&policy("silent"), "wrong-world", "a policy that does not describe itself");
    let empty = wat::parse_str("(component)").expect("text");
    expect_code(&empty, "wrong-world", "an empty component");
}

#[test]
fn imports_that_the_sandbox_does_not_have() {
    let clocked = Guest::policy().in_world("clocked").build();
    let found = expect_code(&clocked, "import", "a clock");
    expect_advice(&found, "import", &["wasm32-unknown-unknown", "WASI", "wasi"]);
    assert!(found.iter().any(|it| it.message.contains("wasi:clocks/wall-clock")), "{found:?}");
    let reader = Guest::policy().in_world("policy-that-reads-requests").build();
    expect_code(&reader, "import", "a policy that reads requests");
    let host = wat::parse_str("(component (import \"env\" (func)))").expect("text");
    expect_code(&host, "import", "a function of nobody");
}

#[test]
fn every_reason_is_told_at_once() {
    let found = refusals(&Guest::policy().in_world("lost").build(), "a clock and no world");
    let codes: Vec<&str> = found.iter().map(|it| it.code).collect();
    assert!(codes.contains(&"import") && codes.contains(&"wrong-world"), "{codes:?}");
    let many =
        wat::parse_str("(component (import \"a\" (func)) (import \"b\" (func)))").expect("text");
    let told = format!("{:?}", refusals(&many, "two imports"));
    assert!(told.contains('a') && told.contains('b'), "{told}");
}

#[test]
fn modules_that_are_more_than_they_may_be() {
    let pages = Guest::policy().pages(1100).build();
    refusals(&pages, "69 MiB from the beginning");
    let table = Guest::policy().field("(table 1000000 funcref)").build();
    refusals(&table, "a table of a million");
    let memories = "(memory 1)".repeat(20);
    refusals(&Guest::policy().field(&memories).build(), "twenty memories");
    let tables = "(table 1 funcref)".repeat(40);
    refusals(&Guest::policy().field(&tables).build(), "forty tables");
    let shared = wat::parse_str("(component (core module (memory 1 2 shared)))").expect("text");
    refusals(&shared, "shared memory");
    let wide = wat::parse_str("(component (core module (memory i64 1)))").expect("text");
    refusals(&wide, "64-bit memory");
}

#[test]
fn a_component_of_a_thousand_instances() {
    let good = Guest::policy().build();
    let inside =
        wat::parse_str("(component (core module $m (memory 1)) (core instance (instantiate $m)))")
            .expect("text");
    // The same small component, instantiated a thousand times inside of a good one: sections are appended as they are.
    let nested = (0..1000).fold(String::new(), |text, _| text + "(core instance (instantiate $m))");
    let bomb = format!("(component (core module $m (memory 1)) {nested})");
    let bomb = wat::parse_str(bomb).expect("text");
    refusals(&inside, "a component with nothing but an instance");
    refusals(&bomb, "a thousand instances");
    // Component sections may be appended; the exports of the good one stay.
    let tail = &bomb[8..];
    refusals(&[good.as_slice(), tail].concat(), "a policy with a thousand instances");
}

#[test]
fn functions_that_are_dear_to_compile() {
    let many = (0..20_000).fold(String::new(), |text, number| {
        text + &format!("(func $f{number} (result i32) (i32.const {number}))\n")
    });
    for (what, guest) in [
        ("20,000 functions", Guest::policy().field(&many)),
        (
            "900 blocks in each other",
            Guest::policy()
                .body("evaluate", &format!("{}{} $right", "(block ".repeat(900), ")".repeat(900))),
        ),
    ] {
        let (outcome, took) = timed(|| load(&guest.build()));
        assert!(outcome.is_ok() || outcome.is_err_and(|it| !it.is_empty()), "{what}");
        assert!(took < Duration::from_secs(60), "{what}: {took:?}");
    }
}

#[test]
fn code_that_does_not_come_back_from_its_description() {
    for (what, guest) in [
        ("a loop in describe", Guest::policy().body("describe", LOOP)),
        ("a loop in start", Guest::policy().start("(loop $l (br $l))")),
        ("a trap in describe", Guest::policy().body("describe", "unreachable")),
        ("a trap in start", Guest::policy().start("unreachable")),
        ("recursion in describe", Guest::policy().body("describe", "(call $describe)")),
        (
            "memory in start",
            Guest::policy().start("(loop $l (drop (memory.grow (i32.const 64))) (br $l))"),
        ),
        ("a description nowhere", Guest::policy().body("describe", "i32.const -128")),
        (
            "a name without end",
            Guest::policy().body("describe", "(i32.store offset=4 ($right) (i32.const -1)) $right"),
        ),
        (
            "metrics without end",
            Guest::policy()
                .body("describe", "(i32.store offset=64 ($right) (i32.const 0x7fffffff)) $right"),
        ),
        (
            "a summary of 20 MiB",
            Guest::policy().pages(400).body(
                "describe",
                "(memory.fill (i32.const 131072) (i32.const 120) (i32.const 20000000))\n\
                 (i32.store offset=16 ($right) (i32.const 131072))\n\
                 (i32.store offset=20 ($right) (i32.const 20000000)) $right",
            ),
        ),
    ] {
        expect_code(&guest.build(), "describe", what);
    }
}

#[test]
fn descriptions_that_lie_or_babble() {
    let info = |change: fn(&mut Info)| Guest::policy().describes(change).build();
    let metric = |name: &str| (name.to_owned(), "Things".to_owned(), 0);
    let metrics =
        |all: Vec<(String, String, u8)>| Guest::policy().describes(|it| it.metrics = all).build();
    let numbered = |count: usize| (0..count).map(|it| metric(&format!("m{it}"))).collect();
    for (what, wasm) in [
        ("no name", info(|it| it.name.clear())),
        ("a name that is no text", info(|it| it.name = b"\xff\xfe".to_vec())),
        ("a name with a capital", info(|it| it.name = b"Mine".to_vec())),
        ("a name with a line end", info(|it| it.name = b"a\nb".to_vec())),
        ("a name with an escape", info(|it| it.name = b"a\x1b[2J".to_vec())),
        ("a name of 49 letters", info(|it| it.name = vec![b'a'; 49])),
        ("a summary of 201 bytes", info(|it| it.summary = "s".repeat(201))),
        ("a version of 10 KiB", info(|it| it.version = "1".repeat(10_000))),
        ("a schema that is no JSON", info(|it| it.schema = Some("{".into()))),
        ("a schema that is no schema", info(|it| it.schema = Some("{\"type\": 7}".into()))),
        (
            "a schema that refers",
            info(|it| it.schema = Some("{\"$ref\": \"http://example.com/x.json\"}".into())),
        ),
        (
            "a schema of 65 KiB",
            info(|it| it.schema = Some(format!("{{\"title\": \"{}\"}}", "x".repeat(66_000)))),
        ),
        (
            "a schema with a dear pattern",
            info(|it| it.schema = Some("{\"pattern\": \"((a{0,1000}){0,1000}){0,1000}\"}".into())),
        ),
        (
            "a deep schema",
            info(|it| {
                it.schema = Some(format!("{}true{}", "{\"items\":".repeat(5000), "}".repeat(5000)));
            }),
        ),
        ("an example that is no JSON", info(|it| it.example = Some("{'a'}".into()))),
        (
            "an example that its schema refuses",
            info(|it| {
                it.schema = Some("{\"required\": [\"a\"]}".into());
                it.example = Some("{}".into());
            }),
        ),
        ("33 wants", info(|it| it.wants = vec!["header:a".into(); 33])),
        ("17 metrics", metrics(numbered(17))),
        ("10,000 metrics", metrics(numbered(10_000))),
        ("a metric with a capital", metrics(vec![metric("Seen")])),
        ("a metric with a brace", metrics(vec![metric("a{b=\"c\"} 1\n")])),
        ("two metrics of one name", metrics(vec![metric("seen"), metric("seen")])),
        (
            "a help that ends the line",
            metrics(vec![("seen".into(), "x\n# TYPE y counter".into(), 0)]),
        ),
        ("a help of 201 bytes", metrics(vec![("seen".into(), "x".repeat(201), 0)])),
        ("a kind of metric that is none", metrics(vec![("seen".into(), "x".into(), 9)])),
    ] {
        expect_code(&wasm, "describe", what);
    }
    let quiet = load(&metrics(numbered(16))).expect("16 metrics are allowed");
    assert_eq!(quiet.info().metrics.len(), 16);
}

#[test]
fn self_tests_that_prove_nothing() {
    let checks = |count: usize, passed| {
        let cases = (0..count).map(|it| (format!("case {it}"), passed)).collect();
        loaded(&Guest::policy().checks(cases)).self_test("{}")
    };
    let good = checks(256, true).outcome.expect("checks");
    assert!(good.len() == 256 && good.iter().all(|it| it.passed));
    let failed = checks(2, false).outcome.expect("checks");
    assert!(failed.iter().all(|it| !it.passed && it.message.contains("went wrong")), "{failed:?}");
    for text in [LOOP, "unreachable", "i32.const -8"] {
        let called = loaded(&Guest::policy().body("self-test", text)).self_test("{}");
        assert_ne!(label(&called), "ok", "{text}: {called:?}");
    }
    // Too many or none: told here, or refused by the proof; never taken for passed.
    let none = checks(0, true);
    assert!(none.outcome.is_err() || none.outcome.is_ok_and(|it| it.is_empty()));
    let many = checks(20_000, true);
    assert!(many.outcome.is_err(), "20,000 checks: {:?}", many.outcome.map(|it| it.len()));
}

#[test]
fn the_engine_is_as_it_was_after_all_of_it() {
    assert_eq!(host().allocation(), host().allocation());
    for guest in [Guest::policy(), Guest::formatter(), Guest::filter()] {
        let component = loaded(&guest);
        assert_eq!(component.class(), Class::Default);
        assert!(component.info().name.starts_with("tame-"));
        assert_eq!(component.self_test("{}").outcome.expect("checks").len(), 1);
    }
}
