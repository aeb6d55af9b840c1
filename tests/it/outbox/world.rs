//! An outbox of its own, without a gate around it, and receivers that keep what they got.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use headgate::alert::book::Book;
use headgate::alert::outbox::{Outbox, Parcel, SinkStatus, State};
use headgate::config::defaults;
use headgate::generation::alerting::{Alerting, LiveKind, LiveSink};
use headgate::health::board::Board;
use headgate::model::alert::{Event, Message, Phase};
use headgate::model::health::{Health, ServiceFacts, Severity};
use headgate::store::{Batch, Ledger};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::support::{Exchange, RawUpstream, Upstream, until};

/// An outbox and the thread that it runs on.
pub(super) struct World {
    pub(super) outbox: Arc<Outbox>,
    pub(super) ledger: Arc<dyn Ledger>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// With these receivers of webhooks.
    pub(super) fn new(ledger: Arc<dyn Ledger>, sinks: &[(&str, String)]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        let board = Arc::new(Board::default());
        let book = Book::new(Arc::clone(&ledger), Arc::clone(&board), Arc::new(Notify::new()));
        let outbox = Outbox::new(Arc::clone(&ledger), book, board);
        handle.block_on(ledger.ready());
        outbox.restore();
        let world = Self { outbox, ledger, handle, stop: Some(stop), thread: Some(thread) };
        world.serve(sinks, Duration::from_millis(500));
        world
    }

    /// Takes these receivers in place of all others.
    pub(super) fn serve(&self, sinks: &[(&str, String)], timeout: Duration) {
        let live = sinks.iter().map(|(name, url)| LiveSink {
            name: (*name).to_owned(),
            timeout,
            kind: LiveKind::Webhook { url: url.clone(), secrets: Vec::new() },
        });
        self.serve_live(live.collect());
    }

    pub(super) fn serve_live(&self, sinks: Vec<LiveSink>) {
        let alerting = Alerting { config: defaults::alerts(), sinks, kubesnap_key: None };
        let _inside = self.handle.enter();
        self.outbox.follow(&alerting);
    }

    /// Puts parcels into the outbox as the responder does.
    pub(super) fn put(&self, parcels: Vec<Parcel>) {
        let mut batch = Batch::default();
        let back = self.outbox.put(&mut batch, parcels);
        assert!(back.is_empty(), "there is room");
        let _ = self.handle.block_on(self.ledger.write(batch));
        self.outbox.written();
    }

    pub(super) fn wait<T>(&self, act: impl Future<Output = T>) -> T {
        self.handle.block_on(act)
    }

    pub(super) fn status(&self, sink: &str) -> SinkStatus {
        let found = self.outbox.sinks().into_iter().find(|it| it.name == sink);
        found.expect("the sink is shown")
    }

    /// Waits until nothing is on its way any more.
    #[track_caller]
    pub(super) fn wait_until_empty(&self) {
        until("an empty outbox", || self.outbox.list().is_empty());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.take().map(|it| it.send(()));
        self.thread.take().map(JoinHandle::join);
    }
}

/// A parcel of its own for each sink and key; the key says what it is about.
pub(super) fn parcel(sink: &str, incident: &str, phase: Phase, key: &str) -> Parcel {
    let service = ServiceFacts {
        name: incident.to_owned(),
        namespace: None,
        endpoint: String::new(),
        ready: None,
        desired: None,
        labels: Vec::new(),
    };
    let event = Event {
        now_ms: 1_795_502_400_000,
        id: incident.to_owned(),
        phase,
        severity: Severity::Critical,
        service,
        old: Health::Ok,
        new: Health::Failing,
        code: String::from("timeout"),
        detail: String::new(),
        issues: Vec::new(),
        snapshot_id: None,
        gateway: String::from("edge"),
        extra: Vec::new(),
    };
    let message = Message {
        issues: vec![incident.to_owned()],
        channels: Vec::new(),
        channel: None,
        dedup_key: None,
        extra: Vec::new(),
    };
    Parcel {
        number: 0,
        sink: sink.to_owned(),
        incidents: vec![incident.to_owned()],
        phase,
        key: key.to_owned(),
        created_ms: headgate::model::UnixMs::now().0,
        event,
        message,
        state: State::Waiting { attempts: 0, next_try_ms: 0, error: None },
    }
}

/// One delivery as a receiver saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) key: String,
    pub(super) what: String,
    pub(super) incidents: Vec<String>,
}

/// Reads a webhook's request.
pub(super) fn delivery(exchange: &mut Exchange) -> Delivery {
    let body: Value = serde_json::from_slice(&exchange.body()).expect("a webhook sends JSON");
    let text = |it: &Value| it.as_str().expect("text").to_owned();
    let incidents = body["data"]["incidents"].as_array().expect("a list");
    Delivery {
        key: exchange.request.header("idempotency-key").expect("each call has one").to_owned(),
        what: text(&body["type"]).trim_start_matches("headgate.incident.").to_owned(),
        incidents: incidents.iter().map(text).collect(),
    }
}

pub(super) type Kept = Arc<Mutex<Vec<Delivery>>>;

/// Accepts everything and keeps it.
pub(super) fn receiver() -> (RawUpstream, Kept) {
    let kept = Kept::default();
    let for_upstream = Arc::clone(&kept);
    let upstream = Upstream::by(move |exchange| {
        let delivery = delivery(exchange);
        for_upstream.lock().expect("no panic under this lock").push(delivery);
        exchange.respond(200, "", b"{}");
    });
    (upstream, kept)
}

/// What must hold for everything that a receiver has accepted: a key stands for one thing, and for an incident nothing comes
/// before its alert, and nothing is said by two keys.
#[track_caller]
pub(super) fn check(deliveries: &[Delivery]) {
    let mut by_key: BTreeMap<&str, &Delivery> = BTreeMap::new();
    let mut opened: BTreeSet<&str> = BTreeSet::new();
    let mut said: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for it in deliveries {
        assert_eq!(*by_key.entry(&it.key).or_insert(it), it, "one key, two alerts");
        for incident in &it.incidents {
            match it.what.as_str() {
                "opened" => drop(opened.insert(incident)),
                _ => assert!(opened.contains(incident.as_str()), "{it:?} before its alert"),
            }
            if it.what != "updated" {
                let key = said.entry((incident, &it.what)).or_insert(&it.key);
                assert_eq!(*key, it.key, "{incident} {} said twice", it.what);
            }
        }
    }
}
