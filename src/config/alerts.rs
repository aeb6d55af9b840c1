//! Where alerts go, as a config has it.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::KeySource;
use crate::model::health::Severity;

/// Everything under `alerts:` but the formatter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// The name of this gate, for people who have several.
    pub gateway: String,
    /// In file order; empty: incidents are recorded and nobody is told.
    pub sinks: Vec<SinkConfig>,
    /// The first that matches decides; none: all sinks.
    pub routes: Vec<AlertRoute>,
    /// How long the first notice of an incident waits for other services that look bad already.
    pub group_wait: Duration,
    /// An open incident is told again after this time; `None`: never.
    pub remind_after: Option<Duration>,
    pub quiet: Option<Quiet>,
    /// After this time an undelivered notice is given up and dead-lettered.
    pub give_up: Duration,
    /// Notices that may wait in the outbox, all sinks.
    pub outbox_rows: usize,
    /// A pod that says the maintenance word for so long after `off` is an incident.
    pub stale_maintenance: Duration,
    pub kubesnap: Option<Kubesnap>,
}

/// Which sinks hear of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRoute {
    /// Names; empty: every service.
    pub services: Vec<String>,
    /// From this severity on.
    pub severity: Severity,
    /// Indexes into [`Alerts::sinks`]; empty: nobody.
    pub sinks: Vec<usize>,
}

/// Hours in which only what is loud enough goes out; the rest is told at their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Minutes since midnight.
    pub from: u16,
    /// Minutes since midnight; before `from`: on the next day.
    pub to: u16,
    /// An IANA name, or `+05:30`.
    pub zone: String,
    /// What goes out all the same.
    pub from_severity: Severity,
}

/// One receiver of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkConfig {
    /// `[a-z0-9-]{1,63}`.
    pub name: String,
    pub kind: SinkKind,
    /// For one call.
    pub timeout: Duration,
}

/// What kind of receiver it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// StockFlow's: `POST {url}/api/v1/health-alert`.
    EventDispatcher {
        /// Without the path.
        url: String,
        /// Channels when a message names none, out of `email` and `slack`; not empty.
        channels: Vec<String>,
        /// Slack channel when a message names none or one that is not allowed.
        channel: Option<String>,
        /// Slack channels that a message may name.
        allowed: Vec<String>,
    },
    /// Standard Webhooks.
    Webhook {
        url: String,
        /// `whsec_...`; several while they are rotated.
        secrets: Vec<SecretRef>,
    },
    /// A Slack incoming webhook: its URL is the secret.
    Slack { url: SecretRef },
}

/// Where a secret of the gate's own comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `env:NAME`.
    Env(String),
    /// `file:PATH`, re-read when it changes; one trailing newline is cut.
    File(PathBuf),
}

impl SecretRef {
    /// As [`secret::read`](crate::config::secret::read) takes it.
    pub fn source(&self) -> KeySource {
        match self {
            Self::Env(name) => KeySource::Env(name.clone()),
            Self::File(path) => KeySource::File(path.clone()),
        }
    }
}

impl Alerts {
    /// Every secret that is named here.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let of_sinks = self.sinks.iter().flat_map(|it| match &it.kind {
            SinkKind::EventDispatcher { .. } => &[][..],
            SinkKind::Webhook { secrets, .. } => secrets.as_slice(),
            SinkKind::Slack { url } => std::slice::from_ref(url),
        });
        of_sinks.chain(self.kubesnap.iter().map(|it| &it.key))
    }
}

/// Who takes diagnostic snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubesnap {
    /// `http(s)://HOST[:PORT]`, without the path.
    pub url: String,
    /// Sent as `X-API-KEY` to this host alone.
    pub key: SecretRef,
    /// For one snapshot.
    pub timeout: Duration,
    /// How long an alert waits for it.
    pub wait: Duration,
    /// Between two of one namespace.
    pub cooldown: Duration,
    /// In 24 hours, all namespaces.
    pub budget: u32,
}
