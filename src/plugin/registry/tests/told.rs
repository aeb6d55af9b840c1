//! What is told of refusals and quarantines, and what they leave behind.

use super::*;

#[test]
fn a_quarantine_is_counted_and_shown_whoever_named_the_component() {
    let folder = Folder::new("shown");
    let plugins = folder.open();
    let wanted = mine(folder.file(&variant("threshold", 1)));
    live(&plugins, &wanted);
    plugins.push("mine", &variant("threshold", 2), &PushOptions::default()).unwrap();
    let says = |line: &str| {
        let text = plugins.metrics.render();
        assert!(text.lines().any(|it| it == line), "no line {line} in\n{text}");
    };
    says("headgate_plugin_quarantined{plugin=\"mine\"} 0");
    trap(&live(&plugins, &wanted), 2);
    let back = live(&plugins, &wanted);
    assert_eq!(status(&plugins).state, State::Quarantined);
    for line in [
        "headgate_plugin_quarantined{plugin=\"mine\"} 1",
        "headgate_plugin_swaps_total{plugin=\"mine\",result=\"quarantined\"} 1",
        "headgate_plugin_swaps_total{plugin=\"mine\",result=\"refused\"} 0",
        "headgate_plugin_swaps_total{plugin=\"mine\",result=\"rolled-back\"} 1",
    ] {
        says(line);
    }
    // Then nothing acts any more, which must be shown all the same.
    trap(&back, 2);
    assert_eq!(acts(&live(&plugins, &wanted)), None);
    says("headgate_plugin_quarantined{plugin=\"mine\"} 1");
    assert!(!plugins.metrics.render().contains("headgate_plugin_info{plugin=\"mine\""));
}

#[test]
fn a_push_that_one_of_two_uses_refuses_is_refused_with_the_place() {
    let folder = Folder::new("places");
    let plugins = folder.open();
    let mut wanted = mine(folder.file(&variant("threshold", 1)));
    let other = Place::Service("b".to_owned());
    wanted.uses.push(used(other, "mine", json!({ "timeouts": 3 })));
    let before = live(&plugins, &wanted);
    let reasons = plugins.push("mine", &wasm("latency-slo"), &PushOptions::default()).unwrap_err();
    let told: Vec<&str> = reasons.iter().map(|it| it.message.as_str()).collect();
    assert!(told.iter().any(|it| it.starts_with("services.b.policy.settings")), "{told:?}");
    assert_eq!(acts(&live(&plugins, &wanted)), acts(&before));
    let reasons = plugins.push("mine", &wasm("plain"), &PushOptions::default()).unwrap_err();
    let told: Vec<&str> = reasons.iter().map(|it| it.message.as_str()).collect();
    let wrong = "is a formatter, and a policy is wanted here";
    assert_eq!(told, ["a", "b"].map(|it| format!("services.{it}.policy: {wrong}")));
}

#[test]
fn what_was_only_tried_does_not_stay_in_memory() {
    let plugins = Plugins::open(None, Metrics::new(1));
    let folder = Folder::new("tried");
    let wanted = mine(folder.file(&variant("threshold", 1)));
    live(&plugins, &wanted);
    let dry = PushOptions { dry_run: true, ..PushOptions::default() };
    for (wasm, options) in [
        (variant("threshold", 2), &dry),
        (wasm("plain"), &dry),
        (wasm("plain"), &PushOptions::default()),
    ] {
        let _ = plugins.push("mine", &wasm, options);
        assert!(!plugins.prover.is_compiled(Digest::of(&wasm)));
    }
    assert!(plugins.prover.is_compiled(Digest::of(&variant("threshold", 1))));
}
