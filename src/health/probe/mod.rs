//! One check of one endpoint, with a deadline: http, tcp or grpc. Never fails: what went wrong is the outcome.

mod expect;
mod fault;
mod grpc;
mod http;
mod link;
mod seen;
mod tls;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::config::health::{Probe, ProbeKind};
use crate::health::probe::fault::Fault;
use crate::health::probe::grpc::GrpcCheck;
use crate::health::probe::http::HttpCheck;
use crate::health::probe::link::Link;
use crate::health::probe::seen::Seen;
use crate::model::UnixMs;
use crate::model::health::Sample;

/// A prober of one service: what can be made ready once (TLS roots, request bytes) is.
#[derive(Debug)]
pub struct Prober {
    asks: Asks,
    /// Other port than the endpoint's.
    port: Option<u16>,
    timeout: Duration,
}

/// What is asked.
#[derive(Debug)]
enum Asks {
    Http(Box<HttpCheck>),
    Tcp,
    Grpc(Box<GrpcCheck>),
}

impl Prober {
    /// `authority` is host and port of the upstream as configured: `Host`, server name. With TLS this reads the machine's
    /// roots from disk (some milliseconds): not for a runtime's own thread.
    ///
    /// # Errors
    /// When roots cannot be read or a request cannot be written as configured; the text says what and the next step.
    #[expect(clippy::needless_pass_by_value, reason = "callers make it for this call")]
    pub fn new(probe: &Probe, authority: (String, u16)) -> Result<Arc<Self>, String> {
        let (asks, port) = match &probe.kind {
            ProbeKind::Http(it) => (Asks::Http(Box::new(HttpCheck::new(it, &authority)?)), it.port),
            ProbeKind::Tcp => (Asks::Tcp, None),
            ProbeKind::Grpc(it) => (Asks::Grpc(Box::new(GrpcCheck::new(it, &authority)?)), it.port),
        };
        Ok(Arc::new(Self { asks, port, timeout: probe.timeout }))
    }

    /// Checks one endpoint. Ends within the probe's timeout, and takes a bounded number of bytes whatever comes.
    ///
    /// `extra` holds `endpoint`, and when something was wrong `phase` (`connect`, `tls`, `head`, `body`) and `error`, or
    /// `expect`: one sentence on the expectation that was not met. What the gate itself could not do (no descriptor, no
    /// port) is [`Outcome::Skipped`](crate::model::health::Outcome): it says nothing about the service.
    pub async fn check(&self, endpoint: SocketAddr) -> Sample {
        let (at_ms, started) = (UnixMs::now().0, Instant::now());
        let to = SocketAddr::new(endpoint.ip(), self.port.unwrap_or(endpoint.port()));
        let mut seen = Seen::default();
        let ended = timeout(self.timeout, self.ask(to, &mut seen)).await;
        let took = started.elapsed();
        match ended {
            Ok(Ok(())) => {
                // What came whole may still not be what was expected.
                if let Asks::Http(it) = &self.asks {
                    it.judge(&mut seen, took);
                }
            }
            Ok(Err(fault)) => seen.failed(&fault),
            Err(_) => seen.failed(&Fault::late(self.timeout)),
        }
        seen.into_sample(at_ms, self.kind(), to, took)
    }

    async fn ask(&self, to: SocketAddr, seen: &mut Seen) -> Result<(), Fault> {
        match &self.asks {
            Asks::Http(it) => it.ask(to, seen).await,
            Asks::Tcp => Link::open(to, None, seen).await.map(drop),
            Asks::Grpc(it) => it.ask(to, self.timeout, seen).await,
        }
    }

    const fn kind(&self) -> &'static str {
        match self.asks {
            Asks::Http(_) => "http",
            Asks::Tcp => "tcp",
            Asks::Grpc(_) => "grpc",
        }
    }
}
