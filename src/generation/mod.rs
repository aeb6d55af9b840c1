//! What is live: one immutable, numbered build of a config, and the gate made of it and the maintenance state.

pub mod live;
pub mod reload;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::auth::Keyring;
use crate::config::{Config, Service};
use crate::maintenance::Modes;
use crate::wire::balance::Endpoints;

/// One live build of a config. Immutable; replaced as a whole.
#[derive(Debug)]
pub struct Generation {
    /// Counts from 1.
    pub number: u64,
    /// First 16 hex digits of the SHA-256 over the config text and the digests of all secrets.
    pub hash: String,
    pub config: Config,
    pub keyring: Keyring,
    /// In the order of `config.services`.
    pub services: Vec<Arc<LiveService>>,
}

/// What a service keeps over generations as long as its name and upstreams stay the same.
#[derive(Debug)]
pub struct LiveService {
    pub service: Service,
    /// Survives reloads.
    pub endpoints: Arc<Endpoints>,
    /// Requests and tunnels under way, all cores; survives reloads.
    pub in_flight: Arc<AtomicU32>,
}

/// What a request is decided on: one load gives both parts.
#[derive(Debug)]
pub struct Gate {
    pub generation: Arc<Generation>,
    pub modes: Arc<Modes>,
}
