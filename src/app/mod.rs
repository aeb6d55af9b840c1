//! The process: parts are built here and handed to each other.

pub mod data;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretSlice;
use tokio::sync::{mpsc, watch};

use crate::admin::Admin;
use crate::app::data::{ORDERS_MAX, Seat};
use crate::auth::bad_keys::BadKeys;
use crate::config::{Config, KeySource};
use crate::generation::Gate;
use crate::generation::build::{Sources, build};
use crate::generation::live::Live;
use crate::maintenance::Modes;
use crate::model::UnixMs;
use crate::proxy::core::{Phase, Shared};
use crate::telemetry::access_log::{AccessLog, Sink};
use crate::telemetry::metrics::Metrics;
use crate::wire::balance::Endpoints;
use crate::wire::dns;
use crate::wire::listener::{HAND_OVER_MAX, Inherited, Spread, per_core};

/// temporary
pub async fn smoke(file: PathBuf, inherited: Inherited) -> Result<(), Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(&file)?;
    let parsed =
        crate::config::parse(&text, &file).map_err(|f| crate::config::findings::render(&f))?;
    let config: Config = parsed.config;
    let cores = config
        .cores
        .map_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()), |n| n.get());
    let metrics = Metrics::new(cores);
    let read = |source: &KeySource| match source {
        KeySource::Env(name) => std::env::var(name)
            .map(|v| SecretSlice::from(v.into_bytes()))
            .map_err(|e| e.to_string()),
        _ => Err("no".to_owned()),
    };
    let sources = Sources {
        read: &read,
        endpoints: &Endpoints::new,
        metrics: &metrics,
        now: UnixMs::now(),
        file: "x",
    };
    let built =
        build(config, "hash", None, &sources).map_err(|f| crate::config::findings::render(&f))?;
    let generation = Arc::new(built.generation);
    for service in &generation.services {
        dns::look_up(&service.endpoints).await;
        dns::start(&service.endpoints);
    }
    let addrs: Vec<SocketAddr> = generation.config.listeners.data.clone();
    let listeners = per_core(inherited.data, &addrs, cores)?;
    let (order_senders, order_receivers): (Vec<_>, Vec<_>) =
        (0..cores).map(|_| mpsc::channel(ORDERS_MAX)).unzip();
    let (ways, handed): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::channel(HAND_OVER_MAX)).unzip();
    let live = Arc::new(Live::new(
        Gate { generation: Arc::clone(&generation), modes: Arc::new(Modes::default()) },
        order_senders,
    ));
    let shared = Arc::new(Shared {
        live: Arc::clone(&live),
        spread: Spread::new(ways),
        bad_keys: Arc::new(BadKeys::new(20)),
        admin: Arc::new(Admin {}),
        control: tokio::runtime::Handle::current(),
        no_service: metrics.service("-"),
    });
    let (_tx, phase) = watch::channel(Phase::Serving);
    let log = AccessLog::start_on(Sink::File(std::path::PathBuf::from("/tmp/access.log")), true)?;
    let seats = listeners.into_iter().zip(order_receivers).zip(handed).enumerate();
    for (index, ((listeners, orders), handed)) in seats {
        let core_metrics = metrics.core(index);
        data::spawn(Seat {
            index,
            listeners,
            orders,
            handed,
            phase: phase.clone(),
            shared: Arc::clone(&shared),
            log: Some(log.for_core(8192, Arc::clone(&core_metrics))),
            metrics: core_metrics,
            seed: [1, 2],
        })?;
    }
    eprintln!("serving on {addrs:?} with {cores} cores");
    std::future::pending::<()>().await;
    Ok(())
}
