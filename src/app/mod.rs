//! The process: parts are built here and handed to each other, then it serves, drains and ends.

pub mod control;
pub mod data;
pub mod drain;
pub mod gauges;
mod kept;
pub mod origin;
pub mod parts;
pub mod plugins;
pub mod reload;
mod rewind;
pub mod signals;
pub mod watching;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::app::control::{inherit, open_admin, open_ops};
use crate::app::origin::{Origin, as_text};
use crate::app::parts::{Control, Parts};
use crate::app::plugins::Proofs;
use crate::app::signals::{End, Signals};
use crate::config::Config;
use crate::config::findings::Finding;
use crate::linux::sockets::{affordable_connections, raise_descriptors};
use crate::maintenance::store::StoreError;
use crate::model::SCOPE_ADMIN;
use crate::plugin::registry::Plugins;
use crate::telemetry::metrics::Metrics;
use crate::wire::listener::{self, Inherited};

/// What the command line decides.
#[derive(Debug)]
pub struct Start {
    pub origin: Origin,
    /// Taken before any thread was started.
    pub inherited: Inherited,
    /// Where the access log goes; `None`: standard output.
    pub access_log: Option<PathBuf>,
    /// Whether access-log lines are JSON.
    pub json: bool,
}

/// Why the gate did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the config is refused\n{}", as_text(.0))]
    Config(Vec<Finding>),
    #[error("signals cannot be handled")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Data(#[from] listener::ListenError),
    #[error(transparent)]
    Control(#[from] control::ListenError),
    #[error("the state folder {dir} cannot be used; make it writable or name another by `state`")]
    State { dir: PathBuf, source: StoreError },
    #[error("a thread could not be started")]
    Thread(#[source] io::Error),
    #[error(
        "the inherited admin socket can be reached from outside and no key has the scope `admin`; \
         add such a key, or bind the socket to loopback"
    )]
    OpenAdmin,
    #[error("no random numbers to be had")]
    Random,
    #[error("core {0} ended by itself; the log says why")]
    CoreEnded(usize),
}

/// As many descriptors as there are to be had, and a warning when they do not do.
fn open_more_files(wanted: usize) {
    raise_descriptors();
    let affordable = affordable_connections();
    if affordable < wanted {
        tracing::warn!(
            wanted,
            affordable,
            "fewer connections than `limits.connections` until the process may open more files"
        );
    }
}

/// Runs the gate until it is told to end. Builds everything, in dependency order; each step hands its part forward.
///
/// # Errors
/// When a part cannot be had, before anything is served; or when a core ended by itself.
pub async fn run(start: Start) -> Result<(), AppError> {
    let signals = Signals::install().map_err(AppError::Signals)?;
    let Start { origin, inherited, access_log, json } = start;
    let Inherited { data, ops, admin } = inherited;

    let loaded = origin.load().map_err(AppError::Config)?;
    open_more_files(loaded.config.limits.connections);
    let metrics = Metrics::new(parts::cores(&loaded.config));
    let state = loaded.config.state_dir.join("plugins");
    let proofs = Proofs::new(Plugins::open(Some(&state), Arc::clone(&metrics)));
    let built = loaded.build(None, &metrics, &proofs);
    let (generation, warnings) = built.map_err(AppError::Config)?;
    for warning in &warnings {
        tracing::warn!(line = warning.line, path = warning.path, "{}", warning.message);
    }
    let mut parts = Parts::build(&origin, generation, &warnings, metrics, proofs).await?;

    let listeners = parts.config().listeners;
    let admin = match (admin, &listeners.admin) {
        (Some(inherited), _) => Some(inherit("admin", inherited)?),
        (None, Some(listen)) => Some(open_admin(listen).await?),
        (None, None) => None,
    };
    let ops = match (ops, listeners.ops) {
        (Some(inherited), _) => Some(inherit("ops", inherited)?),
        (None, Some(address)) => Some(open_ops(address).await?),
        (None, None) => None,
    };
    if admin.as_ref().is_some_and(|it| !it.is_local()) && !has_admin_key(&parts.config()) {
        return Err(AppError::OpenAdmin);
    }
    let cores = parts.start_cores(data, access_log, json)?;
    let running = parts.start_control(Control { admin, ops });

    let (ask, asked) = watch::channel(End::NotYet);
    tokio::spawn(signals.run(ask, running.hang_up.clone()));
    drain::serve_then_drain(cores, running, asked).await
}

fn has_admin_key(config: &Config) -> bool {
    config.keys.iter().any(|it| it.scopes.iter().any(|scope| scope == SCOPE_ADMIN))
}
