//! The health and alert path of a process: stores, book, outbox, responder, monitors; built here and handed to each other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::admin::Watched;
use crate::alert::book::Book;
use crate::alert::outbox::Outbox;
use crate::alert::responder::{self, Responder};
use crate::app::gauges;
use crate::app::kept::kept;
use crate::app::rewind::rewind;
use crate::generation::live::Live;
use crate::health::Reporter;
use crate::health::board::Board;
use crate::health::monitor::Site;
use crate::health::monitors::{self, Monitors};
use crate::health::restore;
use crate::plugin::registry::Plugins;
use crate::store::Ledger;
use crate::store::journal::Journal;
use crate::store::journal::ring::RedbJournal;
use crate::store::ledger::RedbLedger;
use crate::telemetry::metrics::Metrics;

/// How often what policies remember is handed to the journal.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// How long what an earlier process kept waits for its component: compiling may take a while, a reload may bring it back.
const UNCLAIMED: Duration = Duration::from_hours(1);

/// Everything that watches; what the admin API sees of it is in `watched`.
#[derive(Debug)]
pub struct Watching {
    pub watched: Watched,
    plugins: Arc<Plugins>,
    monitored: Site,
}

impl Watching {
    /// Builds the parts; opens the stores beside the start, never on it.
    pub fn build(live: &Arc<Live>, plugins: Arc<Plugins>, metrics: &Metrics) -> Self {
        let state_dir = live.load().generation.config.state_dir.clone();
        let ledger: Arc<dyn Ledger> = RedbLedger::open(&state_dir);
        let journal: Arc<dyn Journal> = RedbJournal::open(&state_dir);
        let (board, bell) = (Arc::new(Board::default()), Arc::new(Notify::new()));
        let book = Book::new(Arc::clone(&ledger), Arc::clone(&board), Arc::clone(&bell));
        let outbox = Outbox::new(Arc::clone(&ledger), Arc::clone(&book), Arc::clone(&board));
        let responder = Responder::new(responder::Parts {
            live: Arc::clone(live),
            ledger: Arc::clone(&ledger),
            book: Arc::clone(&book),
            outbox: Arc::clone(&outbox),
            board: Arc::clone(&board),
            bell,
        });
        let reporter: Arc<dyn Reporter> = Arc::<Book>::clone(&book);
        let monitored = Site {
            live: Arc::clone(live),
            board: Arc::clone(&board),
            journal: Arc::clone(&journal),
            reporter,
            metrics: Arc::clone(metrics.health()),
        };
        let watched = Watched { board, book, outbox, responder, journal, ledger };
        watched.outbox.count_in(Arc::clone(metrics.alerts()));
        metrics.alerts().set_source(gauges::alerts(watched.clone()));
        Self { watched, plugins, monitored }
    }

    /// Starts the tasks: monitors once the ledger is ready, responder, workers.
    pub fn start(&self, tasks: &mut JoinSet<()>) {
        let (outbox, live) = (Arc::clone(&self.watched.outbox), Arc::clone(&self.monitored.live));
        let follow = move || follow_alerting(Arc::clone(&outbox), Arc::clone(&live));
        tasks.spawn(kept("follows where alerts go", follow));
        let (watched, monitored) = (self.watched.clone(), self.monitored.clone());
        let memory = Arc::new(PolicyMemory {
            journal: Arc::clone(&self.watched.journal),
            plugins: Arc::clone(&self.plugins),
        });
        tasks.spawn(async move {
            monitors::announce(&monitored);
            watched.ledger.ready().await;
            // Before a policy is asked anything.
            memory.recall().await;
            rewind(&monitored.live, Arc::clone(&watched.journal), &memory.plugins).await;
            restore_rows(&watched).await;
            let responder = Arc::clone(&watched.responder);
            tokio::join!(
                kept("keeps what policies remember", move || Arc::clone(&memory).keep()),
                kept("responds to incidents", move || Arc::clone(&responder).run()),
                kept("watches the services", move || watch(monitored.clone(), watched.clone())),
            );
        });
    }
}

/// What the last process left of incidents and parcels.
async fn restore_rows(watched: &Watched) {
    let (book, outbox) = (Arc::clone(&watched.book), Arc::clone(&watched.outbox));
    // There may be many rows.
    let restored = spawn_blocking(move || {
        book.restore();
        outbox.restore();
    });
    if let Err(error) = restored.await {
        tracing::error!(%error, "what the last process left cannot be restored");
    }
}

/// Monitors begin where their trackers stand, after a restart as after a fault.
async fn watch(monitored: Site, watched: Watched) {
    let begins = restore::begins(watched.book.tracks(), watched.journal).await;
    Monitors::new(monitored, begins).run().await;
}

/// Alerts go where the live generation says.
async fn follow_alerting(outbox: Arc<Outbox>, live: Arc<Live>) {
    let mut published = live.published();
    loop {
        let alerting = Arc::clone(&live.load().generation.alerting);
        outbox.follow(&alerting);
        if published.changed().await.is_err() {
            return;
        }
    }
}

/// What policies remember, between the registry and the journal.
#[derive(Debug)]
struct PolicyMemory {
    journal: Arc<dyn Journal>,
    plugins: Arc<Plugins>,
}

impl PolicyMemory {
    /// Gives the registry what an earlier process kept.
    async fn recall(&self) {
        let journal = Arc::clone(&self.journal);
        match spawn_blocking(move || journal.all_saved()).await {
            Ok(kept) => self.plugins.backing().states.load(kept),
            Err(error) => tracing::error!(%error, "what policies remembered cannot be read"),
        }
    }

    /// Hands what changes to the journal, until the process ends.
    async fn keep(self: Arc<Self>) {
        let mut tick = interval(KEEP_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unclaimed_until = Some(Instant::now() + UNCLAIMED);
        loop {
            tick.tick().await;
            if unclaimed_until.take_if(|it| *it <= Instant::now()).is_some() {
                self.plugins.backing().states.forget_unclaimed();
            }
            self.hand_over();
            if self.plugins.conduct_changed() {
                let plugins = Arc::clone(&self.plugins);
                // It logs what goes wrong; a panic has been logged by its thread.
                let _ = spawn_blocking(move || plugins.keep_conduct()).await;
            }
        }
    }

    fn hand_over(&self) {
        let changed = self.plugins.backing().states.drain();
        if !changed.is_empty() {
            self.journal.saved(changed);
        }
    }
}

impl Drop for PolicyMemory {
    /// The task is aborted when the process drains: the last second counts too.
    fn drop(&mut self) {
        self.hand_over();
    }
}
