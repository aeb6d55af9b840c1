//! One request to an upstream: a permit, an endpoint, a connection, the exchange; again only where nothing was taken.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::generation::LiveService;
use crate::model::UnixMs;
use crate::proxy::core::Core;
use crate::proxy::downstream::{After, Downstream};
use crate::proxy::exchange::{Exchange, Outcome};
use crate::proxy::own;
use crate::proxy::patience::Patience;
use crate::proxy::plan::Forwarding;
use crate::proxy::record::described;
use crate::proxy::reject::{Asked, Reject};
use crate::proxy::tunnel::{self, End};
use crate::proxy::tunnels::Terms;
use crate::semantics::head::{HeadLimits, Parsed, Storage, parse_request};
use crate::wire::balance::{Endpoint, Pending};
use crate::wire::h1::encode;
use crate::wire::transport::Transport;

/// Connections that are tried for one request, over all endpoints.
const ATTEMPTS_MAX: usize = 8;
/// Our own encoded head is read again for a refusal; it is as large as what was let in, plus our fields.
const REREAD: HeadLimits = HeadLimits { head_bytes: 1 << 20, fields: 100, target_bytes: 1 << 20 };

/// Forwards a request and sends what comes of it.
pub async fn forward<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    forwarding: &mut Forwarding,
) -> After {
    let Some((service, patience)) = terms(core, forwarding) else { return After::Abort };
    let Some(_permit) = Permit::enter(&service) else {
        let reject = Reject::Overloaded { service: service.service.name.clone() };
        return Box::pin(refuse(core, down, forwarding, &service, reject)).await;
    };
    let mut tried = Tried::default();
    loop {
        let link = match connect(core, down, &service, &patience, &mut tried).await {
            Ok(link) => link,
            Err(reject) => {
                return Box::pin(refuse(core, down, forwarding, &service, reject)).await;
            }
        };
        let endpoint = link.pending.endpoint();
        forwarding.record.upstream = Some(endpoint.addr);
        let mut exchange = Exchange::new(core, &service, patience, link.connection, link.pooled);
        match poll_fn(|cx| exchange.poll(cx, core, down, forwarding)).await {
            Outcome::Again => {
                service.metrics.retried(core.index);
                core.buffers.give(exchange.into_buffer());
                forwarding.request.rewind();
                // A pooled connection that had died says nothing about its endpoint.
                if !link.pooled {
                    forwarding.repeated = true;
                    tried.failed(endpoint, core, died(&service));
                }
            }
            Outcome::Refuse(reject) => {
                if matches!(reject, Reject::BadUpstream { .. }) {
                    endpoint.failed(core.clock.unix());
                }
                core.buffers.give(exchange.into_buffer());
                return Box::pin(refuse(core, down, forwarding, &service, reject)).await;
            }
            Outcome::Done { keep, read, reuse } => {
                endpoint.succeeded();
                let pooled = done(core, forwarding, &service, exchange);
                if reuse {
                    core.pool.put(endpoint.id, pooled);
                }
                return match (keep, read) {
                    (true, _) => After::Keep,
                    (false, true) if down.kept.is_empty() => After::Close,
                    (false, _) => After::Linger,
                };
            }
            Outcome::Broken(code) => {
                forwarding.record.broken(code);
                done(core, forwarding, &service, exchange);
                // A plain close could be taken for the end of the body.
                down.connection.reset_on_close();
                return After::Abort;
            }
            Outcome::Tunnel => {
                endpoint.succeeded();
                return Box::pin(tunnel(core, down, forwarding, &service, exchange)).await;
            }
        }
    }
}

/// A new connection ended before its response.
fn died(service: &LiveService) -> Reject {
    Reject::BadUpstream { service: service.service.name.clone(), code: "closed-before-response" }
}

/// The service as the request was decided on, and how long to wait for it.
fn terms(core: &Core, forwarding: &Forwarding) -> Option<(Arc<LiveService>, Patience)> {
    let gate = forwarding.gate.clone().unwrap_or_else(|| core.gate());
    let service = Arc::clone(gate.generation.service(forwarding.service)?);
    let patience = Patience::of(&service.service.timeouts, &gate.generation.config);
    Some((service, patience))
}

/// An upstream connection and the exchange that is pending on its endpoint.
struct Link {
    pending: Pending,
    connection: TcpStream,
    pooled: bool,
}

/// What was tried for one request.
#[derive(Default)]
struct Tried {
    endpoints: Vec<u64>,
    connections: usize,
    last: Option<Reject>,
}

impl Tried {
    fn failed(&mut self, endpoint: &Endpoint, core: &Core, why: Reject) {
        endpoint.failed(core.clock.unix());
        self.endpoints.push(endpoint.id);
        self.last = Some(why);
    }
}

/// A pooled connection, or a new one to the endpoint with the fewest pending exchanges that is not known to be dead.
async fn connect<D: Transport>(
    core: &Core,
    down: &Downstream<D>,
    service: &LiveService,
    patience: &Patience,
    tried: &mut Tried,
) -> Result<Link, Reject> {
    loop {
        tried.connections += 1;
        let pending = match service.endpoints.pick(core.clock.unix(), &tried.endpoints) {
            Some(pending) if tried.connections <= ATTEMPTS_MAX => pending,
            _ => {
                let none = || Reject::NoEndpoint { service: service.service.name.clone() };
                return Err(tried.last.take().unwrap_or_else(none));
            }
        };
        let endpoint = pending.endpoint();
        if let Some(connection) = core.pool.take(endpoint.id) {
            return Ok(Link { pending, connection, pooled: true });
        }
        match open(down, endpoint.addr, patience.connect).await {
            Ok(connection) => {
                core.metrics.upstream_connected();
                return Ok(Link { pending, connection, pooled: false });
            }
            Err(error) => {
                service.metrics.connect_failed(core.index);
                let service = service.service.name.clone();
                let why = match error.kind() {
                    io::ErrorKind::TimedOut => Reject::ConnectTimeout { service },
                    _ => Reject::ConnectFailed { service, detail: error.to_string() },
                };
                tried.failed(endpoint, core, why);
            }
        }
    }
}

async fn open<D: Transport>(
    down: &Downstream<D>,
    addr: std::net::SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    let mut connecting = pin!(TcpStream::connect(addr));
    let due = down.alarm.at(patience);
    let connection = poll_fn(|cx| {
        if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
            return Poll::Ready(connected);
        }
        down.alarm.poll_due(cx, due).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

/// A place among the exchanges that a service may have under way, on all cores together.
struct Permit(Arc<LiveService>);

impl Permit {
    fn enter(service: &Arc<LiveService>) -> Option<Self> {
        let before = service.in_flight.fetch_add(1, Ordering::Relaxed);
        let permit = Self(Arc::clone(service));
        // Dropping the permit gives the place back.
        (before < service.service.max_in_flight).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

/// Sends a refusal in the form that the request asked for; its head is read again from what was to be sent.
async fn refuse<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    forwarding: &mut Forwarding,
    service: &LiveService,
    reject: Reject,
) -> After {
    let body_left = !forwarding.request.has_ended();
    let keep = forwarding.keep_alive
        && !body_left
        && !reject.closes()
        && core.phase() == crate::proxy::core::Phase::Serving;
    let gate = core.gate();
    let mut out = core.buffers.take();
    {
        let mut storage = Storage::default();
        let head = match parse_request(forwarding.head(), &mut storage, &REREAD) {
            Ok(Parsed::Whole(head, _)) => Some(head),
            Ok(Parsed::Partial) | Err(_) => None,
        };
        let config = &gate.generation.config;
        let request_id = forwarding.record.request_id;
        let asked = Asked {
            head: head.as_ref(),
            request_id: request_id.as_str(),
            config,
            now: UnixMs::now(),
        };
        let answer = reject.answer(&asked);
        encode::answer(&mut out, &answer, forwarding.version, keep, forwarding.head_only);
        forwarding.record.refused(reject.code());
        finish(core, forwarding, service, answer.status, out.len() as u64);
    }
    let sent = own::send(core, down, out).await;
    give_back(core, forwarding, Vec::new());
    match (sent, keep) {
        (false, _) => After::Abort,
        (true, true) => After::Keep,
        (true, false) => After::Linger,
    }
}

/// Account of a finished exchange.
fn finish(
    core: &Core,
    forwarding: &mut Forwarding,
    service: &LiveService,
    status: u16,
    bytes: u64,
) {
    forwarding.record.bytes_in = forwarding.request.received;
    forwarding.record.answered(status, bytes);
    let what = described(forwarding.head());
    forwarding.record.log(core, forwarding.gate.as_ref(), Some(service), what);
}

/// Account of an exchange whose response began; gives the upstream connection.
fn done(
    core: &Core,
    forwarding: &mut Forwarding,
    service: &LiveService,
    exchange: Exchange<TcpStream>,
) -> TcpStream {
    finish(core, forwarding, service, exchange.status, exchange.sent_bytes());
    let (connection, buffer) = exchange.into_parts();
    give_back(core, forwarding, buffer);
    connection
}

fn give_back(core: &Core, forwarding: &mut Forwarding, buffer: Vec<u8>) {
    core.buffers.give(forwarding.request.take_buffer());
    core.buffers.give(std::mem::take(&mut forwarding.head_copy));
    core.buffers.give(buffer);
}

async fn tunnel<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    forwarding: &mut Forwarding,
    service: &Arc<LiveService>,
    exchange: Exchange<TcpStream>,
) -> After {
    let terms = Terms {
        service: Arc::clone(service),
        key: forwarding.key,
        scopes: std::mem::take(&mut forwarding.scopes),
        on_revoke: forwarding.on_revoke,
        idle: service.service.timeouts.tunnel_idle,
    };
    forwarding.let_go_of_gate();
    let status = exchange.status;
    let head_bytes = exchange.sent_bytes();
    let (mut connection, kept, unsent) = exchange.into_tunnel_parts();
    let down_kept = std::mem::take(&mut down.kept);
    let passed = tunnel::run(
        core,
        &down.alarm,
        terms,
        End { connection: &mut down.connection, kept: down_kept, unsent },
        End { connection: &mut connection, kept, unsent: core.buffers.take() },
    )
    .await;
    forwarding.record.bytes_in = passed.up;
    forwarding.record.answered(status, head_bytes + passed.down);
    let what = described(forwarding.head());
    forwarding.record.log(core, None, Some(service), what);
    give_back(core, forwarding, Vec::new());
    After::Abort
}
