//! What others know at the moment of a scrape: the live generation and its services.

use std::fmt;

use prometheus_client::metrics::MetricType;

use crate::telemetry::exposition::{Exposition, gauge};

/// What others know at the moment of a scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Number of the live generation.
    pub generation: u64,
    /// Its hash.
    pub hash: String,
    pub services: Vec<ServiceGauges>,
    /// Open downstream connections that are allowed.
    pub connections_max: u64,
    /// Whether the process drains.
    pub draining: bool,
}

/// What others know about one service at the moment of a scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceGauges {
    pub name: String,
    pub in_flight: u64,
    pub in_flight_max: u64,
    /// Whether it is covered by a maintenance that is on.
    pub in_maintenance: bool,
    pub endpoints_up: u64,
    pub endpoints_ejected: u64,
    /// Out of the balance by their probes.
    pub endpoints_down: u64,
}

impl Gauges {
    pub(super) fn show(&self, page: &mut Exposition<'_>) -> fmt::Result {
        page.gauge("headgate_generation", "Number of the live generation", self.generation)?;
        page.info("headgate_config", "Hash of the live config", &[("hash", self.hash.as_str())])?;
        page.gauge("headgate_draining", "Whether the gate drains", u64::from(self.draining))?;
        page.gauge(
            "headgate_connections_limit",
            "Downstream connections that are allowed",
            self.connections_max,
        )?;
        let services = self.services.iter();
        let each = |value: fn(&ServiceGauges) -> u64| {
            services.clone().map(move |it| (it.name.as_str(), value(it)))
        };
        page.gauges(
            "headgate_http_requests_in_flight",
            "Requests and tunnels under way",
            "service",
            each(|it| it.in_flight),
        )?;
        page.gauges(
            "headgate_http_requests_in_flight_limit",
            "Requests that may be under way",
            "service",
            each(|it| it.in_flight_max),
        )?;
        page.gauges(
            "headgate_maintenance_enabled",
            "Whether the gate answers for the service",
            "service",
            each(|it| u64::from(it.in_maintenance)),
        )?;
        page.family(
            "headgate_upstream_endpoints",
            "Addresses of the service by state",
            MetricType::Gauge,
            |metric| {
                for it in services.clone() {
                    for (state, count) in [
                        ("up", it.endpoints_up),
                        ("ejected", it.endpoints_ejected),
                        ("down", it.endpoints_down),
                    ] {
                        let labels = [("service", it.name.as_str()), ("state", state)];
                        gauge(metric, &labels, count)?;
                    }
                }
                Ok(())
            },
        )
    }
}
