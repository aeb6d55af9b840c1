//! What is told of one exchange: one access-log line and one set of metrics, on every way out.

use std::net::{IpAddr, SocketAddr};

use tokio::time::Instant;

use crate::generation::LiveService;
use crate::model::{ServiceId, UnixMs};
use crate::proxy::core::{Core, Pinned};
use crate::proxy::decide::{Step, Witness};
use crate::semantics::trace::ShortText;
use crate::telemetry::access_log::Line;

/// The account of one exchange.
#[derive(Clone, Debug)]
pub struct Record {
    began: Instant,
    at: UnixMs,
    client: IpAddr,
    pub request_id: ShortText,
    /// Digest of the admitted key; its name is looked up when the line is written.
    pub key: Option<[u8; 32]>,
    /// The same name, kept when the gate is let go of.
    pub key_name: Option<String>,
    pub upstream: Option<SocketAddr>,
    pub bytes_in: u64,
    status: u16,
    bytes_out: u64,
    refusal: Option<&'static str>,
}

impl Record {
    /// Begins now.
    pub fn new(at: UnixMs, client: IpAddr, request_id: ShortText) -> Self {
        Self {
            began: Instant::now(),
            at,
            client,
            request_id,
            key: None,
            key_name: None,
            upstream: None,
            bytes_in: 0,
            status: 0,
            bytes_out: 0,
            refusal: None,
        }
    }

    /// The status that the client got, and how many bytes.
    pub fn answered(&mut self, status: u16, bytes_out: u64) {
        self.status = status;
        self.bytes_out = bytes_out;
    }

    /// It was broken off; `None`: by the client.
    pub fn broken(&mut self, code: Option<&'static str>) {
        self.refusal = code;
    }

    /// It was a refusal of ours.
    pub fn refused(&mut self, code: &'static str) {
        self.refusal = Some(code);
    }

    /// Writes line and metrics. `what` is method, path and authority; the gate is needed for the key's name only.
    pub fn log(
        &self,
        core: &Core,
        gate: Option<&Pinned>,
        service: Option<&LiveService>,
        (method, path, authority): (&str, &str, &str),
    ) {
        let took = self.began.elapsed();
        let metrics = service.map_or(&core.shared.no_service, |it| &it.metrics);
        metrics.exchange(core.index, self.status, took);
        if let Some(code) = self.refusal {
            core.metrics.refused(code);
        }
        let Some(log) = &core.log else { return };
        let key = self.key_name.as_deref().or_else(|| self.key_in(gate));
        log.borrow_mut().push(&Line {
            unix_ms: self.at.0,
            client: self.client,
            method,
            path,
            authority,
            status: self.status,
            service: service.map_or("-", |it| it.service.name.as_str()),
            upstream: self.upstream,
            key,
            refusal: self.refusal,
            request_id: self.request_id.as_str(),
            took,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        });
    }
}

impl Record {
    fn key_in<'g>(&self, gate: Option<&'g Pinned>) -> Option<&'g str> {
        gate.zip(self.key.as_ref()).and_then(|(gate, key)| gate.generation.keyring.name_of(key))
    }

    /// Keeps the key's name, so that the gate can be let go of.
    pub fn keep_key_name(&mut self, gate: &Pinned) {
        self.key_name = self.key_in(Some(gate)).map(str::to_owned);
    }
}

/// Whose route a request belongs to, so that a refusal is counted for the service that it protects.
#[derive(Clone, Copy, Debug)]
pub struct Routed(pub Option<ServiceId>);

impl Witness for Routed {
    fn saw(&mut self, step: &Step<'_>) {
        if let Step::Routed(route, _) = step {
            self.0 = Some(route.service);
        }
    }
}

/// Method, path without query, and authority of an encoded request head, whose second line is `Host`.
pub fn described(head: &[u8]) -> (&str, &str, &str) {
    let line = |from: &'_ [u8]| memchr::memchr(b'\r', from).unwrap_or(from.len());
    let (first, rest) = head.split_at(line(head));
    let second = rest.get(2..).unwrap_or_default();
    let second = second.get(..line(second)).unwrap_or_default();
    let mut words = str::from_utf8(first).unwrap_or_default().split(' ');
    let method = words.next().unwrap_or("-");
    let target = words.next().unwrap_or("-");
    let authority =
        str::from_utf8(second).ok().and_then(|it| it.strip_prefix("Host: ")).unwrap_or("-");
    (method, target.split('?').next().unwrap_or(target), authority)
}
