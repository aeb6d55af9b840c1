//! Keeps the live mode in step with the file and the clock.
//!
//! Coverage ends by ttl without it (`Modes::covers` looks at the clock); this makes the end known. While a new binary
//! takes over from an old one, both have one file: what one switches, the other follows within a second.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::publisher;
use crate::generation::live::Live;
use crate::maintenance::store::StoreError;
use crate::maintenance::switch::{Publish, Switch, chain};
use crate::model::UnixMs;

/// How often the file is read; also no longer than this, as the wall clock may be set while we sleep.
const LOOK: Duration = Duration::from_secs(1);

/// How long cores may take to see the end.
const SETTLE: Duration = Duration::from_secs(1);

/// After a failure to read or write.
const RETRY: Duration = Duration::from_secs(10);

/// Runs until it is dropped.
pub async fn run(live: Arc<Live>, switch: Arc<Switch>) {
    let publish = publisher(&live);
    let mut changes = switch.follow();
    loop {
        let pause = match step(&live, &switch, &publish).await {
            Ok(()) => pause(&switch, UnixMs::now()),
            Err(error) => {
                tracing::error!(error = chain(&error), "maintenance state could not be kept");
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

async fn step(live: &Live, switch: &Arc<Switch>, publish: &Publish) -> Result<(), StoreError> {
    if let Some(warning) = switch.refresh(publish).await? {
        tracing::error!(warning, "maintenance state was broken and has been written again");
    }
    if let Some(it) = switch.expire_due(UnixMs::now(), Arc::clone(publish)).await? {
        live.settle(SETTLE).await;
        let ending = it.modes.all_ending(UnixMs::now()).join(", ");
        tracing::info!(warning = it.warning, ending, "maintenance, or what came after it, is over");
    }
    Ok(())
}

fn pause(switch: &Switch, now: UnixMs) -> Duration {
    let until_end =
        switch.next_expiry().map(|it| Duration::from_millis(it.0.saturating_sub(now.0)));
    until_end.unwrap_or(LOOK).clamp(Duration::from_millis(1), LOOK)
}
