//! Tells followers of new generations and of maintenance; what watches the services tells of the rest itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::admin::status::word;
use crate::generation::live::Live;
use crate::health::board::{Board, Told};
use crate::maintenance::switch::Switch;
use crate::model::UnixMs;

/// How often the live generation is looked at: one load of a pointer.
const LOOK: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub async fn run(live: Arc<Live>, switch: Arc<Switch>, board: Arc<Board>) {
    let mut changes = switch.follow();
    let mut number = live.load().generation.number;
    loop {
        let changed = tokio::select! {
            changed = changes.changed() => changed.is_ok(),
            () = tokio::time::sleep(LOOK) => false,
        };
        let (gate, now) = (live.load(), UnixMs::now());
        if changed {
            let modes = switch.current();
            let single = modes.services.iter().filter(|it| it.1.running(now));
            let data = json!({
                "all": word(modes.everywhere(now).is_some()),
                "services": single.map(|it| it.0.as_str()).collect::<Vec<_>>(),
            });
            board.tell(Told { kind: "maintenance", at_ms: now.0, data });
        }
        if gate.generation.number != number {
            number = gate.generation.number;
            let data = json!({ "number": number, "hash": gate.generation.hash });
            board.tell(Told { kind: "generation", at_ms: now.0, data });
        }
    }
}
