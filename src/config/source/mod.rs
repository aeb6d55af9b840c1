//! Notices when the content of a watched file changes on disk.
//!
//! Directories are watched, not files: a watch on a file dies with the first rename over it (editors) or swap of the
//! `..data` symlink (Kubernetes mounts). Events only say "look"; the content's hash decides. A slow poll covers file
//! systems without events and full watch limits.

mod eye;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::config::source::eye::Eye;

/// How fast changes are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Quiet time after an event before looking: editors and kubelet change a file in several steps.
    pub settle: Duration,
    /// Time between looks without an event.
    pub poll: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { settle: Duration::from_millis(200), poll: Duration::from_secs(30) }
    }
}

/// What the watch is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Looks at the files so far.
    pub looks: u64,
    /// Why there are no events and only the poll finds changes; `None`: events work.
    pub poll_only: Option<String>,
}

/// A running watch; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    asks: mpsc::Sender<Ask>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

/// Other files to watch, and whom to tell when they are.
type Ask = (Vec<PathBuf>, oneshot::Sender<()>);

impl Watch {
    /// Watches files; the watch stands when this returns. Whoever reads a file *after* that misses no change: what
    /// changes later gives a tick on `changed` (capacity 1 is enough: a tick that waits covers later ones).
    pub async fn start(paths: Vec<PathBuf>, pace: Pace, changed: mpsc::Sender<()>) -> Self {
        let (nudge, nudges) = mpsc::channel(1);
        let mut eye = Eye::new(nudge);
        eye.replace(paths).await;
        let (tell, status) = watch::channel(Status { looks: 0, poll_only: eye.poll_only() });
        let (asks, asked) = mpsc::channel(1);
        let watcher = Watcher { eye, pace, changed, tell, nudges };
        Self { asks, status, task: tokio::spawn(watcher.run(asked)) }
    }

    /// Watches these files instead, keeping what is known of those that stay. As with [`Watch::start`]: replace first,
    /// read then. While a new config is refused, watch its files and those of the live one.
    pub async fn replace(&self, paths: Vec<PathBuf>) {
        let (done, told) = oneshot::channel();
        if self.asks.send((paths, done)).await.is_ok() {
            // An error means that the watch has ended, because nobody listens to it any more.
            let _ = told.await;
        }
    }

    /// What the watch is doing, now and later.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks in vain before a missing file counts as gone.
const PATIENCE: u32 = 10;

/// The task behind a [`Watch`].
struct Watcher {
    eye: Eye,
    pace: Pace,
    changed: mpsc::Sender<()>,
    tell: watch::Sender<Status>,
    nudges: mpsc::Receiver<()>,
}

impl Watcher {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        let mut poll = interval_at(Instant::now() + self.pace.poll, self.pace.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ask = asked.recv() => {
                    let Some((paths, done)) = ask else { return };
                    self.eye.replace(paths).await;
                    // Nobody waits any more when this fails.
                    let _ = done.send(());
                    self.say();
                    continue;
                }
                Some(()) = self.nudges.recv() => self.settle().await,
                // A directory that came back, or watches that are free again, are taken up here.
                _ = poll.tick() => self.eye.arm(),
                () = self.changed.closed() => return,
            }
            if self.look().await {
                // Full: a tick waits already, and covers this change.
                let _ = self.changed.try_send(());
            }
        }
    }

    /// Waits until the events pause, at most ten times as long as they must.
    async fn settle(&mut self) {
        for _ in 0..10 {
            if timeout(self.pace.settle, self.nudges.recv()).await.is_err() {
                return;
            }
        }
    }

    /// Whether any content changed. A file that is gone for a moment (between the two steps of a swap) did not.
    async fn look(&mut self) -> bool {
        let mut missed = 0;
        loop {
            let seen = self.eye.look(missed >= PATIENCE).await;
            if seen.changed {
                self.eye.arm();
            }
            self.say();
            if seen.changed || seen.missing == 0 {
                return seen.changed;
            }
            missed += 1;
            tokio::time::sleep(self.pace.settle).await;
        }
    }

    fn say(&self) {
        let poll_only = self.eye.poll_only();
        self.tell.send_modify(|it| {
            it.looks += 1;
            it.poll_only = poll_only;
        });
    }
}

#[cfg(test)]
mod tests;
