//! Endpoints of one upstream: least-pending choice, ejection of dead ones, shared by all cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use arc_swap::ArcSwap;

/// One address that can be connected to.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in this process; key of the cores' pools.
    pub id: u64,
    pub addr: SocketAddr,
    /// Exchanges under way.
    pub pending: AtomicU32,
    /// Connect failures and dead exchanges in a row.
    pub failures: AtomicU32,
    /// Wall clock in ms until which it is out of the balance.
    pub ejected_until: AtomicU64,
}

/// All endpoints of one service; the list changes when DNS does.
#[derive(Debug, Default)]
pub struct Endpoints {
    list: ArcSwap<Vec<Arc<Endpoint>>>,
}
