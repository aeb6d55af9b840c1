//! Tests of inspection: what people hand over, every wrong name, and any bytes at all.

use proptest::prelude::{ProptestConfig, any, proptest};

use super::*;

/// A component that exports these interfaces with the functions they need, and imports these names.
fn component(imports: &[&str], exports: &[(&str, &[&str])]) -> Vec<u8> {
    let mut text = String::from("(component\n");
    for name in imports {
        text.push_str(&format!("(import \"{name}\" (instance))\n"));
    }
    text.push_str("(core module $m (func (export \"f\")))\n(core instance $m (instantiate $m))\n");
    text.push_str("(func $f (canon lift (core func $m \"f\")))\n");
    for (at, (name, functions)) in exports.iter().enumerate() {
        let functions: String =
            functions.iter().map(|it| format!(" (export \"{it}\" (func $f))")).collect();
        text.push_str(&format!(
            "(instance $i{at}{functions})\n(export \"{name}\" (instance $i{at}))\n"
        ));
    }
    text.push(')');
    wat::parse_str(&text).unwrap()
}

const PLUGIN_EXPORT: (&str, &[&str]) =
    ("headgate:plugin/plugin@0.1.0", &["describe", "configure", "self-test"]);
const POLICY: (&str, &[&str]) = ("headgate:plugin/health-policy@0.1.0", &["evaluate"]);
const FORMATTER: (&str, &[&str]) = ("headgate:plugin/alert-formatter@0.1.0", &["format"]);
const FILTER: (&str, &[&str]) = ("headgate:plugin/request-filter@0.1.0", &["on-request"]);
const TYPES: &str = "headgate:plugin/types@0.1.0";
const TELEMETRY: &str = "headgate:plugin/telemetry@0.1.0";
const REQUEST: &str = "headgate:plugin/request@0.1.0";

fn reasons(wasm: &[u8]) -> Vec<Refusal> {
    inspect(wasm, Class::Default).unwrap_err()
}

/// The one reason as "code: message (advice)".
fn reason(wasm: &[u8]) -> String {
    let reasons = reasons(wasm);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    format!("{}: {}", reasons[0].code, reasons[0])
}

#[test]
fn each_kind_is_known_by_its_exports() {
    for (export, kind, imports) in [
        (POLICY, Kind::Policy, vec![TYPES, TELEMETRY]),
        (FORMATTER, Kind::Formatter, vec![]),
        (FILTER, Kind::Filter, vec![TELEMETRY, REQUEST]),
    ] {
        let wasm = component(&imports, &[PLUGIN_EXPORT, export, ("init", &[])]);
        let seen = inspect(&wasm, Class::Default).unwrap();
        assert_eq!((seen.kind, seen.wit_version.as_str()), (kind, "0.1.0"));
        assert_eq!((seen.digest, seen.bytes), (Digest::of(&wasm), wasm.len()));
        assert_eq!(seen.imports, imports);
        assert_eq!(seen.exports, [PLUGIN_EXPORT.0, export.0, "init"]);
        assert_eq!(expect_kind(&seen, kind), None);
    }
    let seen = inspect(&component(&[], &[PLUGIN_EXPORT, POLICY]), Class::Default).unwrap();
    let refusal = expect_kind(&seen, Kind::Filter).unwrap();
    assert_eq!(refusal.message, "it is a policy (health-policy-plugin), not a filter");
}

#[test]
fn later_versions_of_the_series_are_spoken() {
    let plugin = ("headgate:plugin/plugin@0.1.7", PLUGIN_EXPORT.1);
    let policy = ("headgate:plugin/health-policy@0.1.7", POLICY.1);
    let seen =
        inspect(&component(&["headgate:plugin/types@0.1.7"], &[plugin, policy]), Class::Default);
    assert_eq!(seen.unwrap().wit_version, "0.1.7");
}

#[test]
fn what_is_no_component_is_named() {
    let core = wat::parse_str("(module)").unwrap();
    for (bytes, code, start) in [
        (&b""[..], "not-a-component", "the file is empty"),
        (b"\0as", "not-a-component", "it is cut off before its header ends"),
        (b"\0asm\x0d\0", "not-a-component", "it is cut off after 6 of 8 header bytes"),
        (b"\0asm\x0d\0\x02\0", "not-a-component", "its WebAssembly version is unknown"),
        (&core, "not-a-component", "it is a core module, not a component"),
        (b"\x7fELF\x02\x01\x01\xc8", "precompiled", "it is machine code"),
        (b" \n(component)", "not-a-component", "it is WebAssembly text"),
        (b";; a comment\n(module)", "not-a-component", "it is WebAssembly text"),
        (b"\x1f\x8b\x08", "not-a-component", "it is packed with gzip"),
        (b"PK\x03\x04", "not-a-component", "it is a zip archive"),
        (b"\x28\xb5\x2f\xfd", "not-a-component", "it is packed with zstd"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "not-a-component", "it is a web page"),
        (b"{\"schemaVersion\":2}", "not-a-component", "it is JSON"),
        (b"version https://git-lfs.github.com/spec/v1", "not-a-component", "it is a Git LFS"),
        (b"\xff\xff", "not-a-component", "it is no WebAssembly"),
    ] {
        let reasons = reasons(bytes);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert_eq!(reasons[0].code, code, "{reasons:?}");
        assert!(reasons[0].message.starts_with(start), "{start}: {reasons:?}");
        assert!(reasons[0].advice.is_some(), "{reasons:?}");
    }
}

#[test]
fn our_own_compiled_code_is_refused_too() {
    let engine = wasmtime::Engine::default();
    let code = engine.precompile_component(&component(&[], &[PLUGIN_EXPORT, POLICY])).unwrap();
    assert!(reason(&code).starts_with("precompiled: it is machine code"));
}

#[test]
fn size_is_looked_at_first() {
    let mut wasm = component(&[], &[PLUGIN_EXPORT, POLICY]);
    wasm.resize(8 * 1024 * 1024 + 1, 0);
    assert!(
        reason(&wasm).starts_with("too-large: it has 8388609 bytes; at most 8388608 are taken")
    );
    assert_ne!(inspect(&wasm, Class::Large).unwrap_err()[0].code, "too-large");
}

#[test]
fn wrong_imports_are_refused_by_name() {
    let seen = |imports: &[&str], export| reason(&component(imports, &[PLUGIN_EXPORT, export]));
    let wasi = ["wasi:cli/environment@0.2.12", "wasi:io/streams@0.2.12"];
    let what = seen(&wasi, POLICY);
    assert!(
        what.starts_with("import: it imports wasi:cli/environment@0.2.12, wasi:io/streams@0.2.12;")
    );
    assert!(what.contains("wasm32-unknown-unknown") && what.contains("--stub-wasi"), "{what}");
    let many = ["wasi:a/a", "wasi:a/b", "wasi:a/c", "wasi:a/d", "wasi:a/e", "wasi:a/f"];
    assert!(seen(&many, POLICY).contains("wasi:a/d and 2 more;"));
    assert!(
        seen(&["acme:store/kv@1.0.0"], FILTER).contains("acme:store/kv@1.0.0, which this gate")
    );
    assert!(seen(&["headgate:plugin/clock@0.1.0"], POLICY).contains("plugin/clock@0.1.0, which"));
    assert!(seen(&["env"], POLICY).starts_with("import: it imports env, which"));
    assert!(seen(&[REQUEST], POLICY).contains("but a policy has no request"));
}

#[test]
fn wrong_worlds_are_refused_by_name() {
    let seen = |exports: &[(&str, &[&str])]| reason(&component(&[], exports));
    assert!(seen(&[]).starts_with("wrong-world: it exports nothing"));
    assert!(seen(&[("wasi:cli/run@0.2.0", &["run"])]).contains("it exports wasi:cli/run@0.2.0"));
    assert!(seen(&[PLUGIN_EXPORT, POLICY, FILTER]).contains("it is policy and filter at once"));
    assert!(seen(&[POLICY]).contains("a policy without headgate:plugin/plugin@0.1"));
    let plugin = ("headgate:plugin/plugin@0.1.0", &["describe"][..]);
    assert!(
        seen(&[plugin, ("headgate:plugin/health-policy@0.1.0", &[])])
            .contains("without plugin.configure, plugin.self-test, health-policy.evaluate")
    );
    let later = ("headgate:plugin/health-policy@0.2.0", POLICY.1);
    let plugin = ("headgate:plugin/plugin@0.2.0", PLUGIN_EXPORT.1);
    assert!(
        reason(&component(&["headgate:plugin/types@0.2.0"], &[plugin, later]))
            .contains("it is built for headgate:plugin 0.2.0, this gate speaks 0.1")
    );
    for version in ["1.0.0", "0.1.0-rc.1", "0.10.0"] {
        let name = format!("headgate:plugin/health-policy@{version}");
        let what = seen(&[PLUGIN_EXPORT, (&name, POLICY.1)]);
        assert!(what.contains(&format!("headgate:plugin {version}, this")), "{what}");
    }
}

#[test]
fn every_reason_comes_at_once() {
    let wasm = component(
        &["wasi:io/poll@0.2.0", "acme:a/b", REQUEST, "headgate:plugin/types@0.3.0"],
        &[FORMATTER],
    );
    let codes: Vec<_> = reasons(&wasm).into_iter().map(|it| it.code).collect();
    assert_eq!(codes, ["wrong-world", "import", "import", "import"]);
}

#[test]
fn features_of_other_engines_are_refused_by_name() {
    for (text, feature) in [
        ("(memory i64 1)", "memory64"),
        ("(memory 1 2 shared)", "threads"),
        ("(tag)", "exceptions"),
        ("(type (struct))", "gc"),
    ] {
        let wasm = wat::parse_str(format!("(component (core module {text}))")).unwrap();
        let reasons = reasons(&wasm);
        assert!(reasons[0].message.contains(feature), "{reasons:?}");
        assert!(reasons[0].advice.as_deref().unwrap().contains("no threads"), "{reasons:?}");
    }
}

#[test]
fn a_cut_anywhere_is_refused() {
    let wasm = component(&[TELEMETRY], &[PLUGIN_EXPORT, POLICY]);
    for cut in 0..wasm.len() {
        let seen = inspect(&wasm[..cut], Class::Default);
        // Names for debugging come last, in a section (of type 0) that nothing needs.
        assert!(seen.is_err() || wasm[cut] == 0, "cut at {cut}");
    }
    let reasons = reasons(&wasm[..wasm.len() - 3]);
    assert!(reasons.iter().any(|it| it.message.contains("cut off after")), "{reasons:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Mutations reach far behind the header; whatever passes is what it says, and the compiler takes it or says no.
    #[test]
    fn any_bytes_give_an_answer(
        edits in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        cut in any::<u16>(),
        doubled in any::<(u16, u16)>(),
    ) {
        let mut wasm = component(&[TELEMETRY, REQUEST], &[PLUGIN_EXPORT, FILTER, ("more", &["f"])]);
        let len = wasm.len();
        for (at, value) in edits {
            wasm[at as usize % len] = value;
        }
        if cut % 8 == 0 {
            let (from, to) = (doubled.0 as usize % len, doubled.1 as usize % len);
            let piece = wasm[from.min(to)..from.max(to)].to_vec();
            wasm.extend(piece);
        } else if cut % 8 == 1 {
            wasm.truncate(cut as usize % len);
        }
        match inspect(&wasm, Class::Default) {
            Ok(seen) => assert_eq!(seen.digest, Digest::of(&wasm)),
            Err(reasons) => assert!(!reasons.is_empty()),
        }
    }

    #[test]
    fn any_bytes_behind_the_header_give_an_answer(rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let wasm = [b"\0asm\x0d\0\x01\0", &rest[..]].concat();
        assert!(inspect(&wasm, Class::Default).is_err());
        assert!(inspect(&rest, Class::Default).is_err());
    }
}
