//! Plugins: what is told, what is taken in, what is refused.

use super::*;
use crate::admin::plugins::{BodyRoom, UPLOAD_BYTES_MAX};
use crate::config::{Plugin, PluginSource};
use crate::plugin::host::Allocation;
use crate::plugin::registry::status::{
    LogEntry, PluginStatus, Proof, Replay, ReplayOutcome, State,
};
use crate::plugin::registry::{PushOptions, RollbackTo};
use crate::plugin::{Digest, Kind, Level, Refusal};

/// Takes every component but `bad`, and remembers what it was asked.
#[derive(Debug, Default)]
struct FakeRegistry {
    states: Vec<(&'static str, State)>,
    asked: Mutex<Vec<String>>,
}

impl FakeRegistry {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

impl Registry for FakeRegistry {
    fn windows(&self, service: &str) -> Vec<Arc<crate::model::health::Window>> {
        use crate::model::health::Outcome;
        let window = |it| crate::plugin::recorder::tests::window(it, Outcome::Ok, 200);
        if service == "signal-engine" { (1..=3).map(window).collect() } else { Vec::new() }
    }

    fn allocation(&self) -> Option<Allocation> {
        Some(Allocation::OnDemand { because: "small".to_owned() })
    }

    fn status(&self) -> Vec<PluginStatus> {
        let status = |(name, state): &(&str, State)| PluginStatus {
            name: (*name).to_owned(),
            kind: Some(Kind::Filter),
            source: "file",
            origin: "p.wasm".to_owned(),
            state: *state,
            reason: None,
            since: String::new(),
            digest: None,
            info: None,
            previous: None,
            refused: None,
            proof: None,
            shadow: None,
            uses: Vec::new(),
            quarantined: Vec::new(),
            poison_inputs: 0,
            config_digest: None,
            is_pushed: false,
        };
        self.states.iter().map(status).collect()
    }

    fn log(&self, plugin: &str) -> Option<Vec<LogEntry>> {
        let line = LogEntry {
            at: "now".to_owned(),
            digest: Digest([1; 32]),
            place: "alerts".to_owned(),
            level: Level::Warn,
            text: "careful".to_owned(),
        };
        (plugin == "mine").then(|| vec![line])
    }

    fn push(
        &self,
        plugin: &str,
        wasm: &[u8],
        options: &PushOptions,
    ) -> Result<Proof, Vec<Refusal>> {
        self.note(format!(
            "push {plugin} {} {:?} shadow={} dry={} by={}",
            wasm.len(),
            options.expect,
            options.shadow,
            options.dry_run,
            options.by
        ));
        if wasm == b"bad" {
            return Err(vec![
                Refusal::new("import", "it imports wasi:io").advice("build it without"),
                Refusal::new("wrong-world", "it is no filter"),
            ]);
        }
        Ok(Proof {
            digest: Digest::of(wasm),
            kind: Kind::Filter,
            name: plugin.to_owned(),
            version: "1.0.0".to_owned(),
            compiled: true,
            self_test: Vec::new(),
            replay: Replay {
                outcome: ReplayOutcome::NothingToCompare,
                inputs: 0,
                needed: 0,
                agree: 0,
                differ: 0,
                examples: Vec::new(),
            },
        })
    }

    fn roll_back(&self, plugin: &str, to: RollbackTo) -> Result<Digest, Refusal> {
        self.note(format!("rollback {plugin} {to:?}"));
        match to {
            RollbackTo::Previous => Ok(Digest([2; 32])),
            RollbackTo::Config => Err(Refusal::new("rollback", "nothing was pushed")),
        }
    }

    fn promote(&self, plugin: &str) -> Result<Digest, Refusal> {
        self.note(format!("promote {plugin}"));
        Ok(Digest([3; 32]))
    }
}

const PIN: &[u8] = b"the pinned component";

fn entry(name: &str, pin: Option<&[u8]>) -> Plugin {
    Plugin {
        name: name.to_owned(),
        source: PluginSource::File("p.wasm".into()),
        sha256: pin.map(|it| Digest::of(it).0),
        large: false,
        grants: Vec::new(),
        shadow: None,
    }
}

fn rig(reload: Result<Reloaded, NotReloaded>) -> (Rig, Arc<FakeRegistry>) {
    let states =
        vec![("mine", State::Active), ("broken", State::Rejected), ("wild", State::Quarantined)];
    let registry = Arc::new(FakeRegistry { states, ..FakeRegistry::default() });
    let config =
        Config { plugins: vec![entry("mine", None), entry("fixed", Some(PIN))], ..config(None) };
    let reload: Option<Arc<dyn Reload>> = Some(Arc::new(FakeReload(reload)));
    let rig = Rig::deciding((Switch::in_memory(), reload), config, 2, Arc::clone(&registry) as _);
    (rig, registry)
}

fn done() -> Result<Reloaded, NotReloaded> {
    Ok(Reloaded { number: 8, hash: "h".to_owned(), changed: true, warnings: Vec::new() })
}

fn push(target: &str, body: &[u8]) -> Call {
    Call { body: body.to_vec(), ..call("POST", &format!("headgate/plugins/push?{target}")) }
}

#[tokio::test]
async fn the_list_names_engine_and_plugins_and_health_those_in_trouble() {
    let (rig, _) = rig(done());
    let list = json(&rig.ask("GET", "headgate/plugins").await);
    let engine = serde_json::json!({ "allocation": "on-demand", "because": "small" });
    assert_eq!((&list["engine"], &list["generation"]), (&engine, &7.into()));
    assert_eq!(list["plugins"][0]["name"], "mine");
    assert_eq!(list["plugins"][1]["state"], "rejected");
    let health = json(&rig.ask("GET", "headgate/health").await);
    let troubles = serde_json::json!({ "rejected": ["broken"], "quarantined": ["wild"] });
    assert_eq!((&health["status"], &health["plugins"]), (&"degraded".into(), &troubles));
    let calm = json(&Rig::new().ask("GET", "headgate/health").await);
    assert_eq!(calm["plugins"], serde_json::json!({}));
}

#[tokio::test]
async fn lines_are_those_of_a_known_plugin() {
    let (rig, _) = rig(done());
    let log = json(&rig.ask("GET", "headgate/plugins/logs?plugin=mine").await);
    assert_eq!(log["lines"][0]["text"], "careful");
    assert_eq!(log["lines"][0]["level"], "warn");
    let none = json(&rig.ask("GET", "headgate/plugins/logs?plugin=plain").await);
    assert_eq!(none["lines"], serde_json::json!([]));
    let unknown = rig.ask("GET", "headgate/plugins/logs?plugin=mien").await;
    assert_eq!(unknown.status, 404);
    assert!(text(&unknown).contains("did you mean mine?"), "{}", text(&unknown));
    assert_eq!(rig.ask("GET", "headgate/plugins/logs").await.status, 400);
}

#[tokio::test]
async fn what_is_pushed_acts_after_a_reload_and_stands_in_the_audit() {
    let (rig, registry) = rig(done());
    let sum = Digest::of(b"good");
    let answer = rig.call(push(&format!("plugin=mine&sha256={sum}"), b"good")).await;
    let body = json(&answer);
    assert_eq!((answer.status, &body["generation"]), (200, &8.into()));
    assert_eq!((&body["changed"], &body["proof"]["digest"]), (&true.into(), &body["digest"]));
    assert_eq!(body["digest"], sum.to_string());
    assert_eq!(
        *registry.asked.lock().unwrap(),
        [format!("push mine 4 Some({sum:?}) shadow=false dry=false by=ci")]
    );
    let audit = json(&rig.ask("GET", "headgate/audit?limit=1").await);
    assert_eq!(audit["entries"][0]["action"], "plugin.push");
    assert_eq!(audit["entries"][0]["plugin"], format!("mine {sum:?}"));
    assert_eq!(audit["entries"][0]["by"], "ci");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (rig, registry) = rig(Err(NotReloaded::Unavailable("not asked".to_owned())));
    let answer = rig.call(push("plugin=mine&dryRun=true&shadow", b"good")).await;
    assert_eq!((answer.status, &json(&answer)["changed"]), (200, &false.into()));
    assert!(registry.asked.lock().unwrap()[0].contains("shadow=true dry=true"));
    assert_eq!(json(&rig.ask("GET", "headgate/audit").await)["entries"], serde_json::json!([]));
}

#[tokio::test]
async fn refusals_give_every_reason() {
    let (rig, registry) = rig(done());
    let answer = rig.call(push("plugin=mine", b"bad")).await;
    assert_eq!(answer.status, 422);
    assert_eq!(json(&answer)["detail"], "it imports wasi:io (build it without)");
    assert_eq!(json(&answer)["reasons"][1]["code"], "wrong-world");
    let pinned = rig.call(push("plugin=fixed", b"other")).await;
    assert_eq!(pinned.status, 409);
    assert_eq!(json(&pinned)["type"], "urn:headgate:plugin-pinned");
    assert_eq!(rig.call(push("plugin=fixed&shadow", b"other")).await.status, 200);
    assert_eq!(rig.call(push("plugin=fixed", PIN)).await.status, 200);
    let not_hex = format!("plugin=mine&sha256={}", "%C3%A9".repeat(32));
    for (target, body, status) in [
        ("plugin=mine", &b""[..], 400),
        ("plugin=nobody-knows-it", b"good", 404),
        ("", b"good", 400),
        ("plugin=mine&plugin=mine", b"good", 400),
        ("plugin=mine&dry_run", b"good", 400),
        ("plugin=mine&dryRun=yes", b"good", 422),
        ("plugin=mine&sha256=12", b"good", 422),
        (&not_hex, b"good", 422),
    ] {
        assert_eq!(rig.call(push(target, body)).await.status, status, "{target}");
    }
    assert_eq!(registry.asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn what_is_kept_but_does_not_act_is_said() {
    let (rig, _) = rig(Err(NotReloaded::Refused(vec![Value::from("one")])));
    let answer = rig.call(push("plugin=mine", b"good")).await;
    assert_eq!((answer.status, &json(&answer)["findings"][0]), (422, &"one".into()));
    assert_eq!(json(&answer)["kept"], Digest::of(b"good").to_string());
    let audit = json(&rig.ask("GET", "headgate/audit?limit=1").await);
    assert_eq!(audit["entries"][0]["changed"], false);
}

#[tokio::test]
async fn roll_back_and_promote_reload_too() {
    let (rig, registry) = rig(done());
    for (target, status, asked) in [
        ("rollback?plugin=mine", 200, "rollback mine Previous"),
        ("rollback?plugin=mine&to=previous", 200, "rollback mine Previous"),
        ("rollback?plugin=mine&to=config", 409, "rollback mine Config"),
        ("promote?plugin=mine", 200, "promote mine"),
    ] {
        let answer = rig.ask("POST", &format!("headgate/plugins/{target}")).await;
        assert_eq!(answer.status, status, "{target}: {}", text(&answer));
        assert_eq!(registry.asked.lock().unwrap().last().unwrap(), asked);
    }
    let elsewhere = rig.ask("POST", "headgate/plugins/rollback?plugin=mine&to=x").await;
    assert_eq!(elsewhere.status, 422);
    let promote = call("POST", "headgate/plugins/promote?plugin=mine");
    assert_eq!(rig.call(Call { body: b"x".to_vec(), ..promote }).await.status, 400);
    let audit = json(&rig.ask("GET", "headgate/audit").await);
    let actions = audit["entries"].as_array().unwrap().iter().map(|it| it["action"].as_str());
    let mut actions: Vec<&str> = actions.flatten().collect();
    actions.sort_unstable();
    assert_eq!(actions, ["plugin.promote", "plugin.rollback", "plugin.rollback"]);
}

#[tokio::test]
async fn only_who_may_and_means_it_changes_plugins() {
    let (rig, registry) = rig(done());
    for (change, status) in [
        (Call { method: "GET".to_owned(), ..push("plugin=mine", b"good") }, 405),
        (Call { suspicious_fetch: true, ..push("plugin=mine", b"good") }, 403),
        (Call { actor: ANONYMOUS.to_owned(), ..push("plugin=mine", b"good") }, 401),
        (call("GET", "headgate/plugins/rollback?plugin=mine"), 405),
        (call("POST", "headgate/plugins"), 405),
        (Call { actor: ANONYMOUS.to_owned(), ..call("GET", "headgate/plugins") }, 401),
    ] {
        assert_eq!(rig.call(change.clone()).await.status, status, "{change:?}");
    }
    assert!(registry.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn large_bodies_have_few_places_and_only_for_a_push() {
    let (rig, _) = rig(done());
    assert_eq!(UPLOAD_BYTES_MAX, 32 << 20);
    let small = [
        call("POST", "headgate/reload"),
        Call { actor: ANONYMOUS.to_owned(), ..push("plugin=mine", b"") },
        Call { suspicious_fetch: true, ..push("plugin=mine", b"") },
    ];
    for call in small {
        assert!(matches!(rig.admin.body_room(&call), BodyRoom::Small), "{call:?}");
    }
    let call = push("plugin=mine", b"");
    let (one, two) = (rig.admin.body_room(&call), rig.admin.body_room(&call));
    assert!(matches!((&one, &two), (BodyRoom::Large(_), BodyRoom::Large(_))));
    let BodyRoom::Taken(answer) = rig.admin.body_room(&call) else { panic!("a third place") };
    assert_eq!((answer.status, header(&answer, "Retry-After")), (503, Some("5")));
    drop(one);
    assert!(matches!(rig.admin.body_room(&call), BodyRoom::Large(_)));
}
