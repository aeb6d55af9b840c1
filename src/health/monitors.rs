//! A monitor for every service of the live generation: started, replaced and ended as generations come.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use tokio::task::{Id, JoinError, JoinSet};

use crate::health::board::ServiceHealth;
use crate::health::monitor::{Begin, Kept, Monitor, Site};
use crate::model::UnixMs;
use crate::model::health::Health;

/// All monitors of a process.
#[derive(Debug)]
pub struct Monitors {
    site: Site,
    /// What the last process left of services that have not been started.
    begins: HashMap<String, Begin>,
    tasks: JoinSet<String>,
    running: HashMap<String, Running>,
}

#[derive(Debug)]
struct Running {
    id: Id,
    kept: Kept,
}

/// Puts all services on the board, before anything is known: the ledger may still be another process's.
pub fn announce(site: &Site) {
    let now = UnixMs::now();
    for it in &site.live.load().generation.services {
        site.board.post(ServiceHealth {
            service: it.service.name.clone(),
            health: Health::Unknown,
            since_ms: now.0,
            verdict: None,
            by: None,
            reason: Some("not watched yet: the ledger is not open".to_owned()),
            flapping: false,
            muted: false,
            incident: None,
            endpoints: Vec::new(),
            last_probe_ms: None,
            next_probe_ms: None,
        });
    }
}

impl Monitors {
    pub fn new(site: Site, begins: HashMap<String, Begin>) -> Self {
        Self { site, begins, tasks: JoinSet::new(), running: HashMap::new() }
    }

    /// Watches until it is dropped, and every monitor with it.
    pub async fn run(mut self) {
        let mut generations = self.site.live.published();
        // What was left, or announced, of services that the config has no more: their monitors end what is open, and
        // themselves.
        let announced = self.site.board.all().into_iter().map(|it| it.service.clone());
        let left: BTreeSet<String> = self.begins.keys().cloned().chain(announced).collect();
        left.into_iter().for_each(|it| self.start(it));
        loop {
            generations.mark_unchanged();
            self.start_missing();
            tokio::select! {
                changed = generations.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
            }
        }
    }

    /// A monitor follows its service by itself: only those that have none need one.
    fn start_missing(&mut self) {
        let generation = Arc::clone(&self.site.live.load().generation);
        for it in &generation.services {
            if !self.running.contains_key(&it.service.name) {
                self.start(it.service.name.clone());
            }
        }
    }

    fn start(&mut self, name: String) {
        let begin = self.begins.remove(&name).unwrap_or_default();
        let monitor = Monitor::new(self.site.clone(), name.clone(), begin);
        let (kept, told) = (monitor.kept(), name.clone());
        let generations = self.site.live.published();
        let task = self.tasks.spawn(async move {
            monitor.run(generations).await;
            told
        });
        self.running.insert(name, Running { id: task.id(), kept });
    }

    fn ended(&mut self, ended: Result<(Id, String), JoinError>) {
        let error = match ended {
            Ok((_, name)) => {
                self.running.remove(&name);
                return;
            }
            Err(error) => error,
        };
        let id = error.id();
        let Some(name) = self.running.iter().find(|it| it.1.id == id).map(|it| it.0.clone()) else {
            return;
        };
        tracing::error!(service = name, %error, "a monitor failed; it begins anew");
        if let Some(old) = self.running.remove(&name) {
            let track = old.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.begins.insert(name, Begin { track, ..Begin::default() });
        }
    }
}
