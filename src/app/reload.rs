//! Ties the reload task to the admin API, to the files on disk and to what a generation needs besides.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admin::{self, Reload};
use crate::app::origin::{Origin, as_json};
use crate::app::plugins::Proofs;
use crate::auth::bad_keys::BadKeys;
use crate::config::source::{Pace, Watch};
use crate::generation::Generation;
use crate::generation::live::{Acknowledged, Live};
use crate::generation::reload::{Candidate, Handle, Outcome, Site, Status, Version, version};
use crate::maintenance::store::BoxFuture;
use crate::telemetry::metrics::Metrics;
use crate::wire::dns;

/// How long the admin API waits for a reload.
const PATIENCE: Duration = Duration::from_secs(35);
/// How long the cores may take to look at a new generation.
const SETTLE: Duration = Duration::from_secs(1);

/// Files that the live config and the last one tried are made of.
pub type Files = BTreeSet<PathBuf>;

/// What the reload task of a running gate reads from and publishes to.
pub struct GateSite {
    pub origin: Origin,
    pub live: Arc<Live>,
    pub metrics: Arc<Metrics>,
    pub bad_keys: Arc<BadKeys>,
    pub proofs: Proofs,
    pub files: watch::Sender<Files>,
}

impl GateSite {
    fn live_files(&self) -> Files {
        self.origin.files(&self.live.load().generation.config).into_iter().collect()
    }
}

impl Site for GateSite {
    type Next = Generation;

    fn live(&self) -> Version {
        version(&self.live.load().generation)
    }

    fn build(&self) -> Result<Candidate<Generation>, Vec<Value>> {
        let loaded = self.origin.load_again().map_err(|it| as_json(&it))?;
        // A secret that is missing now may come: its place is watched while the config is refused.
        let mut files = self.live_files();
        files.extend(self.origin.files(&loaded.config));
        self.files.send_if_modified(|old| std::mem::replace(old, files.clone()) != files);
        let previous = Arc::clone(&self.live.load().generation);
        let (next, warnings) = loaded
            .build(Some(&previous), &self.metrics, &self.proofs)
            .map_err(|it| as_json(&it))?;
        Ok(Candidate { version: version(&next), warnings: as_json(&warnings), next })
    }

    async fn publish(&self, next: Generation) -> Acknowledged {
        look_up_names(&next).await;
        self.bad_keys.limit(next.config.limits.bad_keys_per_minute);
        let next = Arc::new(next);
        self.live.publish(&next);
        self.proofs.published(next).await;
        let files = self.live_files();
        self.files.send_if_modified(|old| std::mem::replace(old, files.clone()) != files);
        self.live.settle(SETTLE).await
    }
}

/// Names are looked up before the first request, so that it does not meet an empty list; those that fail are tried again.
pub async fn look_up_names(generation: &Generation) {
    let mut looking = JoinSet::new();
    for service in &generation.services {
        let endpoints = Arc::clone(&service.endpoints);
        if endpoints.claim_lookup() {
            let name = service.service.name.clone();
            looking.spawn(async move {
                for failed in dns::look_up(&endpoints).await {
                    tracing::warn!(service = name, "name look-up failed: {failed}");
                }
                tokio::spawn(dns::follow(Arc::downgrade(&endpoints)));
            });
        }
    }
    while looking.join_next().await.is_some() {}
}

/// Watches the files; when there are others to watch, looks once more afterwards, so that no change falls in between.
pub async fn watch_files(
    mut files: watch::Receiver<Files>,
    reloads: Handle,
    changed: mpsc::Sender<()>,
) {
    let first = files.borrow_and_update().iter().cloned().collect();
    let watching = Watch::start(first, Pace::default(), changed.clone()).await;
    // What changed between the first read and the watch: on a busy machine that is no short time. A tick that waits
    // already will do.
    let _ = changed.try_send(());
    while files.changed().await.is_ok() {
        let next = files.borrow_and_update().iter().cloned().collect();
        watching.replace(next).await;
        reloads.reload(PATIENCE).await;
    }
}

/// The reload task as the admin API sees it.
#[derive(Debug)]
struct ForAdmin(Handle);

/// Lets the admin API reload.
pub fn for_admin(handle: Handle) -> Arc<dyn Reload> {
    Arc::new(ForAdmin(handle))
}

impl Reload for ForAdmin {
    fn reload(&self) -> BoxFuture<'_, Result<admin::Reloaded, admin::NotReloaded>> {
        Box::pin(async {
            match self.0.reload(PATIENCE).await {
                Some(Outcome::Published { number, hash, warnings, .. }) => {
                    Ok(admin::Reloaded { number, hash, changed: true, warnings })
                }
                Some(Outcome::Unchanged { number, hash, warnings }) => {
                    Ok(admin::Reloaded { number, hash, changed: false, warnings })
                }
                Some(Outcome::Refused(findings)) => Err(admin::NotReloaded::Refused(findings)),
                None => {
                    let why = format!("the reload did not end in {PATIENCE:?}");
                    Err(admin::NotReloaded::Unavailable(why))
                }
            }
        })
    }

    fn status(&self) -> Status {
        self.0.status()
    }
}

/// Key uses as the admin API shows them.
pub fn key_uses(metrics: &Metrics) -> Vec<admin::KeyUse> {
    let uses = metrics.key_uses().into_iter();
    uses.map(|it| admin::KeyUse { name: it.name, count: it.count, last: it.last }).collect()
}
