//! A gate whose services are broken and mended at will, and a receiver that writes everything down before it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Delivery, check, delivery};
use crate::support::gateway::TempDir;
use crate::support::wait::during;
use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Upstream, until};

pub(super) const SERVICES: usize = 6;
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Services that can be broken and mended, and a receiver that writes everything down before it answers.
pub(super) struct Scene {
    pub(super) dir: Arc<TempDir>,
    pub(super) sick: Arc<[AtomicBool; SERVICES]>,
    services: RawUpstream,
    hook: RawUpstream,
    dispatcher: RawUpstream,
    journal: PathBuf,
    /// How often services are probed.
    pub(super) pace: &'static str,
    random: u64,
}

/// So often that there is something to tell all the time; a busy machine makes incidents of its own then.
const HASTY: &str = "interval: 60ms, unhealthyInterval: 30ms";
pub(super) const CALM: &str = "interval: 2s, unhealthyInterval: 100ms";

impl Scene {
    pub(super) fn new(seed: u64) -> Self {
        let dir = Arc::new(TempDir::new());
        fs::create_dir_all(dir.0.join("config")).expect("a writable temp folder");
        let journal = dir.0.join("received.jsonl");
        let sick: Arc<[AtomicBool; SERVICES]> = Arc::default();
        let (health, file) = (Arc::clone(&sick), Mutex::new(append(&journal)));
        let services = Upstream::by(move |exchange| {
            let number: usize = exchange.path().trim_start_matches("/s").parse().unwrap_or(0);
            match health[number].load(Ordering::SeqCst) {
                true => exchange.respond(500, "", b"{\"status\":\"sick\"}"),
                false => exchange.respond(200, "", b"{\"status\":\"OK\"}"),
            }
        });
        let hook = Upstream::by(move |exchange| {
            let Delivery { key, what, incidents } = delivery(exchange);
            let line = json!({ "key": key, "what": what, "incidents": incidents });
            let mut file = file.lock().expect("no panic under this lock");
            file.write_all(format!("{line}\n").as_bytes())
                .and_then(|()| file.sync_data())
                .expect("a temp folder");
            drop(file);
            exchange.respond(200, "", b"{}");
        });
        let words = br#"{"status":"Health alert process initiated","channels":["email"]}"#;
        let dispatcher = Upstream::by(|exchange| exchange.respond(200, "", words));
        Self { dir, sick, services, hook, dispatcher, journal, pace: HASTY, random: seed }
    }

    pub(super) fn setup(&self) -> Setup {
        let sinks = format!(
            "[{{ name: hook, webhook: \"{}/hook\", secret: \"env:HOOK_SECRET\" }}, \
             {{ name: dispatcher, eventDispatcher: \"{}\" }}]",
            self.hook.url(),
            self.dispatcher.url()
        );
        let mut setup = Setup::default()
            .key(OPERATOR)
            .env("HOOK_SECRET", SECRET)
            .with("log: { access: false }")
            .with(&format!("alerts: {{ formatter: native, groupWait: 0s, sinks: {sinks} }}"));
        for number in 0..SERVICES {
            let probe = format!("{{ http: /s{number}, {} }}", self.pace);
            let health = format!(
                "maintenance: covered, health: {{ policy: native, rise: 1, fall: 1, \
                 flap: {{ window: 64, high: 100, low: 99 }}, probe: {probe} }}"
            );
            setup = setup.service_with(&format!("s{number}"), &self.services, &health);
        }
        setup.route("path: /, service: s0, access: public")
    }

    /// A gate that may end at any moment, which is why nobody waits for it to be ready.
    pub(super) fn start(&self, crash: Option<&str>) -> Child {
        let setup = self.setup();
        let yaml = setup.yaml().replace("{dir}", &self.dir.0.display().to_string());
        let file = self.dir.0.join("config/headgate.yaml");
        fs::write(&file, yaml).expect("a writable temp folder");
        let log = append(&self.dir.0.join("gate.log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
        command.arg("run").arg(&file).current_dir(&self.dir.0);
        command.envs(setup.env.iter().map(|it| (&it.0, &it.1)));
        command.envs(crash.map(|it| ("HEADGATE_CRASH_AT", it)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.spawn().expect("the binary starts")
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        // xorshift64.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// Breaks or mends a service for as long as `goes_on`, every so often.
    pub(super) fn stir(&mut self, mut goes_on: impl FnMut() -> bool) {
        while goes_on() {
            let number = usize::try_from(self.random(SERVICES as u64)).expect("small");
            self.sick[number].fetch_xor(true, Ordering::SeqCst);
            let mut over = false;
            let pause = Duration::from_millis(40 + self.random(60));
            during(pause, || {
                over = over || !goes_on();
                std::thread::park_timeout(Duration::from_millis(5));
            });
            if over {
                return;
            }
        }
    }

    pub(super) fn received(&self) -> Vec<Delivery> {
        let text = fs::read_to_string(&self.journal).expect("the journal");
        // The last line may be under way.
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let parsed = whole.lines().map(|it| serde_json::from_str::<Value>(it).expect("JSON"));
        let text = |it: &Value| it.as_str().expect("text").to_owned();
        parsed
            .map(|it| Delivery {
                key: text(&it["key"]),
                what: text(&it["what"]),
                incidents: it["incidents"].as_array().expect("a list").iter().map(text).collect(),
            })
            .collect()
    }

    fn keys(&self) -> usize {
        self.received().into_iter().map(|it| it.key).collect::<BTreeSet<_>>().len()
    }

    /// A last gate, which nobody kills: everything heals and is told. Gives all that was ever received.
    pub(super) fn finish(mut self, incidents_min: usize, keys_min: usize) -> Vec<Delivery> {
        self.sick.iter().for_each(|it| it.store(false, Ordering::SeqCst));
        self.pace = CALM;
        let gate = Gateway::start_in(self.setup(), Arc::clone(&self.dir));
        let ask = |path: &str| gate.admin_get(path).send().expect_status(200);
        let all = || ask("/api/admin/headgate/incidents?limit=1000");
        // Before the rows of the last process are read, nothing is open and nothing waits.
        until("the rows are read", || incidents_min == 0 || all().field("total") != json!(0));
        until("all is well", || {
            self.keys() >= keys_min
                && all().field("open") == json!(0)
                && ask("/api/admin/headgate/outbox").field("total") == json!(0)
        });
        let incidents = all().field("incidents");
        // A notice may be neither decided nor put into words yet, so what was heard is what counts.
        until("each alert and each end is heard", || {
            let heard = heard(&self.received());
            told(&incidents).all(|it| {
                let heard = heard.get(it);
                heard.is_some_and(|it| it.contains("opened") && it.contains("resolved"))
            })
        });
        let received = self.received();
        check(&received);
        let heard = heard(&received);
        assert!(heard.len() >= incidents_min, "{} incidents", heard.len());
        received
    }
}

/// Incidents whose beginning was told.
fn told(incidents: &Value) -> impl Iterator<Item = &str> {
    let incidents = incidents.as_array().expect("a list").iter();
    incidents.filter(|it| it["told"] == json!(true)).filter_map(|it| it["id"].as_str())
}

/// What was heard of each incident.
fn heard(received: &[Delivery]) -> BTreeMap<String, BTreeSet<String>> {
    let mut heard: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for it in received {
        for incident in &it.incidents {
            heard.entry(incident.clone()).or_default().insert(it.what.clone());
        }
    }
    heard
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a writable temp folder")
}
