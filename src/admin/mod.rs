//! The keyed API under the admin prefix: endpoint → handler.
//!
//! What changes state acts on GET (StockFlow's way) and POST alone: never on HEAD, OPTIONS, a prefetch or a page of another
//! site. A word that is not known is 404, a parameter that is not known is 400: `on?tll=30m` must not switch on for ever.

pub mod expiry;
mod inspect;
mod judge;
pub mod plugins;
mod problem;
mod query;
mod status;
mod toggle;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

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
use crate::wire::answer::Answer;

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
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("started", &self.parts.started).finish_non_exhaustive()
    }
}

/// All endpoints, for the one who asked for another.
const ENDPOINTS: [&str; 15] = [
    "maintenance/on",
    "maintenance/off",
    "maintenance/status",
    "headgate/health",
    "headgate/config",
    "headgate/reload",
    "headgate/keys",
    "headgate/audit",
    "headgate/plugins",
    "headgate/plugins/logs",
    "headgate/plugins/push",
    "headgate/plugins/rollback",
    "headgate/plugins/promote",
    "headgate/plugins/judge",
    "headgate/plugins/format",
];

impl Admin {
    /// Ready to answer.
    pub fn new(parts: Parts) -> Self {
        let publish = publisher(&parts.live);
        Self { parts, publish, uploads: Arc::new(Semaphore::new(UPLOADS_MAX)) }
    }

    /// Answers a call; runs on the control runtime, never on a core. The request's id is added by who sends the answer.
    pub async fn answer(&self, call: Call) -> Answer {
        let answer = match self.dispatch(&call).await {
            Ok(body) => Answer::json(200, &body),
            Err(problem) => problem.answer(&call),
        };
        answer.with("Cache-Control", "no-store")
    }

    async fn dispatch(&self, call: &Call) -> Result<Value, Problem> {
        let open = call.endpoint == "maintenance/status"
            && !self.parts.live.load().generation.config.status_needs_key;
        if call.actor == ANONYMOUS && !open {
            return Err(Problem::unauthorized());
        }
        match call.endpoint.as_str() {
            "maintenance/on" => self.on(acting(call, &["GET", "POST"])?).await,
            "maintenance/off" => self.off(acting(call, &["GET", "POST"])?).await,
            "maintenance/status" => self.status(asking(call, &["GET", "HEAD", "POST"])?).await,
            "headgate/health" => self.health(asking(call, &["GET", "HEAD"])?).await,
            "headgate/config" => self.config(asking(call, &["GET", "HEAD"])?),
            "headgate/reload" => self.reload(acting(call, &["POST"])?).await,
            "headgate/keys" => self.keys(asking(call, &["GET", "HEAD"])?),
            "headgate/audit" => self.audit(asking(call, &["GET", "HEAD"])?).await,
            "headgate/plugins" => self.plugins(asking(call, &["GET", "HEAD"])?).await,
            "headgate/plugins/logs" => self.plugin_log(asking(call, &["GET", "HEAD"])?).await,
            plugins::PUSH => self.push(meant(call, &["POST"])?).await,
            "headgate/plugins/rollback" => self.roll_back(acting(call, &["POST"])?).await,
            "headgate/plugins/promote" => self.promote(acting(call, &["POST"])?).await,
            "headgate/plugins/judge" => self.judge(meant(call, &["POST"])?).await,
            "headgate/plugins/format" => self.format(meant(call, &["POST"])?).await,
            other => Err(Problem::unknown_endpoint(other, &ENDPOINTS)),
        }
    }
}

/// Makes maintenance live: what [`Switch`] calls after a state has been saved.
pub fn publisher(live: &Arc<Live>) -> Publish {
    let live = Arc::clone(live);
    Arc::new(move |modes| live.switch(&modes))
}

fn asking<'a>(call: &'a Call, methods: &[&str]) -> Result<&'a Call, Problem> {
    if methods.contains(&call.method.as_str()) {
        return Ok(call);
    }
    Err(Problem::method_not_allowed(&call.method, methods))
}

/// A call that changes state must be meant: not a page's doing.
fn meant<'a>(call: &'a Call, methods: &[&str]) -> Result<&'a Call, Problem> {
    asking(call, methods)?;
    if call.suspicious_fetch {
        return Err(Problem::new(
            403,
            "cross-site-or-prefetch",
            "Not from a page",
            "a browser's prefetch or a page of another site may not change state",
        ));
    }
    Ok(call)
}

/// One that is meant, and has no parameters where nobody reads them.
fn acting<'a>(call: &'a Call, methods: &[&str]) -> Result<&'a Call, Problem> {
    meant(call, methods)?;
    if !matches!(call.body.trim_ascii(), b"" | b"{}") {
        return Err(Problem::new(
            400,
            "body-not-read",
            "Parameters belong in the query",
            "the body would not be read; write the parameters as ?service=…&ttl=…&reason=…",
        ));
    }
    Ok(call)
}

#[cfg(test)]
mod tests;
