//! How services are watched, as the config file has it; the comments here are the reference text of its schema.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::quantity::Span;
use super::raw::Opt;
use super::raw_plugins::Use;
use super::shapes::{Anything, FlagOr, NameOr, OneOrMany, Pairs};
use super::{defaults, units};

/// How a service is watched and judged.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ probe: /health, policy: latency-slo }`"
)]
pub(super) struct Health {
    /// Who judges: the name of a policy plugin, or `native` for the rule in the gate's own code (which also judges
    /// whenever a plugin cannot).
    #[schemars(extend("default" = defaults::POLICY))]
    pub(super) policy: Opt<NameOr<Use>>,
    /// What is asked of the service, again and again: a path, or a mapping that says more. Left out: it is not probed, and
    /// so not judged.
    #[schemars(extend("examples" = ["{prefix}/api/health"]))]
    pub(super) probe: Opt<NameOr<Probe>>,
    /// Verdicts in a row that make a bad service good again.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::WATCHING.rise))]
    pub(super) rise: Opt<u64>,
    /// Verdicts in a row that make a good service bad.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::WATCHING.fall))]
    pub(super) fall: Opt<u64>,
    /// When it counts as flapping: from then on its changes are not told one by one.
    pub(super) flap: Opt<Flap>,
    /// How loud its incidents are when it fails; when it is only degraded they are one step quieter.
    #[schemars(extend("default" = "critical"))]
    pub(super) severity: Opt<Loudness>,
    /// Its Kubernetes namespace, of which a snapshot is taken when it fails. Left out: no snapshots.
    #[schemars(extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub(super) namespace: Opt<String>,
    /// Whether its pods follow the maintenance mode themselves and go on saying the maintenance word until they are
    /// restarted: after `off` the gate answers for them until a probe says something else, one minute at most, and
    /// `until=healthy` is refused.
    #[schemars(extend("default" = false))]
    pub(super) follows_maintenance: Opt<bool>,
    /// Whether the probe's path passes while the gate answers for the service (GET and HEAD, this path alone).
    #[schemars(extend("default" = false))]
    pub(super) passes_in_maintenance: Opt<bool>,
    /// For people and policies: `runbook`, `dashboard`, `team`, ...
    pub(super) labels: Opt<Pairs>,
}

/// How loud something is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Loudness {
    /// Good to know.
    Info,
    /// Needs a look.
    Warning,
    /// Needs a person now.
    Critical,
}

/// Of the last `window` verdicts, which share were changes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ window: 20, high: 30, low: 20 }`"
)]
pub(super) struct Flap {
    /// Verdicts that are looked at.
    #[schemars(range(min = 4, max = 64), extend("default" = defaults::WATCHING.flap.window))]
    pub(super) window: Opt<u64>,
    /// Percent of changes from which on it flaps.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::WATCHING.flap.high))]
    pub(super) high: Opt<u64>,
    /// Percent of changes below which it has settled; less than `high`.
    #[schemars(range(min = 1, max = 99), extend("default" = defaults::WATCHING.flap.low))]
    pub(super) low: Opt<u64>,
}

/// How a service is probed: exactly one of `http`, `tcp` and `grpc`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a path such as `/health`, or a mapping such as `{ http: /health, interval: 10s }`"
)]
#[schemars(extend("oneOf" = [
    { "required": ["http"] }, { "required": ["tcp"] }, { "required": ["grpc"] }
]))]
pub(super) struct Probe {
    /// Path and query of an HTTP request; `{prefix}` is replaced. Redirects are not followed.
    #[schemars(extend("examples" = ["{prefix}/api/health"]))]
    pub(super) http: Opt<String>,
    /// A connection and nothing else.
    #[schemars(extend("const" = true))]
    pub(super) tcp: Opt<bool>,
    /// Service name for `grpc.health.v1.Health/Check`; empty: the server as a whole.
    pub(super) grpc: Opt<String>,
    /// HTTP: the method.
    #[schemars(extend("default" = defaults::PROBE_METHOD))]
    pub(super) method: Opt<String>,
    /// HTTP: the `Host` header. Left out: the upstream's own.
    pub(super) host: Opt<String>,
    /// HTTP: further headers. No place for secrets: they are shown by `headgate config`.
    pub(super) headers: Opt<Pairs>,
    /// HTTP and gRPC: another port than the upstream's.
    #[schemars(range(min = 1, max = 65_535))]
    pub(super) port: Opt<u64>,
    /// HTTP and gRPC: whether it is asked over TLS, or how.
    pub(super) tls: Opt<FlagOr<ProbeTls>>,
    /// HTTP: what the answer must be. The policy judges; this decides what outcome it sees.
    pub(super) expect: Opt<Expect>,
    /// Between two probes while it is well.
    #[schemars(extend("default" = units::duration(defaults::PROBE_INTERVAL)))]
    pub(super) interval: Opt<Span>,
    /// Between two probes while it is not, and until it has proven itself. `interval` where that is shorter.
    #[schemars(extend("default" = units::duration(defaults::PROBE_UNHEALTHY_INTERVAL)))]
    pub(super) unhealthy_interval: Opt<Span>,
    /// For a whole probe, at most `interval` (which it is where `interval` is shorter than the default).
    #[schemars(extend("default" = units::duration(defaults::PROBE_TIMEOUT)))]
    pub(super) timeout: Opt<Span>,
}

/// TLS towards the service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "`true`, `false`, or a mapping such as `{ serverName: NAME, ca: FILE }`"
)]
pub(super) struct ProbeTls {
    /// Name that the certificate must have. Left out: the upstream's host.
    pub(super) server_name: Opt<String>,
    /// File with the roots to believe beside the machine's (PEM), relative to the config file.
    pub(super) ca: Opt<String>,
    /// Whether any certificate will do.
    #[schemars(extend("default" = false))]
    pub(super) insecure: Opt<bool>,
}

/// What an answer must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ status: 200, json: { \"$.status\": OK } }`"
)]
pub(super) struct Expect {
    /// Statuses: numbers and ranges such as `200-299`, one or a list.
    #[schemars(extend("default" = "200-299"))]
    pub(super) status: Opt<OneOrMany<Statuses>>,
    /// One place in a JSON body and what must stand there: `{ "$.checks[0].state": up }`.
    #[schemars(extend("maxProperties" = 1, "minProperties" = 1))]
    pub(super) json: Opt<Anything>,
    /// Text that the body must hold.
    pub(super) body: Opt<String>,
    /// A slower answer is no success.
    pub(super) latency: Opt<Span>,
}

/// A status or a range of statuses, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statuses(pub(super) u16, pub(super) u16);

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StatusesVisitor)
    }
}

struct StatusesVisitor;

impl Visitor<'_> for StatusesVisitor {
    type Value = Statuses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status from 100 to 599 such as `200`, or a range such as `200-299`")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Statuses, E> {
        let status = u16::try_from(number).ok().filter(|it| (100..=599).contains(it));
        let status = status.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))?;
        Ok(Statuses(status, status))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Statuses, E> {
        let status = |it: &str| {
            let digits = it.len() == 3 && it.bytes().all(|b| b.is_ascii_digit());
            it.parse::<u16>().ok().filter(|it| digits && (100..=599).contains(it))
        };
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Statuses(from, to)),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}
