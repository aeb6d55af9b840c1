//! What metrics ask for at the moment of a scrape.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::admin::Watched;
use crate::generation::live::Live;
use crate::generation::{Gate, LiveService};
use crate::linux::sockets::affordable_connections;
use crate::model::{Coverage, UnixMs};
use crate::store::Condition;
use crate::telemetry::alerts::{AlertGauges, SinkGauges};
use crate::telemetry::metrics::{Gauges, ServiceGauges};

/// Reads the live gate.
pub fn source(live: Arc<Live>) -> impl Fn() -> Gauges + Send + Sync + 'static {
    move || {
        let gate = live.load();
        let generation = &gate.generation;
        Gauges {
            generation: generation.number,
            hash: generation.hash.clone(),
            services: generation.services.iter().map(|it| of_service(&gate, it)).collect(),
            connections_max: generation.config.limits.connections.min(affordable_connections())
                as u64,
            ..Gauges::default()
        }
    }
}

/// Reads outbox, incidents and stores.
pub fn alerts(watched: Watched) -> impl Fn() -> AlertGauges + Send + Sync + 'static {
    move || {
        let sinks = watched.outbox.sinks().into_iter();
        AlertGauges {
            sinks: sinks
                .map(|it| SinkGauges { name: it.name, waiting: it.waiting, dead: it.dead })
                .collect(),
            incidents_open: watched.book.open().len(),
            stores: vec![
                ("ledger", condition_word(&watched.ledger.condition())),
                ("journal", condition_word(&watched.journal.condition())),
            ],
        }
    }
}

/// One of `telemetry::alerts::CONDITIONS`.
fn condition_word(condition: &Condition) -> &'static str {
    match condition {
        Condition::Good => "good",
        Condition::Waiting { .. } => "waiting",
        Condition::Failing { .. } => "failing",
        Condition::MemoryOnly { .. } => "memory-only",
    }
}

fn of_service(gate: &Gate, live: &LiveService) -> ServiceGauges {
    let service = &live.service;
    let now = UnixMs::now();
    let endpoints = live.endpoints.list();
    let down = endpoints.iter().filter(|it| it.is_out()).count();
    let ejected = endpoints.iter().filter(|it| !it.is_out() && it.is_ejected(now)).count();
    ServiceGauges {
        name: service.name.clone(),
        in_flight: u64::from(live.in_flight.load(Ordering::Relaxed)),
        in_flight_max: u64::from(service.max_in_flight),
        in_maintenance: service.coverage == Coverage::Covered
            && gate.modes.covers(&service.name, now).is_some(),
        endpoints_up: (endpoints.len() - ejected - down) as u64,
        endpoints_ejected: ejected as u64,
        endpoints_down: down as u64,
    }
}
