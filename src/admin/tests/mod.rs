//! The handlers over a live gate without sockets: two cores that answer, services, keys, a file.

mod endings;
mod inspect;
mod plugins;
mod refusals;
mod toggles;
mod watching;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;
use crate::auth::{Keyring, NewKey, digest};
use crate::config::{
    Authority, Config, Limits, Listeners, Log, Maintenance, Service, ServiceTimeouts, Timeouts,
};
use crate::generation::build::{Sources, build};
use crate::generation::live::Order;
use crate::generation::reload::{Attempt, Trigger};
use crate::generation::{Gate, Generation};
use crate::model::Coverage;
use crate::telemetry::metrics::Metrics;

const SECOND: Duration = Duration::from_secs(1);

/// What a core was told, and how it saw the gate then.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Looked { on: bool },
    Closed(Option<String>),
}

struct Rig {
    admin: Arc<Admin>,
    live: Arc<Live>,
    switch: Arc<Switch>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Debug)]
struct FakeReload(Result<Reloaded, NotReloaded>);

impl Reload for FakeReload {
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, NotReloaded>> {
        let outcome = self.0.clone();
        Box::pin(async { outcome })
    }

    fn status(&self) -> Status {
        let refused = match &self.0 {
            Err(NotReloaded::Refused(it)) => it.clone(),
            _ => Vec::new(),
        };
        let last = Some(Attempt { at: UnixMs(2_000), trigger: Trigger::Api, refused });
        Status { since: UnixMs(1_000), warnings: Vec::new(), last }
    }
}

impl Rig {
    fn new() -> Self {
        Self::over(Switch::in_memory(), None)
    }

    fn over(switch: Arc<Switch>, reload: Option<Arc<dyn Reload>>) -> Self {
        Self::with(switch, reload, config(None), 2)
    }

    fn with(
        switch: Arc<Switch>,
        reload: Option<Arc<dyn Reload>>,
        config: Config,
        answering: usize,
    ) -> Self {
        let plugins = crate::plugin::registry::Plugins::open(None, Metrics::new(1));
        Self::deciding((switch, reload), config, answering, plugins)
    }

    fn deciding(
        (switch, reload): (Arc<Switch>, Option<Arc<dyn Reload>>),
        config: Config,
        answering: usize,
        plugins: Arc<dyn Registry>,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (mut tell, mut told) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let (sender, receiver) = mpsc::channel(8);
            tell.push(sender);
            told.push(receiver);
        }
        let gate = Gate { generation: Arc::new(generation(config)), modes: switch.current() };
        let live = Arc::new(Live::new(gate, tell));
        for (index, mut orders) in told.into_iter().enumerate() {
            let (live, seen) = (Arc::clone(&live), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Some(order) = orders.recv().await {
                    match order {
                        Order::Look(answer) if index < answering => {
                            let on =
                                live.load().modes.covers("signal-engine", UnixMs::now()).is_some();
                            seen.lock().unwrap().push(Seen::Looked { on });
                            let _ = answer.send(());
                        }
                        Order::CloseTunnels(service, answer) => {
                            seen.lock().unwrap().push(Seen::Closed(service));
                            for it in &live.load().generation.services {
                                let _ = it.in_flight.fetch_update(
                                    Ordering::Relaxed,
                                    Ordering::Relaxed,
                                    |it| it.checked_sub(1),
                                );
                            }
                            let _ = answer.send(1);
                        }
                        // A core that hangs neither answers nor hangs up.
                        other @ Order::Look(_) => held.push(other),
                    }
                }
            });
        }
        let key_uses =
            Arc::new(|| vec![KeyUse { name: "ci".to_owned(), count: 3, last: UnixMs(5_000) }]);
        let parts = Parts {
            live: Arc::clone(&live),
            switch: Arc::clone(&switch),
            reload,
            key_uses,
            plugins,
            watched: Watched::nothing(&live),
            started: UnixMs::now(),
        };
        Self { admin: Arc::new(Admin::new(parts)), live, switch, seen }
    }

    async fn ask(&self, method: &str, target: &str) -> Answer {
        self.call(call(method, target)).await
    }

    async fn call(&self, call: Call) -> Answer {
        let Reply::Whole(answer) = self.admin.answer(call).await else { panic!("a whole answer") };
        assert_eq!(header(&answer, "Cache-Control"), Some("no-store"));
        answer
    }

    fn in_flight(&self, service: &str) -> Arc<AtomicU32> {
        let generation = Arc::clone(&self.live.load().generation);
        let it = generation.services.iter().find(|it| it.service.name == service).unwrap();
        Arc::clone(&it.in_flight)
    }

    fn covered(&self, service: &str) -> bool {
        self.live.load().modes.covers(service, UnixMs::now()).is_some()
    }
}

fn call(method: &str, target: &str) -> Call {
    let (endpoint, query) = target.split_once('?').map_or((target, None), |it| (it.0, Some(it.1)));
    Call {
        method: method.to_owned(),
        endpoint: endpoint.to_owned(),
        query: query.map(str::to_owned),
        actor: "ci".to_owned(),
        request_id: "r-1".to_owned(),
        suspicious_fetch: false,
        body: Vec::new(),
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn text(answer: &Answer) -> &str {
    str::from_utf8(&answer.body).unwrap()
}

fn service(name: &str, coverage: Coverage) -> Service {
    Service {
        name: name.to_owned(),
        upstreams: vec![Authority { host: "127.0.0.1".to_owned(), port: 1 }],
        coverage,
        policy: crate::config::PluginUse::builtin("threshold", String::new()),
        watching: crate::config::defaults::WATCHING,
        forward_key: false,
        max_in_flight: 8,
        max_body_bytes: None,
        timeouts: ServiceTimeouts {
            connect: SECOND,
            response_head: SECOND,
            response_stall: SECOND,
            tunnel_idle: SECOND,
            request: None,
        },
    }
}

fn config(max_ttl: Option<Duration>) -> Config {
    Config {
        listeners: Listeners { data: Vec::new(), ops: None, admin: None, admin_needs_key: true },
        trusted_proxies: Vec::new(),
        prefix: String::new(),
        cores: None,
        state_dir: PathBuf::new(),
        services: vec![
            service("signal-engine", Coverage::Covered),
            service("market-intel", Coverage::Covered),
            service("controller", Coverage::Exempt),
        ],
        routes: Vec::new(),
        keys: Vec::new(),
        admin_service: None,
        status_needs_key: false,
        admin_on_data: true,
        maintenance: Maintenance { status: 503, retry_after: SECOND, max_ttl },
        cors: None,
        limits: Limits {
            connections: 1,
            head_bytes: 1,
            head_fields: 1,
            target_bytes: 1,
            response_head_bytes: 1,
            bad_keys_per_minute: 1,
            min_body_rate: 1,
            min_rate_grace: SECOND,
        },
        timeouts: Timeouts {
            head: SECOND,
            body_stall: SECOND,
            write_stall: SECOND,
            idle: SECOND,
            drain_accept: SECOND,
            drain: SECOND,
        },
        log: Log { access: false, ring_lines: 1 },
        plugins: Vec::new(),
        formatter: crate::config::PluginUse::builtin("plain", String::from("alerts.formatter")),
        alerts: crate::config::defaults::alerts(),
    }
}

fn generation(config: Config) -> Generation {
    let key = |name: &str, expires_at| NewKey {
        name: name.to_owned(),
        scopes: vec!["admin".to_owned()],
        digest: digest(name.as_bytes()),
        not_before: None,
        expires_at,
    };
    let sources = Sources {
        read: &crate::config::secret::read,
        endpoints: &|_| Arc::default(),
        metrics: &Metrics::new(1),
        plugins: &crate::plugin::registry::native,
        now: UnixMs(1),
        file: "test",
    };
    let mut generation = build(config, b"", None, &sources).expect("a generation").generation;
    generation.number = 7;
    generation.hash = "0123456789abcdef".to_owned();
    generation.keyring = Keyring::build(vec![key("ci", None), key("gone", Some(UnixMs(9)))]);
    generation
}
