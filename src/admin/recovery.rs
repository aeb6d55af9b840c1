//! Ends what ends by itself: a maintenance `until=healthy` when all is well again, and the coverage of services that follow
//! the mode when they have noticed its end.
//!
//! Looks at the health board, whose verdicts come from monitors that probe in maintenance as always.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::publisher;
use crate::config::{Config, Service};
use crate::generation::live::Live;
use crate::health::board::{Board, ServiceHealth};
use crate::maintenance::recovery::{Seen, has_noticed};
use crate::maintenance::store::StoreError;
use crate::maintenance::switch::{Publish, Switch, chain};
use crate::maintenance::{Modes, Scope, Window};
use crate::model::{Coverage, UnixMs};

/// How often the board is looked at while something may end.
const LOOK: Duration = Duration::from_millis(100);

/// How long cores may take to see an end.
const SETTLE: Duration = Duration::from_secs(1);

/// After a failure to keep the state.
const RETRY: Duration = Duration::from_secs(10);

/// Runs until it is dropped.
pub async fn run(live: Arc<Live>, switch: Arc<Switch>, board: Arc<Board>) {
    let publish = publisher(&live);
    let mut changes = switch.follow();
    let mut watch = Watch::default();
    loop {
        let modes = Arc::clone(&changes.borrow_and_update());
        watch.keep_to(&modes, &board);
        let pause = if watch.is_idle() {
            None
        } else {
            Some(step(&live, &switch, &publish, (&mut watch, &board)).await)
        };
        let changed = match pause {
            None => changes.changed().await,
            Some(pause) => tokio::select! {
                () = tokio::time::sleep(pause) => Ok(()),
                changed = changes.changed() => changed,
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// One look; gives how long to wait for the next.
async fn step(
    live: &Live,
    switch: &Arc<Switch>,
    publish: &Publish,
    (watch, board): (&mut Watch, &Board),
) -> Duration {
    let config = Arc::clone(&live.load().generation);
    let (recovered, noticed) = watch.look(&config.config, board);
    match end(switch, publish, recovered, noticed).await {
        Ok(false) => LOOK,
        Ok(true) => {
            live.settle(SETTLE).await;
            LOOK
        }
        Err(error) => {
            tracing::error!(error = chain(&error), "maintenance state could not be kept");
            RETRY
        }
    }
}

/// Whether anything has changed.
async fn end(
    switch: &Arc<Switch>,
    publish: &Publish,
    recovered: Vec<(Scope, UnixMs)>,
    noticed: Vec<String>,
) -> Result<bool, StoreError> {
    let mut any = false;
    for (scope, since) in recovered {
        let done = switch.recovered(scope.clone(), since, Arc::clone(publish)).await?;
        if let Some(done) = done {
            tracing::info!(?scope, warning = done.warning, "maintenance ended: all is well again");
            any = true;
        }
    }
    if !noticed.is_empty() {
        let services = noticed.join(", ");
        if switch.release(noticed, Arc::clone(publish)).await?.is_some() {
            tracing::info!(services, "maintenance is noticed to be over");
            any = true;
        }
    }
    Ok(any)
}

/// What was seen since each window and each ending began.
#[derive(Debug, Default)]
struct Watch {
    /// By service (`None`: all) and start.
    windows: BTreeMap<(Option<String>, u64), BTreeMap<String, Seen>>,
    /// By service: its ending's `since` and `until`, and the last probe before it.
    endings: BTreeMap<String, (Ending, Option<u64>)>,
}

/// Which ending it is: another one of the same service begins anew.
type Ending = (UnixMs, Option<UnixMs>);

impl Watch {
    fn is_idle(&self) -> bool {
        self.windows.is_empty() && self.endings.is_empty()
    }

    /// Forgets what is over, and begins to watch what is new; what was probed until now was before that.
    fn keep_to(&mut self, modes: &Modes, board: &Board) {
        let all = modes.all.iter().map(|it| (None, it));
        let single = modes.services.iter().map(|(name, it)| (Some(name.clone()), it));
        let keys: Vec<(Option<String>, u64)> = all
            .chain(single)
            .filter(|it| it.1.until_healthy)
            .map(|(name, it)| (name, it.since.0))
            .collect();
        self.windows.retain(|it, _| keys.contains(it));
        for key in keys {
            let before = || board.all().iter().map(|it| (it.service.clone(), before(it))).collect();
            self.windows.entry(key).or_insert_with(before);
        }
        let which = |it: &Window| (it.since, it.until);
        self.endings.retain(|name, (ending, _)| {
            modes.ending.iter().any(|it| it.0 == *name && which(&it.1) == *ending)
        });
        for (name, window) in &modes.ending {
            let probed = || board.get(name).and_then(|it| it.last_probe_ms);
            self.endings.entry(name.clone()).or_insert_with(|| (which(window), probed()));
        }
    }

    /// Windows that are over, and services that have noticed the end of theirs.
    fn look(&mut self, config: &Config, board: &Board) -> (Vec<(Scope, UnixMs)>, Vec<String>) {
        let mut recovered = Vec::new();
        for ((name, since), seen) in &mut self.windows {
            if all_well(name.as_deref(), seen, config, board) {
                let scope = name.clone().map_or(Scope::All, |it| Scope::Services(vec![it]));
                recovered.push((scope, UnixMs(*since)));
            }
        }
        let noticed = self.endings.iter().filter(|(name, (_, before))| {
            board
                .get(name)
                .and_then(|it| verdict(&it))
                .is_some_and(|(probe, verdict)| has_noticed(*before, probe, verdict))
        });
        (recovered, noticed.map(|it| it.0.clone()).collect())
    }
}

fn before(health: &ServiceHealth) -> Seen {
    Seen::since(health.last_probe_ms)
}

fn verdict(health: &ServiceHealth) -> Option<(u64, crate::model::health::Health)> {
    Some((health.last_probe_ms?, health.verdict.as_ref()?.status))
}

/// Whether every service that the window is about is well. One that has lost its probe since then is not waited for; if
/// none has one any more, nobody can say that all is well.
fn all_well(
    name: Option<&str>,
    seen: &mut BTreeMap<String, Seen>,
    config: &Config,
    board: &Board,
) -> bool {
    let is_about = |it: &&Service| {
        let named = name.is_none_or(|name| it.name == name);
        named && it.coverage == Coverage::Covered && it.watching.probe.is_some()
    };
    let (mut any, mut all) = (false, true);
    for service in config.services.iter().filter(is_about) {
        let seen = seen.entry(service.name.clone()).or_default();
        if let Some((probe, verdict)) = board.get(&service.name).and_then(|it| verdict(&it)) {
            seen.saw(probe, verdict);
        }
        any = true;
        all &= seen.is_well(service.watching.rise);
    }
    any && all
}
