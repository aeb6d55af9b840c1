//! The time-outs of one exchange.

use std::time::Duration;

use crate::config::{Config, ServiceTimeouts};

/// The time-outs of one exchange, copied so that no generation is held.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    pub response_head: Duration,
    pub response_stall: Duration,
    pub request: Option<Duration>,
    pub body_stall: Duration,
    pub write_stall: Duration,
    pub min_body_rate: u64,
    pub min_rate_grace: Duration,
    pub response_head_bytes: usize,
}

impl Patience {
    /// Of a service under a config.
    pub fn of(service: &ServiceTimeouts, config: &Config) -> Self {
        Self {
            connect: service.connect,
            response_head: service.response_head,
            response_stall: service.response_stall,
            request: service.request,
            body_stall: config.timeouts.body_stall,
            write_stall: config.timeouts.write_stall,
            min_body_rate: config.limits.min_body_rate,
            min_rate_grace: config.limits.min_rate_grace,
            response_head_bytes: config.limits.response_head_bytes,
        }
    }
}

/// How much of a body had come at a time of the core's clock.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub at_ms: u64,
    pub received: u64,
}
