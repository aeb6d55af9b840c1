//! Ends windows whose ttl is over: in the file, in the audit trail, on the cores.
//!
//! Coverage ends without it (`Modes::covers` looks at the clock); this makes the end known.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::publisher;
use crate::generation::live::Live;
use crate::maintenance::switch::{Switch, chain};
use crate::model::UnixMs;

/// The wall clock may be set while we sleep, so no sleep is longer than this.
const LOOK: Duration = Duration::from_secs(30);

/// After a failure to write.
const RETRY: Duration = Duration::from_secs(10);

/// Runs until it is dropped.
pub async fn run(live: Arc<Live>, switch: Arc<Switch>) {
    let publish = publisher(&live);
    let mut changes = switch.follow();
    loop {
        let now = UnixMs::now();
        let pause = match switch.expire_due(now, Arc::clone(&publish)).await {
            Ok(ended) => {
                if let Some(it) = ended {
                    live.settle(Duration::from_secs(1)).await;
                    tracing::info!(warning = it.warning, "maintenance ended by ttl");
                }
                pause(&switch, now)
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "end of maintenance could not be kept");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

fn pause(switch: &Switch, now: UnixMs) -> Duration {
    let until_end =
        switch.next_expiry().map(|it| Duration::from_millis(it.0.saturating_sub(now.0)));
    until_end.unwrap_or(LOOK).clamp(Duration::from_millis(1), LOOK)
}
