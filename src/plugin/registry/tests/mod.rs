//! The registry with the reference components: swap, refusal, push, roll-back, quarantine, lineage of state.

use std::path::PathBuf;

use serde_json::json;

use crate::model::alert::Phase;
use crate::model::health::{Health, Outcome, Severity};
use crate::plugin::Fault;
use crate::plugin::recorder::tests::{event, window};
use crate::plugin::registry::status::{ReplayOutcome, State};

use super::*;

mod told;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("headgate-registry-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, wasm: &[u8]) -> PathBuf {
        let path = self.0.join("plugin.wasm");
        std::fs::write(&path, wasm).unwrap();
        path
    }

    fn open(&self) -> Arc<Plugins> {
        Plugins::open(Some(&self.0.join("state")), Metrics::new(1))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn wasm(name: &str) -> Vec<u8> {
    builtin::find(name).unwrap().wasm.to_vec()
}

/// Other bytes that do the same: a custom section is added.
fn variant(name: &str, number: u8) -> Vec<u8> {
    let mut bytes = wasm(name);
    bytes.extend([0, 3, 1, b'v', number]);
    bytes
}

fn used(place: Place, plugin: &str, settings: Value) -> Use {
    let at = match &place {
        Place::Service(name) => format!("services.{name}.policy"),
        Place::Alerts => "alerts.formatter".to_owned(),
        Place::Route(route, _) => format!("routes[{route}].filters[0]"),
    };
    Use { place, plugin: Some(plugin.to_owned()), settings, on_failure: OnFailure::Closed, at }
}

fn policy(plugin: &str, settings: Value) -> Use {
    used(Place::Service("a".to_owned()), plugin, settings)
}

/// A plugin `mine` from a file that judges service `a`.
fn mine(path: PathBuf) -> Wanted {
    let spec = Spec {
        name: "mine".to_owned(),
        source: Source::File(path),
        pin: None,
        class: Class::Default,
        grants: Vec::new(),
        shadow: None,
        at: "plugins.mine".to_owned(),
    };
    Wanted { plugins: vec![spec], uses: vec![policy("mine", json!({}))] }
}

fn live(plugins: &Plugins, wanted: &Wanted) -> Proven {
    let proven = plugins.resolve(wanted);
    plugins.published(&proven.set);
    proven
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn acts(proven: &Proven) -> Option<Digest> {
    proven.set.policies[0].component.as_ref().map(|it| it.component.digest())
}

fn judge(
    proven: &Proven,
    window: &Arc<crate::model::health::Window>,
) -> crate::plugin::health_policy::Judged {
    runtime().block_on(proven.set.policies[0].judge(Arc::clone(window)))
}

fn status(plugins: &Plugins) -> PluginStatus {
    plugins.status().into_iter().find(|it| it.name == "mine").unwrap()
}

fn trap(proven: &Proven, times: usize) {
    let acting = proven.set.policies[0].component.as_ref().unwrap();
    let fault = Fault::Trap { message: "unreachable".to_owned() };
    (0..times).for_each(|_| acting.called(Some(&fault), std::time::Duration::ZERO));
}

#[test]
fn built_in_plugins_of_every_kind_act_without_an_entry() {
    let plugins = Plugins::open(None, Metrics::new(1));
    let wanted = Wanted {
        plugins: Vec::new(),
        uses: vec![
            policy("threshold", json!({})),
            used(Place::Alerts, "plain", json!({})),
            used(Place::Route(1, 0), "require-header", json!({ "header": "x-tenant" })),
        ],
    };
    let proven = live(&plugins, &wanted);
    assert!(proven.notes.is_empty(), "{:?}", proven.notes);
    let judged = judge(&proven, &window(1_795_502_400_000, Outcome::Ok, 200));
    assert_eq!((judged.by, judged.fault), (acts(&proven), None));
    assert_eq!(judged.verdict.status, Health::Ok);
    let formatted =
        runtime().block_on(proven.set.formatter.format(event(Phase::Opened, Severity::Critical)));
    assert!(formatted.by.is_some() && formatted.message.is_some(), "{formatted:?}");
    assert!(proven.set.filters[0].is_empty());
    let filter = &proven.set.filters[1][0];
    assert!(filter.component.is_some());
    assert_eq!(filter.headers, ["*"]);
    let states: Vec<State> = plugins.status().iter().map(|it| it.state).collect();
    assert_eq!(states, [State::Active; 3]);
    assert_eq!(BUILTINS.len(), builtin::BUILTINS.len());
    assert!(BUILTINS.iter().all(|it| builtin::find(it.0).is_some_and(|known| known.kind == it.1)));
}

#[test]
fn a_swap_takes_over_and_a_bad_file_changes_nothing() {
    let folder = Folder::new("swap");
    let plugins = folder.open();
    let wanted = mine(folder.file(&variant("threshold", 1)));
    let first = live(&plugins, &wanted);
    assert_eq!(acts(&first), Some(Digest::of(&variant("threshold", 1))));
    assert_eq!(status(&plugins).state, State::Probation);
    // Nothing has changed: the same use, with its counters.
    let again = live(&plugins, &wanted);
    let of = |it: &Proven| it.set.policies[0].component.as_ref().unwrap().id();
    assert_eq!((of(&first), first.set.hash), (of(&again), again.set.hash));

    folder.file(&variant("threshold", 2));
    let second = live(&plugins, &wanted);
    let good = Digest::of(&variant("threshold", 2));
    assert_eq!(acts(&second), Some(good));
    assert_ne!(first.set.hash, second.set.hash);
    assert_eq!(status(&plugins).previous, acts(&first));

    for (bytes, code) in [
        (b"nonsense".to_vec(), "not-a-component"),
        (Vec::new(), "not-a-component"),
        (wasm("plain"), "kind"),
    ] {
        folder.file(&bytes);
        let kept = live(&plugins, &wanted);
        assert_eq!((acts(&kept), kept.set.hash), (Some(good), second.set.hash), "{code}");
        assert!(kept.notes.iter().any(|it| it.refusal.code == code), "{code}: {:?}", kept.notes);
        assert!(kept.notes.iter().all(|it| !it.fatal), "{code}");
        let told = status(&plugins).refused.unwrap();
        assert_eq!(told.digest, Some(Digest::of(&bytes)));
    }
    std::fs::remove_file(folder.0.join("plugin.wasm")).unwrap();
    assert_eq!(acts(&live(&plugins, &wanted)), Some(good));
    // Also in a process that never saw the good file.
    drop(plugins);
    let plugins = folder.open();
    let kept = live(&plugins, &wanted);
    assert_eq!(acts(&kept), Some(good));
    assert_eq!(status(&plugins).source, "kept");
}

#[test]
fn settings_that_nothing_takes_are_fatal_and_told_with_their_path() {
    let plugins = Plugins::open(None, Metrics::new(1));
    let mut wanted =
        Wanted { plugins: Vec::new(), uses: vec![policy("threshold", json!({ "nonsense": 1 }))] };
    let proven = plugins.resolve(&wanted);
    assert_eq!(acts(&proven), None);
    let note = &proven.notes[0];
    assert!(note.fatal && note.at.starts_with("services.a.policy.settings"), "{note:?}");
    wanted.uses = vec![policy("nowhere", json!({})), used(Place::Alerts, "threshold", json!({}))];
    let proven = plugins.resolve(&wanted);
    let codes: Vec<_> = proven.notes.iter().map(|it| (it.refusal.code, it.fatal)).collect();
    assert_eq!(codes, [("kind", true), ("unknown-plugin", true)]);
    // Native code answers all the same.
    assert_eq!(judge(&proven, &window(1, Outcome::Ok, 200)).by, None);
}

#[test]
fn a_pin_bars_other_bytes() {
    let folder = Folder::new("pin");
    let plugins = folder.open();
    let mut wanted = mine(folder.file(&wasm("threshold")));
    wanted.plugins[0].pin = Some(Digest([1; 32]));
    let proven = live(&plugins, &wanted);
    assert_eq!((acts(&proven), proven.notes[0].refusal.code), (None, "wrong-digest"));
    assert!(!proven.notes[0].fatal);
    assert_eq!(status(&plugins).state, State::Rejected);
    let refused = plugins.push("mine", &variant("threshold", 1), &PushOptions::default());
    assert_eq!(refused.unwrap_err()[0].code, "wrong-digest");
}

#[test]
fn a_push_survives_a_restart_until_the_config_has_something_newer() {
    let folder = Folder::new("push");
    let plugins = folder.open();
    let wanted = mine(folder.file(&variant("threshold", 1)));
    live(&plugins, &wanted);
    let pushed = variant("threshold", 7);
    let digest = Some(Digest::of(&pushed));
    let dry = PushOptions { dry_run: true, ..PushOptions::default() };
    let proof = plugins.push("mine", &pushed, &dry).unwrap();
    assert_eq!(proof.replay.outcome, ReplayOutcome::InsufficientEvidence);
    assert_ne!(acts(&live(&plugins, &wanted)), digest);
    let other = PushOptions { expect: Some(Digest([1; 32])), ..PushOptions::default() };
    assert_eq!(plugins.push("mine", &pushed, &other).unwrap_err()[0].code, "wrong-digest");
    assert_eq!(plugins.push("other", &pushed, &dry).unwrap_err()[0].code, "unknown-plugin");
    assert!(plugins.push("mine", b"bad", &PushOptions::default()).is_err());

    plugins.push("mine", &pushed, &PushOptions::default()).unwrap();
    assert_eq!(acts(&live(&plugins, &wanted)), digest);
    drop(plugins);
    let plugins = folder.open();
    assert_eq!(acts(&live(&plugins, &wanted)), digest);
    assert!(status(&plugins).is_pushed);

    folder.file(&variant("threshold", 2));
    let newer = live(&plugins, &wanted);
    assert_eq!(acts(&newer), Some(Digest::of(&variant("threshold", 2))));
    assert!(newer.notes.iter().any(|it| it.refusal.code == "push-retired"));
    // It does not come back with the old file.
    folder.file(&variant("threshold", 1));
    assert_eq!(acts(&live(&plugins, &wanted)), Some(Digest::of(&variant("threshold", 1))));
}

#[test]
fn roll_backs_go_to_the_previous_one_and_to_the_config() {
    let folder = Folder::new("back");
    let plugins = folder.open();
    let wanted = mine(folder.file(&variant("threshold", 1)));
    let [one, two] = [1, 2].map(|it| Digest::of(&variant("threshold", it)));
    live(&plugins, &wanted);
    assert!(plugins.roll_back("mine", RollbackTo::Previous).is_err());
    assert!(plugins.roll_back("mine", RollbackTo::Config).is_err());
    folder.file(&variant("threshold", 2));
    live(&plugins, &wanted);
    assert_eq!(plugins.roll_back("mine", RollbackTo::Previous), Ok(one));
    assert_eq!(acts(&live(&plugins, &wanted)), Some(one));
    assert_eq!(plugins.roll_back("mine", RollbackTo::Config), Ok(two));
    assert_eq!(acts(&live(&plugins, &wanted)), Some(two));
}

#[test]
fn quarantine_brings_the_last_good_one_back_and_then_native_code() {
    let folder = Folder::new("quarantine");
    let plugins = folder.open();
    let wanted = mine(folder.file(&variant("threshold", 1)));
    let first = live(&plugins, &wanted);
    folder.file(&variant("threshold", 2));
    let second = live(&plugins, &wanted);
    trap(&second, 2);
    runtime().block_on(async {
        let wait = std::time::Duration::from_secs(5);
        tokio::time::timeout(wait, plugins.changed()).await.unwrap();
    });
    // Until the next generation native code answers, without a call.
    let judged = judge(&second, &window(1, Outcome::Ok, 200));
    assert!(judged.by.is_none() && judged.fault.is_some());
    let back = live(&plugins, &wanted);
    assert_eq!(acts(&back), acts(&first));
    assert!(back.notes.iter().any(|it| it.refusal.code == "quarantined" && !it.fatal));
    let told = status(&plugins);
    assert_eq!((told.state, told.quarantined.len()), (State::Quarantined, 1));
    assert!(plugins.roll_back("mine", RollbackTo::Previous).is_err());
    // The first one was still on probation.
    trap(&back, 2);
    let native = live(&plugins, &wanted);
    assert_eq!(acts(&native), None);
    assert_eq!(judge(&native, &window(1, Outcome::Ok, 200)).verdict.status, Health::Ok);
    // Other bytes are tried at once.
    folder.file(&variant("threshold", 3));
    assert_eq!(acts(&live(&plugins, &wanted)), Some(Digest::of(&variant("threshold", 3))));
}

#[test]
fn state_goes_over_with_a_swap_and_a_roll_back_finds_the_old_one() {
    let folder = Folder::new("lineage");
    let plugins = folder.open();
    let wanted = mine(folder.file(&variant("latency-slo", 1)));
    let [one, two] = [1, 2].map(|it| Digest::of(&variant("latency-slo", it)));
    let first = live(&plugins, &wanted);
    assert_eq!(acts(&first), Some(one), "{:?}", first.notes);
    let judged = judge(&first, &window(1_795_502_400_000, Outcome::Ok, 200));
    assert_eq!(judged.fault, None);
    let states = &plugins.backing().states;
    let old = states.get("a", one).unwrap();
    folder.file(&variant("latency-slo", 2));
    let second = live(&plugins, &wanted);
    assert_eq!(states.get("a", two).as_ref(), Some(&old));
    judge(&second, &window(1_795_502_460_000, Outcome::BadStatus, 500));
    assert_ne!(states.get("a", two).as_ref(), Some(&old));
    trap(&second, 2);
    let back = live(&plugins, &wanted);
    assert_eq!((acts(&back), states.get("a", one)), (Some(one), Some(old)));
    assert_eq!(states.get("a", two), None);
    assert_eq!(status(&plugins).uses[0].state.len(), 1);
}

#[test]
fn recorded_inputs_are_replayed_and_differences_told() {
    let plugins = Plugins::open(None, Metrics::new(1));
    let folder = Folder::new("replay");
    let wanted = mine(folder.file(&wasm("threshold")));
    let proven = live(&plugins, &wanted);
    for number in 0..25 {
        let (outcome, status) =
            if number % 5 == 0 { (Outcome::BadStatus, 500) } else { (Outcome::Ok, 200) };
        judge(&proven, &window(1_795_502_400_000 + number * 10_000, outcome, status));
    }
    let same = plugins.push("mine", &variant("threshold", 1), &PushOptions::default()).unwrap();
    assert_eq!((same.replay.outcome, same.replay.differ), (ReplayOutcome::Passed, 0), "{same:?}");
    assert_eq!((same.replay.inputs, same.replay.agree), (25, 25));
    let shadow = PushOptions { shadow: true, ..PushOptions::default() };
    let other = plugins.push("mine", &wasm("latency-slo"), &shadow).unwrap();
    assert!(other.replay.differ > 0 && !other.replay.examples.is_empty(), "{other:?}");
}

#[test]
fn a_shadow_sees_everything_and_changes_nothing_until_it_is_promoted() {
    let folder = Folder::new("shadow");
    let plugins = folder.open();
    let wanted = mine(folder.file(&wasm("threshold")));
    live(&plugins, &wanted);
    let candidate = wasm("latency-slo");
    let shadow = PushOptions { shadow: true, ..PushOptions::default() };
    plugins.push("mine", &candidate, &shadow).unwrap();
    let proven = live(&plugins, &wanted);
    assert_eq!(acts(&proven), Some(Digest::of(&wasm("threshold"))));
    let judged = judge(&proven, &window(1_795_502_400_000, Outcome::BadStatus, 500));
    assert_eq!(judged.by, acts(&proven));
    // The comparison is made after the answer: another call on both threads comes after it.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while status(&plugins).shadow.unwrap().calls == 0 {
        assert!(tokio::time::Instant::now() < deadline);
        thread::yield_now();
    }
    assert_eq!(plugins.promote("mine"), Ok(Digest::of(&candidate)));
    assert_eq!(acts(&live(&plugins, &wanted)), Some(Digest::of(&candidate)));
    assert!(status(&plugins).shadow.is_none());
    assert!(plugins.promote("mine").is_err());
}

#[test]
fn a_star_that_is_wanted_stands_for_the_headers_that_are_granted() {
    let plugins = Plugins::open(None, Metrics::new(1));
    let mut wanted = Wanted {
        plugins: Vec::new(),
        uses: vec![used(Place::Route(0, 0), "guard", json!({ "header": "x-tenant" }))],
    };
    wanted.plugins.push(Spec {
        name: "guard".to_owned(),
        source: Source::Builtin("require-header".to_owned()),
        grants: vec!["header:X-Tenant".to_owned()],
        ..mine(PathBuf::new()).plugins.remove(0)
    });
    let proven = plugins.resolve(&wanted);
    assert_eq!(proven.set.filters[0][0].headers, ["x-tenant"], "{:?}", proven.notes);
}

#[test]
fn the_first_set_does_not_wait_for_the_compiler() {
    let folder = Folder::new("start");
    let plugins = folder.open();
    let wanted = mine(folder.file(&variant("threshold", 1)));
    let first = plugins.resolve_at_start(&wanted);
    assert_eq!((acts(&first), first.notes[0].refusal.code), (None, "verifying"));
    plugins.published(&first.set);
    assert_eq!(status(&plugins).state, State::Verifying);
    runtime().block_on(plugins.changed());
    assert!(acts(&live(&plugins, &wanted)).is_some());
    // With the code in the cache nothing waits.
    let warm = folder.open().resolve_at_start(&wanted);
    assert!(acts(&warm).is_some(), "{:?}", warm.notes);
}
