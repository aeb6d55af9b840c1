//! How services are watched, as a config has it.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::health::Severity;

/// How one service is watched (`services.NAME.health`); the policy stands in [`Service::policy`](crate::config::Service).
#[derive(Clone, Debug, PartialEq)]
pub struct Watching {
    /// `None`: not probed, and so not judged.
    pub probe: Option<Probe>,
    /// Verdicts in a row that make a bad service good again; at least 1.
    pub rise: u32,
    /// Verdicts in a row that make a good service bad; at least 1.
    pub fall: u32,
    pub flap: Flap,
    /// How loud its incidents are when it fails; a degraded service is one step quieter.
    pub severity: Severity,
    /// Kubernetes namespace: what Kubesnap snapshots. `None`: no snapshots.
    pub namespace: Option<String>,
    /// Whether its pods follow the maintenance mode themselves and say the maintenance word until they are restarted.
    pub follows_maintenance: bool,
    /// Whether its health route passes while the gate answers for it.
    pub passes_in_maintenance: bool,
    /// For people and policies: `runbook`, `dashboard`, `team`, ...
    pub labels: Vec<(String, String)>,
}

impl Watching {
    /// The one path, canonical and without query, that passes while the gate answers for the service.
    pub fn passing_path(&self) -> Option<&str> {
        match &self.probe.as_ref().filter(|_| self.passes_in_maintenance)?.kind {
            ProbeKind::Http(http) => http.path.split('?').next(),
            ProbeKind::Tcp | ProbeKind::Grpc(_) => None,
        }
    }
}

/// When changes count as flapping (Icinga's rule): of the last `window` verdicts, this share were changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// Verdicts looked at, 4 to 64.
    pub window: u32,
    /// Percent of changes from which on it flaps.
    pub high: u32,
    /// Percent of changes below which it has settled; less than `high`.
    pub low: u32,
}

/// How a service is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub kind: ProbeKind,
    pub interval: Duration,
    /// While it is not well, and until it has proven itself.
    pub unhealthy_interval: Duration,
    /// For the whole probe, from the connection to the last byte.
    pub timeout: Duration,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    Http(Box<HttpProbe>),
    /// A connection and nothing else.
    Tcp,
    /// `grpc.health.v1.Health/Check`.
    Grpc(GrpcProbe),
}

/// An HTTP/1.1 request and what is expected of its answer. Redirects are never followed.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// `GET`, `HEAD`, `POST`, ...
    pub method: String,
    /// Path and query, `{prefix}` already replaced.
    pub path: String,
    /// `Host`; `None`: the upstream's own.
    pub host: Option<String>,
    pub headers: Vec<(String, String)>,
    /// Other port than the upstream's.
    pub port: Option<u16>,
    pub tls: Option<ProbeTls>,
    pub expect: Expect,
}

/// TLS towards the service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeTls {
    /// Name that the certificate must have; `None`: the upstream's host.
    pub server_name: Option<String>,
    /// File with further roots (PEM); `None`: the machine's alone.
    pub ca: Option<PathBuf>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

/// What an answer must be. The policy judges; this decides what outcome the sample carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// Ranges of statuses, both ends included.
    pub statuses: Vec<(u16, u16)>,
    /// A singular query (RFC 9535 §2.3.5.1: `$.status`, `$.checks[0].state`) and what stands there.
    pub json: Option<(String, serde_json::Value)>,
    /// Text that the body must hold.
    pub body: Option<String>,
    /// Slower is no success.
    pub latency: Option<Duration>,
}

/// A gRPC health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// `HealthCheckRequest.service`; empty: the server as a whole.
    pub service: String,
    pub port: Option<u16>,
    pub tls: Option<ProbeTls>,
}
