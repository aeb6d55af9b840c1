//! The keyed API under the admin prefix: endpoint → handler.
//!
//! What changes state acts on GET (StockFlow's way) and POST alone: never on HEAD, OPTIONS, a prefetch or a page of another
//! site. A word that is not known is 404, a parameter that is not known is 400: `on?tll=30m` must not switch on for ever.

mod alerts;
mod endpoints;
mod events;
pub mod expiry;
mod health;
mod incidents;
mod inspect;
mod judge;
pub mod news;
mod observations;
mod openapi;
mod outbox;
pub mod plugins;
mod problem;
mod query;
pub mod recovery;
mod status;
mod toggle;
mod until;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::admin::events::FOLLOWERS_MAX;
use crate::admin::plugins::{Registry, UPLOADS_MAX};
use crate::admin::problem::Problem;
use crate::alert::book::Book;
use crate::alert::outbox::Outbox;
use crate::alert::responder::Responder;
use crate::generation::live::Live;
use crate::generation::reload::Status;
use crate::health::board::Board;
use crate::maintenance::store::BoxFuture;
use crate::maintenance::switch::{Publish, Switch};
use crate::model::UnixMs;
use crate::store::Ledger;
use crate::store::journal::Journal;
use crate::wire::answer::{Answer, Reply};

/// Longest `drain=`; whoever serves [`Admin::answer`] must wait at least 10 s longer than this.
pub const DRAIN_MAX: std::time::Duration = std::time::Duration::from_mins(5);

/// The actor of a call without a key; may see the short form of the status and nothing else.
pub const ANONYMOUS: &str = "";

/// One call, already authorised.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    /// Path below `{prefix}/api/admin/`, for example `maintenance/on` or `headgate/config`.
    pub endpoint: String,
    pub query: Option<String>,
    /// Name of the key, `admin-listener`, or [`ANONYMOUS`].
    pub actor: String,
    pub request_id: String,
    /// Whether the caller is a browser page of another site or a prefetch (`Sec-Fetch-Site`, `Sec-Purpose`, `Purpose`).
    pub suspicious_fetch: bool,
    pub body: Vec<u8>,
}

/// What the handlers act on.
#[derive(Clone)]
pub struct Parts {
    pub live: Arc<Live>,
    pub switch: Arc<Switch>,
    /// `None`: there is nothing to reload from.
    pub reload: Option<Arc<dyn Reload>>,
    /// Uses of keys by name since the start (`telemetry::metrics`).
    pub key_uses: Arc<dyn Fn() -> Vec<KeyUse> + Send + Sync>,
    pub plugins: Arc<dyn Registry>,
    pub watched: Watched,
    /// Start of the process.
    pub started: UnixMs,
}

/// What watches the services and tells of them.
#[derive(Clone, Debug)]
pub struct Watched {
    pub board: Arc<Board>,
    pub book: Arc<Book>,
    pub outbox: Arc<Outbox>,
    pub responder: Arc<Responder>,
    pub journal: Arc<dyn Journal>,
    pub ledger: Arc<dyn Ledger>,
}

impl Watched {
    /// Parts that watch nothing and keep nothing.
    #[cfg(test)]
    pub(crate) fn nothing(live: &Arc<Live>) -> Self {
        let ledger: Arc<dyn Ledger> = crate::store::memory::MemoryLedger::new();
        let (board, bell) = (Arc::new(Board::default()), Arc::default());
        let book = Book::new(Arc::clone(&ledger), Arc::clone(&board), Arc::clone(&bell));
        let outbox = Outbox::new(Arc::clone(&ledger), Arc::clone(&book), Arc::clone(&board));
        let responder = Responder::new(crate::alert::responder::Parts {
            live: Arc::clone(live),
            ledger: Arc::clone(&ledger),
            book: Arc::clone(&book),
            outbox: Arc::clone(&outbox),
            board: Arc::clone(&board),
            bell,
        });
        let journal = crate::store::memory::MemoryJournal::new();
        Self { board, book, outbox, responder, journal, ledger }
    }
}

/// How often and when a key was last admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    pub name: String,
    pub count: u64,
    pub last: UnixMs,
}

/// The task that makes generations (`generation::reload`), as seen from here. Findings are JSON, as `check -o json` prints them.
pub trait Reload: fmt::Debug + Send + Sync {
    /// Reads everything again, now; the new generation is live and every core has seen it when this is done.
    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, NotReloaded>>;

    /// How the live generation came to be, and what came of the last attempt.
    fn status(&self) -> Status;
}

/// What a reload led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    pub number: u64,
    pub hash: String,
    /// Whether the content differed; if not, the old generation stays.
    pub changed: bool,
    pub warnings: Vec<Value>,
}

/// Why the old generation stays.
#[derive(Clone, Debug, PartialEq)]
pub enum NotReloaded {
    /// Everything that is wrong with the new config.
    Refused(Vec<Value>),
    /// The task did not answer.
    Unavailable(String),
}

/// The handlers and what they act on.
pub struct Admin {
    parts: Parts,
    publish: Publish,
    /// Bodies of components that may be in memory at once.
    uploads: Arc<Semaphore>,
    /// Places of those who follow events.
    followers: Arc<Semaphore>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("started", &self.parts.started).finish_non_exhaustive()
    }
}

impl Admin {
    /// Ready to answer.
    pub fn new(parts: Parts) -> Self {
        let publish = publisher(&parts.live);
        let places = |count| Arc::new(Semaphore::new(count));
        Self { parts, publish, uploads: places(UPLOADS_MAX), followers: places(FOLLOWERS_MAX) }
    }

    /// Answers a call; runs on the control runtime, never on a core. The request's id is added by who sends the answer.
    pub async fn answer(&self, call: Call) -> Reply {
        let reply = match self.dispatch(&call).await {
            Ok(reply) => reply,
            Err(problem) => problem.answer(&call).into(),
        };
        reply.with("Cache-Control", "no-store")
    }

    async fn dispatch(&self, call: &Call) -> Result<Reply, Problem> {
        let open = call.endpoint == endpoints::STATUS
            && !self.parts.live.load().generation.config.status_needs_key;
        if call.actor == ANONYMOUS && !open {
            return Err(Problem::unauthorized());
        }
        let (endpoint, id) = endpoints::find(&call.endpoint)?;
        endpoint.admit(call)?;
        if endpoint.path == endpoints::EVENTS {
            return self.events(call).map(Reply::Streamed);
        }
        let body = match endpoint.path {
            "maintenance/on" => self.on(call).await,
            "maintenance/off" => self.off(call).await,
            endpoints::STATUS => self.status(call).await,
            "headgate/config" => self.config(call),
            "headgate/reload" => self.reload(call).await,
            "headgate/keys" => self.keys(call),
            "headgate/audit" => self.audit(call).await,
            "headgate/openapi.json" => openapi::document(call, &self.parts.live),
            path if path.starts_with("headgate/plugins") => self.about_plugins(path, call).await,
            path => self.about_health(path, id, call).await,
        };
        body.map(|it| Answer::json(200, &it).into())
    }

    async fn about_plugins(&self, path: &str, call: &Call) -> Result<Value, Problem> {
        match path {
            "headgate/plugins" => self.plugins(call).await,
            "headgate/plugins/logs" => self.plugin_log(call).await,
            "headgate/plugins/windows" => self.plugin_windows(call).await,
            plugins::PUSH => self.push(call).await,
            "headgate/plugins/rollback" => self.roll_back(call).await,
            "headgate/plugins/promote" => self.promote(call).await,
            "headgate/plugins/judge" => self.judge(call).await,
            "headgate/plugins/format" => self.format(call).await,
            other => Err(Problem::unknown_endpoint(other, &[])),
        }
    }

    async fn about_health(&self, path: &str, id: &str, call: &Call) -> Result<Value, Problem> {
        match path {
            "headgate/health" => self.health(call).await,
            "headgate/incidents" => self.incidents(call),
            endpoints::INCIDENT => self.incident(call, id),
            "headgate/outbox" => self.outbox(call),
            "headgate/outbox/retry" => self.outbox_retry(call).await,
            "headgate/outbox/drop" => self.outbox_drop(call).await,
            "headgate/observations" => self.observations(call).await,
            "headgate/alerts/test" => self.alert_test(call).await,
            "headgate/alerts/preview" => self.alert_preview(call).await,
            other => Err(Problem::unknown_endpoint(other, &[])),
        }
    }
}

/// Makes maintenance live: what [`Switch`] calls after a state has been saved.
pub fn publisher(live: &Arc<Live>) -> Publish {
    let live = Arc::clone(live);
    Arc::new(move |modes| live.switch(&modes))
}

fn asking(call: &Call, methods: &[&str]) -> Result<(), Problem> {
    if methods.contains(&call.method.as_str()) {
        return Ok(());
    }
    Err(Problem::method_not_allowed(&call.method, methods))
}

/// A call that changes state must be meant: not a page's doing.
fn meant(call: &Call, methods: &[&str]) -> Result<(), Problem> {
    asking(call, methods)?;
    if call.suspicious_fetch {
        return Err(Problem::new(
            403,
            "cross-site-or-prefetch",
            "Not from a page",
            "a browser's prefetch or a page of another site may not change state",
        ));
    }
    Ok(())
}

/// One that is meant, and has no parameters where nobody reads them.
fn acting(call: &Call, methods: &[&str]) -> Result<(), Problem> {
    meant(call, methods)?;
    if !matches!(call.body.trim_ascii(), b"" | b"{}") {
        return Err(Problem::new(
            400,
            "body-not-read",
            "Parameters belong in the query",
            "the body would not be read; write the parameters as ?service=…&ttl=…&reason=…",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
