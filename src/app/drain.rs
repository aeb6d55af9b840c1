//! Serves until told to end, then drains: nothing that could finish is cut.
//!
//! The order: readiness off; go on accepting, every response closes its connection; empty the accept queues, close the
//! listeners; running exchanges finish or reach the deadline.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::app::AppError;
use crate::app::parts::{Cores, Running};
use crate::app::signals::End;
use crate::proxy::core::Phase;

/// How often the threads are looked at while the gate serves.
const WATCH: Duration = Duration::from_secs(1);
/// How often they are looked at while it drains.
const LOOK: Duration = Duration::from_millis(20);
/// The control side's running answers and the access log.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves, drains, ends.
pub async fn serve_then_drain(
    mut cores: Cores,
    running: Running,
    mut end: watch::Receiver<End>,
) -> Result<(), AppError> {
    loop {
        if end.borrow_and_update().ne(&End::NotYet) {
            break;
        }
        if let Some(dead) = cores.threads.iter().position(std::thread::JoinHandle::is_finished) {
            return Err(AppError::CoreEnded(dead));
        }
        // Either way the loop looks again.
        let _ = timeout(WATCH, end.changed()).await;
    }
    let timeouts = running.live.load().generation.config.timeouts.clone();
    running.readiness.set_draining();
    cores.phase.send_replace(Phase::Closing);
    tracing::info!(accept = ?timeouts.drain_accept, drain = ?timeouts.drain, "draining");
    let leaving = async {
        sleep(timeouts.drain_accept).await;
        cores.phase.send_replace(Phase::Draining);
        let deadline = Instant::now() + timeouts.drain;
        while Instant::now() < deadline
            && !cores.threads.iter().all(std::thread::JoinHandle::is_finished)
        {
            sleep(LOOK).await;
        }
    };
    let patience = tokio::select! {
        () = leaving => GOODBYE,
        // Told a second time: at once.
        _ = end.wait_for(|it| *it == End::Now) => LOOK,
    };
    leave(&mut cores, running, patience).await;
    Ok(())
}

async fn leave(cores: &mut Cores, mut running: Running, patience: Duration) {
    let cut = cores.shared.spread.total();
    running.stop.send_replace(true);
    running.loops.abort_all();
    let _ =
        timeout(patience, async { while running.listeners.join_next().await.is_some() {} }).await;
    if let Some(log) = cores.log.take() {
        log.finish(patience);
    }
    if cut == 0 {
        tracing::info!("drained");
    } else {
        tracing::warn!(connections = cut, "drain deadline reached, connections cut");
    }
}
