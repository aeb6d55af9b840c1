//! Turns signals into orders: SIGTERM and SIGINT drain, SIGHUP reloads.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Which end of the process was asked for; moves forward only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// None; serve.
    NotYet,
    /// To finish what runs; a first SIGTERM or SIGINT.
    Drain,
    /// To leave at once; a second one, for whoever does not want to wait.
    Now,
}

/// The signals of this process. From [`Signals::install`] on none of them ends it by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals over. Early: a SIGHUP before this would end the process.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Passes signals on until the second end. A reload that waits already is not asked for twice.
    pub async fn run(mut self, end: watch::Sender<End>, reload: mpsc::Sender<()>) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP, reload asked for");
                    let _ = reload.try_send(());
                    continue;
                }
            };
            let next = match *end.borrow() {
                End::NotYet => End::Drain,
                End::Drain | End::Now => End::Now,
            };
            tracing::info!(signal = name, end = ?next, "end asked for");
            end.send_replace(next);
            if next == End::Now {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal as Kind, getpid, kill_process};
    use tokio::time::timeout;

    use super::*;

    /// One test, since signals reach the whole process.
    #[tokio::test]
    async fn signals_reload_then_drain_then_end() {
        let signals = Signals::install().unwrap();
        let (end, mut seen) = watch::channel(End::NotYet);
        let (reload, mut reloads) = mpsc::channel(1);
        let task = tokio::spawn(signals.run(end, reload));
        let send = |kind| kill_process(getpid(), kind).unwrap();
        let patience = Duration::from_secs(10);

        send(Kind::HUP);
        assert_eq!(timeout(patience, reloads.recv()).await.unwrap(), Some(()));
        assert_eq!(*seen.borrow(), End::NotYet);

        send(Kind::TERM);
        timeout(patience, seen.wait_for(|it| *it == End::Drain)).await.unwrap().unwrap();

        send(Kind::HUP);
        assert_eq!(timeout(patience, reloads.recv()).await.unwrap(), Some(()));

        send(Kind::INT);
        timeout(patience, task).await.unwrap().unwrap();
        assert_eq!(*seen.borrow(), End::Now);
    }
}
