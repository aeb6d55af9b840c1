//! What is live: one immutable, numbered build of a config, and the gate made of it and the maintenance state.

pub mod alerting;
pub mod build;
#[cfg(test)]
pub(crate) mod fixture;
pub mod guarded;
pub mod live;
pub(crate) mod path_index;
pub mod plugins;
pub mod reload;
pub mod routes;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::auth::Keyring;
use crate::config::{Config, Route, Service};
use crate::generation::alerting::Alerting;
use crate::generation::guarded::{FilterTable, GuardTable};
use crate::generation::routes::RouteTable;
use crate::maintenance::Modes;
use crate::model::{ServiceId, UnixMs};
use crate::plugin::registry::{Note, PluginSet};
use crate::semantics::head::HeadLimits;
use crate::telemetry::metrics::ServiceMetrics;
use crate::wire::balance::Endpoints;

/// One live build of a config. Immutable; replaced as a whole.
#[derive(Debug)]
pub struct Generation {
    /// Counts from 1.
    pub number: u64,
    /// First 16 hex digits of the SHA-256 over the config text, the digests of all secrets and of what plugins act.
    pub hash: String,
    /// When it was built.
    pub published_at: UnixMs,
    pub config: Config,
    pub keyring: Keyring,
    /// In the order of `config.services`.
    pub services: Vec<Arc<LiveService>>,
    /// `config.routes`, searchable.
    pub routes: RouteTable,
    /// What a key is demanded for, however a path is spelled.
    pub guards: GuardTable,
    /// Whose filters are asked, however a path is spelled.
    pub filtered: FilterTable,
    /// The admin prefix and who answers it.
    pub admin: AdminPlace,
    /// Policies, formatter and filters that act.
    pub plugins: Arc<PluginSet>,
    /// What was wrong with plugins when it was built.
    pub plugin_notes: Vec<Note>,
    /// Where alerts go, with the secrets resolved.
    pub alerting: Arc<Alerting>,
    /// Limits of a request head, from `config.limits`.
    pub head_limits: HeadLimits,
}

impl Generation {
    /// The live part of a service.
    pub fn service(&self, id: ServiceId) -> Option<&Arc<LiveService>> {
        self.services.get(id.0)
    }
}

/// The admin prefix, ready to be compared, and the routes to the service that answers what is not ours there.
#[derive(Debug)]
pub struct AdminPlace {
    /// `{prefix}/api/admin`.
    pub prefix: String,
    /// `{prefix}/api/admin/health`.
    pub health: String,
    /// `{prefix}/api/admin/maintenance` and `{prefix}/api/admin/headgate`: ours, with all below.
    pub own: [String; 2],
    /// To the admin service, with scope `admin`; `None` when the config names no such service.
    pub route: Option<Route>,
    /// To the admin service's health, public.
    pub health_route: Option<Route>,
}

/// What a service keeps over generations as long as its name and upstreams stay the same.
#[derive(Debug)]
pub struct LiveService {
    pub service: Service,
    /// Survives reloads.
    pub endpoints: Arc<Endpoints>,
    /// Requests and tunnels under way, all cores; survives reloads.
    pub in_flight: Arc<AtomicU32>,
    /// Survives reloads, as long as the name stays.
    pub metrics: Arc<ServiceMetrics>,
}

/// What a request is decided on: one load gives both parts.
#[derive(Debug)]
pub struct Gate {
    pub generation: Arc<Generation>,
    pub modes: Arc<Modes>,
}
