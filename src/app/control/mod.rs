//! The control side's listeners: the admin API behind its own door, and ops.

mod door;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::admin::plugins::{BodyRoom, PUSH, UPLOAD_BYTES_MAX, UPLOAD_PATIENCE};
use crate::admin::{Admin, Call};
use crate::app::control::door::Door;
use crate::config::AdminListen;
use crate::generation::Gate;
use crate::generation::live::Live;
use crate::model::{SCOPE_ADMIN, UnixMs};
use crate::ops::Ops;
use crate::proxy::reject::{Asked as Refused, Reject};
use crate::telemetry::metrics::{CoreMetrics, Metrics};
use crate::wire::answer::{Answer, Reply};
use crate::wire::serve::{Allowance, Asked, ServeLimits, problem, serve, serve_some_large};
use crate::wire::socket::Socket;

/// Who acts on a listener without keys.
const ACTOR: &str = "admin-listener";

/// A toggle that waits for running requests may take as long as it was asked to.
const ADMIN_PATIENCE: Duration = Duration::from_secs(900);

/// Admin calls that may run at once.
const CALLS_MAX: usize = 64;

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "the {listener} listener cannot listen on {address}; end what holds it, or name another in \
     `listeners.{listener}` (or by --{listener})"
)]
pub struct ListenError {
    pub listener: &'static str,
    pub address: String,
    pub source: std::io::Error,
}

/// Opens the ops listener and says so in the log.
///
/// # Errors
/// When the address cannot be bound.
pub async fn open_ops(address: SocketAddr) -> Result<Socket, ListenError> {
    opened("ops", &address, Socket::tcp(address).await)
}

/// Opens the admin listener and says so in the log.
///
/// # Errors
/// When the address cannot be bound, or the unix socket is somebody else's.
pub async fn open_admin(listen: &AdminListen) -> Result<Socket, ListenError> {
    match listen {
        AdminListen::Tcp(address) => opened("admin", address, Socket::tcp(*address).await),
        AdminListen::Unix(path) => opened("admin", &path.display(), Socket::unix(path).await),
    }
}

/// Takes over a listener that the process was given.
///
/// # Errors
/// When it cannot be used.
pub fn inherit(
    listener: &'static str,
    inherited: std::net::TcpListener,
) -> Result<Socket, ListenError> {
    let taken =
        inherited.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(inherited));
    opened(listener, &"inherited", taken.map(Socket::Tcp))
}

fn opened(
    listener: &'static str,
    address: &dyn fmt::Display,
    socket: std::io::Result<Socket>,
) -> Result<Socket, ListenError> {
    let refused = |source| ListenError { listener, address: address.to_string(), source };
    let socket = socket.map_err(refused)?;
    tracing::info!(listener, address = socket.name(), "listening");
    Ok(socket)
}

/// Serves probes and metrics until `stop`; this listener goes last, so that the drain can be watched.
pub async fn serve_ops(socket: Socket, ops: Ops, stop: watch::Receiver<bool>) {
    let limits = ServeLimits { body_bytes: 1024, ..ServeLimits::default() };
    let handler = move |asked: Asked| std::future::ready(ops.answer(&asked));
    serve(socket, limits, handler, stop).await;
}

/// Serves the admin API until `stop`.
pub async fn serve_admin(socket: Socket, mut control: Control, stop: watch::Receiver<bool>) {
    let limits = ServeLimits { handler: ADMIN_PATIENCE, ..ServeLimits::default() };
    // An inherited socket may be open to the network though the config's address is not.
    control.is_local = socket.is_local();
    let control = Arc::new(control);
    let first = Arc::clone(&control);
    let look_ahead = Arc::new(move |asked: &Asked| first.look_ahead(asked));
    let handler = move |asked: Asked| {
        let control = Arc::clone(&control);
        async move { control.answer(asked).await }
    };
    serve_some_large(socket, limits, look_ahead, handler, stop).await;
}

/// Counts a bad key of a client; `Some` when there were too many, with the time until the next may come.
pub type BadKey = dyn Fn(IpAddr) -> Option<Duration> + Send + Sync;

/// The admin listener's way to the admin API.
pub struct Control {
    live: Arc<Live>,
    admin: Arc<Admin>,
    metrics: Arc<CoreMetrics>,
    bad_key: Box<BadKey>,
    /// Whether only this machine can connect; elsewhere a key is mandatory, whatever the config says.
    is_local: bool,
    /// Calls that may run, also of callers that have hung up.
    places: Arc<Semaphore>,
}

impl Control {
    /// Serves `admin`; keys are those of the live generation.
    pub fn new(
        live: Arc<Live>,
        admin: Arc<Admin>,
        metrics: &Metrics,
        bad_key: Box<BadKey>,
    ) -> Self {
        Self {
            live,
            admin,
            metrics: metrics.control(),
            bad_key,
            is_local: false,
            places: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    /// A component that is pushed may be large, but not from anybody.
    fn look_ahead(&self, asked: &Asked) -> Result<Option<Allowance>, Answer> {
        if !asked.path.ends_with(PUSH) {
            return Ok(None);
        }
        let Some(call) = self.admit(asked)? else { return Ok(None) };
        match self.admin.body_room(&call) {
            BodyRoom::Small => Ok(None),
            BodyRoom::Large(place) => {
                Ok(Some(Allowance { bytes: UPLOAD_BYTES_MAX, time: UPLOAD_PATIENCE, place }))
            }
            BodyRoom::Taken(answer) => Err(*answer),
        }
    }

    async fn answer(&self, mut asked: Asked) -> Reply {
        let place = asked.place.take();
        match self.admit(&asked) {
            Ok(Some(call)) => {
                let body = Vec::from(std::mem::take(&mut asked.body));
                self.call(Call { body, ..call }, place).await
            }
            Ok(None) => index().into(),
            Err(refusal) => refusal.into(),
        }
    }

    /// Runs the call as a task of its own: a caller that hangs up must not leave a toggle half done.
    async fn call(&self, call: Call, upload: Option<OwnedSemaphorePermit>) -> Reply {
        let request_id = call.request_id.clone();
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.metrics.refused("too-many-calls");
            let detail = "too many admin calls are running";
            let problem = problem(503, "too-many-calls", detail, &request_id);
            return problem.with("Retry-After", "1").into();
        };
        let admin = Arc::clone(&self.admin);
        let running = tokio::spawn(async move {
            let answer = admin.answer(call).await;
            drop((place, upload));
            answer
        });
        running.await.unwrap_or_else(|error| {
            tracing::error!(%error, "admin call broke off");
            problem(500, "internal", "the call broke off; see the log", &request_id).into()
        })
    }

    /// The call that a request is, still without its body, if whoever sends it may; `None` is the index.
    fn admit(&self, asked: &Asked) -> Result<Option<Call>, Answer> {
        let gate = self.live.load();
        let config = &gate.generation.config;
        let needs_key = config.listeners.admin_needs_key || !self.is_local;
        let door = Door { needs_key, prefix: &config.prefix };
        let refuse = |it: door::Refusal| {
            self.metrics.refused(it.code);
            problem(it.status, it.code, it.detail, &asked.request_id)
        };
        door.check_host(asked).map_err(refuse)?;
        let actor = match needs_key {
            true => self.admit_key(&gate, asked)?,
            false => ACTOR.to_owned(),
        };
        if asked.path == "/" && asked.method == "GET" {
            return Ok(None);
        }
        let endpoint = door.endpoint(&asked.path).map_err(refuse)?;
        let suspicious_fetch = door::is_foreign(asked);
        if suspicious_fetch && door::changes_state(&asked.method, endpoint) {
            return Err(refuse(door::CROSS_SITE));
        }
        Ok(Some(Call {
            method: asked.method.clone(),
            endpoint: endpoint.to_owned(),
            query: asked.query.clone(),
            actor,
            request_id: asked.request_id.clone(),
            suspicious_fetch,
            body: Vec::new(),
        }))
    }

    /// The name of the admitted key, or the data path's own refusal.
    fn admit_key(&self, gate: &Gate, asked: &Asked) -> Result<String, Answer> {
        let now = UnixMs::now();
        let refuse = |reject: Reject| {
            self.metrics.refused(reject.code());
            let config = &gate.generation.config;
            let request_id = asked.request_id.as_str();
            reject.answer(&Refused { head: None, request_id, config, now })
        };
        let Some(key) = gate.generation.keyring.admit(door::presented_key(asked), now) else {
            let wait = asked.peer.and_then(|peer| (self.bad_key)(peer.ip()));
            let reject =
                wait.map_or(Reject::Unauthorized, |it| Reject::TooManyBadKeys { retry_after: it });
            return Err(refuse(reject));
        };
        if !key.has(SCOPE_ADMIN) {
            return Err(refuse(Reject::Forbidden { scope: SCOPE_ADMIN.to_owned() }));
        }
        self.metrics.key_used(&key.name);
        Ok(key.name.clone())
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

fn index() -> Answer {
    let body = b"headgate admin listener\n\n/api/admin/maintenance/status|on|off\n/api/admin/headgate/...\n/api/admin/headgate/openapi.json\n";
    let answer = Answer { status: 200, headers: Vec::new(), body: body.to_vec() };
    answer.with("Content-Type", "text/plain; charset=utf-8").with("Cache-Control", "no-store")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;
    use crate::ops::Readiness;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn the_ops_listener_shows_the_drain_and_stops() {
        let socket = open_ops(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = socket.tcp_address().unwrap();
        let readiness = Arc::new(Readiness::default());
        let ops = Ops::new(Arc::clone(&readiness), Metrics::new(1));
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(serve_ops(socket, ops, stopped));

        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503 "));
        readiness.set_config_live();
        readiness.set_cores_running();
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
        readiness.set_draining();
        assert!(get(address, "/readyz").await.ends_with("readyz check failed\n"));
        let page = get(address, "/metrics").await;
        assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(page.ends_with("# EOF\n"));

        stop.send(true).unwrap();
        timeout(Duration::from_secs(10), served).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_listener_that_cannot_be_opened_says_which_and_where() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = open_admin(&AdminListen::Tcp(address)).await.unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with(&format!("the admin listener cannot listen on {address}")),
            "{said}"
        );
        assert!(said.contains("listeners.admin"), "{said}");
        assert_eq!(error.source.kind(), std::io::ErrorKind::AddrInUse);
    }
}
