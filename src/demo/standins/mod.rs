//! Stand-ins of StockFlow's services that keep its wire contracts, count what they receive and fail on demand.

mod controller;
mod event_dispatcher;
mod kubesnap;
mod market_intel;
mod respond;
mod signal_engine;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;

use crate::demo::{DemoError, Real};
use crate::wire::answer::Answer;
use crate::wire::serve::{Asked, ServeLimits, serve};
use crate::wire::socket::Socket;

/// Longest delay that a stand-in can be told to make.
const DELAY_MAX_MS: u32 = 60_000;

/// Alerts and snapshots that stand-ins remember.
const KEPT: usize = 100;

/// How a stand-in behaves besides its contract, and what it has received. Shared with its server.
#[derive(Debug, Default)]
pub struct Behaviour {
    received: AtomicU64,
    /// Status of every answer; 0: as the contract has it.
    fail_status: AtomicU16,
    delay_ms: AtomicU32,
    /// Signal Engine and Market Intel: answers maintenance on every route.
    maintenance: AtomicBool,
    /// Event Dispatcher: bodies that it accepted, newest last.
    alerts: Mutex<VecDeque<serde_json::Value>>,
    /// Kubesnap: files of the snapshots that it took, newest last.
    snapshots: Mutex<VecDeque<String>>,
}

impl Behaviour {
    /// The last alerts that were accepted, oldest first.
    pub fn alerts(&self) -> Vec<serde_json::Value> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn accept(&self, alert: serde_json::Value) {
        keep(&self.alerts, alert);
    }

    /// Files of the last snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<String> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn take_snapshot(&self, file: String) {
        keep(&self.snapshots, file);
    }

    /// Requests so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// From now on every answer has this status; `None`: as the contract has it.
    pub fn fail(&self, status: Option<u16>) {
        self.fail_status.store(status.unwrap_or(0), Ordering::Relaxed);
    }

    /// Every answer takes this long, at most a minute.
    pub fn delay(&self, delay: Duration) {
        let ms = u32::try_from(delay.as_millis()).unwrap_or(DELAY_MAX_MS).min(DELAY_MAX_MS);
        self.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Answers as the services do while their environment says `MAINTENANCE`.
    pub fn maintain(&self, on: bool) {
        self.maintenance.store(on, Ordering::Relaxed);
    }

    fn is_maintained(&self) -> bool {
        self.maintenance.load(Ordering::Relaxed)
    }
}

/// Keeps what was received, the oldest only as long as there is room.
fn keep<T>(of: &Mutex<VecDeque<T>>, one: T) {
    let mut kept = of.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(one);
}

/// The services of StockFlow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    SignalEngine,
    MarketIntel,
    Controller,
    Kubesnap,
    EventDispatcher,
}

impl Role {
    /// Every role, in the order of the config.
    pub const ALL: [Self; 5] = [
        Self::SignalEngine,
        Self::MarketIntel,
        Self::Controller,
        Self::Kubesnap,
        Self::EventDispatcher,
    ];

    /// Name of the service in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::SignalEngine => "signal-engine",
            Self::MarketIntel => "market-intel",
            Self::Controller => "controller",
            Self::Kubesnap => "kubesnap",
            Self::EventDispatcher => "event-dispatcher",
        }
    }

    fn real(self, real: &Real) -> Option<&String> {
        match self {
            Self::SignalEngine => real.signal_engine.as_ref(),
            Self::MarketIntel => real.market_intel.as_ref(),
            Self::Controller => real.controller.as_ref(),
            Self::Kubesnap => real.kubesnap.as_ref(),
            Self::EventDispatcher => real.event_dispatcher.as_ref(),
        }
    }
}

/// One service of the scene: a stand-in, or a real one elsewhere.
#[derive(Clone, Debug)]
pub struct Standin {
    pub role: Role,
    /// `http://HOST:PORT`.
    pub url: String,
    /// `None` for a real service.
    pub behaviour: Option<Arc<Behaviour>>,
}

/// The whole scene.
#[derive(Clone, Debug)]
pub struct Standins {
    /// In the order of [`Role::ALL`].
    pub services: Vec<Standin>,
    /// Where stand-ins are told to fail; see [`control`].
    pub control: SocketAddr,
}

impl Standins {
    /// The service in this role.
    pub fn get(&self, role: Role) -> Option<&Standin> {
        self.services.iter().find(|it| it.role == role)
    }

    /// Whether the role is played by a stand-in.
    pub fn plays(&self, role: Role) -> bool {
        self.get(role).is_some_and(|it| it.behaviour.is_some())
    }
}

/// Starts a stand-in on loopback for every role that has no real service, and one control server for all of them.
///
/// # Errors
/// [`DemoError::Listen`].
pub async fn start(
    real: &Real,
    key: &SecretString,
    stop: &watch::Receiver<bool>,
) -> Result<Standins, DemoError> {
    let mut services = Vec::new();
    for role in Role::ALL {
        let standin = match role.real(real) {
            Some(url) => Standin { role, url: url.clone(), behaviour: None },
            None => start_one(role, key, stop).await?,
        };
        services.push(standin);
    }
    let (socket, control_at) = listen().await?;
    let shared: Arc<[Standin]> = services.clone().into();
    let handler = move |asked: Asked| {
        let shared = Arc::clone(&shared);
        async move { control(&shared, &asked) }
    };
    tokio::spawn(serve(socket, ServeLimits::default(), handler, stop.clone()));
    Ok(Standins { services, control: control_at })
}

async fn listen() -> Result<(Socket, SocketAddr), DemoError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = Socket::tcp(any).await.map_err(DemoError::Listen)?;
    let address = socket.tcp_address().unwrap_or(any);
    Ok((socket, address))
}

async fn start_one(
    role: Role,
    key: &SecretString,
    stop: &watch::Receiver<bool>,
) -> Result<Standin, DemoError> {
    let (socket, address) = listen().await?;
    let behaviour = Arc::new(Behaviour::default());
    let state = Arc::new(State {
        role,
        behaviour: Arc::clone(&behaviour),
        key: key.clone(),
        maintenance: AtomicBool::new(false),
    });
    // Room for a gate's pool and for people; answers may be slow on purpose.
    let handler_ms = u64::from(DELAY_MAX_MS) + 10_000;
    let limits = ServeLimits {
        connections: 1024,
        handler: Duration::from_millis(handler_ms),
        ..ServeLimits::default()
    };
    let handler = move |asked| Arc::clone(&state).answer(asked);
    tokio::spawn(serve(socket, limits, handler, stop.clone()));
    Ok(Standin { role, url: format!("http://{address}"), behaviour: Some(behaviour) })
}

/// What one stand-in's server knows.
#[derive(Debug)]
struct State {
    role: Role,
    behaviour: Arc<Behaviour>,
    key: SecretString,
    /// The Controller's own toggle.
    maintenance: AtomicBool,
}

impl State {
    async fn answer(self: Arc<Self>, asked: Asked) -> Answer {
        self.behaviour.received.fetch_add(1, Ordering::Relaxed);
        let delay = self.behaviour.delay_ms.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(u64::from(delay))).await;
        }
        match self.behaviour.fail_status.load(Ordering::Relaxed) {
            0 => self.by_contract(&asked),
            status => respond::detail(status, "told to fail"),
        }
    }

    fn by_contract(&self, asked: &Asked) -> Answer {
        if asked.method == "OPTIONS" {
            return respond::preflight(asked);
        }
        let answer = match self.role {
            Role::SignalEngine => signal_engine::answer(asked, self.behaviour.is_maintained()),
            Role::MarketIntel => market_intel::answer(asked, self.behaviour.is_maintained()),
            Role::Controller => controller::answer(asked, &self.key, &self.maintenance),
            Role::Kubesnap => kubesnap::answer(asked, &self.key, &self.behaviour),
            Role::EventDispatcher => event_dispatcher::answer(asked, &self.behaviour),
        };
        respond::with_cors(answer, asked)
    }
}

/// The control server: `GET /` lists the stand-ins and what they received, `GET /event-dispatcher/alerts` the last alerts,
/// `GET /kubesnap/snapshots` the last snapshots;
/// `POST /NAME/fail?status=500`,
/// `/NAME/slow?ms=3000`, `/NAME/maintenance` and `/NAME/recover` change how one behaves.
fn control(standins: &[Standin], asked: &Asked) -> Answer {
    if asked.method == "GET" && asked.path == "/" {
        return list(standins);
    }
    let words: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
    let [name, act] = words.as_slice() else { return respond::not_found() };
    let found = standins.iter().find(|it| it.role.name() == *name);
    let Some(behaviour) = found.and_then(|it| it.behaviour.as_ref()) else {
        return respond::not_found();
    };
    match (asked.method.as_str(), *act) {
        ("GET", "alerts") => return Answer::json(200, &behaviour.alerts()),
        ("GET", "snapshots") => return Answer::json(200, &behaviour.snapshots()),
        _ => {}
    }
    if asked.method != "POST" {
        return respond::method_not_allowed("POST");
    }
    match *act {
        "fail" => {
            let status = number(asked, "status").and_then(|it| u16::try_from(it).ok());
            behaviour.fail(Some(status.filter(|it| (200..600).contains(it)).unwrap_or(500)));
        }
        "slow" => behaviour.delay(Duration::from_millis(number(asked, "ms").unwrap_or(3000))),
        "maintenance" => behaviour.maintain(true),
        "recover" => {
            behaviour.fail(None);
            behaviour.delay(Duration::ZERO);
            behaviour.maintain(false);
        }
        _ => return respond::not_found(),
    }
    list(standins)
}

fn list(standins: &[Standin]) -> Answer {
    let row = |it: &Standin| {
        let received = it.behaviour.as_ref().map(|it| it.received());
        serde_json::json!({ "name": it.role.name(), "url": it.url, "received": received })
    };
    Answer::json(200, &standins.iter().map(row).collect::<Vec<_>>())
}

fn number(asked: &Asked, name: &str) -> Option<u64> {
    let pairs = asked.query.as_deref()?.split('&').filter_map(|it| it.split_once('='));
    pairs.filter(|it| it.0 == name).find_map(|it| it.1.parse().ok())
}

#[cfg(test)]
mod tests;
