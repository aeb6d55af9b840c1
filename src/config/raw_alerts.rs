//! Where alerts go, as the config file has it; the comments here are the reference text of its schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{OrNone, Span};
use super::raw::Opt;
use super::raw_health::Loudness;
use super::raw_plugins::Use;
use super::shapes::{At, NameOr, OneOrMany};
use super::{defaults, units};

/// Where alerts go, and how they are put into words.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ formatter: slack-blocks, sinks: [...] }`"
)]
pub(super) struct Alerts {
    /// Who writes: the name of a formatter plugin, or `native` for the text in the gate's own code (which also writes
    /// whenever a plugin cannot).
    #[schemars(extend("default" = defaults::FORMATTER))]
    pub(super) formatter: Opt<NameOr<Use>>,
    /// The name of this gate in alerts, for people who have several.
    #[schemars(length(min = 1, max = 64), extend("default" = defaults::GATEWAY))]
    pub(super) gateway: Opt<String>,
    /// Receivers. Left out: incidents are recorded and nobody is told.
    pub(super) sinks: Opt<Vec<At<Sink>>>,
    /// Which receivers hear of what: the first that matches decides. What none matches goes to all receivers.
    pub(super) routes: Opt<Vec<At<AlertRoute>>>,
    /// How long the first notice of an incident waits for other services that look bad already; `0s`: not at all.
    #[schemars(extend("default" = units::duration(defaults::GROUP_WAIT)))]
    pub(super) group_wait: Opt<Span>,
    /// An open incident is told again after this time; `none`: never.
    #[schemars(extend("default" = units::duration(defaults::REMIND_AFTER)))]
    pub(super) remind_after: Opt<OrNone<Span>>,
    /// Hours in which only what is loud enough goes out; the rest is told at their end.
    pub(super) quiet_hours: Opt<QuietHours>,
    /// After this time a notice that could not be delivered is given up and kept as a dead letter.
    #[schemars(extend("default" = units::duration(defaults::GIVE_UP)))]
    pub(super) give_up: Opt<Span>,
    /// Notices that may wait in the outbox, all receivers together.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = defaults::OUTBOX_ROWS))]
    pub(super) outbox_rows: Opt<u64>,
    /// A service that says the maintenance word for so long after `off` is an incident.
    #[schemars(extend("default" = units::duration(defaults::STALE_MAINTENANCE)))]
    pub(super) stale_maintenance: Opt<Span>,
}

/// A receiver of alerts: exactly one of `eventDispatcher`, `webhook` and `slack`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ name: oncall, slack: env:SLACK_URL }`"
)]
#[schemars(extend("oneOf" = [
    { "required": ["eventDispatcher"] }, { "required": ["webhook"] }, { "required": ["slack"] }
]))]
pub(super) struct Sink {
    /// Shown in status, metrics and timelines.
    #[schemars(required, extend("pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub(super) name: Opt<String>,
    /// StockFlow's Event Dispatcher: `http(s)://HOST[:PORT]`, without a path.
    pub(super) event_dispatcher: Opt<String>,
    /// URL of a webhook; it is called as Standard Webhooks has it, signed with `secret`.
    pub(super) webhook: Opt<String>,
    /// Reference to the URL of a Slack incoming webhook: `env:NAME` or `file:PATH`. The URL is a secret.
    #[schemars(extend("pattern" = SECRET_PATTERN))]
    pub(super) slack: Opt<String>,
    /// Event Dispatcher: the ways by which it may tell people. A message may name fewer; where it names none of these, it goes
    /// by all of them.
    #[schemars(extend("default" = ["email"]))]
    pub(super) channels: Opt<OneOrMany<Channel>>,
    /// Event Dispatcher: the Slack channel when a message names none, or one that is not allowed.
    #[schemars(extend("pattern" = "^[A-Za-z0-9_-]{1,80}$"))]
    pub(super) channel: Opt<String>,
    /// Event Dispatcher: Slack channels that a message may name. Left out: `channel` alone.
    pub(super) allowed_channels: Opt<OneOrMany<String>>,
    /// Webhook: reference to the secret of the signature (`env:NAME` or `file:PATH`; the secret itself is `whsec_` and
    /// Base64), or a list of them while they are rotated: every one signs.
    pub(super) secret: Opt<OneOrMany<String>>,
    /// For one call.
    #[schemars(extend("default" = units::duration(defaults::SINK_TIMEOUT)))]
    pub(super) timeout: Opt<Span>,
}

/// What a reference to a secret looks like.
const SECRET_PATTERN: &str = "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$";

/// A way by which the Event Dispatcher tells people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Channel {
    Email,
    Slack,
}

/// Which receivers hear of what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ severity: warning, sinks: [NAME] }`"
)]
pub(super) struct AlertRoute {
    /// Names of services. Left out: every service.
    pub(super) services: Opt<OneOrMany<String>>,
    /// From this loudness on.
    #[schemars(extend("default" = "info"))]
    pub(super) severity: Opt<Loudness>,
    /// Names of receivers; an empty list: nobody is told.
    #[schemars(required)]
    pub(super) sinks: Opt<OneOrMany<String>>,
}

/// Hours in which only what is loud enough goes out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ from: \"22:00\", to: \"07:00\", zone: Asia/Kolkata }`"
)]
pub(super) struct QuietHours {
    /// Begin, `HH:MM`.
    #[schemars(required, extend("pattern" = CLOCK_PATTERN))]
    pub(super) from: Opt<String>,
    /// End, `HH:MM`; earlier than `from`: on the next day.
    #[schemars(required, extend("pattern" = CLOCK_PATTERN))]
    pub(super) to: Opt<String>,
    /// Time zone: an IANA name (`Asia/Kolkata`), which the machine's time zone database must have, or an offset
    /// (`+05:30`).
    #[schemars(required)]
    pub(super) zone: Opt<String>,
    /// What is quieter than this waits.
    #[schemars(extend("default" = "critical"))]
    pub(super) below: Opt<Loudness>,
}

/// What a time of day looks like.
const CLOCK_PATTERN: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";

/// Who takes diagnostic snapshots.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ url: \"http://HOST:PORT\", key: env:NAME }`"
)]
pub(super) struct Kubesnap {
    /// `http(s)://HOST[:PORT]`, without a path.
    #[schemars(required)]
    pub(super) url: Opt<String>,
    /// Reference to its key, `env:NAME` or `file:PATH`; sent as `X-API-KEY` to this host alone.
    #[schemars(required, extend("pattern" = SECRET_PATTERN))]
    pub(super) key: Opt<String>,
    /// For one snapshot.
    #[schemars(extend("default" = units::duration(defaults::KUBESNAP_TIMEOUT)))]
    pub(super) timeout: Opt<Span>,
    /// How long an alert waits for the snapshot; what comes later is told in another notice.
    #[schemars(extend("default" = units::duration(defaults::KUBESNAP_WAIT)))]
    pub(super) wait: Opt<Span>,
    /// Between two snapshots of one namespace.
    #[schemars(extend("default" = units::duration(defaults::KUBESNAP_COOLDOWN)))]
    pub(super) cooldown: Opt<Span>,
    /// Snapshots in 24 hours, all namespaces together.
    #[schemars(range(min = 1, max = 10_000), extend("default" = defaults::KUBESNAP_BUDGET))]
    pub(super) budget: Opt<u64>,
}
