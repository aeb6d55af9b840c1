//! What is told of one exchange: one access-log line and one set of metrics, on every way out.

use std::net::{IpAddr, SocketAddr};

use tokio::time::Instant;

use crate::generation::LiveService;
use crate::model::{ServiceId, UnixMs};
use crate::plugin::request_filter::Note;
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
    /// Place of the admitted key in its generation; its name is looked up when the line is written.
    pub key: Option<usize>,
    /// The same name, kept when the gate is let go of.
    pub key_name: Option<String>,
    pub upstream: Option<SocketAddr>,
    pub bytes_in: u64,
    status: u16,
    bytes_out: u64,
    refusal: Option<&'static str>,
    /// What a filter did with it.
    pub filter: Option<Note>,
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
            filter: None,
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

    /// Writes line and metrics. `what` is method, path and authority; the gate is the one that admitted the key, for its name.
    pub fn log(
        &self,
        core: &Core,
        gate: Option<&Pinned>,
        service: Option<&LiveService>,
        (method, path, authority): (&[u8], &[u8], &[u8]),
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
            filter: self.filter.as_ref().map(|it| (&*it.plugin, it.did.word())),
            filter_fault: self.filter.as_ref().and_then(|it| it.did.why()),
            request_id: self.request_id.as_bytes(),
            took,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        });
    }
}

impl Record {
    fn key_in<'g>(&self, gate: Option<&'g Pinned>) -> Option<&'g str> {
        gate.zip(self.key).and_then(|(gate, key)| gate.generation.keyring.name_at(key))
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
pub fn described(head: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let line = |from: &[u8]| memchr::memchr(b'\r', from).unwrap_or(from.len());
    let (first, rest) = head.split_at(line(head));
    let second = rest.get(2..).unwrap_or_default();
    let second = second.get(..line(second)).unwrap_or_default();
    let (method, rest) = split(first, memchr::memchr(b' ', first));
    let (path, _) = split(rest, memchr::memchr2(b' ', b'?', rest));
    (method, path, second.strip_prefix(b"Host: ").unwrap_or(b"-"))
}

/// What is before and after the byte at `at`.
fn split(text: &[u8], at: Option<usize>) -> (&[u8], &[u8]) {
    let (before, rest) = text.split_at(at.unwrap_or(text.len()));
    (before, rest.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::described;

    #[test]
    fn a_head_is_described_without_its_query() {
        let table: &[(&[u8], [&[u8]; 3])] = &[
            (b"GET /a?b c HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n", [b"GET", b"/a", b"x"]),
            (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", [b"GET", b"/", b""]),
            (b"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", [b"OPTIONS", b"*", b"[::1]:80"]),
            (b"GET", [b"GET", b"", b"-"]),
            (b"", [b"", b"", b"-"]),
        ];
        for (head, [method, path, authority]) in table {
            assert_eq!(described(head), (*method, *path, *authority));
        }
    }
}
