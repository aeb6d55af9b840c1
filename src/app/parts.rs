//! Builds what a process is made of, one step per function.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{self, Admin};
use crate::app::control::{self, serve_admin, serve_ops};
use crate::app::data::{self, ORDERS_MAX, Seat};
use crate::app::kept::kept;
use crate::app::origin::{self, Origin};
use crate::app::plugins::Proofs;
use crate::app::reload::{Files, GateSite, look_up_names};
use crate::app::watching::Watching;
use crate::app::{AppError, gauges, reload};
use crate::auth::bad_keys::BadKeys;
use crate::config::Config;
use crate::config::findings::Finding;
use crate::generation::live::{Live, Order};
use crate::generation::reload::{Asking, Handle, Reloader};
use crate::generation::{Gate, Generation};
use crate::health::board::Board;
use crate::maintenance::switch::Switch;
use crate::model::UnixMs;
use crate::ops::{Ops, Readiness};
use crate::proxy::core::{Phase, Shared};
use crate::telemetry::access_log::{AccessLog, Sink};
use crate::telemetry::metrics::Metrics;
use crate::wire::listener::{HAND_OVER_MAX, Handed, Spread, per_core};
use crate::wire::socket::Socket;

/// Most threads of the data path.
const CORES_MAX: usize = 256;

/// Threads of the data path: as configured, or one per core of the machine.
pub fn cores(config: &Config) -> usize {
    let machine = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    config.cores.unwrap_or_else(machine).get().min(CORES_MAX)
}

/// Everything but sockets and threads.
pub struct Parts {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    switch: Arc<Switch>,
    readiness: Arc<Readiness>,
    reloader: Reloader<GateSite>,
    reloads: Handle,
    proofs: Proofs,
    watching: Watching,
    watched: watch::Receiver<Files>,
    orders: Vec<mpsc::Receiver<Order>>,
    handed: Vec<mpsc::Receiver<Handed>>,
}

/// The control side's open listeners.
pub struct Control {
    pub admin: Option<Socket>,
    pub ops: Option<Socket>,
}

/// The data path's threads.
pub struct Cores {
    pub threads: Vec<JoinHandle<std::io::Result<()>>>,
    pub phase: watch::Sender<Phase>,
    pub log: Option<AccessLog>,
    pub shared: Arc<Shared>,
}

/// The control side's tasks.
pub struct Running {
    /// End by themselves when `stop` is told.
    pub listeners: JoinSet<()>,
    /// Never end; aborted.
    pub loops: JoinSet<()>,
    pub readiness: Arc<Readiness>,
    pub live: Arc<Live>,
    /// SIGHUP.
    pub hang_up: mpsc::Sender<()>,
    /// Ends the control side's listeners.
    pub stop: watch::Sender<bool>,
}

impl Parts {
    /// From the first generation to the handles of everything that acts on it.
    pub async fn build(
        origin: &Origin,
        generation: Generation,
        warnings: &[Finding],
        metrics: Arc<Metrics>,
        proofs: Proofs,
    ) -> Result<Self, AppError> {
        let cores = cores(&generation.config);
        let switch = open_switch(generation.config.state_dir.clone()).await?;
        let generation = Arc::new(generation);
        look_up_names(&generation).await;
        let (senders, orders) = channels(cores, ORDERS_MAX);
        let (ways, handed) = channels(cores, HAND_OVER_MAX);
        let gate = Gate { generation: Arc::clone(&generation), modes: switch.current() };
        let live = Arc::new(Live::new(gate, senders));
        proofs.published(generation.clone()).await;
        let bad_keys = Arc::new(BadKeys::new(generation.config.limits.bad_keys_per_minute));
        let (files, watched) =
            watch::channel(origin.files(&generation.config).into_iter().collect());
        let site = GateSite {
            origin: origin.clone(),
            live: Arc::clone(&live),
            metrics: Arc::clone(&metrics),
            bad_keys: Arc::clone(&bad_keys),
            proofs: proofs.clone(),
            files,
        };
        let json = origin::as_json(warnings);
        let (reloader, reloads) = Reloader::new(site, json, Arc::clone(&metrics));
        let uses = Arc::clone(&metrics);
        let watching = Watching::build(&live, proofs.plugins(), &metrics);
        let admin = Admin::new(admin::Parts {
            live: Arc::clone(&live),
            switch: Arc::clone(&switch),
            reload: Some(reload::for_admin(reloads.clone())),
            key_uses: Arc::new(move || reload::key_uses(&uses)),
            plugins: proofs.plugins(),
            watched: watching.watched.clone(),
            started: UnixMs::now(),
        });
        let spread = Spread::new(ways);
        metrics.set_source(gauges::source(Arc::clone(&live)));
        let shared = Arc::new(Shared {
            live,
            spread,
            bad_keys,
            admin: Arc::new(admin),
            control: tokio::runtime::Handle::current(),
            no_service: metrics.service("-"),
        });
        let readiness = Arc::new(Readiness::default());
        readiness.set_config_live();
        Ok(Self {
            shared,
            metrics,
            switch,
            readiness,
            reloader,
            reloads,
            proofs,
            watching,
            watched,
            orders,
            handed,
        })
    }

    /// The first config.
    pub fn config(&self) -> Config {
        self.shared.live.load().generation.config.clone()
    }

    /// Binds or takes over the data listeners and starts a thread for every core.
    pub fn start_cores(
        &mut self,
        inherited: Vec<std::net::TcpListener>,
        access_log: Option<PathBuf>,
        json: bool,
    ) -> Result<Cores, AppError> {
        let config = self.config();
        let log = match config.log.access {
            true => {
                let sink = access_log.map_or(Sink::Stdout, Sink::File);
                Some(AccessLog::start_on(sink, json).map_err(AppError::Thread)?)
            }
            false => None,
        };
        let orders = std::mem::take(&mut self.orders);
        let handed = std::mem::take(&mut self.handed);
        let is_inherited = !inherited.is_empty();
        let listeners = per_core(inherited, &config.listeners.data, orders.len())?;
        announce(&listeners);
        let (phase, follow) = watch::channel(Phase::Serving);
        let mut threads = Vec::new();
        for (index, ((listeners, orders), handed)) in
            listeners.into_iter().zip(orders).zip(handed).enumerate()
        {
            let metrics = self.metrics.core(index);
            let lines = config.log.ring_lines;
            let seat = Seat {
                index,
                listeners,
                inherited: is_inherited,
                orders,
                handed,
                phase: follow.clone(),
                shared: Arc::clone(&self.shared),
                log: log.as_ref().map(|it| it.for_core(lines, Arc::clone(&metrics))),
                metrics,
                seed: seed()?,
            };
            threads.push(data::spawn(seat).map_err(AppError::Thread)?);
        }
        self.readiness.set_cores_running();
        Ok(Cores { threads, phase, log, shared: Arc::clone(&self.shared) })
    }

    /// Starts the tasks of the control side: listeners, reload, ends of maintenance.
    pub fn start_control(self, sockets: Control) -> Running {
        let (mut listeners, mut loops) = (JoinSet::new(), JoinSet::new());
        let (stop, stopped) = watch::channel(false);
        let (hang_up, hung_up) = mpsc::channel(1);
        let live = Arc::clone(&self.shared.live);
        if let Some(socket) = sockets.ops {
            let ops = Ops::new(Arc::clone(&self.readiness), Arc::clone(&self.metrics));
            listeners.spawn(serve_ops(socket, ops, stopped.clone()));
        }
        if let Some(socket) = sockets.admin {
            let bad_keys = Arc::clone(&self.shared.bad_keys);
            let count = Box::new(move |client| bad_keys.failed(client, UnixMs::now().0));
            let admin = Arc::clone(&self.shared.admin);
            let control = control::Control::new(Arc::clone(&live), admin, &self.metrics, count);
            listeners.spawn(serve_admin(socket, control, stopped));
        }
        self.watching.start(&mut loops);
        let board = Arc::clone(&self.watching.watched.board);
        keep_maintenance(&mut loops, &live, &self.switch, &board);
        let (tell, changed) = mpsc::channel(1);
        loops.spawn(reload::watch_files(self.watched, self.reloads, tell));
        let (wish, plugins) = mpsc::channel(1);
        loops.spawn(self.proofs.ask(wish));
        loops.spawn(self.reloader.run(Asking { changed, hang_up: hung_up, plugins }));
        Running { listeners, loops, readiness: self.readiness, live, hang_up, stop }
    }
}

/// Ends what ends by itself, and tells followers.
fn keep_maintenance(
    loops: &mut JoinSet<()>,
    live: &Arc<Live>,
    switch: &Arc<Switch>,
    board: &Arc<Board>,
) {
    let parts = (Arc::clone(live), Arc::clone(switch), Arc::clone(board));
    let (ends, recovers, tells) = (parts.clone(), parts.clone(), parts);
    loops.spawn(kept("ends maintenance by time", move || {
        admin::expiry::run(Arc::clone(&ends.0), Arc::clone(&ends.1))
    }));
    loops.spawn(kept("ends maintenance when all is well", move || {
        let (live, switch, board) = recovers.clone();
        admin::recovery::run(live, switch, board)
    }));
    loops.spawn(kept("tells of generations and maintenance", move || {
        let (live, switch, board) = tells.clone();
        admin::news::run(live, switch, board)
    }));
}

async fn open_switch(dir: PathBuf) -> Result<Arc<Switch>, AppError> {
    let opened = Switch::in_dir(&dir).await;
    let (switch, notes) = opened.map_err(|source| AppError::State { dir, source })?;
    for note in notes {
        tracing::error!("{note}");
    }
    Ok(switch)
}

fn channels<T>(count: usize, capacity: usize) -> (Vec<mpsc::Sender<T>>, Vec<mpsc::Receiver<T>>) {
    (0..count).map(|_| mpsc::channel(capacity)).unzip()
}

/// One line for every address; tools read the port from it when the kernel chose it.
fn announce(listeners: &[Vec<std::net::TcpListener>]) {
    let mut told = Vec::new();
    for address in listeners.iter().flatten().filter_map(|it| it.local_addr().ok()) {
        if !told.contains(&address) {
            tracing::info!(listener = "data", %address, "listening");
            told.push(address);
        }
    }
}

fn seed() -> Result<[u64; 2], AppError> {
    let mut bytes = [[0; 8]; 2];
    for part in &mut bytes {
        getrandom::fill(part).map_err(|_| AppError::Random)?;
    }
    Ok(bytes.map(u64::from_ne_bytes))
}
