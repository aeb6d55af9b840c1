//! From the bytes of a request head to what will be done: one synchronous step, while the scratch is borrowed.

mod admin;
mod filtered;
mod question;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::Call;
use crate::config::{OnRevoke, Retry};
use crate::model::{ServiceId, UnixMs};
use crate::plugin::host::HeaderOp;
use crate::proxy::core::{Core, Phase, Pinned};
use crate::proxy::decide::{Decision, Forward, decide_before};
use crate::proxy::filter::as_edits;
use crate::proxy::record::{Record, Routed};
use crate::proxy::reject::{Asked, Reject, dress, options_star, preflight};
use crate::semantics::class::Class;
use crate::semantics::forwarded::{self, Client};
use crate::semantics::head::{Framing, Parsed, RequestHead, Storage, Version, parse_request};
use crate::semantics::path::could_reach;
use crate::semantics::trace;
use crate::wire::answer::Answer;
use crate::wire::h1::encode::{self, Leaving, RequestRewrite};
use crate::wire::h1::read::Step;
use crate::wire::h1::relay::Relay;

/// Request bodies up to this size are read and dropped, so that the connection can be kept after an answer of our own.
const DROPPED_BODY_BYTES_MAX: u64 = 32 * 1024;

/// Who connected, and to which of our ports.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub addr: SocketAddr,
    pub local_port: u16,
}

/// What will be done with a request.
#[derive(Debug)]
pub enum Plan {
    /// An answer of our own.
    Answer(Answering),
    /// A call of the admin API.
    Admin(AdminExchange),
    /// On to an upstream.
    Forward(Forwarding),
}

/// An encoded answer, and what becomes of the connection.
#[derive(Debug)]
pub struct Answering {
    pub out: Vec<u8>,
    pub rest: Rest,
}

/// What becomes of the connection after an answer of our own.
#[derive(Clone, Copy, Debug)]
pub enum Rest {
    /// The next request follows the (small) body of this one.
    Keep(Framing),
    /// Closed, after the client had a moment to read the answer.
    Close,
}

/// A call of the admin API, and what its answer's form depends on.
#[derive(Debug)]
pub struct AdminExchange {
    pub call: Call,
    pub framing: Framing,
    pub expect_continue: bool,
    pub version: Version,
    pub keep: bool,
    pub head_only: bool,
    pub path: String,
    pub authority: String,
    /// Headers that every answer of ours has: request id and CORS.
    pub dressing: Vec<(&'static str, String)>,
    pub record: Record,
}

/// A request on its way: everything that outlives the head's bytes.
#[derive(Debug)]
pub struct Forwarding {
    /// Until the response's head has been sent; a long body or tunnel must not hold old plugins and keys.
    pub gate: Option<Pinned>,
    pub service: ServiceId,
    /// Head and the part of the body that came with it.
    pub request: Relay,
    /// How much of the relay's first buffer is the head.
    pub head_bytes: usize,
    /// The head again, when the body is too long to stay beside it.
    pub head_copy: Vec<u8>,
    pub retry: Retry,
    /// GET or HEAD without a body.
    pub idempotent: bool,
    /// Whether it was sent again after a new connection had died.
    pub repeated: bool,
    pub on_revoke: OnRevoke,
    pub key: Option<[u8; 32]>,
    /// The key's scopes, where a tunnel may come of it.
    pub scopes: Vec<String>,
    pub bypassed: bool,
    /// Whether maintenance does not hold it back.
    pub passes: bool,
    pub upgrade: bool,
    pub expect_continue: bool,
    pub version: Version,
    pub keep_alive: bool,
    pub head_only: bool,
    pub record: Record,
}

impl Forwarding {
    /// From now on only what was copied counts.
    pub fn let_go_of_gate(&mut self) {
        if let Some(gate) = self.gate.take() {
            self.record.keep_key_name(&gate);
        }
    }

    /// The head as it goes to the upstream.
    pub fn head(&self) -> &[u8] {
        match self.head_copy.as_slice() {
            [] => self.request.head().get(..self.head_bytes).unwrap_or_default(),
            copy => copy,
        }
    }
}

/// Reads, decides and encodes; every way out that is no forwarding is logged here.
pub fn plan(core: &Core, peer: &Peer, bytes: &[u8]) -> Step<Plan> {
    let gate = core.gate();
    let generation = &gate.generation;
    let mut storage = Storage::default();
    let (head, used) = match parse_request(bytes, &mut storage, &generation.head_limits) {
        Ok(Parsed::Partial) => return Step::More,
        Ok(Parsed::Whole(head, used)) => (head, used),
        Err(error) => {
            let plan = refuse_unread(core, &gate, peer, &Reject::Head(error));
            return Step::Done { value: Plan::Answer(plan), used: bytes.len() };
        }
    };
    let client = forwarded::client(peer.addr.ip(), &generation.config.trusted_proxies, &head);
    let fresh = core.fresh();
    let request_id = trace::request_id(head.first(Class::RequestId), fresh);
    let mut routed = Routed(None);
    let decision = decide_before(&gate, &head, &client, core.clock.unix(), &mut routed);
    let seen = Seen { core, gate: &gate, peer, head: &head, client: &client, fresh, routed };
    let record = Record::new(core.clock.unix(), client.ip, request_id);
    match decision {
        Decision::Forward(forward) => {
            let body = bytes.get(used..).unwrap_or_default();
            match seen.forward(&forward, record, body) {
                Ok((forwarding, absorbed)) => {
                    Step::Done { value: Plan::Forward(forwarding), used: used + absorbed }
                }
                Err(plan) => Step::Done { value: *plan, used },
            }
        }
        Decision::Admin(call) => Step::Done { value: seen.admin(&call, record), used },
        Decision::ForwardAuth => Step::Done { value: seen.forward_auth(record), used },
        Decision::Preflight => {
            let answer = preflight(&seen.asked(&record));
            Step::Done { value: seen.answer(record, &answer, false), used }
        }
        Decision::OptionsStar => {
            let answer = dress(options_star(), &seen.asked(&record));
            Step::Done { value: seen.answer(record, &answer, false), used }
        }
        Decision::Refuse(reject) => Step::Done { value: seen.refuse(record, reject), used },
    }
}

/// A refusal of bytes that are no head; the connection closes.
pub fn refuse_unread(core: &Core, gate: &Pinned, peer: &Peer, reject: &Reject) -> Answering {
    let now = core.clock.unix();
    let request_id = trace::request_id(None, core.fresh());
    let mut record = Record::new(now, peer.addr.ip(), request_id);
    let config = &gate.generation.config;
    let asked = Asked { head: None, request_id: request_id.as_str(), config, now };
    let answer = reject.answer(&asked);
    let mut out = core.buffers.take();
    encode::answer(&mut out, &answer, Version::Http11, false, false);
    record.answered(answer.status, out.len() as u64);
    record.refused(reject.code());
    record.log(core, Some(gate), None, (b"-", b"-", b"-"));
    Answering { out, rest: Rest::Close }
}

/// One request while its head is still in the scratch.
struct Seen<'s, 'a> {
    core: &'s Core,
    gate: &'s Pinned,
    peer: &'s Peer,
    head: &'s RequestHead<'a>,
    client: &'s Client,
    fresh: trace::Fresh,
    routed: Routed,
}

impl<'a> Seen<'_, 'a> {
    fn now(&self) -> UnixMs {
        self.core.clock.unix()
    }

    fn asked<'x>(&'x self, record: &'x Record) -> Asked<'x> {
        let config = &self.gate.generation.config;
        Asked {
            head: Some(self.head),
            request_id: record.request_id.as_str(),
            config,
            now: self.now(),
        }
    }

    fn has_body(&self) -> bool {
        !matches!(self.head.framing, Framing::None | Framing::Length(0))
    }

    fn may_keep(&self) -> bool {
        self.head.keep_alive && self.core.phase() == Phase::Serving
    }

    fn forward(
        &self,
        forward: &Forward<'_, 'a>,
        mut record: Record,
        body: &[u8],
    ) -> Result<(Forwarding, usize), Box<Plan>> {
        let settings = &forward.service.service;
        if let (Framing::Length(bytes), Some(most)) = (self.head.framing, settings.max_body_bytes)
            && bytes > most
        {
            return Err(Box::new(self.refuse(record, Reject::BodyTooLarge)));
        }
        if let Some(key) = forward.key {
            self.core.metrics.key_used_at(&key.name, self.now());
            record.key = Some(key.place);
        }
        let edits = self.filtered(forward, &mut record)?;
        let (mut request, head_bytes) = self.encoded(forward, &record, &edits);
        let absorbed = match request.absorb(body) {
            Ok(absorbed) => absorbed,
            Err(broken) => {
                return Err(Box::new(self.refuse(record, Reject::of_body(&broken))));
            }
        };
        let mut head_copy = Vec::new();
        if !request.has_ended() {
            head_copy = self.core.buffers.take();
            head_copy.extend_from_slice(request.head().get(..head_bytes).unwrap_or_default());
        }
        let idempotent = matches!(self.head.method, "GET" | "HEAD") && !self.has_body();
        let forwarding = Forwarding {
            gate: Some(Pinned::clone(self.gate)),
            service: forward.route.service,
            request,
            head_bytes,
            head_copy,
            retry: self.retry(forward),
            idempotent,
            repeated: false,
            on_revoke: forward.route.on_revoke,
            key: forward.key.map(|it| it.digest),
            scopes: match forward.key.filter(|_| self.head.upgrade.is_some()) {
                Some(key) => key.scopes.clone(),
                None => Vec::new(),
            },
            bypassed: forward.bypassed,
            passes: forward.passes,
            upgrade: self.head.upgrade.is_some(),
            expect_continue: self.head.expect_continue,
            version: self.head.version,
            keep_alive: self.head.keep_alive,
            head_only: self.head.method == "HEAD",
            record,
        };
        Ok((forwarding, absorbed))
    }

    /// The head as it goes to the upstream, with how many bytes it is.
    fn encoded(
        &self,
        forward: &Forward<'_, 'a>,
        record: &Record,
        edits: &[HeaderOp],
    ) -> (Relay, usize) {
        let settings = &forward.service.service;
        let traceparent = trace::traceparent(self.head.first(Class::TraceParent), self.fresh);
        let mut out = self.core.buffers.take();
        let rewrite = RequestRewrite {
            path: &forward.path,
            client: self.client,
            local_port: self.peer.local_port,
            forward_key: settings.forward_key,
            request_id: record.request_id.as_bytes(),
            traceparent: traceparent.as_bytes(),
            key_name: forward.key.map(|it| it.name.as_str()),
            edits: &as_edits(edits),
        };
        encode::request(&mut out, self.head, &rewrite);
        let head_bytes = out.len();
        let chunked = self.head.framing == Framing::Chunked;
        let relay = Relay::new(out, self.head.framing, chunked, self.core.clock.now_ms());
        (relay.at_most(settings.max_body_bytes), head_bytes)
    }

    /// StockFlow's admin paths change state even by GET: whatever the route says, they are never sent twice.
    fn retry(&self, forward: &Forward<'_, '_>) -> Retry {
        match forward.route.retry {
            Retry::Idempotent if could_reach(&forward.path, &self.gate.generation.admin.prefix) => {
                Retry::Unsent
            }
            retry => retry,
        }
    }

    /// A 401 for a key that was presented counts against the client's address; too many are a 429.
    fn counted(&self, reject: Reject, presented: bool, client: std::net::IpAddr) -> Reject {
        let is_proxy =
            self.gate.generation.config.trusted_proxies.iter().any(|it| it.contains(&client));
        if reject != Reject::Unauthorized || !presented || is_proxy {
            return reject;
        }
        match self.core.shared.bad_keys.failed(client, self.now().0) {
            Some(retry_after) => Reject::TooManyBadKeys { retry_after },
            None => reject,
        }
    }

    fn refuse(&self, mut record: Record, reject: Reject) -> Plan {
        let reject = self.counted(reject, self.head.api_key.is_some(), self.client.ip);
        let answer = reject.answer(&self.asked(&record));
        record.refused(reject.code());
        self.answer(record, &answer, reject.closes())
    }

    fn answer(&self, record: Record, answer: &Answer, closes: bool) -> Plan {
        self.send(record, answer, &[], closes)
    }

    fn send(
        &self,
        mut record: Record,
        answer: &Answer,
        others: &[(&str, &[u8])],
        closes: bool,
    ) -> Plan {
        let small = match self.head.framing {
            Framing::Length(bytes) => bytes <= DROPPED_BODY_BYTES_MAX,
            Framing::None => true,
            // Of unknown length: read within the limit, or the connection closes then.
            Framing::Chunked => true,
            Framing::UntilClose => false,
        };
        // A client that waits for 100 may or may not send its body after a final answer.
        let unclear = self.head.expect_continue && self.has_body();
        let keep = self.may_keep() && small && !unclear && !closes;
        let mut out = self.core.buffers.take();
        let head_only = self.head.method == "HEAD";
        let leaving = Leaving { version: self.head.version, keep_alive: keep, head_only };
        encode::answer_with(&mut out, answer, others, &leaving);
        record.answered(answer.status, out.len() as u64);
        let service = self.routed.0.and_then(|it| self.gate.generation.service(it));
        record.log(
            self.core,
            Some(self.gate),
            service.map(Arc::as_ref),
            (
                self.head.method.as_bytes(),
                self.head.raw_path.as_bytes(),
                self.head.authority.as_bytes(),
            ),
        );
        Plan::Answer(Answering {
            out,
            rest: if keep { Rest::Keep(self.head.framing) } else { Rest::Close },
        })
    }
}
