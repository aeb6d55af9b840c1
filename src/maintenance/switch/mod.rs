//! Makes a toggle durable, then live, then known: one at a time.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use crate::maintenance::audit::{Action, Audit, AuditError, Entry};
use crate::maintenance::store::{FileStore, MemoryStore, State, Store, StoreError};
use crate::maintenance::{BY_ITSELF, Modes, Scope, Window};
use crate::model::UnixMs;

/// How many of the last audit entries are looked at to find whether the last change is among them.
const HEAL_ENTRIES: usize = 64;

/// Who asks for a toggle, and by which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Name of the key, or `admin-listener`.
    pub actor: String,
    pub request_id: String,
}

/// A wish to switch maintenance on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct On {
    pub scope: Scope,
    /// `None`: until `off`.
    pub until: Option<UnixMs>,
    /// Whether it also ends when what it is about is well again.
    pub until_healthy: bool,
    /// Services that follow the mode themselves.
    pub follows: Vec<String>,
    pub reason: Option<String>,
}

/// What a toggle did; the new state is durable and published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub modes: Arc<Modes>,
    /// Whether anything is different from before.
    pub changed: bool,
    /// The toggle is in force, but the old state was broken or the audit file could not be written.
    pub warning: Option<String>,
}

/// Owns the maintenance state: the store, the audit trail and the order of toggles.
#[derive(Debug)]
pub struct Switch {
    store: Arc<dyn Store>,
    audit: Arc<Audit>,
    /// Held from the first byte written to the publication, so that what is live is what was saved last.
    state: Mutex<State>,
    current: watch::Sender<Arc<Modes>>,
}

/// Makes a state live (`generation::live::Live::switch`); called in the order in which states were saved.
pub type Publish = Arc<dyn Fn(Arc<Modes>) + Send + Sync>;

impl Switch {
    /// Loads the last state; enters a change into the audit trail that a crash kept out of it.
    /// The second part is what an operator must hear of (log it as an error).
    ///
    /// # Errors
    /// When the state is there and cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        audit: Audit,
    ) -> Result<(Arc<Self>, Vec<String>), StoreError> {
        let loaded = store.load().await?;
        let mut warnings: Vec<String> = loaded.warning.into_iter().collect();
        let audit = Arc::new(audit);
        if let Some(change) = loaded.state.last_change.clone() {
            warnings.extend(record(&audit, change, Missing::Only).await);
        }
        let current = watch::Sender::new(Arc::new(loaded.state.modes.clone()));
        Ok((Arc::new(Self { store, audit, state: Mutex::new(loaded.state), current }), warnings))
    }

    /// [`Switch::open`] with `maintenance.json` and `audit.jsonl` in `dir`, which is made if needed.
    ///
    /// # Errors
    /// When the folder cannot be made, or the state is there and cannot be read.
    pub async fn in_dir(dir: &Path) -> Result<(Arc<Self>, Vec<String>), StoreError> {
        let store = Arc::new(FileStore::in_dir(dir)?);
        let (switch, mut warnings) =
            Self::open(Arc::clone(&store) as _, Audit::in_dir(dir)).await?;
        let obstacle = tokio::task::spawn_blocking(move || store.obstacle()).await;
        warnings.extend(obstacle.ok().flatten());
        Ok((switch, warnings))
    }

    /// Without anything on the disk.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(MemoryStore::default()),
            audit: Arc::new(Audit::in_memory()),
            state: Mutex::default(),
            current: watch::Sender::default(),
        })
    }

    /// The state as it was last published.
    pub fn current(&self) -> Arc<Modes> {
        Arc::clone(&self.current.borrow())
    }

    /// Tells of every publication.
    pub fn follow(&self) -> watch::Receiver<Arc<Modes>> {
        self.current.subscribe()
    }

    /// When the next window ends by ttl.
    pub fn next_expiry(&self) -> Option<UnixMs> {
        self.current.borrow().next_expiry()
    }

    /// Switches on. Ends even if the caller goes away in the middle.
    ///
    /// # Errors
    /// When the state cannot be kept; nothing has changed then.
    pub async fn on(
        self: &Arc<Self>,
        wish: On,
        asker: Asker,
        publish: Publish,
    ) -> Result<Changed, StoreError> {
        self.toggle(publish, move |state, now| {
            let window = Window {
                since: now,
                until: wish.until,
                until_healthy: wish.until_healthy,
                follows: wish.follows.into(),
                reason: wish.reason.clone(),
                by: asker.actor.clone(),
            };
            let modes = state.modes.on(&wish.scope, &window);
            let entry = Entry {
                until: wish.until.map(UnixMs::rfc3339),
                reason: wish.reason,
                request_id: Some(asker.request_id),
                ..about(Action::MaintenanceOn, &asker.actor, now, &wish.scope)
            };
            (modes, Some(entry))
        })
        .await
    }

    /// Switches off; those that `follows` names and that were covered are ending from then on. Ends even if the caller goes away in the middle.
    ///
    /// # Errors
    /// When the state cannot be kept; nothing has changed then.
    pub async fn off(
        self: &Arc<Self>,
        (scope, follows): (Scope, Vec<String>),
        asker: Asker,
        publish: Publish,
    ) -> Result<Changed, StoreError> {
        self.toggle(publish, move |state, now| {
            let entry = Entry {
                request_id: Some(asker.request_id),
                ..about(Action::MaintenanceOff, &asker.actor, now, &scope)
            };
            (state.modes.off(&scope, &follows, now), Some(entry))
        })
        .await
    }

    /// Takes away the windows whose ttl is over at `now` (they cover nothing since then, but for services that are ending)
    /// and the endings that are over, and enters the end of the windows into the audit trail. `None` when there was none.
    ///
    /// # Errors
    /// When the state cannot be kept; try again later.
    pub async fn expire_due(
        self: &Arc<Self>,
        now: UnixMs,
        publish: Publish,
    ) -> Result<Option<Changed>, StoreError> {
        let current = self.current();
        if current.expire(now).0 == *current {
            return Ok(None);
        }
        let end = move |state: &State, _| {
            let (modes, ended) = state.modes.expire(now);
            let entry = Entry::new(Action::MaintenanceExpired, BY_ITSELF, now);
            (modes, (!ended.is_empty()).then(|| ended_by_ttl(entry, ended)))
        };
        self.toggle(publish, end).await.map(|it| it.changed.then_some(it))
    }

    /// Takes away the window that began at `since` and was to end with the health of what it is about. `None` when there
    /// is no such window any more.
    ///
    /// # Errors
    /// When the state cannot be kept; try again later.
    pub async fn recovered(
        self: &Arc<Self>,
        scope: Scope,
        since: UnixMs,
        publish: Publish,
    ) -> Result<Option<Changed>, StoreError> {
        let end = move |state: &State, now| match state.modes.recover(&scope, since, now) {
            None => (state.modes.clone(), None),
            Some(modes) => {
                let entry = about(Action::MaintenanceExpired, BY_ITSELF, now, &scope);
                (modes, Some(Entry { reason: Some("healthy".to_owned()), ..entry }))
            }
        };
        self.toggle(publish, end).await.map(|it| it.changed.then_some(it))
    }

    /// Ends the coverage of services that have noticed the end of their maintenance. `None` when it had ended already.
    ///
    /// # Errors
    /// When the state cannot be kept; try again later.
    pub async fn release(
        self: &Arc<Self>,
        names: Vec<String>,
        publish: Publish,
    ) -> Result<Option<Changed>, StoreError> {
        let end = move |state: &State, _| (state.modes.release(&names), None);
        self.toggle(publish, end).await.map(|it| it.changed.then_some(it))
    }

    /// Reads the store again and publishes what another process (the one being replaced by this one) has saved since.
    /// A file that is gone or broken is no news: what is live stays, and is written again. The answer is a warning.
    ///
    /// # Errors
    /// When the store cannot be read or written; what was live stays so.
    pub async fn refresh(&self, publish: &Publish) -> Result<Option<String>, StoreError> {
        let mut state = self.state.lock().await;
        let before = state.clone();
        let warning = self.catch_up(&mut state).await?;
        if *state != before {
            self.publish(&state, publish);
        }
        Ok(warning)
    }

    async fn catch_up(&self, state: &mut State) -> Result<Option<String>, StoreError> {
        let loaded = self.store.load().await?;
        if loaded.found && loaded.warning.is_none() {
            *state = loaded.state;
        } else if loaded.found || *state != State::default() {
            self.store.save(state.clone()).await?;
        }
        Ok(loaded.warning)
    }

    /// The last audit entries, newest first.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub async fn audit(&self, limit: usize) -> Result<Vec<Entry>, AuditError> {
        let audit = Arc::clone(&self.audit);
        tokio::task::spawn_blocking(move || audit.tail(limit))
            .await
            .unwrap_or_else(|_| Ok(Vec::new()))
    }

    /// Enters something into the audit trail that is no toggle; the answer is a warning.
    pub async fn record(&self, entry: Entry) -> Option<String> {
        record(&self.audit, entry, Missing::Always).await
    }

    async fn toggle(
        self: &Arc<Self>,
        publish: Publish,
        step: impl FnOnce(&State, UnixMs) -> (Modes, Option<Entry>) + Send + 'static,
    ) -> Result<Changed, StoreError> {
        let it = Arc::clone(self);
        // A task of its own: a caller who hangs up would drop this future between the saving and the publication.
        tokio::spawn(async move { it.commit(&publish, step).await })
            .await
            .map_err(|_| StoreError::Interrupted)?
    }

    async fn commit(
        &self,
        publish: &Publish,
        step: impl FnOnce(&State, UnixMs) -> (Modes, Option<Entry>),
    ) -> Result<Changed, StoreError> {
        let mut state = self.state.lock().await;
        // Another process may have switched; a store that cannot be read will not be written either, which is told below.
        let broken = self.catch_up(&mut state).await.ok().flatten();
        let (modes, mut entry) = step(&state, UnixMs::now());
        let changed = modes != state.modes;
        if let Some(entry) = &mut entry {
            entry.changed = changed;
        }
        if changed {
            // What is entered nowhere leaves the last change what it was.
            let last_change = entry.clone().or_else(|| state.last_change.clone());
            let next = State { modes, last_change };
            self.store.save(next.clone()).await?;
            *state = next;
        }
        self.publish(&state, publish);
        // Another process has entered this end already.
        let known = |it: &Entry| !changed && it.action == Action::MaintenanceExpired;
        let unrecorded = match entry.filter(|it| !known(it)) {
            Some(entry) => record(&self.audit, entry, Missing::Always).await,
            None => None,
        };
        let warning = broken.into_iter().chain(unrecorded).reduce(|a, b| format!("{a}; {b}"));
        Ok(Changed { modes: self.current(), changed, warning })
    }

    fn publish(&self, state: &State, publish: &Publish) {
        let modes = Arc::new(state.modes.clone());
        publish(Arc::clone(&modes));
        self.current.send_replace(modes);
    }
}

fn about(action: Action, by: &str, now: UnixMs, scope: &Scope) -> Entry {
    let services = match scope {
        Scope::All => Vec::new(),
        Scope::Services(names) => names.clone(),
    };
    Entry { services, ..Entry::new(action, by, now) }
}

fn ended_by_ttl(entry: Entry, ended: Vec<Scope>) -> Entry {
    let all = ended.contains(&Scope::All);
    let services: Vec<String> = ended
        .into_iter()
        .flat_map(|it| match it {
            Scope::All => Vec::new(),
            Scope::Services(names) => names,
        })
        .collect();
    if all && !services.is_empty() {
        // An empty list means all of them, so the single ones that ended with them go into the words.
        let reason = Some(format!("ttl; also of {}", services.join(", ")));
        return Entry { reason, ..entry };
    }
    Entry { services, reason: Some("ttl".to_owned()), ..entry }
}

/// Whether an entry is written although it may be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Only,
    Always,
}

async fn record(audit: &Arc<Audit>, entry: Entry, missing: Missing) -> Option<String> {
    let audit = Arc::clone(audit);
    let work = move || {
        if missing == Missing::Only && audit.tail(HEAL_ENTRIES)?.contains(&entry) {
            return Ok(());
        }
        audit.append(&entry)
    };
    let outcome = tokio::task::spawn_blocking(work).await;
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some("the task that writes the audit file ended early".to_owned()),
    }
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(it) = source {
        text.push_str(": ");
        text.push_str(&it.to_string());
        source = it.source();
    }
    text
}

#[cfg(test)]
mod tests;
