//! Services whose health the test decides, and a webhook that keeps what it is told.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::wait::until_some;
use super::{Exchange, Gateway, OPERATOR, RawUpstream, Setup, Upstream, until};

/// Soon, and patient enough for a busy machine.
const PROBE: &str =
    "probe: { http: /health, interval: 500ms, unhealthyInterval: 40ms, timeout: 500ms }, rise: 2";
/// `whsec_` and Base64, as Standard Webhooks has it.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";

const WELL: u32 = 0;
const BROKEN: u32 = 1;
const ALTERNATING: u32 = 2;

/// A service as the probes see it.
pub(crate) struct Patient {
    pub(crate) name: &'static str,
    state: Arc<AtomicU32>,
    upstream: RawUpstream,
}

impl Patient {
    pub(crate) fn start(name: &'static str) -> Self {
        let (state, turn) = (Arc::<AtomicU32>::default(), AtomicU32::new(0));
        let now = Arc::clone(&state);
        let answer = move |it: &mut Exchange| {
            let is_odd = turn.fetch_add(1, Ordering::SeqCst) % 2 == 1;
            match now.load(Ordering::SeqCst) {
                BROKEN => it.respond(500, "", b"down"),
                ALTERNATING if is_odd => it.respond(500, "", b"down"),
                _ => it.respond(200, "", br#"{"status":"OK"}"#),
            }
        };
        let upstream = Upstream::http1().handle("/health", answer).otherwise("x").start();
        Self { name, state, upstream }
    }

    pub(crate) fn breaks(&self) {
        self.state.store(BROKEN, Ordering::SeqCst);
    }

    pub(crate) fn heals(&self) {
        self.state.store(WELL, Ordering::SeqCst);
    }

    pub(crate) fn alternates(&self) {
        self.state.store(ALTERNATING, Ordering::SeqCst);
    }

    /// Waits for so many more probes.
    #[track_caller]
    pub(crate) fn probed(&self, times: usize) {
        let before = self.upstream.requests();
        until("more probes", || self.upstream.requests() >= before + times);
    }
}

/// A gate that watches these; `more` is the inside of each one's `health`.
pub(crate) fn watching(patients: &[(&Patient, &str)]) -> Setup {
    let mut setup = Setup::default().key(OPERATOR).env("HOOK_SECRET", SECRET);
    for (patient, more) in patients {
        let more = format!("maintenance: covered, health: {{ policy: native, {PROBE}, {more} }}");
        let route = format!("path: /{0}/, service: {0}, access: public", patient.name);
        setup = setup.service_with(patient.name, &patient.upstream, &more).route(&route);
    }
    setup
}

/// What a webhook was told.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) key: String,
    /// `opened`, `updated`, `resolved`, `test`.
    pub(crate) phase: String,
    pub(crate) event: Value,
    pub(crate) incidents: Value,
}

impl Note {
    /// For example `opened a,b`.
    pub(crate) fn says(&self) -> String {
        let issues = self.event["issues"].as_array().expect("a list").iter();
        let issues: Vec<_> = issues.map(|it| it.as_str().unwrap_or_default()).collect();
        format!("{} {}", self.phase, issues.join(","))
    }

    /// A value out of the event's open-ended pairs.
    pub(crate) fn extra(&self, key: &str) -> Option<String> {
        let pairs = self.event["extra"].as_array()?.iter();
        let found = pairs.clone().find(|it| it[0] == key)?;
        found[1].as_str().map(str::to_owned)
    }
}

/// A webhook that accepts everything.
pub(crate) struct Inbox {
    upstream: RawUpstream,
    notes: Arc<Mutex<Vec<Note>>>,
}

impl Inbox {
    pub(crate) fn start() -> Self {
        let notes = Arc::<Mutex<Vec<Note>>>::default();
        let kept = Arc::clone(&notes);
        let upstream = Upstream::by(move |it| {
            let body: Value = serde_json::from_slice(&it.body()).expect("a webhook sends JSON");
            let kind = body["type"].as_str().expect("text");
            let note = Note {
                key: it.request.header("idempotency-key").expect("a key").to_owned(),
                phase: kind.trim_start_matches("headgate.incident.").to_owned(),
                event: body["data"]["event"].clone(),
                incidents: body["data"]["incidents"].clone(),
            };
            kept.lock().expect("no panic under this lock").push(note);
            it.respond(200, "", b"{}");
        });
        Self { upstream, notes }
    }

    /// A sink (the inside of a YAML flow map).
    pub(crate) fn sink(&self, name: &str) -> String {
        format!(
            "{{ name: {name}, webhook: \"{}/hook\", secret: \"env:HOOK_SECRET\" }}",
            self.upstream.url()
        )
    }

    pub(crate) fn notes(&self) -> Vec<Note> {
        self.notes.lock().expect("no panic under this lock").clone()
    }

    /// For example `opened a; resolved a`.
    pub(crate) fn says(&self) -> String {
        self.notes().iter().map(Note::says).collect::<Vec<_>>().join("; ")
    }

    /// Waits for so many notes; gives the last of them.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Note {
        let what = format!("{count} notes");
        until_some(&what, || self.notes().get(count - 1).cloned())
    }
}

/// All incidents, open ones first, the newest before the older.
#[track_caller]
pub(crate) fn incidents(gate: &Gateway) -> Vec<Value> {
    let answer = gate.admin_get("/api/admin/headgate/incidents").send().expect_status(200);
    answer.field("incidents").as_array().cloned().unwrap_or_default()
}

/// Waits for an incident of a service that satisfies a condition.
#[track_caller]
pub(crate) fn incident(
    gate: &Gateway,
    service: &str,
    mut condition: impl FnMut(&Value) -> bool,
) -> Value {
    until_some(&format!("an incident of {service}"), || {
        let found = incidents(gate).into_iter().find(|it| it["service"]["name"] == service)?;
        let id = found["id"].as_str().expect("an id");
        let path = format!("/api/admin/headgate/incidents/{id}");
        let whole = gate.admin_get(&path).send().expect_status(200).json();
        let whole = whole.get("incident").cloned().unwrap_or(whole);
        condition(&whole).then_some(whole)
    })
}

/// How often something stands in an incident's timeline.
pub(crate) fn happened(incident: &Value, what: &str) -> usize {
    let lines = incident["timeline"].as_array().expect("a list").iter();
    lines.filter(|it| it["what"] == what).count()
}
